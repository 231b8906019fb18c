//! The numbers of this process's own requests: the client's half of [`crate::session`].
//!
//! One identity a process, drawn when it starts; many requests in flight. `acked_below` is the
//! lowest number that is still open, and a number is open until its request is answered or given
//! up. Numbers in use never span more than [`WINDOW`], so the table's limit of answers a session is
//! never reached: the floor is raised by what reaches the log, and no request in the log is more
//! than a window above the lowest number that was open when it was sent.

use std::collections::BTreeSet;
use std::sync::Arc;

use oarlock_raft::Index;
use parking_lot::Mutex;

use crate::request::ClientId;

/// How far the highest number in use may be above the lowest. Below
/// [`crate::Limits::answers_per_session`].
pub(crate) const WINDOW: u64 = 1024;

/// Gives out numbers.
pub(crate) struct Numbering {
    /// Taken after that of the desk, where both are.
    state: Mutex<State>,
}

struct State {
    client: ClientId,
    next: u64,
    open: BTreeSet<u64>,
}

impl State {
    fn of(client: ClientId) -> Self {
        Self { client, next: 1, open: BTreeSet::new() }
    }

    fn acked_below(&self) -> u64 {
        self.open.first().copied().unwrap_or(self.next)
    }

    fn is_full(&self) -> bool {
        self.next - self.acked_below() >= WINDOW
    }
}

impl Numbering {
    /// A new identity that has sent nothing.
    pub(crate) fn new() -> Self {
        Self { state: Mutex::new(State::of(ClientId::random(0))) }
    }

    /// The next number, open until dropped, and the one below which none of this identity's
    /// requests will ever be sent again. `None` while the window is full.
    pub(crate) fn open(self: &Arc<Self>) -> Option<(Number, u64)> {
        let mut state = self.state.lock();
        if state.is_full() {
            return None;
        }
        let seq = state.next;
        state.next += 1;
        state.open.insert(seq);
        let number = Number { numbering: Arc::clone(self), client: state.client, seq };
        Some((number, state.acked_below()))
    }

    /// Begins again under a new identity, born at `born`, unless someone else did since `expired`
    /// was in use. Numbers that are still open stay with the old one.
    pub(crate) fn renew(&self, expired: ClientId, born: Index) {
        let mut state = self.state.lock();
        if state.client == expired {
            *state = State::of(ClientId::random(born));
        }
    }
}

/// One request's number.
pub(crate) struct Number {
    numbering: Arc<Numbering>,
    pub(crate) client: ClientId,
    pub(crate) seq: u64,
}

impl Drop for Number {
    fn drop(&mut self) {
        let mut state = self.numbering.state.lock();
        if state.client == self.client {
            let was_open = state.open.remove(&self.seq);
            assert!(was_open, "seq {} is closed twice", self.seq);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_open_number_holds_acked_below() {
        let numbering = Arc::new(Numbering::new());
        let (first, _) = numbering.open().unwrap();
        let (second, acked_below) = numbering.open().unwrap();
        assert_eq!((first.seq, second.seq, acked_below), (1, 2, 1));
        drop(first);
        let (third, acked_below) = numbering.open().unwrap();
        assert_eq!((third.seq, acked_below), (3, 2));
        drop((second, third));
        let (fourth, acked_below) = numbering.open().unwrap();
        assert_eq!((fourth.seq, acked_below), (4, 4));
    }

    #[test]
    fn a_full_window_has_no_number_until_the_lowest_is_closed() {
        let numbering = Arc::new(Numbering::new());
        let mut open: Vec<_> = (0..WINDOW).map(|_| numbering.open().unwrap()).collect();
        open.remove(5);
        assert!(numbering.open().is_none(), "the lowest still holds the window");
        open.remove(0);
        assert_eq!(numbering.open().unwrap().0.seq, WINDOW + 1);
    }

    #[test]
    fn a_new_identity_begins_at_one_and_old_numbers_do_not_disturb_it() {
        let numbering = Arc::new(Numbering::new());
        let (old, _) = numbering.open().unwrap();
        numbering.renew(old.client, 9);
        let (new, acked_below) = numbering.open().unwrap();
        assert_ne!(new.client, old.client);
        assert_eq!((new.client.born, new.seq, acked_below), (9, 1, 1));
        numbering.renew(old.client, 12);
        drop(old);
        let (next, acked_below) = numbering.open().unwrap();
        assert_eq!(next.client, new.client, "renewed once");
        assert_eq!(acked_below, 1);
    }
}
