//! The directory that is damaged, what it holds, and what is made of it afterwards.

use std::collections::BTreeMap;
use std::ops::Range;

use super::super::workload::{Model, Step, perform};
use super::super::{open_with, options};
use crate::disk::{DiskOptions, DiskPersister};
use crate::fs::sim::SimFs;
use crate::{Batch, Entry, EntryId, HardState, Persister, StorageError};

pub(super) type Contents = BTreeMap<String, Vec<u8>>;

pub(super) const SECTOR: usize = 512;

/// A directory with several segments, two snapshots and a vote, and what it holds.
pub(super) struct Reference {
    pub(super) ground: Ground,
    pub(super) contents: Contents,
    expected: Model,
    /// The same directory at earlier times, oldest first.
    pub(super) earlier: Vec<Contents>,
    /// The last batch: its file, where it is, and the state without it.
    pub(super) last_batch: (String, Range<usize>, Model),
}

/// Segments long enough for several batches of several sectors each.
fn open(fs: &SimFs) -> Result<DiskPersister, StorageError> {
    open_with(fs, &DiskOptions { segment_bytes: 16384, ..options() })
}

fn entry(index: u64, term: u64, len: usize, fill: u8) -> Entry {
    Entry { id: EntryId::new(index, term), tag: fill, data: vec![fill; len].into() }
}

pub(super) fn append(index: u64, len: usize, fill: u8) -> Batch {
    let term = if index < CONFLICT { 1 } else { 2 };
    Batch { entries: vec![entry(index, term, len, fill)], ..Batch::default() }
}

pub(super) fn vote(term: u64) -> Batch {
    let hard_state = Some(HardState { current_term: term, voted_for: Some(term + 1) });
    Batch { hard_state, ..Batch::default() }
}

/// Where the log of term 1 was found to be another one than the leader's.
const CONFLICT: u64 = 20;
/// The last entry before the batch that is to be the last.
const LAST: u64 = 31;

/// What the segments of a directory stand on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ground {
    Zeros,
    /// On the bytes of earlier ones, at least the last two.
    Used,
}

impl Ground {
    /// The first where every segment is read; the second where some stand by, to be read only if the
    /// current snapshot is lost.
    pub(super) fn read_whole(self, all: u64, some: u64) -> u64 {
        match self {
            Self::Zeros => all,
            Self::Used => some,
        }
    }
}

/// What the directory went through: entries of one sector and of several, some of them zeros, a few
/// of them in one batch, votes, snapshots, and a conflict.
fn steps(ground: Ground) -> Vec<Step> {
    let snapshot = |index: u64| {
        let id = EntryId::new(index - 1, if index <= CONFLICT { 1 } else { 2 });
        Step::Snapshot(Batch::default(), id, vec![index as u8; 3000])
    };
    let mut steps = Vec::new();
    for index in 1..CONFLICT + 4 {
        let sizes = [20, 300, 2900, 1600];
        let batch = Batch {
            entries: vec![entry(index, 1, sizes[index as usize % 4], index as u8 % 3)],
            ..Batch::default()
        };
        steps.push(Step::Persist(batch));
        if index % 4 == 0 && (index <= 12 || ground == Ground::Used && index < CONFLICT) {
            steps.push(snapshot(index));
        }
        if index % 5 == 0 {
            steps.push(Step::Persist(vote(index)));
        }
    }
    let after = [append(CONFLICT, 1200, 0), append(CONFLICT + 1, 700, 9)];
    let entries = after.into_iter().flat_map(|batch| batch.entries).collect();
    let batch = Batch { truncate_from: Some(CONFLICT), entries, ..Batch::default() };
    steps.push(Step::Persist(batch));
    for index in CONFLICT + 2..=LAST {
        let sizes = [2100, 450, 4400];
        steps.push(Step::Persist(append(index, sizes[index as usize % 3], index as u8 % 4)));
        if index % 4 == 0 {
            steps.push(Step::Persist(vote(index)));
        }
        if ground == Ground::Used && index % 2 == 0 && index + 3 < LAST {
            steps.push(snapshot(index));
        }
    }
    steps
}

/// The batch that follows the others.
pub(super) fn next(len: usize, fill: u8) -> Batch {
    append(LAST + 1, len, fill)
}

/// The directory, with `last` as its last batch.
pub(super) fn reference(ground: Ground, last: Batch) -> Reference {
    fastrand::seed(7);
    let fs = SimFs::new();
    let mut persister = open(&fs).unwrap();
    let (mut model, mut earlier) = (Model::default(), Vec::new());
    for step in steps(ground) {
        earlier.push(fs.contents());
        perform(&mut persister, &step).unwrap();
        model = model.after(&step);
    }
    let before = fs.contents();
    let last = Step::Persist(last);
    perform(&mut persister, &last).unwrap();
    drop(persister);
    let contents = fs.contents();
    let count = |prefix: &str| contents.keys().filter(|name| name.starts_with(prefix)).count();
    let segments_min = if ground == Ground::Zeros { 5 } else { 3 };
    assert!(count("wal-") >= segments_min && count("snapshot-") == 2, "{:?}", contents.keys());
    let on_used = contents.iter().filter(|(name, content)| stands_on_used(name, content)).count();
    let (name, end) = contents.iter().next_back().unwrap();
    assert_eq!(stands_on_used(name, end), ground == Ground::Used, "the last segment");
    assert_eq!(on_used > 1, ground == Ground::Used, "{on_used} stand on others");
    assert!(before.contains_key(name), "the last batch is not the first of its segment");
    let was = &before[name];
    // Batches begin and end alike, so the first and the last byte may be as they were.
    let begin = was.iter().zip(end).position(|(a, b)| a != b).unwrap() / SECTOR * SECTOR;
    let end = was.iter().zip(end).rposition(|(a, b)| a != b).unwrap().next_multiple_of(SECTOR);
    let last_batch = (name.clone(), begin..end, model);
    earlier.push(before);
    Reference { ground, expected: last_batch.2.after(&last), earlier, last_batch, contents }
}

/// Whether a file is a segment that stands on the bytes of an earlier one: the second format.
pub(in crate::disk::tests) fn stands_on_used(name: &str, content: &[u8]) -> bool {
    name.starts_with("wal-") && content.get(12) == Some(&2)
}

/// What became of a damaged directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Opened, with every value as it was, though perhaps from the previous snapshot on.
    Same,
    Refused,
    /// Opened, without the last batch.
    WithoutLast,
}

/// How often each outcome came.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) same: u64,
    pub(super) refused: u64,
    pub(super) without_last: u64,
}

impl Tally {
    pub(super) fn count(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Same => self.same += 1,
            Outcome::Refused => self.refused += 1,
            Outcome::WithoutLast => self.without_last += 1,
        }
    }

    /// Both together.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            same: self.same + other.same,
            refused: self.refused + other.refused,
            without_last: self.without_last + other.without_last,
        }
    }

    /// Says it, for whoever runs the tests with `--nocapture`.
    pub(super) fn tell(&self, ground: Ground, what: &str) {
        let Self { same, refused, without_last } = self;
        let all = same + refused + without_last;
        println!(
            "on {ground:?}: {what}: {all} cases: {refused} refused, {same} harmless, {without_last} torn"
        );
    }
}

impl Reference {
    /// Opens `contents`: it must be refused, with the place and unchanged, or hold what it held.
    #[track_caller]
    pub(super) fn check(&self, contents: &Contents, context: &dyn Fn() -> String) -> Outcome {
        let fs = SimFs::holding(contents);
        let outcome = self.check_disk(&fs, context);
        assert!(outcome != Outcome::Refused || fs.holds(contents), "{}: changed", context());
        outcome
    }

    /// The same of a disk; if it is refused, nobody has tried to change anything on it.
    #[track_caller]
    pub(super) fn check_disk(&self, fs: &SimFs, context: &dyn Fn() -> String) -> Outcome {
        let before = fs.operations();
        match open(fs).map(|mut persister| Model::of(&persister.load())) {
            Ok(found) if found == self.expected => Outcome::Same,
            Ok(found) if found.last() == self.last_batch.2.last() => {
                assert_same(&found, &self.last_batch.2, context);
                Outcome::WithoutLast
            }
            Ok(found) => {
                assert_same(&found, &self.expected, context);
                Outcome::Same
            }
            Err(error) => {
                assert!(names_the_place(&error), "{}: {error}", context());
                assert_eq!(fs.operations(), before, "{}: refused, but changed", context());
                Outcome::Refused
            }
        }
    }

    /// Checks the directory with `name` changed by `change`.
    #[track_caller]
    pub(super) fn check_changed(
        &self,
        name: &str,
        context: &dyn Fn() -> String,
        change: impl FnOnce(&mut Vec<u8>),
    ) -> Outcome {
        let mut contents = self.contents.clone();
        change(contents.get_mut(name).unwrap());
        if contents == self.contents {
            return Outcome::Same;
        }
        self.check(&contents, context)
    }

    /// What `sector` of `name` was before the last batch.
    pub(super) fn before_last(&self, name: &str, sector: usize) -> &[u8] {
        let content = &self.earlier.last().expect("there were steps")[name];
        &content[range(content, sector)]
    }

    /// Whether damage of `sector` of `name` may cost the last batch.
    pub(super) fn may_lose_last(&self, name: &str, sector: usize) -> bool {
        name == self.last_batch.0 && self.last_batch.1.contains(&(sector * SECTOR))
    }

    /// All sectors of all files.
    pub(super) fn sectors(&self) -> impl Iterator<Item = (&String, usize)> {
        let sectors = |content: &Vec<u8>| 0..content.len().div_ceil(SECTOR);
        self.contents
            .iter()
            .flat_map(move |(name, content)| sectors(content).map(move |sector| (name, sector)))
    }
}

/// Whether a refusal says where: the file; of damage the offset too; and of the log which entries.
fn names_the_place(error: &StorageError) -> bool {
    let text = error.to_string();
    let has_index =
        !text.contains("dir/wal-") || text.contains("entry") || text.contains("entries");
    match error {
        StorageError::Damaged { .. } => {
            text.contains("offset ") && text.contains("dir/") && has_index
        }
        StorageError::Foreign { .. } => text.contains("dir/"),
        _ => false,
    }
}

/// The same state; if an older snapshot stands in, then with the entries from there on.
#[track_caller]
fn assert_same(found: &Model, expected: &Model, context: &dyn Fn() -> String) {
    if found == expected {
        return;
    }
    assert_eq!(found.hard_state, expected.hard_state, "{}", context());
    assert!(found.base().index < expected.base().index, "{}: {found:?}", context());
    assert_eq!(found.last(), expected.last(), "{}", context());
    assert!(found.entries.ends_with(&expected.entries), "{}", context());
    assert_eq!(found.entries.first().map(|entry| entry.id.index), Some(found.base().index + 1));
}

/// The bytes of `sector`, as far as the file has them.
pub(super) fn range(content: &[u8], sector: usize) -> Range<usize> {
    sector * SECTOR..content.len().min((sector + 1) * SECTOR)
}
