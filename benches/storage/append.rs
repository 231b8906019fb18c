//! Appending: batches of several sizes, from one writer and from four that share syncs.
//!
//! The floor begins anew at the end of its file, on blocks that it has; so the log lets go of its
//! entries when it is as long, outside the clock, and may use their blocks again, as it does in use.

use std::time::{Duration, Instant};

use oarlock_storage::{Batch, DiskOptions, DiskPersister, Entry, EntryId, Persister, SnapshotMeta};

use super::document::grouped;
use super::floor::Floor;
use super::group;
use super::{Plan, directory, median};

const BATCHES: [u64; 3] = [1, 16, 256];
const VALUES: [usize; 2] = [256, 4096];
/// How long one side goes on before it is the other's turn.
const TURN: Duration = Duration::from_millis(20);
/// How long a round takes, both sides together: many segments, so that none decides.
pub(crate) const ROUND: Duration = Duration::from_secs(3);
/// After so many bytes the floor begins anew, and the log is compacted.
pub(crate) const KEPT_BYTES: u64 = 64 << 20;

/// Seconds that each side took for the same work, in one round.
#[derive(Default)]
pub(crate) struct Round {
    pub(crate) batches: u64,
    pub(crate) floor: f64,
    pub(crate) ours: f64,
}

pub(crate) fn run(plan: &Plan) -> String {
    let mut table = "\
        | writers | entries a batch | value | raw floor | Oarlock | ratio | p50 |\n\
        |---|---|---|---|---|---|---|\n"
        .to_owned();
    for writers in [1, 4] {
        for value in VALUES {
            for entries in BATCHES {
                let rounds = if writers == 1 {
                    one_writer(plan, entries, value)
                } else {
                    group::run(plan, writers, entries, value)
                };
                table += &line(writers, entries, value, rounds);
            }
        }
    }
    let amplification = amplification(plan);
    format!("{table}\nWrite amplification at 256 × 256 B: {amplification:.3}.\n")
}

fn line(
    writers: u64,
    entries: u64,
    value: usize,
    (rounds, p50): (Vec<Round>, Option<f64>),
) -> String {
    let rate = |seconds: fn(&Round) -> f64| {
        let rate = |round: &Round| (round.batches * entries) as f64 / seconds(round);
        grouped(median(rounds.iter().map(rate).collect()))
    };
    let ratio = median(rounds.iter().map(|round| round.floor / round.ours).collect());
    let p50 = p50.map_or(String::new(), |p50| format!("{p50:.2}"));
    let (floor, ours) = (rate(|round| round.floor), rate(|round| round.ours));
    format!("| {writers} | {entries} | {value} B | {floor} | {ours} | {ratio:.2} | {p50} |\n")
}

/// A log that is appended to.
pub(crate) struct Log {
    persister: DiskPersister,
    next_index: u64,
    entry: Entry,
    /// How many bytes of values it keeps.
    kept_bytes: u64,
}

impl Log {
    pub(crate) fn open(dir: &std::path::Path, options: DiskOptions, value: usize) -> Self {
        let mut persister = DiskPersister::open(dir, options).expect("a new directory");
        persister.load();
        // No sector of zeros, no run that anything could shorten.
        let data: Vec<u8> = (0..value).map(|at| (at * 31 % 251) as u8 + 1).collect();
        let entry = Entry { id: EntryId::new(0, 1), tag: 0, data: data.into() };
        Self { persister, next_index: 1, entry, kept_bytes: 0 }
    }

    /// A batch of `count` entries that share their data.
    pub(crate) fn batch(&self, count: u64) -> Batch {
        Batch { entries: vec![self.entry.clone(); count as usize], ..Batch::default() }
    }

    /// Gives the entries their places and makes them durable. The places are not the engine's work,
    /// but cost next to nothing.
    pub(crate) fn append(&mut self, batch: &mut Batch) {
        for entry in &mut batch.entries {
            entry.id.index = self.next_index;
            self.next_index += 1;
        }
        self.persister.persist(batch).expect("a disk that works");
        self.kept_bytes += (batch.entries.len() * self.entry.data.len()) as u64;
    }

    /// Lets go of all entries, if they are many: what stands for them is a small snapshot.
    pub(crate) fn compact_if_due(&mut self) {
        if self.kept_bytes < KEPT_BYTES {
            return;
        }
        let last_included = EntryId::new(self.next_index - 1, self.entry.id.term);
        let meta = SnapshotMeta { last_included, ..SnapshotMeta::default() };
        let staged = self.persister.snapshot_stage().write_all(meta, &[7; 1024]);
        let staged = staged.expect("room for a snapshot");
        let saved = self.persister.save_state_and_snapshot(&Batch::default(), staged);
        saved.expect("a disk that works");
        self.kept_bytes = 0;
    }
}

/// One writer that waits for each batch. Also the ratio of the median batches.
fn one_writer(plan: &Plan, entries: u64, value: usize) -> (Vec<Round>, Option<f64>) {
    let dir = directory();
    let mut floor = Floor::new(dir.path(), KEPT_BYTES);
    let mut log = Log::open(&dir.path().join("log"), DiskOptions::new(1), value);
    let raw = vec![7; entries as usize * value];
    let mut batch = log.batch(entries);
    let mut rounds = Vec::new();
    let (mut floor_times, mut our_times) = (Vec::new(), Vec::new());
    // As many as fit a turn; the first ones warm up.
    let warm_up = Instant::now();
    let mut a_turn = 0;
    while warm_up.elapsed() < TURN {
        floor.append(&raw);
        log.append(&mut batch);
        a_turn += 1;
    }
    for _ in 0..plan.rounds() {
        let mut round = Round::default();
        let began = Instant::now();
        while round.batches == 0 || (began.elapsed() < ROUND && !plan.is_test) {
            round.floor += timed(a_turn, &mut floor_times, || floor.append(&raw));
            round.ours += timed(a_turn, &mut our_times, || log.append(&mut batch));
            log.compact_if_due();
            round.batches += a_turn;
        }
        rounds.push(round);
    }
    (rounds, Some(median(floor_times) / median(our_times)))
}

/// Does `work` `count` times; returns the seconds of all, and adds those of each to `times`.
fn timed(count: u64, times: &mut Vec<f64>, mut work: impl FnMut()) -> f64 {
    let mut sum = 0.0;
    for _ in 0..count {
        let began = Instant::now();
        work();
        let seconds = began.elapsed().as_secs_f64();
        times.push(seconds);
        sum += seconds;
    }
    sum
}

/// How many bytes the log holds for each byte of payload: heads and seals, but not the zeros that segments
/// are filled with ahead of time.
fn amplification(plan: &Plan) -> f64 {
    let (entries, value) = (256, 256);
    let dir = directory();
    let mut log = Log::open(dir.path(), DiskOptions::new(1), value);
    let mut batch = log.batch(entries);
    let batches = if plan.is_test { 8 } else { 1024 };
    for _ in 0..batches {
        log.append(&mut batch);
    }
    drop(log);
    let payload = batches * entries * value as u64;
    let mut used = 0;
    for item in std::fs::read_dir(dir.path()).expect("the log's directory") {
        let path = item.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "log") {
            let bytes = std::fs::read(path).expect("a segment");
            used += bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        }
    }
    used as f64 / payload as f64
}
