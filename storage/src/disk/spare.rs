//! The next segment, filled with zeros ahead of time by a thread of its own, so that the writer does
//! not wait for it. Its only promise is to help: without a spare, the writer makes one itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};

use super::files::{File, Files};
use super::segment::zero_filled;

/// The name of the spare: not a segment's, and one that the next opening removes.
pub(crate) const SPARE: &str = "spare.tmp";

/// At most one spare segment, and the thread that makes it.
pub(crate) struct Spare {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    files: Arc<Files>,
    file_bytes: u64,
    state: Mutex<State>,
    /// Notified when `state` comes to or leaves [`State::Wanted`], or `stopping` is set. The thread
    /// waits for work; tests wait for its end.
    changed: Condvar,
    stopping: AtomicBool,
}

enum State {
    /// There is none, and none is wanted.
    Idle,
    /// The thread is to make one, or is at it.
    Wanted,
    /// Here it is.
    Ready(File),
}

impl Spare {
    /// Spares of `file_bytes` bytes. Nothing is made before it is asked for.
    pub(crate) fn new(files: Arc<Files>, file_bytes: u64) -> Self {
        let shared = Arc::new(Shared {
            files,
            file_bytes,
            state: Mutex::new(State::Idle),
            changed: Condvar::new(),
            stopping: AtomicBool::new(false),
        });
        Self { shared, thread: None }
    }

    /// Asks for a spare, unless there is one or one is on its way. Does not wait.
    pub(crate) fn prepare(&mut self) {
        if self.thread.is_none() {
            let shared = Arc::clone(&self.shared);
            let thread = std::thread::Builder::new().name("oarlock-spare".to_owned());
            match thread.spawn(move || shared.run()) {
                Ok(thread) => self.thread = Some(thread),
                Err(error) => return log::warn!("no thread for spare segments: {error}"),
            }
        }
        let mut state = self.shared.state.lock();
        if matches!(*state, State::Idle) {
            *state = State::Wanted;
            drop(state);
            self.shared.changed.notify_all();
        }
    }

    /// Takes the spare, if it is ready; its name is [`SPARE`].
    pub(crate) fn take(&self) -> Option<File> {
        let mut state = self.shared.state.lock();
        match std::mem::replace(&mut *state, State::Idle) {
            State::Ready(file) => Some(file),
            other => {
                *state = other;
                None
            }
        }
    }
}

#[cfg(test)]
impl Spare {
    /// Waits until what was asked for is made, or has failed.
    pub(crate) fn wait(&self) {
        let mut state = self.shared.state.lock();
        while matches!(*state, State::Wanted) {
            self.shared.changed.wait(&mut state);
        }
    }
}

impl Drop for Spare {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        {
            // Under the lock, so that the thread cannot miss it between its look and its wait.
            let _state = self.shared.state.lock();
            self.shared.stopping.store(true, Ordering::Relaxed);
        }
        self.shared.changed.notify_all();
        if thread.join().is_err() {
            log::error!("the thread for spare segments panicked");
        }
    }
}

impl Shared {
    fn run(&self) {
        while self.wait_until_wanted() {
            let made = zero_filled(&self.files, SPARE, self.file_bytes, &self.stopping);
            let next = match made {
                Ok(Some(file)) => State::Ready(file),
                Ok(None) => State::Idle,
                Err(error) => {
                    log::warn!("no spare segment: {error}");
                    State::Idle
                }
            };
            *self.state.lock() = next;
            self.changed.notify_all();
        }
    }

    /// False once the owner is going away.
    fn wait_until_wanted(&self) -> bool {
        let mut state = self.state.lock();
        while !matches!(*state, State::Wanted) && !self.stopping.load(Ordering::Relaxed) {
            self.changed.wait(&mut state);
        }
        !self.stopping.load(Ordering::Relaxed)
    }
}
