//! One thread that minds the deadlines of those that wait long.
//!
//! Most waits end far ahead of their deadlines. To have the system set a timer for each, and take it
//! back, costs a caller that is answered in microseconds a twentieth of all it costs. So whoever waits
//! until a moment far away notes it in a place of its own, its [`Seat`], and sleeps without a timer. The
//! alarm sleeps until the earliest such moment that was noted when it last looked, then looks at all
//! seats again, and wakes those whose moments have come.
//!
//! A deadline that is not earlier than what the alarm is set to needs no word to it: it looks again by
//! then. Where all wait equally long, that is all of them but one in such a time.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::{AtomicU64, Condvar, Mutex, Sleeper, now, planted};

/// Who waits less long sets a timer: the alarm would have to be woken for it, and wake it in turn.
#[cfg(not(feature = "interleavings"))]
const LEAST: Duration = Duration::from_millis(100);

/// Fewer seats than this are not looked through for those that nobody has any more.
const SEATS_MIN: usize = 64;

/// Of a seat: its thread waits for nothing. Of the alarm: nobody may rely on it.
const NEVER: u64 = u64::MAX;

/// Where a thread notes until when it sleeps.
pub(crate) struct Seat {
    /// In nanoseconds since the alarm's origin.
    deadline: AtomicU64,
    sleeper: Arc<Sleeper>,
}

/// Who minds the deadlines that are noted in its seats.
///
/// Whoever sleeps writes its deadline and then reads `looks_at`; the alarm writes `looks_at` and then
/// reads the deadlines. For one of the two to see the other, all four must be `SeqCst`: nothing less
/// keeps a write ahead of a later read of another place.
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
    seats: Vec<Weak<Seat>>,
    /// With so many seats, those of threads that have ended are forgotten.
    sweep_at: usize,
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
        let seat = Seat { deadline: AtomicU64::new(NEVER), sleeper: Sleeper::current() };
        let seat = Arc::new(seat);
        let mut state = self.state.lock();
        if state.seats.len() >= state.sweep_at {
            // The alarm may not look for long.
            state.seats.retain(|seat| seat.strong_count() > 0);
            state.sweep_at = SEATS_MIN.max(state.seats.len() * 2);
        }
        state.seats.push(Arc::downgrade(&seat));
        seat
    }

    /// Sleeps until somebody unparks this thread, whose seat it is, at the latest until `deadline`; or
    /// less long, for no reason.
    pub(crate) fn park(&self, seat: &Seat, deadline: Instant) {
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
        if !is_minded {
            self.ask(moment);
        }
        seat.sleeper.park();
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
            let (next, due) = self.look(&mut state.seats);
            self.looks_at.store(next, Ordering::SeqCst);
            drop(state);
            // Each takes its moment off itself, or sleeps again and asks for that.
            for seat in &due {
                seat.sleeper.unpark();
            }
            state = self.state.lock();
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

    /// The earliest moment that is still to come, and those whose moments have.
    fn look(&self, seats: &mut Vec<Weak<Seat>>) -> (u64, Vec<Arc<Seat>>) {
        let now = self.nanos(now());
        let is_late = planted("the alarm is set to the latest deadline");
        let (mut next, mut due) = (None, Vec::new());
        seats.retain(|seat| {
            let Some(seat) = seat.upgrade() else { return false };
            match seat.deadline.load(Ordering::SeqCst) {
                NEVER => {}
                deadline if deadline <= now => due.push(seat),
                deadline => {
                    let other = next.unwrap_or(deadline);
                    next = Some(if is_late { other.max(deadline) } else { other.min(deadline) });
                }
            }
            true
        });
        (next.unwrap_or(NEVER), due)
    }

    fn nanos(&self, moment: Instant) -> u64 {
        let nanos = moment.saturating_duration_since(self.origin).as_nanos();
        u64::try_from(nanos).unwrap_or(NEVER)
    }
}

/// Sleeps until somebody calls `me`, which must be this thread, at the latest until `deadline`; or less
/// long, for no reason. `now` is the present, which the caller has just compared with `deadline`.
///
/// Cheaper than a timer where deadlines are far and seldom come: one thread of the process, which begins
/// with the first who waits and has that one's priority, minds those of all.
#[cfg(not(feature = "interleavings"))]
pub fn park_until(me: &Arc<Sleeper>, deadline: Instant, now: Instant) {
    use std::sync::LazyLock;
    use std::thread;

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

    let left = deadline.saturating_duration_since(now);
    if left < LEAST {
        return me.park_for(left);
    }
    let is_minded = SEAT.try_with(|seat| {
        let (Some(alarm), Some(seat)) = (&*ALARM, seat) else { return false };
        let is_mine = Arc::ptr_eq(&seat.sleeper, me);
        if is_mine {
            alarm.park(seat, deadline);
        }
        is_mine
    });
    // A thread that is ending may have no seat any more, or not this one.
    if !is_minded.unwrap_or(false) {
        me.park_for(left);
    }
}

#[cfg(all(test, feature = "interleavings"))]
mod interleavings {
    use super::*;
    use crate::model::{deadlines_come_early, elapsed, explore, find};
    use crate::thread;

    const SCHEDULES: usize = 2000;

    /// Runs `body` beside an alarm and its thread.
    fn beside_alarm(body: impl FnOnce(&Arc<Alarm>)) {
        let alarm = Arc::new(Alarm::new());
        let runs = thread::spawn({
            let alarm = Arc::clone(&alarm);
            move || alarm.run()
        });
        body(&alarm);
        alarm.end();
        runs.join().expect("an alarm");
    }

    /// Sleeps in `seat` until `seconds` have passed since the beginning.
    fn sleep_until(alarm: &Alarm, seat: &Seat, seconds: u64) {
        let since_start = Duration::from_secs(seconds);
        while now() < alarm.origin + since_start {
            alarm.park(seat, alarm.origin + since_start);
        }
        let slept = elapsed();
        assert!(slept == since_start || deadlines_come_early(), "it slept for {slept:?}");
    }

    /// Some wait for one moment or two, one after the other, and nobody else wakes them.
    fn sleepers(moments: &'static [&'static [u64]]) {
        beside_alarm(|alarm| {
            let sleepers = moments.iter().map(|moments| {
                let alarm = Arc::clone(alarm);
                thread::spawn(move || {
                    let seat = alarm.seat();
                    moments.iter().for_each(|&moment| sleep_until(&alarm, &seat, moment));
                })
            });
            let sleepers: Vec<_> = sleepers.collect();
            for sleeper in sleepers {
                sleeper.join().expect("a sleeper");
            }
        });
    }

    fn together() {
        sleepers(&[&[2], &[2]]);
    }

    fn one_earlier() {
        sleepers(&[&[1], &[2], &[1, 3]]);
    }

    /// One is woken by another, ahead of its deadline.
    fn woken() {
        beside_alarm(|alarm| {
            // Whether it is woken, and whom that takes.
            let flag = Arc::new(Mutex::new((false, None)));
            let sleeper = thread::spawn({
                let (alarm, flag) = (Arc::clone(alarm), Arc::clone(&flag));
                move || {
                    let (seat, deadline) = (alarm.seat(), alarm.origin + Duration::from_secs(5));
                    let is_woken = || {
                        let mut flag = flag.lock();
                        flag.1 = Some(Sleeper::current());
                        flag.0
                    };
                    while !is_woken() && now() < deadline {
                        alarm.park(&seat, deadline);
                    }
                }
            });
            let mut woken = flag.lock();
            woken.0 = true;
            let whom = woken.1.take();
            drop(woken);
            whom.inspect(|sleeper| sleeper.unpark());
            sleeper.join().expect("a sleeper");
            let rescued = !elapsed().is_zero() && !deadlines_come_early();
            assert!(!rescued, "the deadline came to the rescue");
        });
    }

    #[test]
    fn whoever_sleeps_wakes_at_its_moment() {
        explore(SCHEDULES, together);
        explore(SCHEDULES, one_earlier);
    }

    #[test]
    fn whoever_is_woken_before_does_not_wait_for_its_moment() {
        explore(SCHEDULES, woken);
    }

    #[test]
    fn mistakes_of_the_alarm_are_found() {
        for mistake in [
            "the alarm looks while others rely on it",
            "the alarm is asked without a word",
            "the alarm is set to the latest deadline",
            "a deadline is noted behind the look at the alarm",
        ] {
            let found = find(mistake, 4 * SCHEDULES, one_earlier).expect(mistake);
            eprintln!("{mistake}: {} schedules: {}", found.schedules, found.message);
        }
    }
}

#[cfg(all(test, not(feature = "interleavings")))]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    /// Sleeps on a thread of its own until `deadline`; says so.
    fn sleeper(deadline: Instant, done: &mpsc::Sender<Instant>) -> thread::JoinHandle<()> {
        let done = done.clone();
        thread::spawn(move || {
            loop {
                let now = now();
                if now >= deadline {
                    break;
                }
                park_until(&Sleeper::current(), deadline, now);
            }
            done.send(deadline).unwrap();
        })
    }

    #[test]
    fn deadlines_come_to_those_that_nobody_wakes_whoever_sleeps_longer() {
        let (done, ended) = mpsc::channel();
        let far = now() + Duration::from_secs(1 << 33);
        let (tell, told) = mpsc::channel();
        let longest = thread::spawn(move || {
            let me = Sleeper::current();
            tell.send(Arc::clone(&me)).unwrap();
            park_until(&me, far, now());
        });
        let start = now();
        for milliseconds in [300, 1, 150, 400, 20, 300] {
            sleeper(start + Duration::from_millis(milliseconds), &done);
        }
        for _ in 0..6 {
            let deadline = ended.recv_timeout(Duration::from_secs(20)).expect("all are woken");
            assert!(now() >= deadline, "not before");
        }
        told.recv().unwrap().unpark();
        longest.join().unwrap();
    }

    #[test]
    fn seats_that_nobody_has_any_more_are_forgotten() {
        let alarm = Alarm::new();
        let kept: Vec<_> = (0..100).map(|_| alarm.seat()).collect();
        (0..10_000).for_each(|_| drop(alarm.seat()));
        let seats = alarm.state.lock().seats.len();
        assert!((kept.len()..=2 * kept.len() + 1).contains(&seats), "{seats}");
    }
}
