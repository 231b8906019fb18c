//! The election thread (section 5.2): campaigns when no leader is heard, and lets a leader step
//! down when it hears no majority.

use std::sync::Arc;

use oarlock_rpc::{Completion, codec};

use crate::message::{REQUEST_VOTE, RequestVoteReply};
use crate::rules::Rules;
use crate::shared::Shared;

pub(crate) fn election_thread(shared: &Arc<Shared>) {
    while let Some(round) = shared.take(&shared.election, Rules::election_due) {
        // Our own vote first: nobody may be asked before it is on disk.
        let Ok(round) = shared.durable(round) else { return };
        let args = Arc::new(round.args);
        let own = shared.step(|rules, now| rules.on_own_vote(&args, now));
        if own.is_err() {
            return;
        }
        let bytes = codec::encode(&*args).expect("the arguments of a vote are far below the limit");
        let ends = shared.ends();
        for (&peer, end) in ends.iter().filter(|(peer, _)| round.voters.contains(peer)) {
            let (shared, args) = (Arc::clone(shared), Arc::clone(&args));
            let done = Completion::new(move |reply| {
                let reply = reply.and_then(|bytes| codec::decode::<RequestVoteReply>(&bytes).ok());
                if let Some(reply) = reply {
                    // A peer that has stopped has no use for votes.
                    drop(shared.step(|rules, now| rules.on_vote_reply(peer, &args, &reply, now)));
                }
            });
            end.start(REQUEST_VOTE, bytes.clone(), done);
        }
    }
}
