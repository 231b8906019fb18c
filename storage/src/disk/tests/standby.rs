//! What the current snapshot covers is not read when a directory is opened, until it is needed.

use std::path::Path;
use std::sync::Arc;

use super::restart::snapshot;
use super::{DIR, open};
use crate::disk::files::Files;
use crate::disk::format::Identity;
use crate::disk::inspect::{repair, verify};
use crate::disk::log_reader::{self, Extent};
use crate::disk::segment;
use crate::fs::sim::SimFs;
use crate::{Batch, Entry, EntryId, HardState, Persister, Recovered, StorageError};

const LAST: u64 = 60;
/// The last entries of the two snapshots that are there.
const PREVIOUS: u64 = 10;
const CURRENT: u64 = 45;

fn append(index: u64) -> Batch {
    let data = vec![index as u8; 700].into();
    let entry = Entry { id: EntryId::new(index, 1), tag: 0, data };
    Batch { entries: vec![entry], ..Batch::default() }
}

/// A log that reaches back to the previous snapshot.
fn directory() -> SimFs {
    let fs = SimFs::new();
    let mut persister = open(&fs).unwrap();
    for index in 1..=LAST {
        persister.persist(&append(index)).unwrap();
        if index == PREVIOUS + 5 {
            snapshot(&mut persister, PREVIOUS);
        }
        if index == CURRENT + 5 {
            snapshot(&mut persister, CURRENT);
        }
    }
    fs
}

/// The numbers of the segments that stand by, and of the others.
fn segments(fs: &SimFs) -> (Vec<u64>, Vec<u64>) {
    let files = Files::new(Arc::new(fs.clone()), Path::new(DIR));
    let identity = Identity { cluster_id: 0, node_id: 1 };
    let how = (true, 8192);
    let log = log_reader::read(&files, identity, None, how, Extent::WithoutStandby).unwrap();
    let closed = log.closed.iter().map(|segment| segment.head.number);
    let others = closed.chain([log.last.head.number]).collect();
    (log.standby.iter().map(|segment| segment.number).collect(), others)
}

/// `fs`, with a byte of segment `number` changed, `offset` behind the beginning of its batches.
fn damaged(fs: &SimFs, number: u64, offset: usize) -> SimFs {
    let mut contents = fs.contents();
    contents.get_mut(&segment::name(number)).unwrap()[4096 + offset] ^= 1;
    SimFs::holding(&contents)
}

fn without_current(fs: &SimFs) -> SimFs {
    let mut contents = fs.contents();
    let newest = contents.keys().rfind(|name| name.starts_with("snapshot-")).unwrap().clone();
    contents.remove(&newest);
    SimFs::holding(&contents)
}

#[track_caller]
fn assert_current(found: &Recovered) {
    assert_eq!(**found.snapshot.as_ref().unwrap(), *format!("at {CURRENT}").as_bytes());
    let indexes: Vec<u64> = found.entries.iter().map(|entry| entry.id.index).collect();
    assert_eq!(indexes, (CURRENT + 1..=LAST).collect::<Vec<_>>());
}

#[test]
fn damage_to_what_stands_by_is_found_when_that_is_needed() {
    let fs = directory();
    let (standby, others) = segments(&fs);
    assert!(standby.len() > 3 && others.len() > 2, "{standby:?} and {others:?}");
    for (number, offset) in standby.iter().flat_map(|number| [(*number, 8), (*number, 600)]) {
        let fs = damaged(&fs, number, offset);
        assert_current(&open(&fs).unwrap().load());
        // Opening has changed nothing about that.
        let error = open(&without_current(&fs)).err().expect("two things are damaged");
        let StorageError::Damaged { path, .. } = &error else { panic!("{error}") };
        assert!(path.ends_with(segment::name(number)), "{number}: {error}");
    }
    for number in others {
        assert!(open(&damaged(&fs, number, 8)).is_err(), "{number}");
    }
}

/// A directory with `node` in it, where the tools find what is on `fs`.
fn written(fs: &SimFs) -> tempfile::TempDir {
    let above = tempfile::tempdir().unwrap();
    let dir = above.path().join("node");
    std::fs::create_dir(&dir).unwrap();
    for (name, content) in fs.contents() {
        std::fs::write(dir.join(name), content).unwrap();
    }
    above
}

/// Two batches and the seal at the end of a segment are gone, so that nothing in it tells.
fn cut_short(fs: &SimFs, number: u64) -> SimFs {
    let mut contents = fs.contents();
    let content = contents.get_mut(&segment::name(number)).unwrap();
    content[4096 + 1024..].fill(0);
    SimFs::holding(&contents)
}

#[test]
fn whoever_verifies_reads_what_stands_by() {
    let fs = directory();
    for number in segments(&fs).0 {
        for damaged in [damaged(&fs, number, 600), cut_short(&fs, number)] {
            let report = verify(&written(&damaged).path().join("node")).unwrap();
            assert!(report.refusal.is_none() && report.defects.len() == 1, "{number}: {report:?}");
            assert!(report.defects[0].path.ends_with(segment::name(number)), "{report:?}");
            assert_current(&open(&damaged).unwrap().load());
        }
    }
}

/// Damage that nobody minded costs nothing when there is more.
#[test]
fn a_repair_saves_what_follows_the_snapshot() {
    let fs = directory();
    let (standby, others) = segments(&fs);
    let fs = damaged(&damaged(&fs, standby[1], 600), others[2], 8);
    let error = open(&fs).err().expect("what is needed is damaged");
    let StorageError::Damaged { path, .. } = &error else { panic!("{error}") };
    assert!(path.ends_with(segment::name(others[2])), "{error}");
    let above = written(&fs);
    let dir = above.path().join("node");
    let repaired = repair(&dir, 9).unwrap();
    assert_eq!(repaired.snapshot, Some(EntryId::new(CURRENT, 1)));
    let (first, last) = repaired.entries.expect("some follow");
    assert!(first.index == CURRENT + 1 && last.index > first.index, "{first} to {last}");
}

#[test]
fn a_vote_that_stands_by_outlives_two_openings_which_change_no_byte() {
    let fs = SimFs::new();
    let mut persister = open(&fs).unwrap();
    let vote = HardState { current_term: 7, voted_for: Some(3) };
    persister.persist(&Batch { hard_state: Some(vote), ..Batch::default() }).unwrap();
    for index in 1..=LAST {
        persister.persist(&append(index)).unwrap();
    }
    snapshot(&mut persister, CURRENT);
    for index in LAST + 1..=LAST + 10 {
        persister.persist(&append(index)).unwrap();
    }
    drop(persister);
    assert!(segments(&fs).0.contains(&1), "the first segment stands by");
    assert_eq!(open(&fs).unwrap().load().hard_state, vote);
    let once = fs.contents();
    assert_eq!(open(&fs).unwrap().load().hard_state, vote);
    assert!(fs.contents() == once);
}

#[test]
fn what_stands_by_is_there_when_it_is_needed() {
    let fs = directory();
    drop(open(&fs).unwrap());
    let found = open(&without_current(&fs)).unwrap().load();
    assert_eq!(*found.snapshot.unwrap(), *format!("at {PREVIOUS}").as_bytes());
    let indexes: Vec<u64> = found.entries.iter().map(|entry| entry.id.index).collect();
    assert_eq!(indexes, (PREVIOUS + 1..=LAST).collect::<Vec<_>>());
    let data_is_right = |entry: &Entry| *entry.data == vec![entry.id.index as u8; 700];
    assert!(found.entries.iter().all(data_is_right));
}

#[test]
fn what_stands_by_is_removed_once_nothing_needs_it() {
    let fs = directory();
    let (standby, _) = segments(&fs);
    let mut persister = open(&fs).unwrap();
    let oldest = || {
        let names = fs.contents().into_keys();
        names.filter_map(|name| segment::number_of(&name)).min().unwrap()
    };
    assert_eq!(oldest(), standby[0]);
    snapshot(&mut persister, CURRENT + 10);
    assert_eq!(oldest(), standby[standby.len() - 1] + 1);
}
