//! What the snapshot thread is to do, and how it sleeps: a part of what the peer's mutex guards.
#![expect(clippy::disallowed_methods, reason = "this is a part of the file that locks")]

use std::time::Duration;

use oarlock_sync::planted;

use super::Shared;
use crate::threads::snapshots::Job;

impl Shared {
    /// Has the snapshot thread do `job`, after those it has.
    pub(crate) fn have_done(&self, job: Job) {
        let mut state = self.state.lock();
        if state.stopped.is_some() {
            drop(state);
            return drop(job);
        }
        state.jobs.push_back(job);
        drop(state);
        if !planted("a job for the snapshot thread wakes nobody") {
            self.jobs.notify_all();
        }
    }

    /// Sleeps until there is a job; `None` once the peer stops.
    pub(crate) fn take_job(&self) -> Option<Job> {
        let mut state = self.running().ok()?;
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            self.jobs.wait(&mut state);
            if state.stopped.is_some() {
                return None;
            }
        }
    }

    /// Has the snapshot thread sleep for `rest`; false as soon as the peer stops.
    pub(crate) fn rest(&self, rest: Duration) -> bool {
        let Ok(mut state) = self.running() else { return false };
        let until = oarlock_sync::now() + rest;
        while state.stopped.is_none() && oarlock_sync::now() < until {
            self.jobs.wait_until(&mut state, until);
        }
        state.stopped.is_none()
    }
}
