//! The numbers of this process's own requests: the client's half of [`crate::session`].
//!
//! One identity a process, drawn when it starts; many requests in flight. `acked_below` is the
//! lowest number that is still open, and a number is open until its request is answered or given
//! up. Numbers in use never span more than [`WINDOW`], so the table's limit of answers a session is
//! never reached: the floor is raised by what reaches the log, and no request in the log is more
//! than a window above the lowest number that was open when it was sent.

use std::collections::BTreeSet;
use std::time::Instant;

use oarlock_raft::Index;
use parking_lot::{Condvar, Mutex};

use crate::request::ClientId;

/// How far the highest number in use may be above the lowest. Below
/// [`crate::Limits::answers_per_session`].
pub(crate) const WINDOW: u64 = 1024;

/// Gives out numbers.
pub(crate) struct Numbering {
    state: Mutex<State>,
    /// Predicate: a number is free within the window. Changed by closing a number, and by a new
    /// identity.
    room: Condvar,
}

struct State {
    client: ClientId,
    next: u64,
    open: BTreeSet<u64>,
}

impl State {
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
        let state = State { client: ClientId::random(0), next: 1, open: BTreeSet::new() };
        Self { state: Mutex::new(state), room: Condvar::new() }
    }

    /// The next number, open until dropped. Waits while the window is full; `None` at `deadline`.
    pub(crate) fn open(&self, deadline: Instant) -> Option<Number<'_>> {
        let mut state = self.state.lock();
        while state.is_full() {
            if self.room.wait_until(&mut state, deadline).timed_out() && state.is_full() {
                return None;
            }
        }
        let seq = state.next;
        state.next += 1;
        state.open.insert(seq);
        Some(Number { numbering: self, client: state.client, seq })
    }

    /// Begins again under a new identity, born at `born`, unless someone else did since `expired`
    /// was in use. Numbers that are still open stay with the old one.
    pub(crate) fn renew(&self, expired: ClientId, born: Index) {
        let mut state = self.state.lock();
        if state.client == expired {
            *state = State { client: ClientId::random(born), next: 1, open: BTreeSet::new() };
            drop(state);
            self.room.notify_all();
        }
    }
}

/// One request's number.
pub(crate) struct Number<'a> {
    numbering: &'a Numbering,
    pub(crate) client: ClientId,
    pub(crate) seq: u64,
}

impl Number<'_> {
    /// Below this, none of this identity's requests will ever be sent again.
    pub(crate) fn acked_below(&self) -> u64 {
        let state = self.numbering.state.lock();
        if state.client == self.client {
            return state.acked_below();
        }
        // Of an identity that is not in use any more: nothing is known of its other numbers.
        1
    }
}

impl Drop for Number<'_> {
    fn drop(&mut self) {
        let mut state = self.numbering.state.lock();
        if state.client == self.client {
            let was_open = state.open.remove(&self.seq);
            assert!(was_open, "seq {} is closed twice", self.seq);
            drop(state);
            self.numbering.room.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(20)
    }

    #[test]
    fn the_lowest_open_number_holds_acked_below() {
        let numbering = Numbering::new();
        let first = numbering.open(soon()).unwrap();
        let second = numbering.open(soon()).unwrap();
        assert_eq!((first.seq, second.seq), (1, 2));
        assert_eq!(second.acked_below(), 1);
        drop(first);
        assert_eq!(second.acked_below(), 2);
        drop(second);
        let third = numbering.open(soon()).unwrap();
        assert_eq!((third.seq, third.acked_below()), (3, 3));
    }

    #[test]
    fn a_full_window_makes_the_next_one_wait_until_the_lowest_is_closed() {
        let numbering = Numbering::new();
        let mut open: Vec<_> = (0..WINDOW).map(|_| numbering.open(soon()).unwrap()).collect();
        open.remove(5);
        assert!(numbering.open(soon()).is_none(), "the lowest still holds the window");
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                let deadline = Instant::now() + Duration::from_secs(10);
                numbering.open(deadline).map(|number| number.seq)
            });
            open.remove(0);
            assert_eq!(waiting.join().unwrap(), Some(WINDOW + 1));
        });
    }

    #[test]
    fn a_new_identity_begins_at_one_and_old_numbers_do_not_disturb_it() {
        let numbering = Numbering::new();
        let old = numbering.open(soon()).unwrap();
        numbering.renew(old.client, 9);
        let new = numbering.open(soon()).unwrap();
        assert_ne!(new.client, old.client);
        assert_eq!((new.client.born, new.seq), (9, 1));
        numbering.renew(old.client, 12);
        drop(old);
        assert_eq!(new.acked_below(), 1);
        assert_eq!(numbering.open(soon()).unwrap().client, new.client, "renewed once");
    }
}
