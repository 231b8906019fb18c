//! Whose directory it is, and who may open it: on real directories.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::options;
use crate::disk::{DiskOptions, DiskPersister, Identity};
use crate::{Batch, Entry, EntryId, Persister, SnapshotMeta, StorageError};

fn append(index: u64) -> Batch {
    let entry = Entry { id: EntryId::new(index, 1), tag: 0, data: [5; 50][..].into() };
    Batch { entries: vec![entry], ..Batch::default() }
}

fn contents(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    fs::read_dir(dir)
        .unwrap()
        .map(|item| item.unwrap())
        .map(|item| (item.file_name().into_string().unwrap(), fs::read(item.path()).unwrap()))
        .collect()
}

#[test]
fn a_second_opener_is_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let first = DiskPersister::open(dir.path(), options()).unwrap();
    let error = DiskPersister::open(dir.path(), options()).err().unwrap();
    assert!(matches!(error, StorageError::InUse { .. }), "{error}");
    let text = error.to_string();
    let owner = format!("process {} (node 1)", std::process::id());
    assert!(text.contains(&owner) && text.contains(dir.path().to_str().unwrap()), "{text}");
    drop(first);
    DiskPersister::open(dir.path(), options()).unwrap();
}

#[test]
fn another_nodes_directory_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let ours = DiskOptions { cluster_id: Some(7), ..options() };
    let mut persister = DiskPersister::open(dir.path(), ours.clone()).unwrap();
    persister.persist(&append(1)).unwrap();
    drop(persister);
    let before = contents(dir.path());
    for (options, what) in [
        (DiskOptions { node_id: 2, ..ours.clone() }, "made for node 1, opened for node 2"),
        (DiskOptions { cluster_id: Some(8), ..ours }, "made for cluster 7, opened for 8"),
    ] {
        let error = DiskPersister::open(dir.path(), options).err().unwrap();
        assert!(matches!(error, StorageError::Foreign { .. }), "{error}");
        assert!(error.to_string().contains(what), "{error}");
    }
    assert_eq!(contents(dir.path()), before);
    let stored = Identity { cluster_id: 7, node_id: 1 };
    assert_eq!(DiskPersister::read_identity(dir.path()).unwrap(), Some(stored));
    let persister = DiskPersister::open(dir.path(), options()).unwrap();
    assert_eq!((persister.cluster_id(), persister.identity()), (7, stored));
}

#[test]
fn a_directory_is_made_with_its_parents() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/b/c");
    assert_eq!(DiskPersister::read_identity(&path).unwrap(), None);
    DiskPersister::open(&path, options()).unwrap().persist(&append(1)).unwrap();
    let found = DiskPersister::open(&path, options()).unwrap().load();
    assert_eq!(found.entries.len(), 1);
}

#[test]
fn somebody_elses_files_are_not_a_new_directory() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("thesis.tex"), "x").unwrap();
    let error = DiskPersister::open(dir.path(), options()).err().unwrap();
    assert!(error.to_string().contains("thesis.tex"), "{error}");
    assert_eq!(fs::read(dir.path().join("thesis.tex")).unwrap(), b"x");
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    DiskPersister::open(dir.path(), options()).unwrap();
    let path = dir.path().join("IDENTITY");
    let mut block = fs::read(&path).unwrap();
    block[12] = 9;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&block[..8]);
    hasher.update(&block[12..]);
    block[8..12].copy_from_slice(&hasher.finalize().to_le_bytes());
    fs::write(&path, &block).unwrap();
    let before = contents(dir.path());
    let error = DiskPersister::open(dir.path(), options()).err().unwrap();
    assert!(matches!(error, StorageError::Foreign { .. }), "{error}");
    assert!(error.to_string().contains("format 9 is newer"), "{error}");
    assert_eq!(contents(dir.path()), before);
}

/// The usual options, spare thread and memory map included, with enough data to rotate.
#[test]
fn the_usual_options_rotate_snapshot_and_reopen() {
    let dir = tempfile::tempdir().unwrap();
    let options = DiskOptions { segment_bytes: 1 << 20, ..DiskOptions::new(1) };
    let mut persister = DiskPersister::open(dir.path(), options.clone()).unwrap();
    let entry = |index| Entry {
        id: EntryId::new(index, 1),
        tag: 0,
        data: vec![index as u8; 100_000].into(),
    };
    for index in 1..=40 {
        let batch = Batch { entries: vec![entry(index)], ..Batch::default() };
        persister.persist(&batch).unwrap();
        if index % 15 == 0 {
            let last_included = EntryId::new(index - 2, 1);
            let meta = SnapshotMeta { last_included, ..SnapshotMeta::default() };
            let staged = persister.snapshot_stage().write_all(meta, &vec![3; 150_000]).unwrap();
            persister.save_state_and_snapshot(&Batch::default(), staged).unwrap();
        }
    }
    // One batch longer than a segment.
    let long = Entry { data: vec![1; 3 << 20].into(), ..entry(41) };
    persister.persist(&Batch { entries: vec![long], ..Batch::default() }).unwrap();
    drop(persister);
    let names: Vec<String> = contents(dir.path()).into_keys().collect();
    assert!(!names.iter().any(|name| name.starts_with("wal-00000000000000000001")), "{names:?}");
    let found = DiskPersister::open(dir.path(), options).unwrap().load();
    let snapshot = found.snapshot.unwrap();
    assert_eq!(snapshot.meta.last_included.index, 28);
    assert_eq!(*snapshot, *vec![3; 150_000]);
    assert_eq!(found.entries.len(), 13);
    assert_eq!(found.entries[11], entry(40));
    assert_eq!(found.entries[12].data.len(), 3 << 20);
}
