//! A value that one thread waits for and another comes to have: the way back of a call.
//!
//! Whoever waits goes to sleep at once. A general channel looks again a few times before, giving up
//! the processor in between, which pays where messages stream; here the answer is a disk or another
//! machine away.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use oarlock_sync::{Mutex, Sleeper, planted};

/// The side that comes to have the value. Dropped without one, it is broken.
pub struct Promise<T>(Option<Arc<Place<T>>>);

/// The side that waits for the value.
pub struct Awaited<T>(Arc<Place<T>>);

struct Place<T>(Mutex<State<T>>);

enum State<T> {
    /// It is not known yet. Who waits is to be called when it is.
    Open(Option<Arc<Sleeper>>),
    Kept(T),
    /// There will be no value, or it was taken.
    Broken,
}

/// A promise, and what is awaited of it.
pub fn promise<T>() -> (Promise<T>, Awaited<T>) {
    let place = Arc::new(Place(Mutex::new(State::Open(None))));
    (Promise(Some(Arc::clone(&place))), Awaited(place))
}

impl<T> Promise<T> {
    /// Hands the value over. Nobody may be waiting for it any more.
    pub fn keep(mut self, value: T) {
        self.settle(State::Kept(value));
    }

    fn settle(&mut self, state: State<T>) {
        let Some(place) = self.0.take() else { return };
        let place = &place.0;
        if planted("a promise speaks before it is kept") {
            call(std::mem::replace(&mut *place.lock(), State::Open(None)));
            *place.lock() = state;
            return;
        }
        let before = std::mem::replace(&mut *place.lock(), state);
        if !planted("a promise is kept without a word") {
            call(before);
        }
    }
}

/// Wakes who waits for what was in this state.
fn call<T>(before: State<T>) {
    if let State::Open(Some(waiter)) = before {
        waiter.unpark();
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
        let me = Sleeper::current();
        while !self.is_settled_or_calls(&me) {
            me.park();
            if planted("whoever waits for a promise looks once") {
                break;
            }
        }
        self.take()
    }

    /// Waits until `deadline`; gives itself back if the promise is open then.
    pub fn wait_until(self, deadline: Instant) -> Result<Option<T>, Self> {
        let me = Sleeper::current();
        while !self.is_settled_or_calls(&me) {
            let now = oarlock_sync::now();
            if now >= deadline {
                self.calls_nobody();
                return Err(self);
            }
            oarlock_sync::park_until(&me, deadline, now);
        }
        Ok(self.take())
    }

    /// Whether it is known how this ends, so that [`wait`](Self::wait) would not block.
    pub fn is_settled(&self) -> bool {
        !matches!(*self.0.0.lock(), State::Open(_))
    }

    /// Whether it is known how this ends. If not, this thread, `me`, is called when it is.
    fn is_settled_or_calls(&self, me: &Arc<Sleeper>) -> bool {
        match &mut *self.0.0.lock() {
            State::Open(waiter) => {
                *waiter = Some(Arc::clone(me));
                false
            }
            State::Kept(_) | State::Broken => true,
        }
    }

    /// Whoever waited does no longer.
    fn calls_nobody(&self) {
        if let State::Open(waiter) = &mut *self.0.0.lock() {
            *waiter = None;
        }
    }

    fn take(self) -> Option<T> {
        match std::mem::replace(&mut *self.0.0.lock(), State::Broken) {
            State::Kept(value) => Some(value),
            State::Open(_) | State::Broken => None,
        }
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
