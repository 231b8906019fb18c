//! What a repair saves, what it says, and what it never touches.

use std::fs;
use std::path::Path;

use super::inspect::{contents, directory, flip, place_of};
use super::options;
use crate::disk::inspect::{repair, verify};
use crate::disk::{DiskOptions, DiskPersister};
use crate::{EntryId, Persister, Recovered, StorageError};

fn opened(dir: &Path, node_id: u64) -> Recovered {
    DiskPersister::open(dir, DiskOptions { node_id, ..options() }).unwrap().load()
}

/// A damaged directory in a parent of its own, so that what is beside it can be seen.
fn damaged(index: u64) -> (tempfile::TempDir, std::path::PathBuf) {
    let parent = tempfile::tempdir().unwrap();
    let made = directory();
    let (path, offset) = place_of(made.path(), index);
    flip(&path, offset + 300);
    let dir = parent.path().join("node");
    fs::rename(made.path(), &dir).unwrap();
    (parent, dir)
}

#[test]
fn everything_before_the_damage_is_saved_for_a_new_node() {
    let (parent, dir) = damaged(33);
    let before: Vec<_> = contents(&dir).into_values().collect();
    let repaired = repair(&dir, 9).unwrap();
    assert_eq!(repaired.evidence, parent.path().join("node.damaged-1"));
    assert_eq!(repaired.snapshot, Some(EntryId::new(20, 1)));
    assert_eq!(repaired.entries, Some((EntryId::new(21, 1), EntryId::new(32, 1))));
    assert!(repaired.given_up[0].contains("entries 33 to 40"), "{:?}", repaired.given_up);
    let votes = |line: &String| line.contains("votes of the old node id");
    assert!(repaired.given_up.iter().any(votes), "{:?}", repaired.given_up);
    assert!(contents(&repaired.evidence).into_values().collect::<Vec<_>>() == before);
    assert!(verify(&dir).unwrap().is_clean());
    let error = DiskPersister::open(&dir, options()).err().unwrap();
    assert!(error.to_string().contains("made for node 9"), "{error}");
    let found = opened(&dir, 9);
    assert_eq!((found.hard_state.current_term, found.hard_state.voted_for), (2, None));
    assert_eq!(found.entries.len(), 12);
    assert_eq!(*found.entries[0].data, [21; 400]);
    assert_eq!(*found.snapshot.unwrap(), *vec![7; 70_000]);
}

#[test]
fn without_a_good_snapshot_an_older_one_and_more_of_the_log_are_saved() {
    let (_parent, dir) = damaged(33);
    flip(&dir.join("snapshot-00000000000000000020-00000000000000000001.snap"), 5000);
    let repaired = repair(&dir, 9).unwrap();
    assert_eq!(repaired.snapshot, Some(EntryId::new(10, 1)));
    assert_eq!(repaired.entries, Some((EntryId::new(11, 1), EntryId::new(32, 1))));
    assert_eq!(opened(&dir, 9).entries.len(), 22);
}

#[test]
fn what_need_not_or_must_not_be_repaired_is_left_alone() {
    let good = directory();
    let before = contents(good.path());
    let error = repair(good.path(), 9).unwrap_err();
    assert!(error.to_string().contains("nothing to repair"), "{error}");
    assert!(contents(good.path()) == before);

    let (_parent, dir) = damaged(33);
    let before = contents(&dir);
    let error = repair(&dir, 1).unwrap_err();
    assert!(error.to_string().contains("new id"), "{error}");
    assert!(contents(&dir) == before);

    for name in contents(&dir).into_keys() {
        let is_snapshot = name.extension().is_some_and(|extension| extension == "snap");
        if is_snapshot || name.ends_with("wal-00000000000000000001.log") {
            fs::remove_file(name).unwrap();
        }
    }
    let error = repair(&dir, 9).unwrap_err();
    assert!(matches!(error, StorageError::Foreign { .. }), "{error}");
    assert!(error.to_string().contains("start a new node"), "{error}");
}
