//! Explores how threads may interleave: runs the same body under many schedules, and fails with the
//! schedule that replays what it found.
//!
//! Half of the schedules are drawn at random, half by PCT (probabilistic concurrency testing: random
//! priorities that change at a few random moments, which finds any bug that takes few preemptions
//! with a known probability). In half of each, time passes only when nobody can run; in the others a
//! deadline may come at any moment. So a wake-up that was forgotten is a deadlock, or shows in
//! [`elapsed`], where a deadline came to the rescue.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use shuttle::scheduler::{PctScheduler, RandomScheduler, ReplayScheduler, Scheduler};
use shuttle::{Config, FailurePersistence, MaxSteps, Runner};

use crate::clock;
use crate::scheduler::{TimeLast, take_executions};

/// How many schedules of each body are tried; a hundred thousand are no problem.
pub const SCHEDULES_VARIABLE: &str = "OARLOCK_SCHEDULES";
/// A schedule that a failure printed, to be replayed instead.
pub const REPLAY_VARIABLE: &str = "OARLOCK_REPLAY";
/// In front of one in which deadlines came early.
const EARLY_PREFIX: &str = "early:";
/// Another seed than the usual one: other schedules.
pub const SEED_VARIABLE: &str = "OARLOCK_SCHEDULES_SEED";

/// How many preemptions PCT looks for.
const PCT_DEPTH: usize = 3;
/// How many deadlines may come early in one execution.
const EARLY_MAX: usize = 12;
/// Far beyond what any execution takes: who gets there runs in circles.
const STEPS_MAX: usize = 200_000;

thread_local! {
    static PLANTED: Cell<Option<&'static str>> = const { Cell::new(None) };
    static EARLY: Cell<bool> = const { Cell::new(false) };
}

/// Whether the mistake of this description is to be made here.
pub fn planted(mistake: &str) -> bool {
    PLANTED.get() == Some(mistake)
}

/// How much simulated time has passed in this execution: none, as long as somebody could run.
pub fn elapsed() -> Duration {
    clock::elapsed()
}

/// Whether this execution is one in which deadlines may come though somebody could run.
pub fn deadlines_come_early() -> bool {
    EARLY.get()
}

/// At one decision in so many there is one.
const ACCIDENT_ONE_IN: u32 = 16;

/// Whether somebody who is to sleep wakes at once, for no reason. Only where deadlines come early too: in
/// the other executions a wake-up that was forgotten is not made good by accident.
pub(crate) fn accident() -> bool {
    use shuttle::rand::Rng;
    deadlines_come_early() && shuttle::rand::thread_rng().gen_ratio(1, ACCIDENT_ONE_IN)
}

/// Lets another thread run, as a call to the system would.
pub fn pause() {
    shuttle::thread::yield_now();
}

/// Runs `body` under `schedules` schedules, or as many as the environment says, or under the one it
/// says. Panics as `body` does under the first that fails, having printed how to replay it.
pub fn explore(schedules: usize, body: impl Fn() + Send + Sync + 'static) {
    apart(move || explore_here(schedules, &Arc::new(body)));
}

/// Runs `job` on a thread of the system's of its own: one whose execution failed is good for no other.
fn apart<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> T {
    std::thread::spawn(job).join().unwrap_or_else(|panic| resume_unwind(panic))
}

fn explore_here<F: Fn() + Send + Sync + 'static>(schedules: usize, body: &Arc<F>) {
    if let Ok(schedule) = std::env::var(REPLAY_VARIABLE) {
        let early = schedule.strip_prefix(EARLY_PREFIX);
        EARLY.set(early.is_some());
        let schedule: String = early.unwrap_or(&schedule).split_whitespace().collect();
        run(ReplayScheduler::new_from_encoded(&schedule), FailurePersistence::None, body);
        return;
    }
    let schedules = number(SCHEDULES_VARIABLE).map_or(schedules, |n| n as usize);
    for kind in KINDS {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            run_kind(kind, schedules.div_ceil(KINDS.len()), FailurePersistence::Print, body);
        }));
        if let Err(panic) = outcome {
            let prefix = if EARLY.get() { EARLY_PREFIX } else { "" };
            eprintln!(
                "to replay: this test alone, with {REPLAY_VARIABLE}='{prefix}<the schedule>'"
            );
            resume_unwind(panic);
        }
    }
    eprintln!("{} schedules", take_executions());
}

/// What a planted mistake came to.
#[derive(Clone, Debug)]
pub struct Found {
    /// How many schedules it took.
    pub schedules: usize,
    /// What the failure said.
    pub message: String,
}

/// Runs `body` with `mistake` planted until a schedule shows it; `None` if `schedules` do not.
pub fn find(
    mistake: &'static str,
    schedules: usize,
    body: impl Fn() + Send + Sync + 'static,
) -> Option<Found> {
    apart(move || find_here(mistake, schedules, &Arc::new(body)))
}

fn find_here<F: Fn() + Send + Sync + 'static>(
    mistake: &'static str,
    schedules: usize,
    body: &Arc<F>,
) -> Option<Found> {
    PLANTED.set(Some(mistake));
    let mut tried = 0;
    // The kinds take turns, a few schedules each, so that none has to wait for the others.
    let mut found = None;
    let mut turn = 0;
    while tried < schedules && found.is_none() {
        let kind = Kind { turn: turn / KINDS.len() as u64, ..KINDS[turn as usize % KINDS.len()] };
        let count = 8 << (turn / 8).min(6);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            run_kind(kind, count, FailurePersistence::None, body);
        }));
        tried += take_executions();
        found = outcome.err().map(|panic| Found { schedules: tried, message: text_of(&*panic) });
        turn += 1;
    }
    found
}

#[derive(Clone, Copy)]
struct Kind {
    is_pct: bool,
    early_max: usize,
    turn: u64,
}

const KINDS: [Kind; 4] = [
    Kind { is_pct: false, early_max: 0, turn: 0 },
    Kind { is_pct: true, early_max: 0, turn: 0 },
    Kind { is_pct: false, early_max: EARLY_MAX, turn: 0 },
    Kind { is_pct: true, early_max: EARLY_MAX, turn: 0 },
];

fn run_kind<F: Fn() + Send + Sync + 'static>(
    kind: Kind,
    count: usize,
    failures: FailurePersistence,
    body: &Arc<F>,
) {
    EARLY.set(kind.early_max > 0);
    let seed = number(SEED_VARIABLE).unwrap_or(1).wrapping_mul(1000) + kind.turn;
    if kind.is_pct {
        let inner = PctScheduler::new_from_seed(seed, PCT_DEPTH, count);
        run(TimeLast::new(inner, kind.early_max, seed), failures, body);
    } else {
        let inner = RandomScheduler::new_from_seed(seed, count);
        run(TimeLast::new(inner, kind.early_max, seed), failures, body);
    }
}

fn run<F: Fn() + Send + Sync + 'static>(
    scheduler: impl Scheduler + 'static,
    failures: FailurePersistence,
    body: &Arc<F>,
) {
    let mut config = Config::new();
    config.stack_size = 256 << 10;
    config.max_steps = MaxSteps::FailAfter(STEPS_MAX);
    config.failure_persistence = failures;
    config.ungraceful_shutdown_config.immediately_return_on_panic = true;
    let body = Arc::clone(body);
    Runner::new(scheduler, config).run(move || {
        let clock = clock::start();
        body();
        clock::end(clock);
    });
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text:?} is not a number")))
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned()
}

#[cfg(test)]
#[path = "model_tests.rs"]
mod interleavings;
