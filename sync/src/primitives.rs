//! Mutex and condition variable with the interface of `parking_lot`, under the exploring scheduler.
//!
//! A timed wait ends by a notification, or when the simulated clock passes its deadline. There are
//! no spurious wake-ups, as there are none in `parking_lot`: a wake-up that the code forgot is not
//! made good by accident.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use crate::{Sleeper, clock};

/// Like `parking_lot::Mutex`.
#[derive(Default)]
pub struct Mutex<T>(shuttle::sync::Mutex<T>);

/// Like `parking_lot::MutexGuard`.
pub struct MutexGuard<'a, T>(Option<shuttle::sync::MutexGuard<'a, T>>);

impl<T> Mutex<T> {
    /// An unlocked mutex.
    #[track_caller]
    pub const fn new(value: T) -> Self {
        Self(shuttle::sync::Mutex::new(value))
    }

    /// Waits until nobody else has it.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard(Some(self.0.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Takes it, if nobody else has it.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(MutexGuard(Some(guard))),
            Err(TryLockError::Poisoned(poisoned)) => Some(MutexGuard(Some(poisoned.into_inner()))),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

const HELD: &str = "a guard is without its lock only inside a wait";

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect(HELD)
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect(HELD)
    }
}

/// Like `parking_lot::Condvar`.
#[derive(Default)]
pub struct Condvar {
    /// Who waits. The lock is the standard library's: it is never held where threads may switch.
    waiters: std::sync::Mutex<Vec<Arc<Waiter>>>,
}

/// One wait. It has a condition variable of its own, so that time can wake it alone.
pub(crate) struct Waiter {
    wake: shuttle::sync::Condvar,
    notified: AtomicBool,
    /// It is parked instead, and waits for no condition variable.
    parked: Option<Arc<Sleeper>>,
}

impl Waiter {
    fn new() -> Self {
        let wake = shuttle::sync::Condvar::new();
        Self { wake, notified: AtomicBool::new(false), parked: None }
    }

    /// A thread that is about to park.
    pub(crate) fn parked(sleeper: Arc<Sleeper>) -> Self {
        Self { parked: Some(sleeper), ..Self::new() }
    }

    /// Its deadline has come.
    pub(crate) fn time_out(&self) {
        match &self.parked {
            Some(sleeper) => sleeper.unpark(),
            None => self.wake.notify_all(),
        }
    }
}

/// Like `parking_lot::WaitTimeoutResult`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    /// Whether the deadline came before any notification.
    pub fn timed_out(self) -> bool {
        self.0
    }
}

impl Condvar {
    /// One that nobody waits for.
    pub const fn new() -> Self {
        Self { waiters: std::sync::Mutex::new(Vec::new()) }
    }

    /// Wakes everybody who waits.
    pub fn notify_all(&self) {
        // Others may run before: whether somebody has fallen asleep by now matters.
        shuttle::thread::sleep(Duration::ZERO);
        // A copy, not the list itself: who is about to fall asleep, and holds the mutex until it
        // does, misses this one as it may, but must not miss the next.
        let waiting = self.waiters().clone();
        for waiter in waiting {
            waiter.notified.store(true, Ordering::Relaxed);
            waiter.wake.notify_all();
        }
    }

    /// Gives the lock back, sleeps until notified, and takes it again.
    pub fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        self.sleep(guard, None);
    }

    /// [`wait`](Self::wait), at the latest until `deadline`.
    pub fn wait_until<T>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        deadline: Instant,
    ) -> WaitTimeoutResult {
        if deadline <= clock::now() {
            return WaitTimeoutResult(true);
        }
        WaitTimeoutResult(!self.sleep(guard, Some(deadline)))
    }

    /// Returns whether a notification ended it.
    fn sleep<T>(&self, guard: &mut MutexGuard<'_, T>, deadline: Option<Instant>) -> bool {
        // Others may run between the look at the predicate and this: who notifies without having
        // held the mutex is missed.
        shuttle::thread::sleep(Duration::ZERO);
        let waiter = Arc::new(Waiter::new());
        self.waiters().push(Arc::clone(&waiter));
        if let Some(deadline) = deadline {
            clock::sleeps(deadline, &waiter);
        }
        let held = guard.0.take().expect(HELD);
        guard.0 = Some(waiter.wake.wait(held).unwrap_or_else(PoisonError::into_inner));
        self.waiters().retain(|other| !Arc::ptr_eq(other, &waiter));
        if deadline.is_some() {
            clock::woke(&waiter);
        }
        waiter.notified.load(Ordering::Relaxed)
    }

    fn waiters(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Waiter>>> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
