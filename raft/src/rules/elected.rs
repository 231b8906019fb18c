//! For tests of the rules: how a peer comes to lead, and its disk keeps up.

use std::time::Instant;

use super::{Begun, Due, Reach, ReadId, Rules, Written};
use crate::message::RequestVoteReply;
use crate::types::PeerId;

/// S0, as it starts, is elected by all `voters`. Returns when.
pub(super) fn elect(rules: &mut Rules, voters: u64) -> Instant {
    let now = rules.election_deadline;
    for _pre_vote_and_vote in 0..2 {
        let Due::Now(round) = rules.election_due(now) else { panic!("no round of votes") };
        let args = round.value.args;
        let term = args.term - u64::from(args.pre_vote);
        let reply = RequestVoteReply { term, vote_granted: true, candidate_retired: false };
        rules.on_own_vote(&args, now);
        (1..voters).for_each(|other| rules.on_vote_reply(PeerId(other), &args, &reply, now));
    }
    assert!(rules.is_leader());
    now
}

/// Everything queued gets onto the disk.
pub(super) fn write(rules: &mut Rules, now: Instant) {
    while let Due::Now(work) = rules.writes_due(now) {
        let written = Written { reach: Reach::All, snapshot: None, has_room: true };
        rules.on_written(work.through, written, now);
    }
}

/// A read that was begun, and waits here.
#[track_caller]
pub(super) fn waiting(begun: Option<Begun>) -> ReadId {
    match begun {
        Some(Begun::Waits(id)) => id,
        other => panic!("{other:?}"),
    }
}
