//! Threads that sleep, and how several are woken at once.
//!
//! To wake a thread by itself takes a call to the system; often it runs at once in place of whoever
//! woke it, which has to come back before it wakes the next. Whoever answers many is spared both: the
//! threads of a process sleep in rows of 32, each under a bit of its own, and one call wakes any of a
//! row.

use std::cell::{Cell, RefCell};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::futex::{Futex, Moment};
use crate::{AtomicU32, Mutex, accident, planted, thread_local};

/// As soon as so many of a row are called, they are woken: the first of them is not to wait for long, and
/// others of the processors are to have something to do.
#[cfg(not(feature = "interleavings"))]
const AT_ONCE_MAX: u32 = 16;
#[cfg(feature = "interleavings")]
const AT_ONCE_MAX: u32 = 2;

// The states of a sleeper.

/// It does not sleep, and nobody called it.
const AWAKE: u32 = 0;
/// It sleeps, or is about to.
const ASLEEP: u32 = 1;
/// It was called by somebody who is to wake it with others, and may be asleep still.
const GATHERED: u32 = 2;
/// It was called: it does not sleep any more, or will not the next time.
const CALLED: u32 = 3;

/// A thread, for those who are to wake it.
///
/// As with [`std::thread::park`], a call that comes ahead of the sleep ends it as it begins, and one that
/// was meant for something else ends it too: whoever sleeps looks again when it wakes.
pub struct Sleeper {
    row: Arc<Row>,
    /// Its place in the row.
    bit: NonZeroU32,
    state: AtomicU32,
}

#[derive(Default)]
struct Row {
    futex: Futex,
    /// The places that somebody has.
    taken: AtomicU32,
}

/// Rows of places to sleep.
#[derive(Default)]
pub(crate) struct Rows(Mutex<Vec<Arc<Row>>>);

impl Rows {
    /// The first place that nobody has.
    pub(crate) fn sleeper(&self) -> Arc<Sleeper> {
        let mut rows = self.0.lock();
        let free = rows.iter().find_map(|row| Some((Arc::clone(row), row.take_place()?)));
        let (row, bit) = free.unwrap_or_else(|| {
            let row = Arc::new(Row::default());
            let bit = row.take_place().expect("a new row has places");
            rows.push(Arc::clone(&row));
            (row, bit)
        });
        Arc::new(Sleeper { row, bit, state: AtomicU32::new(AWAKE) })
    }
}

impl Row {
    /// Nobody else may do so at the same time.
    fn take_place(&self) -> Option<NonZeroU32> {
        let free = self.taken.load(Ordering::SeqCst).trailing_ones();
        let bit = NonZeroU32::new(1_u32.checked_shl(free)?)?;
        self.taken.fetch_or(bit.get(), Ordering::SeqCst);
        Some(bit)
    }
}

thread_local! {
    static ME: Arc<Sleeper> = new_sleeper();
    /// Whether this thread wakes those whom it calls later, together.
    static GATHERS: Cell<bool> = const { Cell::new(false) };
    /// Whom it has called meanwhile.
    static CALLED_HERE: RefCell<Vec<Called>> = const { RefCell::new(Vec::new()) };
}

#[cfg(not(feature = "interleavings"))]
fn new_sleeper() -> Arc<Sleeper> {
    static ROWS: std::sync::LazyLock<Rows> = std::sync::LazyLock::new(Rows::default);
    ROWS.sleeper()
}

/// Nothing is left of an execution when the next one begins; scenes have rows of their own.
#[cfg(feature = "interleavings")]
fn new_sleeper() -> Arc<Sleeper> {
    Rows::default().sleeper()
}

impl Sleeper {
    /// This thread.
    pub fn current() -> Arc<Self> {
        // One that is ending may have lost its place.
        ME.try_with(Arc::clone).unwrap_or_else(|_| new_sleeper())
    }

    /// Sleeps until somebody [calls](Self::unpark), or less long, for no reason. This thread must be
    /// the sleeper.
    pub fn park(&self) {
        self.sleep(None);
    }

    /// [`park`](Self::park), no longer than that.
    #[cfg(not(feature = "interleavings"))]
    pub(crate) fn park_for(&self, longest: Duration) {
        self.sleep(Moment::in_future(longest));
    }

    fn sleep(&self, deadline: Option<Moment>) {
        if !planted("whoever sleeps leaves others asleep whom it has called") {
            wake_called();
        }
        let falls_asleep =
            self.state.compare_exchange(AWAKE, ASLEEP, Ordering::SeqCst, Ordering::SeqCst);
        if falls_asleep.is_ok() && !accident() {
            let sleeps = || self.state.load(Ordering::SeqCst) == ASLEEP;
            loop {
                // Whoever calls changes the state, and then the epoch.
                let (seen, sleeps) = if planted("a sleeper looks whether it is called too early") {
                    let sleeps = sleeps();
                    (self.row.futex.epoch(), sleeps)
                } else {
                    let seen = self.row.futex.epoch();
                    (seen, sleeps())
                };
                if !sleeps || self.row.futex.wait(seen, self.bit, deadline) {
                    break;
                }
            }
        }
        self.state.swap(AWAKE, Ordering::SeqCst);
    }

    /// Calls this thread: wakes it, or keeps it from falling asleep the next time. Where the caller
    /// [wakes together](Together) that is known at once, and the thread wakes a little later, unless
    /// somebody else calls it too.
    pub fn unpark(&self) {
        let gathers = GATHERS.try_with(Cell::get).unwrap_or(false);
        let state = if gathers { GATHERED } else { CALLED };
        let before = self.state.swap(state, Ordering::SeqCst);
        let may_sleep = before == ASLEEP || before == GATHERED;
        if !may_sleep || before == GATHERED && planted("a call that finds another wakes nobody") {
            return;
        }
        if !(gathers && self.is_woken_later()) {
            self.row.futex.wake(self.bit);
        }
    }

    /// Leaves it to be woken with others.
    fn is_woken_later(&self) -> bool {
        let noted = CALLED_HERE.try_with(|called| {
            let mut called = called.borrow_mut();
            let bits = self.bit.get();
            let Some(place) = called.iter().position(|one| Arc::ptr_eq(&one.row, &self.row)) else {
                return called.push(Called { row: Arc::clone(&self.row), bits });
            };
            called[place].bits |= bits;
            if called[place].bits.count_ones() >= AT_ONCE_MAX {
                drop(called.remove(place));
            }
        });
        noted.is_ok()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.row.taken.fetch_and(!self.bit.get(), Ordering::SeqCst);
    }
}

/// Some of a row who were called, and wake when this is dropped.
struct Called {
    row: Arc<Row>,
    bits: u32,
}

impl Drop for Called {
    fn drop(&mut self) {
        let is_forgotten =
            planted("those who are enough are forgotten") && self.bits.count_ones() >= AT_ONCE_MAX;
        if let Some(bits) = NonZeroU32::new(self.bits)
            && !is_forgotten
        {
            self.row.futex.wake(bits);
        }
    }
}

/// Wakes whom this thread has called.
fn wake_called() {
    _ = CALLED_HERE.try_with(|called| called.borrow_mut().clear());
}

/// Threads that this thread calls and that wake together: when there are enough of them, when it says so,
/// when it goes to sleep itself (as a [`Sleeper`]), or when this is dropped.
#[must_use = "they wake when it is dropped"]
pub struct Together {
    /// When it was last said that they wake.
    since: Instant,
}

impl Together {
    /// Nobody yet.
    pub fn new() -> Self {
        Self { since: crate::now() }
    }

    /// Calls those whom `f` [calls](Sleeper::unpark), to be woken later. `f` must not wait for
    /// them in other ways than as a sleeper.
    pub fn gather<R>(&mut self, f: impl FnOnce() -> R) -> R {
        struct Gathers(bool);
        impl Drop for Gathers {
            fn drop(&mut self) {
                _ = GATHERS.try_with(|gathers| gathers.set(self.0));
            }
        }
        let _restored = Gathers(GATHERS.try_with(|gathers| gathers.replace(true)).unwrap_or(false));
        f()
    }

    /// Wakes them, if it was not said for so long. To be asked for between things that may take long.
    pub fn wake_after(&mut self, longest: Duration) {
        let is_someone = CALLED_HERE.try_with(|called| !called.borrow().is_empty());
        if is_someone.unwrap_or(false) {
            let now = crate::now();
            if now - self.since >= longest {
                wake_called();
                self.since = now;
            }
        }
    }
}

impl Default for Together {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Together {
    fn drop(&mut self) {
        if !planted("those who were called are forgotten") {
            wake_called();
        }
    }
}

#[cfg(all(test, feature = "interleavings"))]
#[path = "sleeper_interleavings.rs"]
mod interleavings;

#[cfg(all(test, not(feature = "interleavings")))]
#[path = "sleeper_tests.rs"]
mod tests;
