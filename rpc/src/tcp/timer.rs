//! The timer of one end: one thread that sleeps until the oldest call's time is up.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

use super::link::Link;

/// When to look at the calls in flight next.
#[derive(Debug, Default)]
pub(super) struct Timer {
    state: Mutex<State>,
    /// The alarm moved to an earlier moment, or the timer is stopped.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    alarm: Option<Instant>,
    stopped: bool,
}

impl Timer {
    /// Makes sure that the calls are looked at no later than at `deadline`.
    ///
    /// An alarm is not taken back when its call is answered: on a busy end the thread wakes about
    /// once in each call time-out and finds where the oldest call is now.
    pub(super) fn arm(&self, deadline: Instant) {
        let mut state = self.state.lock();
        if state.alarm.is_none_or(|alarm| deadline < alarm) {
            state.alarm = Some(deadline);
            self.changed.notify_all();
        }
    }

    /// Ends the thread.
    pub(super) fn stop(&self) {
        self.state.lock().stopped = true;
        self.changed.notify_all();
    }

    /// The body of the thread.
    pub(super) fn run(&self, links: &[Arc<Link>]) {
        // A completion that panics must not leave callers waiting.
        let _close = CloseOnExit(links);
        while self.wait() {
            for link in links {
                if let Some(next) = link.expire(Instant::now()) {
                    self.arm(next);
                }
            }
        }
    }

    /// Waits for the alarm and switches it off; false once stopped.
    fn wait(&self) -> bool {
        let mut state = self.state.lock();
        while !state.stopped {
            match state.alarm {
                None => self.changed.wait(&mut state),
                Some(alarm) if Instant::now() < alarm => {
                    self.changed.wait_until(&mut state, alarm);
                }
                Some(_) => {
                    state.alarm = None;
                    return true;
                }
            }
        }
        false
    }
}

struct CloseOnExit<'a>(&'a [Arc<Link>]);

impl Drop for CloseOnExit<'_> {
    fn drop(&mut self) {
        self.0.iter().for_each(|link| link.close());
    }
}
