//! A repair that is interrupted: at every operation, by the end of the process or of the power, and
//! then once more while it is repeated. The damaged directory is never lost, and the repair can be
//! had again, or is complete.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::tree::{ROOT, Tree};
use super::{open, options};
use crate::disk::inspect::{Repaired, repair_on};
use crate::disk::{DiskOptions, DiskPersister};
use crate::fs::Fs;
use crate::fs::sim::SimFs;
use crate::{Batch, Entry, EntryId, HardState, Persister, SnapshotMeta, StorageError};

type Contents = BTreeMap<String, Vec<u8>>;

const NEW_NODE: u64 = 9;
const DIR: &str = "node";
const EVIDENCE: &str = "node.damaged-1";

fn append(index: u64) -> Batch {
    let data = vec![index as u8; 900].into();
    let entry = Entry { id: EntryId::new(index, 1), tag: 1, data };
    Batch { entries: vec![entry], ..Batch::default() }
}

/// A directory with a snapshot of 4 entries and 12 more, the tenth of them damaged.
fn damaged() -> Contents {
    let fs = SimFs::new();
    let mut persister = open(&fs).unwrap();
    let hard_state = Some(HardState { current_term: 1, voted_for: Some(2) });
    persister.persist(&Batch { hard_state, ..Batch::default() }).unwrap();
    for index in 1..=16 {
        persister.persist(&append(index)).unwrap();
        if index == 4 {
            let last_included = EntryId::new(index, 1);
            let meta = SnapshotMeta { last_included, ..SnapshotMeta::default() };
            let staged = persister.snapshot_stage().write_all(meta, &[4; 100]).unwrap();
            persister.save_state_and_snapshot(&Batch::default(), staged).unwrap();
        }
    }
    drop(persister);
    let mut contents = fs.contents();
    let is_tenth = |content: &[u8]| content.windows(20).position(|bytes| bytes == [10; 20]);
    let (content, at) = contents
        .values_mut()
        .find_map(|content| is_tenth(content).map(|at| (content, at)))
        .unwrap();
    content[at] ^= 1;
    contents
}

fn repair(tree: &Tree) -> Result<Repaired, StorageError> {
    let options = DiskOptions { node_id: NEW_NODE, ..options() };
    repair_on(&(Arc::new(tree.clone()) as Arc<dyn Fs>), &Path::new(ROOT).join(DIR), &options)
}

/// Whether the repaired directory is in its place, with all that could be saved.
fn is_repaired(tree: &Tree) -> bool {
    let options = DiskOptions { node_id: NEW_NODE, ..options() };
    let dir = Path::new(ROOT).join(DIR);
    let Ok(mut persister) = DiskPersister::open_on(Arc::new(tree.after_kill()), &dir, &options)
    else {
        return false;
    };
    let found = persister.load();
    assert_eq!(found.snapshot.unwrap().meta.last_included, EntryId::new(4, 1));
    assert_eq!(found.entries, (5..10).flat_map(|index| append(index).entries).collect::<Vec<_>>());
    assert_eq!(found.hard_state, HardState { current_term: 1, voted_for: None });
    true
}

/// Checks what a crash has left: the evidence under one of its two names, as it was; and a complete
/// directory in its place, or a repair that can be had. Returns whether it was complete.
#[track_caller]
fn check(tree: &Tree, before: &Contents, context: &str) -> bool {
    let in_place = tree.contents(DIR).as_ref() == Some(before);
    let put_away = tree.contents(EVIDENCE).as_ref() == Some(before);
    assert!(in_place != put_away, "{context}: the evidence: {in_place}, {put_away}");
    let again = tree.after_kill();
    let was_complete = put_away && tree.contents(DIR).is_some();
    if was_complete {
        let error = repair(&again).unwrap_err();
        assert!(error.to_string().contains("nothing to repair"), "{context}: {error}");
    } else {
        let repaired = repair(&again).unwrap_or_else(|error| panic!("{context}: {error}"));
        assert_eq!(repaired.evidence, Path::new(ROOT).join(EVIDENCE), "{context}");
        assert_eq!(repaired.entries, Some((EntryId::new(5, 1), EntryId::new(9, 1))), "{context}");
        assert!(repaired.given_up[0].contains("entries 10 to 16"), "{context}");
    }
    assert!(is_repaired(&again), "{context}");
    assert!(again.contents(EVIDENCE).as_ref() == Some(before), "{context}: the evidence changed");
    was_complete
}

/// Interrupts a repair of what `fresh` gives before each operation, and calls `visit` with what that
/// can leave. Returns how many operations there were.
fn each_crash(fresh: impl Fn() -> Tree, seed: u64, mut visit: impl FnMut(&Tree, u64)) -> u64 {
    let mut random = fastrand::Rng::with_seed(seed);
    for operation in 0.. {
        let tree = fresh();
        tree.plan_crash(operation);
        let result = repair(&tree);
        if !tree.is_down() {
            assert!(result.is_ok() || operation == 0, "{:?}", result.err());
            return operation;
        }
        assert!(result.is_err(), "a crash is not survived");
        visit(&tree.after_kill(), operation);
        visit(&tree.after_power_cut(&mut || false), operation);
        visit(&tree.after_power_cut(&mut || true), operation);
        for first in [false, true] {
            let mut survives = !first;
            let mut every_second = || {
                survives = !survives;
                survives
            };
            visit(&tree.after_power_cut(&mut every_second), operation);
        }
        for _ in 0..2 {
            visit(&tree.after_power_cut(&mut || random.bool()), operation);
        }
    }
    unreachable!("a repair ends")
}

#[test]
fn a_repair_interrupted_anywhere_can_be_had_again_and_loses_no_evidence() {
    let before = damaged();
    let (mut states, mut complete) = (0, 0);
    let operations = each_crash(
        || Tree::holding(DIR, &before),
        1,
        |crashed, operation| {
            states += 1;
            complete += u64::from(check(crashed, &before, &format!("operation {operation}")));
        },
    );
    println!("{operations} operations, {states} states, {complete} of them complete");
    assert!(operations > 40 && complete > 0, "{operations} operations, {complete} complete");
}

#[test]
fn a_repeated_repair_may_be_interrupted_as_well() {
    let before = damaged();
    let mut random = fastrand::Rng::with_seed(2);
    let mut states = 0;
    each_crash(
        || Tree::holding(DIR, &before),
        3,
        |once, first| {
            if random.u8(..) > 12 {
                return;
            }
            each_crash(
                || once.after_kill(),
                first,
                |twice, second| {
                    states += 1;
                    check(twice, &before, &format!("operation {first}, then {second}"));
                },
            );
        },
    );
    assert!(states > 400, "{states} states");
}

#[test]
fn what_another_repair_has_left_is_not_touched() {
    let before = damaged();
    let tree = Tree::holding(DIR, &before);
    tree.plan_crash(30);
    repair(&tree).unwrap_err();
    let tree = tree.after_kill();
    let aside = tree.contents("node.repaired").unwrap();
    assert!(aside.contains_key("IDENTITY"), "it was interrupted late enough");
    let options = DiskOptions { node_id: NEW_NODE + 1, ..options() };
    let fs: Arc<dyn Fs> = Arc::new(tree.clone());
    let error = repair_on(&fs, &Path::new(ROOT).join(DIR), &options).unwrap_err();
    assert!(error.to_string().contains("left by a repair for node 9, not 10"), "{error}");
    assert!(tree.contents("node.repaired").unwrap() == aside);
    assert!(tree.contents(DIR).unwrap() == before);
}
