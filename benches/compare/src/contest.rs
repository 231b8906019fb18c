//! Several logs taking turns with the same work.

use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use crate::Log;

/// After so many bytes of entries a log that is compacted lets go of them.
const COMPACTED_BYTES: u64 = 64 << 20;

/// One writer's batches of one entry are nothing but a write and a flush, so the logs differ by little:
/// there are so many times as many rounds,
const ROUNDS_ALONE: usize = 4;
/// and in each, so many turns of one batch each, so that all meet the disk in the same mood.
const TURNS_ALONE: usize = 1500;

/// How long everything takes.
pub struct Plan {
    pub rounds: usize,
    /// How often everybody has a turn in a round.
    pub turns: usize,
    pub turn: Duration,
}

impl Plan {
    pub fn full() -> Self {
        Self { rounds: 5, turns: 8, turn: Duration::from_millis(50) }
    }

    /// Everything once, to see that it runs.
    pub fn small() -> Self {
        Self { rounds: 1, turns: 1, turn: Duration::from_millis(5) }
    }
}

/// What is appended.
#[derive(Clone, Copy)]
pub struct Work {
    pub writers: usize,
    /// Entries a batch.
    pub entries: u64,
    pub value_bytes: usize,
    /// Whether the log is compacted from time to time.
    pub compacts: bool,
}

/// Makes a log in a directory, for values of so many bytes.
pub type Open = fn(&Path, usize) -> Box<dyn Log>;

/// How one of the logs did.
pub struct Score {
    /// Entries a second, the median of the rounds.
    pub rate: f64,
    /// To the first log in the same round, likewise.
    pub ratio: f64,
    /// The median of all batches, seconds.
    pub p50: f64,
    /// In how many of the rounds its median batch took longer than that of the one that is `compared`.
    pub behind: usize,
    pub rounds: usize,
}

/// The scores of `sides`, each beside the first of them and the one that is `compared`.
pub fn run(plan: &Plan, parent: &Path, work: Work, sides: &[Open], compared: usize) -> Vec<Score> {
    let is_alone = work.writers == 1 && work.entries == 1 && plan.turns > 1;
    let (rounds, turns, turn) = if is_alone {
        (plan.rounds * ROUNDS_ALONE, TURNS_ALONE, Duration::ZERO)
    } else {
        (plan.rounds, plan.turns, plan.turn)
    };
    let dir = tempfile::tempdir_in(parent).expect("a directory for the bench");
    let barrier = Arc::new(Barrier::new(work.writers));
    let writers: Vec<_> = (0..work.writers)
        .map(|nth| {
            let own = dir.path().join(nth.to_string());
            std::fs::create_dir(&own).expect("a directory for a writer");
            let logs: Vec<Box<dyn Log>> =
                sides.iter().map(|open| open(&own, work.value_bytes)).collect();
            let barrier = Arc::clone(&barrier);
            thread::spawn(move || write(work, logs, &barrier, (rounds, turns, turn)))
        })
        .collect();
    let writers: Vec<Vec<Vec<Done>>> =
        writers.into_iter().map(|writer| writer.join().expect("a writer that ends")).collect();
    let rate = |side: usize, round: usize| -> f64 {
        writers.iter().map(|rounds| rounds[round][side].rate()).sum()
    };
    let p50_in = |side: usize, rounds: Range<usize>| {
        let done = writers.iter().flat_map(|writer| &writer[rounds.clone()]);
        median(done.flat_map(|round| &round[side].batches).copied().collect())
    };
    let p50 = |side: usize, round: usize| p50_in(side, round..round + 1);
    (0..sides.len())
        .map(|side| Score {
            rate: median((0..rounds).map(|round| rate(side, round)).collect()),
            ratio: median((0..rounds).map(|round| rate(side, round) / rate(0, round)).collect()),
            p50: p50_in(side, 0..rounds),
            behind: (0..rounds).filter(|nth| p50(side, *nth) > p50(compared, *nth)).count(),
            rounds,
        })
        .collect()
}

/// What a writer did in a round with one of its logs.
#[derive(Clone, Default)]
struct Done {
    entries: u64,
    /// The time that each batch took, seconds.
    batches: Vec<f64>,
}

impl Done {
    fn rate(&self) -> f64 {
        self.entries as f64 / self.batches.iter().sum::<f64>()
    }
}

/// One writer, for each round and each of its logs.
fn write(
    work: Work,
    mut logs: Vec<Box<dyn Log>>,
    barrier: &Barrier,
    (rounds, turns, turn): (usize, usize, Duration),
) -> Vec<Vec<Done>> {
    let mut kept_bytes = vec![0; logs.len()];
    let mut all = Vec::new();
    for round in 0..=rounds {
        let mut done = vec![Done::default(); logs.len()];
        // Whoever comes behind somebody with much to clear away is another one each time.
        let sides = logs.len();
        for nth in (0..turns).flat_map(|first| (0..sides).map(move |step| first + step)) {
            let side = nth % sides;
            let log = &mut logs[side];
            barrier.wait();
            let began = Instant::now();
            let (mut entries, mut until_now) = (0, Duration::ZERO);
            while entries == 0 || until_now < turn {
                log.append(work.entries);
                entries += work.entries;
                let before = std::mem::replace(&mut until_now, began.elapsed());
                done[side].batches.push(until_now.saturating_sub(before).as_secs_f64());
            }
            done[side].entries += entries;
            kept_bytes[side] += entries * work.value_bytes as u64;
            if work.compacts && kept_bytes[side] >= COMPACTED_BYTES {
                log.compact();
                kept_bytes[side] = 0;
            }
        }
        // The first round warms up.
        if round > 0 {
            all.push(done);
        }
    }
    all
}

/// The middle of `values`.
fn median(mut values: Vec<f64>) -> f64 {
    assert!(!values.is_empty(), "there is something to take the middle of");
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
