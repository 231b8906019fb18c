//! The tools name what is wrong, all of it, in the words of a node that refuses to start; and they
//! change nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::options;
use crate::disk::DiskPersister;
use crate::disk::inspect::{Record, dump, inspect_snapshot, verify};
use crate::{Batch, Entry, EntryId, HardState, Persister, SnapshotMeta, StorageError};

pub(super) fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let names = fs::read_dir(dir).unwrap().map(|item| item.unwrap().path());
    names.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// A directory with 40 entries of 400 bytes, snapshots at 10 and 20, and a vote in term 2.
pub(super) fn directory() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut persister = DiskPersister::open(dir.path(), options()).unwrap();
    for index in 1..=40 {
        let entry =
            Entry { id: EntryId::new(index, 1), tag: 3, data: vec![index as u8; 400].into() };
        persister.persist(&Batch { entries: vec![entry], ..Batch::default() }).unwrap();
        if index == 10 || index == 20 {
            let meta =
                SnapshotMeta { last_included: EntryId::new(index, 1), ..SnapshotMeta::default() };
            let staged = persister.snapshot_stage().write_all(meta, &vec![7; 70_000]).unwrap();
            persister.save_state_and_snapshot(&Batch::default(), staged).unwrap();
        }
        if index == 30 {
            let hard_state = Some(HardState { current_term: 2, voted_for: Some(3) });
            persister.persist(&Batch { hard_state, ..Batch::default() }).unwrap();
        }
    }
    dir
}

/// The segment that holds entry `index`, and where its batch begins.
pub(super) fn place_of(dir: &Path, index: u64) -> (PathBuf, u64) {
    let mut place = None;
    let mut batch = (0, 0);
    dump(dir, &mut |record| match record {
        Record::Batch { segment, offset, .. } => batch = (*segment, *offset),
        Record::Entry { id, .. } if id.index == index => place = Some(batch),
        _ => {}
    })
    .unwrap();
    let (segment, offset) = place.expect("the log has it");
    (dir.join(format!("wal-{segment:020}.log")), offset)
}

pub(super) fn flip(path: &Path, at: u64) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at as usize] ^= 1;
    let mut permissions = fs::metadata(path).unwrap().permissions();
    #[expect(clippy::permissions_set_readonly_false, reason = "a file in a directory of our own")]
    permissions.set_readonly(false);
    fs::set_permissions(path, permissions).unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_good_directory_is_summed_up_and_left_alone() {
    let dir = directory();
    let before = contents(dir.path());
    let report = verify(dir.path()).unwrap();
    assert!(report.is_clean() && report.notes.is_empty(), "{report:?}");
    let summary = report.summary.unwrap();
    assert_eq!(summary.hard_state, HardState { current_term: 2, voted_for: Some(3) });
    assert_eq!(summary.snapshot, Some((EntryId::new(20, 1), 70_000)));
    assert_eq!((summary.entry_count, summary.last), (20, EntryId::new(40, 1)));
    assert!(contents(dir.path()) == before);
}

#[test]
fn a_flipped_bit_is_named_in_the_words_of_the_node() {
    let dir = directory();
    let (path, offset) = place_of(dir.path(), 23);
    flip(&path, offset + 300);
    let before = contents(dir.path());
    let report = verify(dir.path()).unwrap();
    let refused = report.refusal.as_ref().unwrap().to_string();
    for part in [path.to_str().unwrap(), &format!("offset {offset}"), "entries 23@1 to 23@1"] {
        assert!(refused.contains(part), "{refused}");
    }
    assert_eq!(report.defects.len(), 1, "{:?}", report.defects);
    assert!(refused.starts_with(&report.defects[0].to_string()), "{refused}");
    assert!(contents(dir.path()) == before, "verify changes nothing");
    let error = DiskPersister::open(dir.path(), options()).err().unwrap();
    assert_eq!(error.to_string(), refused);
}

#[test]
fn every_defect_is_named_not_only_the_first() {
    let dir = directory();
    // At least two of the first three are in one segment.
    let places = [21, 22, 23, 33, 38].map(|index| place_of(dir.path(), index));
    for (path, offset) in &places {
        flip(path, offset + 200);
    }
    // A header, a piece of a snapshot, and a slot.
    let (path, offset) = place_of(dir.path(), 29);
    flip(&path, offset + 20);
    let snapshot = dir.path().join("snapshot-00000000000000000020-00000000000000000001.snap");
    flip(&snapshot, 4096 + 65536 + 9);
    flip(&dir.path().join("VOTE"), 4096 + 40);
    let report = verify(dir.path()).unwrap();
    let found: Vec<_> = report.defects.iter().map(|found| (&found.path, found.offset)).collect();
    let vote = dir.path().join("VOTE");
    for (path, offset) in
        places.iter().chain([&(path, offset), &(snapshot.clone(), 4096 + 65536), &(vote, 4096)])
    {
        assert!(found.contains(&(path, *offset)), "{path:?} {offset} is not among {found:?}");
    }
    assert_eq!(found.len(), 8, "{:?}", report.defects);
    let report = inspect_snapshot(&snapshot).unwrap();
    assert_eq!(report.last_included, Some(EntryId::new(20, 1)));
    assert_eq!((report.content_bytes, report.defects.len()), (Some(70_000), 1));
}

/// Bits all over the directory, in every file but the lock. Only in the room that is left at the end
/// of the log a single bit may look like the rest of a write that was cut short; that is told as well.
#[test]
fn no_flipped_bit_escapes() {
    let dir = directory();
    let mut tried = 0;
    // One batch takes two sectors.
    let (path, offset) = place_of(dir.path(), 40);
    let last = (path, offset + 1024);
    for (path, bytes) in contents(dir.path()) {
        if path.ends_with("LOCK") {
            continue;
        }
        for bit in (0..bytes.len() * 8).step_by(4999) {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            flip(&path, 0);
            fs::write(&path, &damaged).unwrap();
            let report = verify(dir.path()).unwrap();
            let is_at_end = path == last.0 && bit as u64 / 8 >= last.1;
            if is_at_end && report.is_clean() {
                assert!(report.notes[0].contains(path.to_str().unwrap()), "{report:?}");
            } else {
                let names_it = |defect: &crate::inspect::Defect| defect.path == path;
                assert!(report.defects.iter().any(names_it), "{path:?}, bit {bit}: {report:?}");
            }
            fs::write(&path, &bytes).unwrap();
            tried += 1;
        }
    }
    assert!(verify(dir.path()).unwrap().is_clean());
    assert!(tried > 300, "{tried} bits");
}

#[test]
fn a_write_cut_short_is_no_defect() {
    let dir = directory();
    let (path, offset) = place_of(dir.path(), 40);
    let mut bytes = fs::read(&path).unwrap();
    bytes[offset as usize + 100..].fill(0);
    fs::write(&path, bytes).unwrap();
    let report = verify(dir.path()).unwrap();
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(report.summary.unwrap().last, EntryId::new(39, 1));
    assert!(report.notes.iter().any(|note| note.contains("cut short")), "{:?}", report.notes);
}

#[test]
fn a_directory_in_use_or_of_nobody_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let error = verify(dir.path()).unwrap_err();
    assert!(matches!(error, StorageError::Foreign { .. }), "{error}");
    let error = verify(&dir.path().join("nothing")).unwrap_err();
    assert!(matches!(error, StorageError::Io { .. }), "{error}");
    let persister = DiskPersister::open(dir.path(), options()).unwrap();
    for error in [verify(dir.path()).err(), dump(dir.path(), &mut |_| {}).err()] {
        let error = error.unwrap().to_string();
        assert!(error.contains(&format!("process {} (node 1)", std::process::id())), "{error}");
    }
    drop(persister);
    assert!(verify(dir.path()).unwrap().is_clean());
}

#[test]
fn a_dump_has_everything_in_order() {
    let dir = directory();
    let mut records = Vec::new();
    dump(dir.path(), &mut |record| records.push(record.clone())).unwrap();
    let entries: Vec<u64> = records
        .iter()
        .filter_map(|record| match record {
            Record::Entry { id, tag: 3, len_bytes: 400, .. } => Some(id.index),
            _ => None,
        })
        .collect();
    assert_eq!(*entries.last().unwrap(), 40);
    assert!(entries.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{entries:?}");
    assert_eq!(records[0], Record::Identity { cluster_id: 0, node_id: 1 });
    let text: Vec<String> = records.iter().map(ToString::to_string).collect();
    assert!(text.iter().any(|line| line.contains("term 2, vote for 3")), "{text:?}");
    assert!(text.iter().any(|line| line.contains("snapshot 20@1 is current")), "{text:?}");
    assert!(
        text.iter().any(|line| line.contains(r#"30@1 tag 3, 400 bytes "\x1e\x1e"#)),
        "{text:?}"
    );
}
