//! Damage: a directory that no crash can have left is refused, with file and offset, and untouched;
//! or it is opened, and every value is right. Never anything else.

use std::collections::BTreeMap;

use super::open;
use super::workload::{Model, Step, perform};
use crate::fs::sim::SimFs;
use crate::{Batch, Entry, EntryId, HardState, Persister, StorageError};

type Contents = BTreeMap<String, Vec<u8>>;

/// A directory with several segments, two snapshots and a vote, and what it holds.
fn reference() -> (Contents, Model) {
    fastrand::seed(7);
    let fs = SimFs::new();
    let mut persister = open(&fs).unwrap();
    let mut model = Model::default();
    let mut go = |step: Step| {
        perform(&mut persister, &step).unwrap();
        model = model.after(&step);
    };
    let append = |index: u64, len: usize, fill: u8| Batch {
        entries: vec![Entry {
            id: EntryId::new(index, 1),
            tag: fill,
            data: vec![fill; len].into(),
        }],
        ..Batch::default()
    };
    for index in 1..=24 {
        let sizes = [20, 300, 1100, 600];
        go(Step::Persist(append(index, sizes[index as usize % 4], index as u8 % 3)));
        if index % 6 == 0 {
            go(Step::Snapshot(
                Batch::default(),
                EntryId::new(index - 1, 1),
                vec![index as u8; 700],
            ));
        }
        if index % 5 == 0 {
            let hard_state = Some(HardState { current_term: index, voted_for: Some(index) });
            go(Step::Persist(Batch { hard_state, ..Batch::default() }));
        }
    }
    go(Step::Persist(Batch { truncate_from: Some(24), ..append(24, 1200, 0) }));
    drop(persister);
    let contents = fs.contents();
    let count = |suffix: &str| contents.keys().filter(|name| name.ends_with(suffix)).count();
    assert!(count(".log") >= 3 && count(".snap") == 2, "{:?}", contents.keys());
    (contents, model)
}

/// What became of a damaged directory.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// Opened, with every value as it was, though perhaps from the previous snapshot on.
    Same,
    Refused,
}

#[track_caller]
fn check(contents: &Contents, expected: &Model, context: impl Fn() -> String) -> Outcome {
    let fs = SimFs::holding(contents);
    match open(&fs).map(|mut persister| Model::of(&persister.load())) {
        Ok(found) => {
            assert_same(&found, expected, &context);
            Outcome::Same
        }
        Err(error) => {
            let text = error.to_string();
            match &error {
                StorageError::Damaged { .. } => {
                    assert!(
                        text.contains("offset") && text.contains("dir/"),
                        "{}: {text}",
                        context()
                    );
                }
                StorageError::Foreign { .. } => assert!(text.contains("dir/"), "{text}"),
                _ => panic!("{}: {text}", context()),
            }
            assert!(fs.contents() == *contents, "{}: refused, but changed", context());
            Outcome::Refused
        }
    }
}

/// The same state; if an older snapshot stands in, then with the entries from there on.
#[track_caller]
fn assert_same(found: &Model, expected: &Model, context: &impl Fn() -> String) {
    if found == expected {
        return;
    }
    assert_eq!(found.hard_state, expected.hard_state, "{}", context());
    assert!(found.base().index < expected.base().index, "{}: {found:?}", context());
    assert_eq!(found.last(), expected.last(), "{}", context());
    assert!(found.entries.ends_with(&expected.entries), "{}", context());
    assert_eq!(found.entries.first().map(|entry| entry.id.index), Some(found.base().index + 1));
}

#[test]
fn every_flipped_bit_is_refused_or_harmless() {
    let (contents, expected) = reference();
    let mut damaged = contents.clone();
    let mut refused = 0;
    for (name, content) in &contents {
        for at in 0..content.len() {
            let flip = 1 << (at % 8);
            damaged.get_mut(name).unwrap()[at] ^= flip;
            let outcome = check(&damaged, &expected, || format!("{name} at {at}"));
            refused += usize::from(outcome == Outcome::Refused);
            damaged.get_mut(name).unwrap()[at] ^= flip;
        }
    }
    assert!(refused > 1000, "{refused} refused");
}
