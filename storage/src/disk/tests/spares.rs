//! The thread that prepares segments only ever helps.

use std::path::Path;
use std::sync::Arc;

use super::workload::{Model, Step, perform, random_steps};
use super::{DIR, open_with, options};
use crate::Persister;
use crate::disk::DiskOptions;
use crate::disk::files::Files;
use crate::disk::spare::Spare;
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

#[test]
fn a_spare_that_cannot_be_made_can_be_asked_for_again() {
    // Creation, write, sync.
    for operation in 0..3 {
        let fs = SimFs::new();
        let files = Arc::new(Files::new(Arc::new(fs.clone()), Path::new(DIR)));
        let mut spare = Spare::new(files, 8192);
        fs.plan(operation, Fault::Error(std::io::ErrorKind::StorageFull));
        spare.prepare();
        spare.wait();
        assert!(fs.has_failed() && spare.take().is_none(), "operation {operation}");
        spare.prepare();
        spare.wait();
        let file = spare.take().unwrap();
        assert_eq!(file.read_at(0, 8192).unwrap(), [0; 8192]);
        assert!(spare.take().is_none());
    }
}

#[test]
fn dropping_an_idle_or_a_busy_spare_ends_its_thread() {
    let fs = SimFs::new();
    let files = Arc::new(Files::new(Arc::new(fs), Path::new(DIR)));
    for rounds in 0..200 {
        let mut spare = Spare::new(Arc::clone(&files), 1 << 20);
        for _ in 0..rounds % 3 {
            spare.prepare();
        }
        assert!(spare.take().is_none_or(|file| file.len().unwrap() == 1 << 20));
        drop(spare);
        // The thread had the only other handle, and is gone.
        assert_eq!(Arc::strong_count(&files), 1);
    }
}
