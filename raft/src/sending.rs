//! How a message to another member starts on its way, and who hears of the answer.

use std::sync::Arc;

use oarlock_rpc::{Completion, End, codec};

use crate::message::{
    APPEND_ENTRIES, AppendEntriesArgs, AppendEntriesReply, INSTALL_SNAPSHOT, InstallSnapshotArgs,
    InstallSnapshotReply, TIMEOUT_NOW, TimeoutNowArgs, TimeoutNowReply,
};
use crate::rules::{Send, SentAppend, SentPiece};
use crate::shared::Shared;
use crate::types::{PeerId, Snapshot};

/// Starts `send` on its way to `peer`. Waits for nothing; the answer may come before it returns.
pub(crate) fn start(shared: &Arc<Shared>, peer: PeerId, end: &dyn End, send: Send) {
    match send {
        Send::Append { args, sent } => send_append(shared, peer, end, &args, sent),
        Send::Piece { snapshot, sent } => send_piece(shared, peer, end, &snapshot, sent),
        Send::TimeoutNow(args) => send_timeout_now(shared, end, &args),
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

fn send_timeout_now(shared: &Arc<Shared>, end: &dyn End, args: &TimeoutNowArgs) {
    let bytes = codec::encode(args).expect("two numbers are far below the limit");
    let (shared, term) = (Arc::clone(shared), args.term);
    let done = Completion::new(move |reply| {
        let reply = reply.and_then(|bytes| codec::decode::<TimeoutNowReply>(&bytes).ok());
        drop(shared.step(|rules, now| rules.on_timeout_now_reply(term, reply.as_ref(), now)));
    });
    end.start(TIMEOUT_NOW, bytes, done);
}
