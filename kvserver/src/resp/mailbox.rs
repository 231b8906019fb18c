//! What other threads have for a front-end thread: connections, and answers of the store. However
//! much comes while it is awake, it is not called; asleep, it is called once.

use std::net::TcpStream;
use std::time::Instant;

use parking_lot::Mutex;

use super::batch::Answered;
use super::poller::Poller;

/// What has come.
#[derive(Default)]
pub(super) struct Mail {
    /// Connections, and whether there are as many clients already as may be.
    pub(super) streams: Vec<(TcpStream, bool)>,
    pub(super) answered: Vec<Answered>,
    /// The port closes; connections that are left at this moment are closed.
    pub(super) closing: Option<Instant>,
}

/// Where it comes, and the list of sockets that the thread sleeps on.
pub(super) struct Mailbox {
    pub(super) poller: Poller,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    mail: Mail,
    has_mail: bool,
    asleep: bool,
    /// The thread has ended.
    gone: bool,
}

impl Mailbox {
    pub(super) fn new(poller: Poller) -> Self {
        Self { poller, state: Mutex::default() }
    }

    /// Puts something in; false, with nothing put in, if nobody will ever take it.
    pub(super) fn put(&self, f: impl FnOnce(&mut Mail)) -> bool {
        let mut state = self.state.lock();
        if state.gone {
            return false;
        }
        f(&mut state.mail);
        state.has_mail = true;
        let wake = std::mem::take(&mut state.asleep);
        drop(state);
        if wake {
            self.poller.wake();
        }
        true
    }

    /// Takes what is there. The thread is awake from now on.
    pub(super) fn take(&self) -> Option<Mail> {
        let mut state = self.state.lock();
        state.asleep = false;
        std::mem::take(&mut state.has_mail).then(|| std::mem::take(&mut state.mail))
    }

    /// Whether the thread may go to sleep: there is nothing, and the next who puts something in
    /// wakes it.
    pub(super) fn may_sleep(&self) -> bool {
        let mut state = self.state.lock();
        state.asleep = !state.has_mail;
        state.asleep
    }

    /// Nobody takes anything any more. Returns what nobody took, to be dropped without a lock.
    pub(super) fn close(&self) -> Mail {
        let mut state = self.state.lock();
        state.gone = true;
        std::mem::take(&mut state.mail)
    }
}
