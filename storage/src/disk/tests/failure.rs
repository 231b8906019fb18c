//! Failing operations: the first error is the last thing the engine does.

use std::io;

use super::open;
use super::workload::{Model, Step, perform, random_steps, run};
use crate::disk::DiskPersister;
use crate::fs::sim::{Fault, SimFs};
use crate::{Batch, Entry, EntryId, HardState, Persister, StorageError};

fn append(index: u64) -> Batch {
    let entry = Entry { id: EntryId::new(index, 1), tag: 0, data: [5; 50][..].into() };
    Batch { entries: vec![entry], ..Batch::default() }
}

#[test]
fn an_append_costs_one_sync_and_a_vote_two() {
    let fs = SimFs::new();
    let mut persister = open(&fs).unwrap();
    let mut cost = |batch: &Batch| {
        let before = fs.syncs();
        persister.persist(batch).unwrap();
        fs.syncs() - before
    };
    assert_eq!(cost(&append(1)), 1);
    let hard_state = Some(HardState { current_term: 1, voted_for: Some(1) });
    assert_eq!(cost(&Batch { hard_state, ..append(2) }), 2);
    assert_eq!(cost(&Batch { hard_state, ..append(3) }), 1, "nothing new is said");
    assert_eq!(cost(&Batch::default()), 0);
}

#[test]
fn after_the_first_error_nothing_is_tried_again() {
    let faults = [
        Fault::Error(io::ErrorKind::Other),
        Fault::Error(io::ErrorKind::StorageFull),
        Fault::Short,
    ];
    let steps: Vec<Step> =
        random_steps(4, 40).into_iter().filter(|step| !matches!(step, Step::Restart)).collect();
    let mut failures = 0;
    for fault in faults {
        for operation in 0.. {
            fastrand::seed(1);
            let fs = SimFs::new();
            let mut persister = open(&fs).unwrap();
            fs.plan(operation, fault);
            let mut acked = Model::default();
            let mut failed = None;
            for step in &steps {
                match perform(&mut persister, step) {
                    Ok(()) => acked = acked.after(step),
                    Err(error) => {
                        failed = Some((error, step));
                        break;
                    }
                }
            }
            let Some((error, step)) = failed else {
                assert!(operation > 100 || fault != faults[0], "the workload does something");
                if !fs.has_failed() {
                    break;
                }
                continue;
            };
            failures += 1;
            if matches!(error, StorageError::NoSpace { .. }) {
                // Nothing was changed, so the same can be done now that there is space.
                perform(&mut persister, step).unwrap();
                check_found(&fs, step, &acked.after(step));
                continue;
            }
            assert!(matches!(error, StorageError::Io { .. }), "{error}");
            check_dead(&fs, &mut persister, step, &acked);
        }
    }
    assert!(failures > 300, "{failures} failures");
}

/// The engine refuses everything, touches nothing, and a restart finds what was acknowledged.
fn check_dead(fs: &SimFs, persister: &mut DiskPersister, step: &Step, acked: &Model) {
    // Snapshots are written aside, where no promise depends on them: that is no reason to die.
    let is_alive =
        matches!(step, Step::Snapshot(..)) && persister.persist(&Batch::default()).is_ok();
    if !is_alive {
        let before = fs.operations();
        let next = append(acked.last().index + 1);
        let error = persister.persist(&next).unwrap_err();
        assert!(matches!(error, StorageError::Latched(_)), "{error}");
        assert_eq!(fs.operations(), before, "nothing is touched after an error");
        let tried = fs.after_failure();
        assert!(tried.iter().all(|what| *what == "unlink"), "after the error: {tried:?}");
    }
    check_found(fs, step, acked);
}

/// A restart finds what was acknowledged, with or without `step`.
fn check_found(fs: &SimFs, step: &Step, acked: &Model) {
    for fs in [fs.after_power_cut(|| false), fs.after_power_cut(|| true), fs.after_kill()] {
        let found = Model::of(&open(&fs).unwrap().load());
        assert!(found == *acked || found == acked.after(step), "found {found:?} after {acked:?}");
        let later = open(&fs.after_power_cut(|| false)).unwrap().load();
        assert_eq!(Model::of(&later), found, "what was found was durable");
    }
}

#[test]
fn a_failed_sync_is_not_forgotten_by_a_restart() {
    // The pages of a failed sync stay readable, and no later sync writes them.
    let fs = SimFs::new();
    let mut persister = open(&fs).unwrap();
    persister.persist(&append(1)).unwrap();
    fs.plan(1, Fault::Error(io::ErrorKind::Other));
    persister.persist(&append(2)).unwrap_err();
    drop(persister);
    let restarted = fs.after_kill();
    let found = open(&restarted).unwrap().load();
    assert_eq!(found.entries.len(), 2, "the entry can be read");
    let found = open(&restarted.after_power_cut(|| false)).unwrap().load();
    assert_eq!(found.entries.len(), 2, "and once it was vouched for, it is durable");
}

#[test]
fn a_read_that_fails_is_neither_damage_nor_the_end_of_the_log() {
    let reference = SimFs::new();
    let expected = run(&reference, &random_steps(4, 40)).acked;
    let before = reference.contents();
    for count in 0.. {
        let fs = reference.after_kill();
        fs.plan_read_error(count);
        let opened = open(&fs).map(|mut persister| Model::of(&persister.load()));
        if !fs.has_failed() {
            assert_eq!(opened.unwrap(), expected);
            assert!(count >= 10, "{count} reads");
            break;
        }
        let error = opened.unwrap_err();
        assert!(matches!(error, StorageError::Io { .. }), "read {count}: {error}");
        assert!(fs.contents() == before, "read {count}: nothing is changed");
    }
}

#[test]
fn an_opening_that_fails_can_be_repeated() {
    let faults = [Fault::Error(io::ErrorKind::Other), Fault::Short];
    for (fault, seed) in faults.into_iter().flat_map(|fault| (0..12).map(move |seed| (fault, seed)))
    {
        let reference = SimFs::new();
        let expected = run(&reference, &random_steps(seed, 30)).acked;
        for operation in 0.. {
            let fs = reference.after_kill();
            fs.plan(operation, fault);
            let failed = open(&fs).is_err();
            if !fs.has_failed() {
                break;
            }
            assert!(failed, "seed {seed}: operation {operation} failed unnoticed");
            for fs in [fs.after_kill(), fs.after_power_cut(|| false), fs.after_power_cut(|| true)] {
                let found = Model::of(&open(&fs).unwrap().load());
                assert_eq!(found, expected, "seed {seed}, operation {operation}");
                let later = open(&fs.after_power_cut(|| false)).unwrap().load();
                assert_eq!(Model::of(&later), expected, "seed {seed}, operation {operation}");
            }
        }
    }
}
