//! Simulated time: it stands still while anybody can run, unless the exploration says that it may
//! jump ahead, and then moves to the next deadline.
//!
//! A thread of its own moves it, the *clock*, whom the scheduler treats apart (`scheduler.rs`). It
//! sleeps while nobody waits for a deadline, so that a thread that nobody will ever wake shows as a
//! deadlock.

use std::cell::{Cell, RefCell};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use shuttle::thread::{self, JoinHandle, Thread};

use crate::Sleeper;
use crate::primitives::Waiter;

/// What one execution knows of time. All threads of an execution are one thread of the system.
#[derive(Default)]
struct Time {
    elapsed: Cell<Duration>,
    sleepers: RefCell<Vec<(Instant, Arc<Waiter>)>>,
    is_over: Cell<bool>,
    clock: RefCell<Option<Thread>>,
}

thread_local! {
    static TIME: Time = Time::default();
}

/// When every execution begins.
fn origin() -> Instant {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    *ORIGIN.get_or_init(Instant::now)
}

/// The present, in simulated time.
pub fn now() -> Instant {
    origin() + elapsed()
}

/// How much simulated time has passed in this execution.
pub(crate) fn elapsed() -> Duration {
    TIME.with(|time| time.elapsed.get())
}

/// Begins an execution.
pub(crate) fn start() -> JoinHandle<()> {
    TIME.with(|time| {
        time.elapsed.set(Duration::ZERO);
        // Of an execution that failed: they are not to be dropped outside of it.
        time.sleepers.take().into_iter().for_each(std::mem::forget);
        time.is_over.set(false);
    });
    let clock = thread::Builder::new().name("clock".to_owned()).spawn(run);
    let clock = clock.expect("threads of an execution cost nothing");
    TIME.with(|time| time.clock.replace(Some(clock.thread().clone())));
    clock
}

/// Ends an execution.
pub(crate) fn end(clock: JoinHandle<()>) {
    TIME.with(|time| time.is_over.set(true));
    clock.thread().unpark();
    clock.join().expect("the clock does not panic");
}

/// A deadline that is this far off never comes: who waits for it must be woken.
const NEVER: Duration = Duration::from_secs(3600);

/// Somebody is about to sleep until `deadline`.
pub(crate) fn sleeps(deadline: Instant, waiter: &Arc<Waiter>) {
    if deadline - now() >= NEVER {
        return;
    }
    let clock = TIME.with(|time| {
        time.sleepers.borrow_mut().push((deadline, Arc::clone(waiter)));
        time.clock.borrow().clone()
    });
    clock.expect("timed waits happen in an exploration").unpark();
}

/// It sleeps no more.
pub(crate) fn woke(waiter: &Arc<Waiter>) {
    TIME.with(|time| {
        time.sleepers.borrow_mut().retain(|(_, other)| !Arc::ptr_eq(other, waiter));
    });
}

/// Sleeps until somebody calls `me`, which must be this thread, at the latest until `deadline`; or less
/// long, for no reason. The caller says what it has compared with `deadline`; time may have passed since.
pub fn park_until(me: &Arc<Sleeper>, deadline: Instant, _now: Instant) {
    if deadline <= now() {
        return;
    }
    let waiter = Arc::new(Waiter::parked(Arc::clone(me)));
    sleeps(deadline, &waiter);
    me.park();
    woke(&waiter);
}

fn run() {
    crate::scheduler::this_is_the_clock();
    // Not before the scheduler, which knows it now, says so.
    thread::yield_now();
    while !TIME.with(|time| time.is_over.get()) {
        match next_deadline() {
            Some(deadline) => {
                advance_to(deadline);
                thread::yield_now();
            }
            None => thread::park(),
        }
    }
}

fn next_deadline() -> Option<Instant> {
    TIME.with(|time| time.sleepers.borrow().iter().map(|(deadline, _)| *deadline).min())
}

/// By then every scene is long over.
const OVER_BY: Duration = Duration::from_secs(120);

/// Wakes everybody whose deadline has come. Who was about to fall asleep is woken the next time.
fn advance_to(deadline: Instant) {
    let is_stuck = deadline - origin() > OVER_BY;
    assert!(!is_stuck, "somebody waits for ever, while others wait for one deadline after another");
    let due = TIME.with(|time| {
        time.elapsed.set(time.elapsed.get().max(deadline - origin()));
        let sleepers = time.sleepers.borrow();
        let due = sleepers.iter().filter(|(until, _)| *until <= now());
        due.map(|(_, waiter)| Arc::clone(waiter)).collect::<Vec<_>>()
    });
    for waiter in due {
        waiter.time_out();
    }
}
