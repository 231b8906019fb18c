//! Damage: a directory that no crash can have left is refused, with file and offset, and untouched;
//! or it is opened, and every value is right. Never anything else.
//!
//! One exception is inherent: sectors of the last batch that are zeros look like a write that a
//! crash cut short, and nothing else on the disk speaks of that batch, unless it held a vote.

use std::collections::BTreeMap;
use std::ops::Range;

use super::open;
use super::workload::{Model, Step, perform};
use crate::fs::sim::SimFs;
use crate::{Batch, Entry, EntryId, HardState, Persister, StorageError};

type Contents = BTreeMap<String, Vec<u8>>;

const SECTOR: usize = 512;

/// A directory with several segments, two snapshots and a vote, and what it holds.
struct Reference {
    contents: Contents,
    expected: Model,
    /// The same directory at earlier times, oldest first.
    earlier: Vec<Contents>,
    /// The last batch: its file, where it is, and the state without it.
    last_batch: (String, Range<usize>, Model),
}

fn append(index: u64, len: usize, fill: u8) -> Batch {
    let data = vec![fill; len].into();
    let entry = Entry { id: EntryId::new(index, 1), tag: fill, data };
    Batch { entries: vec![entry], ..Batch::default() }
}

fn vote(term: u64) -> Batch {
    let hard_state = Some(HardState { current_term: term, voted_for: Some(term + 1) });
    Batch { hard_state, ..Batch::default() }
}

fn reference(last: Batch) -> Reference {
    fastrand::seed(7);
    let fs = SimFs::new();
    let mut persister = open(&fs).unwrap();
    let (mut model, mut earlier) = (Model::default(), Vec::new());
    let mut steps = Vec::new();
    for index in 1..=24 {
        let sizes = [20, 300, 1100, 600];
        steps.push(Step::Persist(append(index, sizes[index as usize % 4], index as u8 % 3)));
        if index % 6 == 0 {
            let content = vec![index as u8; 700];
            steps.push(Step::Snapshot(Batch::default(), EntryId::new(index - 1, 1), content));
        }
        if index % 5 == 0 {
            steps.push(Step::Persist(vote(index)));
        }
    }
    steps.push(Step::Persist(Batch { truncate_from: Some(24), ..append(24, 1200, 0) }));
    // The last batch is not to be the first of its segment.
    steps.push(Step::Persist(append(25, 1200, 0)));
    for step in &steps {
        earlier.push(fs.contents());
        perform(&mut persister, step).unwrap();
        model = model.after(step);
    }
    let before = fs.contents();
    let last = Step::Persist(last);
    perform(&mut persister, &last).unwrap();
    drop(persister);
    let contents = fs.contents();
    let count = |prefix: &str| contents.keys().filter(|name| name.starts_with(prefix)).count();
    assert!(count("wal-") >= 3 && count("snapshot-") == 2, "{:?}", contents.keys());
    let (name, end) =
        contents.iter().rev().map(|(name, _)| (name, &contents[name])).next().unwrap();
    let begin = before[name].iter().zip(end).position(|(a, b)| a != b).unwrap();
    let end = end.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    earlier.push(before);
    Reference {
        expected: model.after(&last),
        earlier,
        last_batch: (name.clone(), begin..end, model),
        contents,
    }
}

/// What became of a damaged directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Opened, with every value as it was, though perhaps from the previous snapshot on.
    Same,
    Refused,
    /// Opened, without the last batch.
    WithoutLast,
}

/// How often each outcome came.
#[derive(Debug, Default)]
struct Tally {
    same: u64,
    refused: u64,
    without_last: u64,
}

impl Tally {
    fn count(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Same => self.same += 1,
            Outcome::Refused => self.refused += 1,
            Outcome::WithoutLast => self.without_last += 1,
        }
    }
}

impl Reference {
    #[track_caller]
    fn check(&self, contents: &Contents, context: &dyn Fn() -> String) -> Outcome {
        let fs = SimFs::holding(contents);
        match open(&fs).map(|mut persister| Model::of(&persister.load())) {
            Ok(found) if found == self.last_batch.2 => Outcome::WithoutLast,
            Ok(found) => {
                assert_same(&found, &self.expected, context);
                Outcome::Same
            }
            Err(error) => {
                let text = error.to_string();
                let names_the_place = match &error {
                    StorageError::Damaged { .. } => {
                        text.contains("offset ") && text.contains("dir/")
                    }
                    StorageError::Foreign { .. } => text.contains("dir/"),
                    _ => false,
                };
                assert!(names_the_place, "{}: {text}", context());
                assert!(fs.contents() == *contents, "{}: refused, but changed", context());
                Outcome::Refused
            }
        }
    }

    /// Checks the directory with `name` changed by `change`.
    #[track_caller]
    fn check_changed(
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

    /// Whether damage of `sector` of `name` may cost the last batch.
    fn may_lose_last(&self, name: &str, sector: usize) -> bool {
        name == self.last_batch.0 && self.last_batch.1.contains(&(sector * SECTOR))
    }

    fn sectors(&self) -> impl Iterator<Item = (&String, usize)> {
        let sectors = |content: &Vec<u8>| 0..content.len().div_ceil(SECTOR);
        self.contents
            .iter()
            .flat_map(move |(name, content)| sectors(content).map(move |sector| (name, sector)))
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
fn range(content: &[u8], sector: usize) -> Range<usize> {
    sector * SECTOR..content.len().min((sector + 1) * SECTOR)
}

#[test]
fn every_flipped_bit_is_refused_or_harmless() {
    let reference = reference(append(26, 900, 3));
    let mut damaged = reference.contents.clone();
    let mut tally = Tally::default();
    for (name, content) in &reference.contents {
        for bit in 0..content.len() * 8 {
            damaged.get_mut(name).unwrap()[bit / 8] ^= 1 << (bit % 8);
            tally.count(reference.check(&damaged, &|| format!("{name}, bit {bit}")));
            damaged.get_mut(name).unwrap()[bit / 8] ^= 1 << (bit % 8);
        }
    }
    println!("{tally:?}");
    assert_eq!(tally.without_last, 0, "no flipped bit loses anything");
    assert!(tally.refused > 50_000 && tally.same > 5_000, "{tally:?}");
}

#[test]
fn every_zeroed_sector_is_refused_or_harmless() {
    let reference = reference(append(26, 900, 3));
    let mut tally = Tally::default();
    for (name, sector) in reference.sectors() {
        let context = || format!("{name}, sector {sector}");
        let outcome = reference.check_changed(name, &context, |content| {
            let range = range(content, sector);
            content[range].fill(0);
        });
        let may_lose_last = reference.may_lose_last(name, sector);
        assert!(outcome != Outcome::WithoutLast || may_lose_last, "{}", context());
        tally.count(outcome);
    }
    println!("{tally:?}");
    assert_eq!(tally.without_last, 3, "the sectors of the last batch");
    assert!(tally.refused > 20, "{tally:?}");
}

#[test]
fn every_sector_of_earlier_content_is_refused_or_harmless() {
    let reference = reference(append(26, 900, 3));
    let mut tally = Tally::default();
    for earlier in &reference.earlier {
        for (name, sector) in reference.sectors() {
            let Some(old) = earlier.get(name) else { continue };
            let context = || format!("{name}, sector {sector}");
            let outcome = reference.check_changed(name, &context, |content| {
                let range = range(content, sector);
                if let Some(old) = old.get(range.clone()) {
                    content[range].copy_from_slice(old);
                }
            });
            let may_lose_last = reference.may_lose_last(name, sector);
            assert!(outcome != Outcome::WithoutLast || may_lose_last, "{}", context());
            tally.count(outcome);
        }
    }
    println!("{tally:?}");
    assert!(tally.refused > 20, "{tally:?}");
}

#[test]
fn every_swap_of_two_sectors_is_refused_or_harmless() {
    let reference = reference(append(26, 900, 3));
    let mut tally = Tally::default();
    for (name, content) in &reference.contents {
        let sectors = content.len() / SECTOR;
        for (a, b) in (0..sectors).flat_map(|a| (0..a).map(move |b| (a, b))) {
            let context = || format!("{name}, sectors {a} and {b}");
            let outcome = reference.check_changed(name, &context, |content| {
                let (low, high) = content.split_at_mut(a * SECTOR);
                low[b * SECTOR..(b + 1) * SECTOR].swap_with_slice(&mut high[..SECTOR]);
            });
            assert!(outcome != Outcome::WithoutLast, "{}", context());
            tally.count(outcome);
        }
    }
    println!("{tally:?}");
    assert!(tally.refused > 300, "{tally:?}");
}

#[test]
fn every_file_cut_removed_or_exchanged_is_refused_or_harmless() {
    let reference = reference(append(26, 900, 3));
    let mut tally = Tally::default();
    let mut check = |contents: &Contents, context: &dyn Fn() -> String| {
        let outcome = reference.check(contents, context);
        assert_ne!(outcome, Outcome::WithoutLast, "{}", context());
        tally.count(outcome);
        outcome
    };
    for (name, content) in &reference.contents {
        for len in (0..content.len()).step_by(SECTOR) {
            let mut contents = reference.contents.clone();
            contents.get_mut(name).unwrap().truncate(len);
            check(&contents, &|| format!("{name} cut to {len}"));
        }
        let mut contents = reference.contents.clone();
        contents.get_mut(name).unwrap().extend_from_slice(&[0; SECTOR]);
        check(&contents, &|| format!("{name} made longer"));
        contents.remove(name);
        let outcome = check(&contents, &|| format!("{name} removed"));
        assert_eq!(outcome == Outcome::Refused, name.starts_with("wal-") || name == "IDENTITY");
        for other in reference.contents.keys() {
            let mut contents = reference.contents.clone();
            contents.insert(name.clone(), reference.contents[other].clone());
            check(&contents, &|| format!("{other} in place of {name}"));
        }
    }
    println!("{tally:?}");
    assert!(tally.refused > 50, "{tally:?}");
}

/// One damaged copy of a vote, whichever and however, never costs the vote, and the node starts.
#[test]
fn a_vote_outlives_any_damage_to_one_of_its_copies() {
    let reference = reference(vote(99));
    let (wal, last, _) = &reference.last_batch;
    let places = [(wal.as_str(), last.clone()), ("VOTE", 0..512), ("VOTE", 4096..4608)];
    for (name, place) in places {
        for bit in place.start * 8..place.end * 8 {
            let outcome =
                reference.check_changed(name, &|| format!("{name}, bit {bit}"), |content| {
                    content[bit / 8] ^= 1 << (bit % 8);
                });
            assert_eq!(outcome, Outcome::Same, "{name}, bit {bit}");
        }
        for earlier in [vec![0; 512], vec![0xff; 512]] {
            let outcome = reference.check_changed(name, &|| name.to_owned(), |content| {
                content[place.clone()].copy_from_slice(&earlier);
            });
            assert_eq!(outcome, Outcome::Same, "{name}");
        }
    }
}
