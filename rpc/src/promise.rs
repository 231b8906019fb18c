//! A value that one thread waits for and another comes to have: the way back of a call.
//!
//! Whoever waits goes to sleep at once. A general channel looks again a few times before, giving up
//! the processor in between, which pays where messages stream; here the answer is a disk or another
//! machine away.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use oarlock_sync::{Condvar, Mutex, planted};

/// The side that comes to have the value. Dropped without one, it is broken.
pub struct Promise<T>(Option<Arc<Place<T>>>);

/// The side that waits for the value.
pub struct Awaited<T>(Arc<Place<T>>);

struct Place<T> {
    state: Mutex<State<T>>,
    /// Notified when `state` is not `Open` any more.
    settled: Condvar,
}

enum State<T> {
    Open,
    Kept(T),
    /// There will be no value, or it was taken.
    Broken,
}

/// A promise, and what is awaited of it.
pub fn promise<T>() -> (Promise<T>, Awaited<T>) {
    let place = Arc::new(Place { state: Mutex::new(State::Open), settled: Condvar::new() });
    (Promise(Some(Arc::clone(&place))), Awaited(place))
}

impl<T> Promise<T> {
    /// Hands the value over. Nobody may be waiting for it any more.
    pub fn keep(mut self, value: T) {
        self.settle(State::Kept(value));
    }

    fn settle(&mut self, state: State<T>) {
        if let Some(place) = self.0.take() {
            if planted("a promise speaks before it is kept") {
                place.settled.notify_all();
            }
            *place.state.lock() = state;
            if !planted("a promise is kept without a word")
                && !planted("a promise speaks before it is kept")
            {
                place.settled.notify_all();
            }
        }
    }
}

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        self.settle(State::Broken);
    }
}

impl<T> Awaited<T> {
    /// Waits for the value; `None` if the promise was broken.
    pub fn wait(self) -> Option<T> {
        let mut state = self.0.state.lock();
        while matches!(*state, State::Open) {
            self.0.settled.wait(&mut state);
        }
        take(&mut state)
    }

    /// Waits until `deadline`; gives itself back if the promise is open then.
    pub fn wait_until(self, deadline: Instant) -> Result<Option<T>, Self> {
        let mut state = self.0.state.lock();
        while matches!(*state, State::Open) {
            if self.0.settled.wait_until(&mut state, deadline).timed_out() {
                break;
            }
        }
        if matches!(*state, State::Open) {
            drop(state);
            return Err(self);
        }
        Ok(take(&mut state))
    }

    /// Whether it is known how this ends, so that [`wait`](Self::wait) would not block.
    pub fn is_settled(&self) -> bool {
        !matches!(*self.0.state.lock(), State::Open)
    }
}

fn take<T>(state: &mut State<T>) -> Option<T> {
    match std::mem::replace(state, State::Broken) {
        State::Kept(value) => Some(value),
        State::Open | State::Broken => None,
    }
}

impl<T> fmt::Debug for Promise<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Promise")
    }
}

impl<T> fmt::Debug for Awaited<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Awaited").field("is_settled", &self.is_settled()).finish()
    }
}

#[cfg(all(test, not(feature = "interleavings")))]
mod tests {
    use super::*;
    use std::thread;
    use std::time::Duration;

    #[test]
    fn a_waiting_thread_gets_the_value() {
        let (promise, awaited) = promise();
        let waiter = thread::spawn(move || awaited.wait());
        promise.keep(7);
        assert_eq!(waiter.join().unwrap(), Some(7));
    }

    #[test]
    fn a_broken_promise_wakes_whoever_waits() {
        let (promise, awaited) = promise::<u8>();
        let waiter = thread::spawn(move || awaited.wait());
        drop(promise);
        assert_eq!(waiter.join().unwrap(), None);
    }

    #[test]
    fn a_value_kept_before_anyone_waits_is_there() {
        let (promise, awaited) = promise();
        assert!(!awaited.is_settled());
        promise.keep("here");
        assert!(awaited.is_settled());
        assert_eq!(awaited.wait_until(Instant::now()).unwrap(), Some("here"));
    }

    #[test]
    fn waiting_ends_at_the_deadline_and_can_go_on() {
        let (promise, awaited) = promise();
        let awaited = awaited.wait_until(Instant::now() + Duration::from_millis(1)).unwrap_err();
        promise.keep(3);
        assert_eq!(awaited.wait(), Some(3));
    }
}
