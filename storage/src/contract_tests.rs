//! The suite that every persister passes: in memory, on a real directory, and on a simulated disk
//! that loses its power whenever it is opened anew.

use std::sync::Arc;

use crate::disk::tests::{open, options};
use crate::fs::sim::SimFs;
use crate::{
    Batch, DiskPersister, Entry, EntryId, HardState, MemoryPersister, Persister, Recovered,
    SnapshotMeta,
};

/// A place where durable state survives from one persister to the next.
trait Home {
    /// Opens it. The persister opened before, if any, is gone.
    fn open(&mut self) -> Box<dyn Persister>;
}

impl Home for MemoryPersister {
    fn open(&mut self) -> Box<dyn Persister> {
        *self = self.copy();
        Box::new(self.clone())
    }
}

impl Home for tempfile::TempDir {
    fn open(&mut self) -> Box<dyn Persister> {
        Box::new(DiskPersister::open(self.path(), options()).unwrap())
    }
}

impl Home for SimFs {
    fn open(&mut self) -> Box<dyn Persister> {
        *self = self.after_power_cut(|| false);
        Box::new(open(self).unwrap())
    }
}

fn entry(index: u64, term: u64) -> Entry {
    let data = format!("entry {index} of term {term}").into_bytes();
    Entry { id: EntryId::new(index, term), tag: (index % 3) as u8, data: data.into() }
}

fn entries(ids: &[(u64, u64)]) -> Vec<Entry> {
    ids.iter().map(|(index, term)| entry(*index, *term)).collect()
}

fn append(ids: &[(u64, u64)]) -> Batch {
    Batch { entries: entries(ids), ..Batch::default() }
}

fn vote(current_term: u64, voted_for: Option<u64>) -> Batch {
    Batch { hard_state: Some(HardState { current_term, voted_for }), ..Batch::default() }
}

fn snapshot(persister: &mut dyn Persister, batch: &Batch, id: (u64, u64), content: &[u8]) {
    let configuration = Arc::from(format!("members at {}", id.0).into_bytes());
    let meta = SnapshotMeta { last_included: EntryId::new(id.0, id.1), configuration };
    let staged = persister.snapshot_stage().write_all(meta, content).unwrap();
    let snapshot = persister.save_state_and_snapshot(batch, staged).unwrap();
    assert_eq!(&*snapshot, content);
}

/// Opens twice, so that what one opening changes is seen by the next, and returns what was found.
#[track_caller]
fn reopened(home: &mut dyn Home, old: Box<dyn Persister>) -> (Recovered, Box<dyn Persister>) {
    let size = old.raft_state_bytes();
    drop(old);
    drop(home.open());
    let mut persister = home.open();
    assert_eq!(persister.raft_state_bytes(), size, "the logical size survives");
    (persister.load(), persister)
}

fn starts_empty(home: &mut dyn Home) {
    let mut persister = home.open();
    let found = persister.load();
    assert_eq!(found.hard_state, HardState::default());
    assert!(found.snapshot.is_none() && found.entries.is_empty());
    let (found, _) = reopened(home, persister);
    assert!(found.snapshot.is_none() && found.entries.is_empty());
}

fn keeps_what_it_was_given(home: &mut dyn Home) {
    let mut persister = home.open();
    persister.persist(&vote(1, Some(3))).unwrap();
    persister.persist(&append(&[(1, 1), (2, 1)])).unwrap();
    persister.persist(&Batch { entries: entries(&[(3, 4)]), ..vote(4, None) }).unwrap();
    let (found, _) = reopened(home, persister);
    assert_eq!(found.hard_state, HardState { current_term: 4, voted_for: None });
    assert_eq!(found.entries, entries(&[(1, 1), (2, 1), (3, 4)]));
}

fn truncates_before_it_appends(home: &mut dyn Home) {
    let mut persister = home.open();
    persister.persist(&append(&[(1, 1), (2, 1), (3, 1)])).unwrap();
    persister.persist(&Batch { truncate_from: Some(2), ..append(&[(2, 2)]) }).unwrap();
    persister.persist(&Batch { truncate_from: Some(9), ..Batch::default() }).unwrap();
    let (found, mut persister) = reopened(home, persister);
    assert_eq!(found.entries, entries(&[(1, 1), (2, 2)]));
    persister.persist(&Batch { truncate_from: Some(1), ..Batch::default() }).unwrap();
    let (found, _) = reopened(home, persister);
    assert_eq!(found.entries, []);
}

fn an_empty_batch_changes_nothing(home: &mut dyn Home) {
    let mut persister = home.open();
    persister.persist(&Batch::default()).unwrap();
    let (found, _) = reopened(home, persister);
    assert_eq!(found.hard_state, HardState::default());
}

fn a_snapshot_takes_over_the_log_it_covers(home: &mut dyn Home) {
    let mut persister = home.open();
    persister.persist(&append(&[(1, 1), (2, 1), (3, 1)])).unwrap();
    let batch = Batch { entries: entries(&[(4, 2)]), ..vote(2, Some(1)) };
    snapshot(&mut *persister, &batch, (2, 1), b"state at 2");
    let (found, mut persister) = reopened(home, persister);
    let found_snapshot = found.snapshot.unwrap();
    assert_eq!(&*found_snapshot, b"state at 2");
    assert_eq!(found_snapshot.meta.last_included, EntryId::new(2, 1));
    assert_eq!(&*found_snapshot.meta.configuration, b"members at 2");
    assert_eq!(found.entries, entries(&[(3, 1), (4, 2)]));
    assert_eq!(found.hard_state.current_term, 2);
    // One that covers everything leaves the log empty, and the next entry goes behind it.
    snapshot(&mut *persister, &Batch::default(), (4, 2), &vec![9; 200_000]);
    persister.persist(&append(&[(5, 2)])).unwrap();
    let (found, _) = reopened(home, persister);
    assert_eq!(*found.snapshot.unwrap(), *vec![9; 200_000]);
    assert_eq!(found.entries, entries(&[(5, 2)]));
    assert_eq!(&*found_snapshot, b"state at 2", "a replaced snapshot stays readable");
}

fn a_snapshot_of_another_history_drops_the_log(home: &mut dyn Home) {
    for id in [(2, 9), (7, 9)] {
        let mut persister = home.open();
        let next = persister.load().snapshot.map_or(1, |found| found.meta.last_included.index + 1);
        persister.persist(&append(&[(next, 10), (next + 1, 10)])).unwrap();
        snapshot(&mut *persister, &vote(9, None), id, b"");
        let (found, mut persister) = reopened(home, persister);
        assert_eq!(found.entries, []);
        assert!(found.snapshot.unwrap().is_empty());
        persister.persist(&append(&[(id.0 + 1, 9)])).unwrap();
        let (found, mut persister) = reopened(home, persister);
        assert_eq!(found.entries, entries(&[(id.0 + 1, 9)]));
        persister.persist(&Batch { truncate_from: Some(id.0 + 1), ..Batch::default() }).unwrap();
    }
}

fn the_batch_comes_before_the_snapshot(home: &mut dyn Home) {
    let mut persister = home.open();
    persister.persist(&append(&[(1, 1), (2, 1)])).unwrap();
    // The last included entry is in the batch itself, in place of another one.
    let batch = Batch { truncate_from: Some(2), ..append(&[(2, 3), (3, 3)]) };
    snapshot(&mut *persister, &batch, (2, 3), b"s");
    let (found, mut persister) = reopened(home, persister);
    assert_eq!(found.entries, entries(&[(3, 3)]));
    // The batch cuts the last included entry away: another history, so the log goes.
    let batch = Batch { truncate_from: Some(3), ..Batch::default() };
    snapshot(&mut *persister, &batch, (3, 3), b"t");
    persister.persist(&append(&[(4, 4)])).unwrap();
    let (found, _) = reopened(home, persister);
    assert_eq!(found.entries, entries(&[(4, 4)]));
}

fn what_is_staged_and_not_saved_leaves_no_trace(home: &mut dyn Home) {
    let mut persister = home.open();
    persister.persist(&append(&[(1, 1)])).unwrap();
    let stage = persister.snapshot_stage();
    let meta = SnapshotMeta { last_included: EntryId::new(1, 1), ..SnapshotMeta::default() };
    let mut unfinished = stage.begin(meta.clone()).unwrap();
    unfinished.write(b"half").unwrap();
    assert_eq!(unfinished.len_bytes(), 4);
    let unused = stage.write_all(meta, b"whole").unwrap();
    let (found, _) = reopened(home, persister);
    assert!(found.snapshot.is_none());
    drop((unfinished, unused));
}

fn survives_many_openings(home: &mut dyn Home) {
    let mut persister = home.open();
    for index in 1..=60 {
        persister.persist(&append(&[(index, index / 7)])).unwrap();
        if index % 13 == 0 {
            snapshot(&mut *persister, &Batch::default(), (index - 3, (index - 3) / 7), b"s");
        }
        if index % 5 == 0 {
            let (found, next) = reopened(home, persister);
            assert_eq!(found.entries.last(), Some(&entry(index, index / 7)));
            let base = found.snapshot.map_or(0, |found| found.meta.last_included.index);
            assert_eq!(found.entries.len() as u64, index - base);
            persister = next;
        }
    }
}

fn a_wrong_batch_panics_and_changes_nothing(home: &mut dyn Home) {
    let mut persister = home.open();
    persister.persist(&append(&[(1, 1)])).unwrap();
    let wrong = Batch { entries: entries(&[(2, 1), (4, 1)]), ..vote(7, None) };
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = persister.persist(&wrong);
    }));
    assert!(panic.is_err());
    let (found, _) = reopened(home, persister);
    assert_eq!(found.entries, entries(&[(1, 1)]));
    assert_eq!(found.hard_state.current_term, 0);
}

macro_rules! contract {
    ($($test:ident)*) => {
        mod memory { $(#[test] fn $test() {
            super::$test(&mut super::MemoryPersister::new());
        })* }
        mod real_disk { $(#[test] fn $test() {
            super::$test(&mut tempfile::tempdir().unwrap());
        })* }
        mod forgetful_disk { $(#[test] fn $test() {
            super::$test(&mut super::SimFs::new());
        })* }
    };
}

contract! {
    starts_empty
    keeps_what_it_was_given
    truncates_before_it_appends
    an_empty_batch_changes_nothing
    a_snapshot_takes_over_the_log_it_covers
    a_snapshot_of_another_history_drops_the_log
    the_batch_comes_before_the_snapshot
    what_is_staged_and_not_saved_leaves_no_trace
    survives_many_openings
    a_wrong_batch_panics_and_changes_nothing
}
