//! How a thread is handed things to do: a list that it takes as a whole, and one wake-up if it sleeps.

use std::time::Instant;

use parking_lot::{Condvar, Mutex};

/// What others hand to one thread.
pub struct Inbox<T> {
    state: Mutex<State<T>>,
    filled: Condvar,
}

struct State<T> {
    items: Vec<T>,
    sleeps: bool,
    closed: bool,
}

impl<T> Inbox<T> {
    /// An empty one.
    pub fn new() -> Self {
        let state = State { items: Vec::new(), sleeps: false, closed: false };
        Self { state: Mutex::new(state), filled: Condvar::new() }
    }

    /// Hands things over.
    pub fn extend(&self, items: impl IntoIterator<Item = T>) {
        let mut state = self.state.lock();
        state.items.extend(items);
        let wake = std::mem::take(&mut state.sleeps);
        drop(state);
        if wake {
            self.filled.notify_all();
        }
    }

    /// Hands one thing over.
    pub fn push(&self, item: T) {
        self.extend([item]);
    }

    /// The thread is to end.
    pub fn close(&self) {
        self.state.lock().closed = true;
        self.filled.notify_all();
    }

    /// Waits for something to do, at the latest until `deadline`, and puts it into `items`, which is
    /// empty. `false` once the thread is to end.
    pub fn take(&self, items: &mut Vec<T>, deadline: Option<Instant>) -> bool {
        let mut state = self.state.lock();
        while state.items.is_empty() && !state.closed {
            state.sleeps = true;
            match deadline {
                Some(deadline) => {
                    if self.filled.wait_until(&mut state, deadline).timed_out() {
                        break;
                    }
                }
                None => self.filled.wait(&mut state),
            }
        }
        state.sleeps = false;
        std::mem::swap(&mut state.items, items);
        !state.closed
    }
}
