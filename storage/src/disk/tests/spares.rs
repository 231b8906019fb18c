//! The thread that prepares segments only ever helps.

use std::path::Path;
use std::sync::Arc;

use super::full::wait_until;
use super::workload::{Model, Step, perform, random_steps};
use super::{DIR, open_with, options};
use crate::Persister;
use crate::disk::DiskOptions;
use crate::disk::files::Files;
use crate::disk::spare::{SPARES_MAX, Spares};
use crate::fs::sim::{Fault, SimFs};

#[test]
fn workloads_come_out_the_same_with_spares() {
    for seed in 0..40 {
        let fs = SimFs::new();
        let options = DiskOptions { prepare_spares: true, ..options() };
        let mut persister = open_with(&fs, &options).unwrap();
        let mut model = Model::default();
        for step in random_steps(seed, 40) {
            if matches!(step, Step::Restart) {
                drop(persister);
                persister = open_with(&fs, &options).unwrap();
            } else {
                perform(&mut persister, &step).unwrap();
            }
            model = model.after(&step);
        }
        drop(persister);
        let found = open_with(&fs.after_power_cut(|| false), &options).unwrap().load();
        assert_eq!(Model::of(&found), model, "seed {seed}");
    }
}

fn files(fs: &SimFs) -> Arc<Files> {
    Arc::new(Files::new(Arc::new(fs.clone()), Path::new(DIR)))
}

#[test]
fn a_spare_without_space_comes_when_there_is_some() {
    // Creation, write, sync.
    for operation in 0..3 {
        let fs = SimFs::new();
        let mut spares = Spares::new(files(&fs), 8192);
        fs.plan(operation, Fault::Error(std::io::ErrorKind::StorageFull));
        spares.prepare(1);
        assert!(spares.take().is_none() && fs.has_failed(), "operation {operation}");
        assert!(spares.is_short());
        // There is space again, and it is found without being asked.
        wait_until("a spare", || !spares.is_short());
        let spare = spares.take().unwrap();
        assert_eq!(spare.file.read_at(0, 8192).unwrap(), [0; 8192]);
        assert!(spares.take().is_none());
    }
}

#[test]
fn a_spare_that_fails_otherwise_can_be_asked_for_again() {
    for operation in 0..3 {
        let fs = SimFs::new();
        let mut spares = Spares::new(files(&fs), 8192);
        fs.plan(operation, Fault::Error(std::io::ErrorKind::Other));
        spares.prepare(1);
        assert!(spares.take().is_none() && fs.has_failed(), "operation {operation}");
        assert!(!spares.is_short());
        spares.prepare(1);
        let spare = spares.take().unwrap();
        assert_eq!(spare.file.read_at(0, 8192).unwrap(), [0; 8192]);
    }
}

#[test]
fn what_is_lent_is_free_until_it_is_given_back() {
    let fs = SimFs::new();
    let mut spares = Spares::new(files(&fs), 8192);
    let lender = spares.lender();
    spares.prepare(2);
    wait_until("two spares", || spares.is_settled());
    spares.keep(1);
    let loans = [lender.lend(), lender.lend()];
    assert_eq!(fs.used_bytes(), 8192, "one is kept");
    assert!(spares.is_short() && spares.take().is_some() && spares.take().is_none());
    let [first, second] = loans;
    drop(first);
    assert!(spares.is_short());
    drop(second);
    wait_until("the other", || !spares.is_short());
    assert!(spares.take().is_some());
}

#[test]
fn the_space_of_a_spare_in_the_making_is_lent_too() {
    let fs = SimFs::new();
    let mut spares = Spares::new(files(&fs), 8 << 20);
    fs.set_capacity(Some(3 << 20));
    spares.prepare(1);
    wait_until("no room", || spares.is_short());
    assert_eq!(fs.used_bytes(), 3 << 20, "as much as there is");
    let loan = spares.lender().lend();
    assert_eq!(fs.used_bytes(), 0);
    fs.set_capacity(None);
    drop(loan);
    wait_until("a spare", || !spares.is_short());
    assert_eq!(spares.take().unwrap().file.len().unwrap(), 8 << 20);
}

#[test]
fn as_many_are_made_as_were_asked_for() {
    let fs = SimFs::new();
    let mut spares = Spares::new(files(&fs), 3 << 20);
    assert!(spares.take().is_none(), "none was asked for");
    spares.prepare(SPARES_MAX);
    spares.prepare(1);
    let taken: Vec<_> = (0..SPARES_MAX).map(|_| spares.take().unwrap()).collect();
    assert!(taken.iter().all(|spare| spare.file.len().unwrap() == 3 << 20));
    assert_ne!(taken[0].name, taken[1].name, "each has a name of its own");
    assert!(spares.take().is_none());
    assert_eq!(fs.contents().len(), SPARES_MAX);
}

#[test]
fn dropping_an_idle_or_a_busy_spare_ends_its_thread() {
    let files = files(&SimFs::new());
    for rounds in 0..200 {
        let mut spares = Spares::new(Arc::clone(&files), 2 << 20);
        for _ in 0..rounds % 3 {
            spares.prepare(1 + rounds % 2);
        }
        drop(spares);
        // The thread had the only other handle, and is gone.
        assert_eq!(Arc::strong_count(&files), 1);
    }
}
