//! A replication thread: one for each peer, feeding it while this one leads (sections 5.3 and 7).

use std::sync::Arc;

use oarlock_rpc::{Completion, End, codec};

use crate::message::{
    APPEND_ENTRIES, AppendEntriesArgs, AppendEntriesReply, INSTALL_SNAPSHOT, InstallSnapshotArgs,
    InstallSnapshotReply,
};
use crate::rules::{Send, SentAppend, SentPiece};
use crate::shared::Shared;
use crate::types::{PeerId, Snapshot};

pub(crate) fn replication_thread(shared: &Arc<Shared>, peer: PeerId, end: &dyn End) {
    let due = |rules: &mut crate::rules::Rules, now| rules.replication_due(peer, now);
    while let Some(send) = shared.take(&shared.entries_to_send, due) {
        match send {
            Send::Append { args, sent } => send_append(shared, peer, end, &args, sent),
            Send::Piece { snapshot, sent } => send_piece(shared, peer, end, &snapshot, sent),
        }
    }
}

fn send_append(
    shared: &Arc<Shared>,
    peer: PeerId,
    end: &dyn End,
    args: &AppendEntriesArgs,
    sent: SentAppend,
) {
    let bytes = codec::encode(args).expect("a batch of entries is bounded below the limit");
    let (shared, term) = (Arc::clone(shared), args.term);
    let done = Completion::new(move |reply| {
        let reply = reply.and_then(|bytes| codec::decode::<AppendEntriesReply>(&bytes).ok());
        // A peer that has stopped has no use for replies.
        drop(shared.step(|rules, now| {
            rules.on_append_reply(peer, term, &sent, reply.as_ref(), now);
        }));
    });
    end.start(APPEND_ENTRIES, bytes, done);
}

fn send_piece(
    shared: &Arc<Shared>,
    peer: PeerId,
    end: &dyn End,
    snapshot: &Snapshot,
    sent: SentPiece,
) {
    let content: &[u8] = snapshot;
    let from = usize::try_from(sent.offset).unwrap_or(usize::MAX).min(content.len());
    let to = from.saturating_add(sent.len_max).min(content.len());
    let args = InstallSnapshotArgs {
        term: sent.term,
        leader_id: sent.leader_id,
        last_included: snapshot.meta.last_included,
        configuration: snapshot.meta.configuration.to_vec(),
        offset: from as u64,
        data: content[from..to].to_vec(),
        done: to == content.len(),
    };
    let bytes = codec::encode(&args).expect("a piece of a snapshot is bounded below the limit");
    let shared = Arc::clone(shared);
    let done = Completion::new(move |reply| {
        let reply = reply.and_then(|bytes| codec::decode::<InstallSnapshotReply>(&bytes).ok());
        drop(shared.step(|rules, now| {
            rules.on_piece_reply(peer, &sent, reply.as_ref(), now);
        }));
    });
    end.start(INSTALL_SNAPSHOT, bytes, done);
}
