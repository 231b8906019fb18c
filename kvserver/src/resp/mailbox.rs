//! What other threads have for a front-end thread: connections, and answers of the store.
//!
//! While the thread sleeps, its switchboard is here. Whoever brings a few answers then takes it, and
//! passes them on to the clients itself: to wake the thread would take longer. For more than that the
//! thread is called, once; and while anybody is at the switchboard, nobody is called, for whoever
//! is there looks again before leaving.

use std::net::TcpStream;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

use super::batch::Answered;
use super::poller::Poller;
use super::switchboard::Switchboard;

/// So many clients' answers are passed on by whoever brings them, at most.
const CARRIED_MAX: usize = 2;

/// How often whoever has brought answers deals with others' before leaving the rest to the thread.
const ROUNDS_MAX: usize = 4;

/// What has come.
#[derive(Default)]
pub(super) struct Mail {
    /// Connections, and whether there are as many clients already as may be.
    pub(super) streams: Vec<(TcpStream, bool)>,
    pub(super) answered: Vec<Answered>,
    /// The port closes; connections that are left at this moment are closed.
    pub(super) closing: Option<Instant>,
}

impl Mail {
    /// Whether the one who brings it may deal with it.
    fn is_light(&self) -> bool {
        let clients: usize = self.answered.iter().map(Answered::clients).sum();
        self.streams.is_empty() && self.closing.is_none() && clients <= CARRIED_MAX
    }
}

/// Where it comes, and the list of sockets that the thread sleeps on.
pub(super) struct Mailbox {
    pub(super) poller: Poller,
    state: Mutex<State>,
    /// Predicate: the switchboard is here. Waited for by the thread alone.
    returned: Condvar,
}

#[derive(Default)]
struct State {
    mail: Mail,
    has_mail: bool,
    /// The thread sleeps, and has not been called.
    asleep: bool,
    /// Until when it sleeps; for ever if it need not wake by itself.
    until: Option<Instant>,
    /// Unless somebody is at it.
    board: Option<Box<Switchboard>>,
    /// The thread has ended.
    gone: bool,
}

impl Mailbox {
    pub(super) fn new(poller: Poller) -> Self {
        Self { poller, state: Mutex::default(), returned: Condvar::new() }
    }

    /// Puts something in, and perhaps deals with it; false, with nothing put in, if nobody will ever
    /// take it.
    pub(super) fn put(&self, f: impl FnOnce(&mut Mail)) -> bool {
        let mut state = self.state.lock();
        if state.gone {
            return false;
        }
        f(&mut state.mail);
        state.has_mail = true;
        if state.asleep && state.mail.is_light() {
            if let Some(board) = state.board.take() {
                drop(state);
                self.stand_in(board);
            }
            return true;
        }
        let wake = std::mem::take(&mut state.asleep);
        drop(state);
        if wake {
            self.poller.wake();
        }
        true
    }

    /// Deals with what has come in place of the thread, which sleeps on.
    fn stand_in(&self, board: Box<Switchboard>) {
        let mut visit = Visit { mailbox: self, board: Some(board) };
        for _ in 0..ROUNDS_MAX {
            let Some(mail) = self.take() else { break };
            if let Some(board) = &mut visit.board {
                board.stand_in(mail);
            }
        }
    }

    /// Takes what is there.
    pub(super) fn take(&self) -> Option<Mail> {
        let mut state = self.state.lock();
        std::mem::take(&mut state.has_mail).then(|| std::mem::take(&mut state.mail))
    }

    /// Leaves the switchboard here while the thread sleeps `until` some moment. Gives it back if there
    /// is mail: then the thread must not sleep.
    pub(super) fn leave(
        &self,
        board: Box<Switchboard>,
        until: Option<Instant>,
    ) -> Result<(), Box<Switchboard>> {
        let mut state = self.state.lock();
        if state.has_mail {
            return Err(board);
        }
        state.board = Some(board);
        (state.asleep, state.until) = (true, until);
        Ok(())
    }

    /// The thread is awake: waits for whoever is at its switchboard, and takes it back.
    pub(super) fn take_back(&self) -> Box<Switchboard> {
        let mut state = self.state.lock();
        state.asleep = false;
        loop {
            if let Some(board) = state.board.take() {
                return board;
            }
            self.returned.wait(&mut state);
        }
    }

    /// Nobody takes anything any more. Returns what nobody took, to be dropped without a lock.
    pub(super) fn close(&self) -> Mail {
        let mut state = self.state.lock();
        state.gone = true;
        std::mem::take(&mut state.mail)
    }
}

/// Brings a switchboard back, even from a panic.
struct Visit<'a> {
    mailbox: &'a Mailbox,
    board: Option<Box<Switchboard>>,
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        let Some(board) = self.board.take() else { return };
        let deadline = board.deadline();
        let mut state = self.mailbox.state.lock();
        state.board = Some(board);
        // What has come since the last look, or is due earlier than the thread will look by itself.
        let oversleeps = deadline.is_some_and(|at| state.until.is_none_or(|until| at < until));
        let wake = state.asleep && (state.has_mail || oversleeps);
        state.asleep &= !wake;
        drop(state);
        self.mailbox.returned.notify_all();
        if wake {
            self.mailbox.poller.wake();
        }
    }
}
