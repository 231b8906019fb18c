//! Running seeds: one, or many on several threads.

use std::cell::RefCell;
use std::ops::Range;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use parking_lot::Mutex;

use crate::counts::Counts;
use crate::mistake::Mistake;
use crate::world::World;

/// A run that came to its end.
#[derive(Clone, Debug)]
pub struct Finished {
    /// What happened.
    pub counts: Counts,
    /// The fingerprint of everything that happened, in order.
    pub trace: u64,
}

/// A run that broke an invariant, or an assertion of the code under test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The seed that does it again.
    pub seed: u64,
    /// What is wrong, and where that was found.
    pub what: String,
    /// The fingerprint of everything that happened until then.
    pub trace: u64,
    /// How many events that were.
    pub events: u64,
}

thread_local! {
    /// What the last panic of this thread said.
    static LAST_PANIC: RefCell<String> = const { RefCell::new(String::new()) };
    /// Whether panics of this thread are noted instead of printed.
    static QUIET: RefCell<bool> = const { RefCell::new(false) };
}

/// Panics of a run are what it found: they are noted, not printed.
fn note_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let print = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if QUIET.with_borrow(|quiet| *quiet) {
                LAST_PANIC.set(info.to_string());
            } else {
                print(info);
            }
        }));
    });
}

/// Runs one seed; with `prints`, shows everything that happens on standard output.
///
/// # Errors
///
/// If an invariant is broken.
pub fn run_seed(seed: u64, mistake: Option<Mistake>, prints: bool) -> Result<Finished, Failure> {
    note_panics();
    QUIET.set(true);
    let mut world = World::new(seed, mistake, prints);
    let result = panic::catch_unwind(AssertUnwindSafe(|| world.run()));
    QUIET.set(false);
    let trace = world.trace.hash();
    if result.is_ok() {
        return Ok(Finished { counts: world.counts, trace });
    }
    let events = world.counts.events;
    let what = LAST_PANIC.with_borrow(|said| said.replace('\n', " "));
    // Half a step was done: nothing is to be believed, not even in being dropped.
    std::mem::forget(world);
    Err(Failure { seed, what, trace, events })
}

/// What many runs came to.
#[derive(Debug, Default)]
pub struct Campaign {
    /// All of them together.
    pub counts: Counts,
    /// Those that failed, by seed.
    pub failures: Vec<Failure>,
}

/// Runs `seeds` on `threads` threads; stops after `failures_max` failures.
pub fn run_campaign(
    seeds: Range<u64>,
    threads: usize,
    mistake: Option<Mistake>,
    failures_max: usize,
    told: impl Fn(&Result<Finished, Failure>) + Sync,
) -> Campaign {
    let next = AtomicU64::new(seeds.start);
    let enough = AtomicBool::new(false);
    let campaign = Mutex::new(Campaign::default());
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !enough.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        break;
                    }
                    let result = run_seed(seed, mistake, false);
                    told(&result);
                    let mut campaign = campaign.lock();
                    match result {
                        Ok(finished) => campaign.counts.add(&finished.counts),
                        Err(failure) => campaign.failures.push(failure),
                    }
                    let failures = campaign.failures.len();
                    enough.fetch_or(failures >= failures_max, Ordering::Relaxed);
                }
            });
        }
    });
    let mut campaign = campaign.into_inner();
    campaign.failures.sort_by_key(|failure| failure.seed);
    campaign
}
