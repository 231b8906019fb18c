//! Who writes to the disk: one thread at a time, and the log writer whatever nobody writes on the way.

use std::time::Instant;

use oarlock_sync::stages::{self, Stage};
use oarlock_sync::{MutexGuard, planted};

use super::{Shared, State};
use crate::answer::Spoken;
use crate::mutation::{Seq, WriteWork};
use crate::rules::{Due, Reach, Written};
use crate::threads::log_writer::LogWriter;

/// Where the right to write is.
pub(super) enum Writer {
    /// Nobody writes.
    Here(LogWriter),
    /// Somebody does, and looks for more when that is done.
    Away,
    /// Nobody ever will: the peer has stopped.
    Gone,
}

impl Shared {
    /// Sleeps until there is something to write and nobody writes it; `None` once the peer stops.
    pub(crate) fn take_writes(&self) -> Option<(LogWriter, WriteWork)> {
        let mut state = self.state.lock();
        loop {
            if state.stopped.is_some() {
                return self.retire_writer(state);
            }
            let now = oarlock_sync::now();
            let due = state.take_writes(now);
            if let Due::Now(taken) = due {
                if taken.0.is_instant() {
                    self.end_step_writing(&mut state);
                    return Some(taken);
                }
                let outbound = self.end_step_sending(&mut state, now);
                drop(state);
                // Ahead of our own write: the followers' take longer, by the way there and back.
                self.send(outbound);
                return Some(taken);
            }
            self.end_step(&mut state);
            match due {
                Due::Now(_) => unreachable!("it was just dealt with"),
                Due::At(deadline) => {
                    debug_assert!(deadline > now, "a wait for a moment that has passed is a spin");
                    self.log_writer.wait_until(&mut state, deadline);
                }
                Due::WhenWoken => self.log_writer.wait(&mut state),
            }
        }
    }

    /// Closes what there is to write to, once nobody does.
    fn retire_writer<T>(&self, mut state: MutexGuard<'_, State>) -> Option<T> {
        while matches!(state.writer, Writer::Away) {
            self.log_writer.wait(&mut state);
        }
        let writer = std::mem::replace(&mut state.writer, Writer::Gone);
        // Files are closed without the lock.
        drop(state);
        drop(writer);
        None
    }

    /// What could be written of the work up to `through` is. Returns the answers that waited for it,
    /// to be sent without the lock.
    pub(crate) fn on_written(&self, writer: LogWriter, through: Seq, written: Written) -> Spoken {
        let is_stalled = written.reach != Reach::All;
        let is_instant = writer.is_instant();
        let mut guard = self.state.lock();
        let state = &mut *guard;
        state.writer = Writer::Here(writer);
        if state.stopped.is_some() {
            if planted("a write that ends behind the stop leaves the right to write away") {
                state.writer = Writer::Away;
            }
            drop(guard);
            if !planted("a write that ends behind the stop wakes nobody") {
                self.log_writer.notify_all();
            }
            return Spoken::default();
        }
        let now = oarlock_sync::now();
        state.rules.on_written(through, written, now);
        stages::mark(Stage::Synced, state.rules.mutations().durable_index(), now);
        // Whoever queued more in the meantime left it to us; the thread takes it.
        if !planted("what was queued during a write is forgotten") {
            state.rules.wake_for_writes();
        }
        if is_instant {
            // Held back until now: see `end_step_writing`.
            state.rules.wake_replication();
        }
        let spoken = Spoken::take(&mut state.outbox, state.rules.mutations(), is_stalled);
        let outbound = self.end_step_sending(state, now);
        drop(guard);
        if !planted("a finished write does not wake those who wait for it") {
            self.durable.notify_all();
        }
        self.send(outbound);
        spoken
    }

    /// A write failed, or panicked.
    pub(crate) fn writer_is_gone(&self) {
        self.state.lock().writer = Writer::Gone;
        self.log_writer.notify_all();
    }

    /// Ends a step, and does what it gave rise to as far as that needs no waiting: messages to
    /// followers, and writes to a log in memory.
    pub(super) fn end_step_working(&self, mut state: MutexGuard<'_, State>, now: Instant) {
        let writes_here = match &state.writer {
            Writer::Here(writer) => writer.is_instant() && !state.is_left_to_applier(),
            Writer::Away | Writer::Gone => false,
        };
        if writes_here
            && state.rules.has_writes()
            && let Due::Now((writer, work)) = state.take_writes(now)
        {
            self.end_step_writing(&mut state);
            drop(state);
            return writer.write_for(self, work);
        }
        let outbound = self.end_step_sending(&mut state, now);
        drop(state);
        self.send(outbound);
    }

    /// Ends a step of a thread that writes at once to a log in memory. Messages wait until that is
    /// done, which takes no time: the first follower to answer makes a majority then.
    pub(super) fn end_step_writing(&self, state: &mut State) {
        state.rules.take_news();
        self.end_step(state);
    }
}

impl State {
    /// Takes what is to be written, and the right to write it.
    pub(super) fn take_writes(&mut self, now: Instant) -> Due<(LogWriter, WriteWork)> {
        let Writer::Here(_) = self.writer else { return Due::WhenWoken };
        match self.rules.writes_due(now) {
            Due::Now(work) => match std::mem::replace(&mut self.writer, Writer::Away) {
                Writer::Here(writer) => {
                    stages::mark(Stage::Taken, self.rules.log().last().index, now);
                    Due::Now((writer, work))
                }
                Writer::Away | Writer::Gone => unreachable!("the right to write was here"),
            },
            Due::At(deadline) => Due::At(deadline),
            Due::WhenWoken => Due::WhenWoken,
        }
    }
}
