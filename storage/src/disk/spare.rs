//! The next segments, filled with zeros ahead of time by a thread of their own, so that the writer
//! does not wait for it. Their only promise is to help: without one, the writer makes it itself.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};

use super::files::{File, Files};
use super::segment::{Pace, zero_filled_gently};

/// How many are kept ready for a log that grows.
pub(crate) const SPARES_MAX: usize = 2;

/// The name of a spare: not a segment's, and one that the next opening removes.
fn name(number: u64) -> String {
    format!("spare-{number}.tmp")
}

/// The spare segments, and the thread that makes them.
pub(crate) struct Spares {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    files: Arc<Files>,
    file_bytes: u64,
    state: Mutex<State>,
    /// Notified when `state` changes, or `pace.stop` is set. The thread waits for work, the writer
    /// for the spare that is being made.
    changed: Condvar,
    pace: Pace,
}

#[derive(Default)]
struct State {
    /// Names and files, oldest first.
    ready: VecDeque<(String, File)>,
    /// How many are still to be made, the one in the making included.
    missing: usize,
    /// How many were begun.
    begun: u64,
    /// The thread has ended: there will be no more.
    is_over: bool,
}

impl Spares {
    /// Spares of `file_bytes` bytes. Nothing is made before it is asked for.
    pub(crate) fn new(files: Arc<Files>, file_bytes: u64) -> Self {
        let shared = Arc::new(Shared {
            files,
            file_bytes,
            state: Mutex::default(),
            changed: Condvar::new(),
            pace: Pace::default(),
        });
        Self { shared, thread: None }
    }

    /// Asks for `count` spares, those that are ready or on their way included. Does not wait.
    pub(crate) fn prepare(&mut self, count: usize) {
        assert!(count <= SPARES_MAX, "{count} spares are more than anyone keeps");
        let is_new = {
            let mut state = self.shared.state.lock();
            let missing = count.saturating_sub(state.ready.len());
            let is_new = missing > state.missing && !state.is_over;
            if is_new {
                state.missing = missing;
            }
            is_new
        };
        if !is_new {
            return;
        }
        self.shared.changed.notify_all();
        if self.thread.is_none() {
            let shared = Arc::clone(&self.shared);
            let thread = std::thread::Builder::new().name("oarlock-spare".to_owned());
            match thread.spawn(move || shared.run()) {
                Ok(thread) => self.thread = Some(thread),
                Err(error) => {
                    log::warn!("no thread for spare segments: {error}");
                    self.shared.state.lock().missing = 0;
                }
            }
        }
    }

    /// Takes a spare and its name; waits for the one that is being made, if none is ready. `None` if
    /// none was asked for, or it could not be made.
    pub(crate) fn take(&self) -> Option<(String, File)> {
        let mut state = self.shared.state.lock();
        while state.ready.is_empty() && state.missing > 0 {
            self.shared.pace.hurry.store(true, Ordering::Relaxed);
            self.shared.changed.wait(&mut state);
        }
        self.shared.pace.hurry.store(false, Ordering::Relaxed);
        state.ready.pop_front()
    }
}

impl Drop for Spares {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        {
            // Under the lock, so that the thread cannot miss it between its look and its wait.
            let _state = self.shared.state.lock();
            self.shared.pace.stop.store(true, Ordering::Relaxed);
        }
        self.shared.changed.notify_all();
        if thread.join().is_err() {
            log::error!("the thread for spare segments panicked");
        }
    }
}

/// Whatever ends the thread, a panic included: nobody waits for a spare that does not come.
struct NoMore<'a>(&'a Shared);

impl Drop for NoMore<'_> {
    fn drop(&mut self) {
        {
            let mut state = self.0.state.lock();
            state.missing = 0;
            state.is_over = true;
        }
        self.0.changed.notify_all();
    }
}

impl Shared {
    fn run(&self) {
        let _no_more = NoMore(self);
        while let Some(number) = self.wait_until_wanted() {
            let name = name(number);
            let made = zero_filled_gently(&self.files, &name, self.file_bytes, &self.pace);
            let mut state = self.state.lock();
            match made {
                Ok(Some(file)) => {
                    state.ready.push_back((name, file));
                    state.missing -= 1;
                }
                Ok(None) => state.missing = 0,
                Err(error) => {
                    log::warn!("no spare segment: {error}");
                    state.missing = 0;
                }
            }
            drop(state);
            self.changed.notify_all();
        }
    }

    /// The number of the spare to be made; `None` once the owner is going away.
    fn wait_until_wanted(&self) -> Option<u64> {
        let mut state = self.state.lock();
        while state.missing == 0 && !self.pace.stop.load(Ordering::Relaxed) {
            self.changed.wait(&mut state);
        }
        state.begun += 1;
        (!self.pace.stop.load(Ordering::Relaxed)).then_some(state.begun)
    }
}
