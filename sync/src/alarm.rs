//! One thread that minds the deadlines of those that wait long.
//!
//! Most waits end far ahead of their deadlines. To have the system set a timer for each, and take it
//! back, costs a caller that is answered in microseconds a twentieth of all it costs. So whoever waits
//! until a moment far away notes it in a place of its own, its [`Seat`], and sleeps without a timer. The
//! alarm sleeps until the earliest such moment that was noted when it last looked, then looks at all
//! seats again, and wakes those whose moments have come.
//!
//! A deadline that is not earlier than what the alarm is set to needs no word to it: it looks again
//! before. Where all wait equally long, that is all of them but one in such a time.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::thread::{self, Thread};
use crate::{AtomicU64, Condvar, Mutex, now, planted};

/// Who waits less long sets a timer: to wake the alarm would cost more.
#[cfg(not(feature = "interleavings"))]
const LEAST: Duration = Duration::from_millis(20);

/// Of a seat: its thread waits for nothing. Of the alarm: nobody may rely on it.
const NEVER: u64 = u64::MAX;

/// Where a thread notes until when it sleeps.
pub(crate) struct Seat {
    /// In nanoseconds since the alarm's origin.
    deadline: AtomicU64,
    thread: Thread,
}

/// Who minds the deadlines that are noted in its seats.
pub(crate) struct Alarm {
    origin: Instant,
    /// The moment at which it looks again, at the latest; [`NEVER`] while it looks. Changed under the
    /// lock.
    looks_at: AtomicU64,
    state: Mutex<State>,
    /// Predicate: it is asked to look. Waited for by the alarm alone.
    asked: Condvar,
}

#[derive(Default)]
struct State {
    /// Those of threads that have ended are gone, and forgotten at the next look.
    seats: Vec<Weak<Seat>>,
    is_asked: bool,
    /// It is to end: in tests.
    ends: bool,
}

impl Alarm {
    /// An alarm that looks after nobody. It needs a thread that [runs](Self::run) it.
    pub(crate) fn new() -> Self {
        Self {
            origin: now(),
            looks_at: AtomicU64::new(NEVER),
            state: Mutex::new(State::default()),
            asked: Condvar::new(),
        }
    }

    /// A place for this thread.
    pub(crate) fn seat(&self) -> Arc<Seat> {
        let seat = Seat { deadline: AtomicU64::new(NEVER), thread: thread::current() };
        let seat = Arc::new(seat);
        self.state.lock().seats.push(Arc::downgrade(&seat));
        seat
    }

    /// Sleeps until somebody unparks this thread, whose seat it is, at the latest until `deadline`; or
    /// less long, for no reason.
    pub(crate) fn park(&self, seat: &Seat, deadline: Instant, least: Duration) {
        let moment = self.nanos(deadline);
        let note = || seat.deadline.store(moment, Ordering::SeqCst);
        let is_minded = || moment >= self.looks_at.load(Ordering::SeqCst);
        let is_minded = if planted("a deadline is noted behind the look at the alarm") {
            let is_minded = is_minded();
            note();
            is_minded
        } else {
            // The alarm forgets what it is set to before it looks at the seats: whoever finds it still
            // set has noted the moment before that look.
            note();
            is_minded()
        };
        if is_minded {
            thread::park();
        } else {
            let left = deadline.saturating_duration_since(now());
            if left >= least {
                self.ask(moment);
                thread::park();
            } else {
                thread::park_timeout(left);
            }
        }
        seat.deadline.store(NEVER, Ordering::SeqCst);
    }

    /// Has the alarm look, unless it does so by this moment anyway.
    fn ask(&self, moment: u64) {
        let mut state = self.state.lock();
        if moment >= self.looks_at.load(Ordering::SeqCst) {
            return;
        }
        state.is_asked = true;
        drop(state);
        if !planted("the alarm is asked without a word") {
            self.asked.notify_all();
        }
    }

    /// The thread.
    pub(crate) fn run(&self) {
        let mut state = self.state.lock();
        while !state.ends {
            if !planted("the alarm looks while others rely on it") {
                self.looks_at.store(NEVER, Ordering::SeqCst);
            }
            state.is_asked = false;
            let next = self.look(&mut state.seats);
            self.looks_at.store(next, Ordering::SeqCst);
            while !state.is_asked {
                if next == NEVER {
                    self.asked.wait(&mut state);
                    continue;
                }
                let deadline = self.origin + Duration::from_nanos(next);
                if self.asked.wait_until(&mut state, deadline).timed_out() {
                    break;
                }
            }
        }
    }

    /// Has the thread end; nobody is minded any more.
    #[cfg(all(test, feature = "interleavings"))]
    fn end(&self) {
        let mut state = self.state.lock();
        (state.ends, state.is_asked) = (true, true);
        drop(state);
        self.asked.notify_all();
    }

    /// Wakes those whose moments have come. Returns the earliest of the others'.
    fn look(&self, seats: &mut Vec<Weak<Seat>>) -> u64 {
        let now = self.nanos(now());
        let mut next = NEVER;
        seats.retain(|seat| {
            let Some(seat) = seat.upgrade() else { return false };
            let deadline = seat.deadline.load(Ordering::SeqCst);
            if deadline <= now {
                // It takes itself off, or sleeps again and asks for that.
                seat.thread.unpark();
            } else {
                next = next.min(deadline);
            }
            true
        });
        next
    }

    fn nanos(&self, moment: Instant) -> u64 {
        let nanos = moment.saturating_duration_since(self.origin).as_nanos();
        u64::try_from(nanos).unwrap_or(NEVER)
    }
}

/// Sleeps until somebody unparks this thread, at the latest until `deadline`; or less long, for no
/// reason. Cheaper than [`thread::park_timeout`] where deadlines are far and seldom come: one thread of
/// the process, which begins with the first who waits, minds those of all.
#[cfg(not(feature = "interleavings"))]
pub fn park_until(deadline: Instant) {
    use std::sync::LazyLock;

    static ALARM: LazyLock<Option<Arc<Alarm>>> = LazyLock::new(|| {
        let alarm = Arc::new(Alarm::new());
        let body = Arc::clone(&alarm);
        let spawned = thread::Builder::new().name("alarm".to_owned()).spawn(move || body.run());
        // Without it everybody has a timer.
        spawned.ok().map(|_| alarm)
    });
    thread_local! {
        static SEAT: Option<Arc<Seat>> = ALARM.as_ref().map(|alarm| alarm.seat());
    }

    let is_minded = SEAT.try_with(|seat| {
        let (Some(alarm), Some(seat)) = (&*ALARM, seat) else { return false };
        alarm.park(seat, deadline, LEAST);
        true
    });
    // A thread that is ending may have no seat any more.
    if !is_minded.unwrap_or(false) {
        thread::park_timeout(deadline.saturating_duration_since(now()));
    }
}

#[cfg(all(test, feature = "interleavings"))]
mod interleavings {
    use super::*;
    use crate::model::{deadlines_come_early, elapsed, explore, find};

    const SCHEDULES: usize = 2000;

    fn in_seconds(seconds: u64) -> Instant {
        now() + Duration::from_secs(seconds)
    }

    /// Sleeps in a seat of its own until `deadline`.
    fn sleep_until(alarm: &Alarm, deadline: Instant) {
        let seat = alarm.seat();
        while now() < deadline {
            alarm.park(&seat, deadline, Duration::ZERO);
        }
    }

    /// Some wait for one moment or two, one after the other, and nobody else wakes them.
    fn sleepers(moments: &'static [&'static [u64]]) {
        let alarm = Arc::new(Alarm::new());
        let runs = thread::spawn({
            let alarm = Arc::clone(&alarm);
            move || alarm.run()
        });
        let sleepers: Vec<_> = moments
            .iter()
            .map(|moments| {
                let alarm = Arc::clone(&alarm);
                thread::spawn(move || {
                    for &moment in *moments {
                        sleep_until(&alarm, alarm.origin + Duration::from_secs(moment));
                    }
                })
            })
            .collect();
        for sleeper in sleepers {
            sleeper.join().expect("a sleeper");
        }
        let last = moments.iter().flat_map(|moments| moments.iter()).max();
        let last = Duration::from_secs(*last.expect("somebody sleeps"));
        assert!(elapsed() == last || deadlines_come_early(), "they slept for {:?}", elapsed());
        alarm.end();
        runs.join().expect("an alarm");
    }

    fn together() {
        sleepers(&[&[2], &[2]]);
    }

    fn one_earlier() {
        sleepers(&[&[1], &[2], &[1, 3]]);
    }

    /// One is woken by another, ahead of its deadline.
    fn woken() {
        let alarm = Arc::new(Alarm::new());
        let runs = thread::spawn({
            let alarm = Arc::clone(&alarm);
            move || alarm.run()
        });
        let flag = Arc::new(Mutex::new(false));
        let sleeper = thread::spawn({
            let (alarm, flag) = (Arc::clone(&alarm), Arc::clone(&flag));
            move || {
                let (seat, deadline) = (alarm.seat(), in_seconds(5));
                while !*flag.lock() {
                    alarm.park(&seat, deadline, Duration::ZERO);
                }
            }
        });
        *flag.lock() = true;
        sleeper.thread().unpark();
        sleeper.join().expect("a sleeper");
        assert!(elapsed().is_zero() || deadlines_come_early(), "the deadline came to the rescue");
        alarm.end();
        runs.join().expect("an alarm");
    }

    #[test]
    fn whoever_sleeps_wakes_at_its_moment() {
        explore(SCHEDULES, together);
        explore(SCHEDULES, one_earlier);
    }

    #[test]
    fn who_is_woken_before_hears_nothing_of_the_deadline() {
        explore(SCHEDULES, woken);
    }

    #[test]
    fn mistakes_of_the_alarm_are_found() {
        for mistake in [
            "the alarm looks while others rely on it",
            "the alarm is asked without a word",
            "a deadline is noted behind the look at the alarm",
        ] {
            let found = find(mistake, 4 * SCHEDULES, one_earlier).expect(mistake);
            eprintln!("{mistake}: {} schedules: {}", found.schedules, found.message);
        }
    }
}

#[cfg(all(test, not(feature = "interleavings")))]
mod tests {
    use super::*;

    fn sleep_until(deadline: Instant) {
        while now() < deadline {
            park_until(deadline);
        }
    }

    #[test]
    fn deadlines_come_to_those_that_nobody_wakes() {
        let start = now();
        let sleepers = [1, 30, 60, 30, 2, 90].map(|milliseconds| {
            thread::spawn(move || sleep_until(start + Duration::from_millis(milliseconds)))
        });
        for sleeper in sleepers {
            sleeper.join().unwrap();
        }
        // Whoever was forgotten would be here still; the alarm has nobody else to look after for long.
        sleep_until(now() + LEAST * 2);
        assert!(start.elapsed() >= Duration::from_millis(90), "it was not waited for");
    }

    #[test]
    fn a_deadline_that_is_never_to_come_keeps_nobody() {
        let far = now() + Duration::from_secs(1 << 33);
        let sleeper = thread::spawn(move || park_until(far));
        sleeper.thread().unpark();
        sleeper.join().unwrap();
    }
}
