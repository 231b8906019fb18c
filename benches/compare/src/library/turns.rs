//! The systems taking turns with the same work.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use super::System;
use super::window::Window;

/// One thread has so many commands on their way.
const IN_FLIGHT: u64 = 1000;
/// How long a system may take to bring all its peers level.
const SETTLE_MAX: Duration = Duration::from_secs(30);

/// How long everything takes.
#[derive(Clone, Copy)]
pub struct Plan {
    pub rounds: usize,
    pub turn: Duration,
    /// How often the leader is isolated.
    pub failovers: usize,
}

impl Plan {
    pub fn full() -> Self {
        Self { rounds: 7, turn: Duration::from_millis(400), failovers: 20 }
    }

    /// Everything once, to see that it runs.
    pub fn small() -> Self {
        Self { rounds: 1, turn: Duration::from_millis(30), failovers: 1 }
    }
}

/// What is asked of a system.
#[derive(Clone, Copy)]
pub enum Load {
    /// So many threads that each wait for their answers.
    Callers(u64),
    /// One thread that does not wait.
    InFlight,
}

/// A system, and how many commands it was given.
pub struct Contender {
    system: Arc<dyn System>,
    given: u64,
}

impl Contender {
    pub fn new(system: impl System + 'static) -> Self {
        Self { system: Arc::new(system), given: 0 }
    }

    /// Commands a second, in a turn of so long.
    pub fn turn(&mut self, load: Load, turn: Duration) -> f64 {
        let (given, elapsed) = match load {
            Load::Callers(callers) => closed_loop(&self.system, callers, turn),
            Load::InFlight => flood(&*self.system, turn),
        };
        self.given += given;
        given as f64 / elapsed.as_secs_f64()
    }

    /// Waits until every peer has applied everything.
    ///
    /// # Panics
    /// If they do not, or not the same.
    pub fn check(&self) {
        let applied = self.system.applied();
        let deadline = Instant::now() + SETTLE_MAX;
        while applied.iter().any(|applied| applied.count() < self.given) {
            assert!(Instant::now() < deadline, "{} given, of which {applied:?}", self.given);
            thread::sleep(Duration::from_millis(10));
        }
        let digest = applied[0].digest();
        for applied in &applied {
            assert_eq!(applied.count(), self.given, "every command is applied once");
            assert_eq!(applied.digest(), digest, "all peers applied the same commands");
        }
    }
}

/// Commands a second of each contender, for each round.
pub fn run(plan: Plan, load: Load, contenders: &mut [Contender]) -> Vec<Vec<f64>> {
    let mut rates = vec![Vec::new(); contenders.len()];
    // The first round warms up.
    for round in 0..=plan.rounds {
        for nth in order(contenders.len(), round) {
            let rate = contenders[nth].turn(load, plan.turn);
            if round > 0 {
                rates[nth].push(rate);
            }
        }
    }
    contenders.iter().for_each(Contender::check);
    rates
}

/// In which order they take their turns: by turns forwards and backwards, and another one begins each
/// second time. So each comes behind each other as often, who may leave the disk something to do.
fn order(count: usize, round: usize) -> Vec<usize> {
    let first = round / 2;
    let nth = |step| if round.is_multiple_of(2) { first + step } else { first + count - step };
    (0..count).map(|step| nth(step) % count).collect()
}

/// Threads that each wait for their answers.
fn closed_loop(system: &Arc<dyn System>, callers: u64, turn: Duration) -> (u64, Duration) {
    let (ends, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let barrier = Arc::new(Barrier::new(callers as usize + 1));
    let threads: Vec<_> = (0..callers)
        .map(|caller| {
            let (system, ends, done) = (Arc::clone(system), Arc::clone(&ends), Arc::clone(&done));
            let barrier = Arc::clone(&barrier);
            thread::spawn(move || {
                barrier.wait();
                let (mut number, mut count) = (caller << 32, 0);
                while !ends.load(Ordering::Relaxed) {
                    let answer = system.submit(number);
                    assert_eq!(answer.number, number, "an answer is to its command");
                    assert!(answer.count > count, "every command is applied once");
                    (number, count) = (number + 1, answer.count);
                }
                done.fetch_add(number - (caller << 32), Ordering::Relaxed);
            })
        })
        .collect();
    barrier.wait();
    let began = Instant::now();
    thread::sleep(turn);
    ends.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().expect("a caller that got its answers");
    }
    (done.load(Ordering::Relaxed), began.elapsed())
}

/// One thread that fills its window again as soon as half of it is free.
fn flood(system: &dyn System, turn: Duration) -> (u64, Duration) {
    let window = Arc::new(Window::new(IN_FLIGHT, 0));
    let began = Instant::now();
    let mut given = 0;
    while began.elapsed() < turn {
        let count = window.take(IN_FLIGHT / 4);
        system.submit_all(given, count, &window);
        given += count;
    }
    window.drain();
    (given, began.elapsed())
}
