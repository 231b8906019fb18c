//! Replies that rest on what is not on disk yet, and what becomes of them.

use oarlock_rpc::ReplySlot;

use crate::mutation::{Mutations, Until};

/// A reply that waits for the disk.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) until: Until,
    pub(crate) slot: ReplySlot,
    pub(crate) bytes: Vec<u8>,
}

impl Answer {
    /// Speaks.
    pub(crate) fn send(self) {
        self.slot.reply(self.bytes);
    }
}

/// What became of the answers that waited.
#[derive(Debug, Default)]
pub(crate) struct Spoken {
    to_send: Vec<Answer>,
    given_up: Vec<Answer>,
}

impl Spoken {
    /// Takes those out of the outbox that rest on nothing else any more; and all others too, if they
    /// might wait for ever: who waits for entries that have no room had better ask again.
    pub(crate) fn take(outbox: &mut Vec<Answer>, mutations: &Mutations, is_stalled: bool) -> Self {
        let to_send = outbox.extract_if(.., |answer| mutations.has(answer.until)).collect();
        let given_up = if is_stalled { std::mem::take(outbox) } else { Vec::new() };
        Self { to_send, given_up }
    }

    /// Sends those that are to be sent. The callers of the others hear that nothing came back.
    pub(crate) fn send(self) {
        self.to_send.into_iter().for_each(Answer::send);
        drop(self.given_up);
    }
}
