//! Segments that the log has done with are used again, as they are, and never before a crash can no
//! longer bring them back.

use std::path::Path;
use std::sync::Arc;

use super::full::wait_until;
use super::workload::{Model, run_with};
use super::{DIR, open, open_with, options};
use crate::disk::files::Files;
use crate::disk::format::SectorSums;
use crate::disk::spare::Spares;
use crate::disk::{DiskOptions, DiskPersister};
use crate::fs::OpenMode;
use crate::fs::sim::{Fault, SimFs};
use crate::{Batch, Entry, EntryId, Persister, SnapshotMeta};

use super::workload::{Step, random_steps};

fn with_spares() -> DiskOptions {
    DiskOptions { prepare_spares: true, ..options() }
}

fn used(fs: &SimFs) -> usize {
    fs.contents().keys().filter(|name| name.starts_with("used-")).count()
}

/// Appends `count` entries that fill a quarter of a segment each.
fn append(persister: &mut DiskPersister, last: &mut u64, count: u64) {
    for _ in 0..count {
        *last += 1;
        let entry =
            Entry { id: EntryId::new(*last, 1), tag: 0, data: vec![*last as u8; 900].into() };
        persister.persist(&Batch { entries: vec![entry], ..Batch::default() }).unwrap();
    }
}

fn snapshot(persister: &mut DiskPersister, last: u64) {
    let meta = SnapshotMeta { last_included: EntryId::new(last, 1), ..SnapshotMeta::default() };
    let staged = persister.snapshot_stage().write_all(meta, b"all of it").unwrap();
    persister.save_state_and_snapshot(&Batch::default(), staged).unwrap();
}

#[test]
fn a_compacted_log_goes_round_in_the_files_it_has() {
    let fs = SimFs::new();
    let mut persister = open_with(&fs, &with_spares()).unwrap();
    persister.load();
    let mut last = 0;
    let mut files_max = 0;
    for round in 0..24 {
        append(&mut persister, &mut last, 16);
        snapshot(&mut persister, last);
        if round > 2 {
            assert!(used(&fs) > 0, "what was purged in round {round} is kept");
        }
        // Of snapshots there may be more, until their remover gets to it.
        let files = fs.contents().keys().filter(|name| !name.starts_with("snap")).count();
        files_max = files_max.max(files);
    }
    assert!(files_max < 26, "{files_max} files");
    append(&mut persister, &mut last, 3);
    drop(persister);
    let mut found = open(&fs.after_power_cut(|| false)).unwrap();
    let found = found.load();
    assert_eq!(found.snapshot.unwrap().meta.last_included.index, last - 3);
    assert_eq!(found.entries.len(), 3);
}

#[test]
fn used_files_are_taken_first_and_as_they_are() {
    let fs = SimFs::new();
    let files = Arc::new(Files::new(Arc::new(fs.clone()), Path::new(DIR)));
    files.open("used-7.tmp", OpenMode::Create).unwrap().write_at(&[7; 8192], 0).unwrap();
    let mut spares = Spares::new(Arc::clone(&files), 8192);
    spares.prepare(1);
    wait_until("a spare", || spares.is_settled());
    assert!(spares.used_wanted(1, 0) > 1);
    let sums = SectorSums::of_zeros(8192);
    spares.promise("used-7.tmp".to_owned(), sums.clone());
    assert!(spares.take().unwrap().sums.is_none(), "what a crash may bring back is not written to");
    spares.settle();
    spares.prepare(2);
    let used = spares.take().unwrap();
    assert_eq!((used.name.as_str(), used.sums), ("used-7.tmp", Some(sums)));
    assert_eq!(used.file.read_at(0, 8192).unwrap(), [7; 8192]);
    let made = spares.take().unwrap();
    assert!(made.name.starts_with("spare-") && made.sums.is_none(), "{}", made.name);
    assert!(spares.take().is_none(), "two were there already when two were asked for");
}

#[test]
fn when_space_is_scarce_nothing_is_kept_to_be_used_again() {
    let fs = SimFs::new();
    let files = Arc::new(Files::new(Arc::new(fs.clone()), Path::new(DIR)));
    let make = |name: &str| {
        let file = files.open(name, OpenMode::Create).unwrap();
        file.write_at(&[7; 8192], 0).unwrap();
        name.to_owned()
    };
    let mut spares = Spares::new(Arc::clone(&files), 8192);
    spares.promise(make("used-1.tmp"), SectorSums::of_zeros(8192));
    spares.settle();
    spares.promise(make("used-2.tmp"), SectorSums::of_zeros(8192));
    let loan = spares.lender().lend();
    assert_eq!((spares.used_wanted(9, 0), used(&fs)), (0, 0), "what was kept or promised is lent");
    spares.promise(make("used-3.tmp"), SectorSums::of_zeros(8192));
    spares.settle();
    assert_eq!(used(&fs), 0, "nor is anything kept meanwhile");
    drop(loan);
    assert!(spares.used_wanted(1, 0) > 0);
    spares.promise(make("used-4.tmp"), SectorSums::of_zeros(8192));
    spares.settle();
    spares.prepare(1);
    assert_eq!(spares.take().unwrap().name, "used-4.tmp");
}

#[test]
fn as_many_are_wanted_as_make_the_log_as_long_as_it_was_of_late() {
    let files = Arc::new(Files::new(Arc::new(SimFs::new()), Path::new(DIR)));
    let spares = Spares::new(files, 8192);
    let wanted = [(1, 0), (4, 2), (20, 9), (12, 6), (1000, 500)];
    let wanted: Vec<usize> = wanted.map(|(had, left)| spares.used_wanted(had, left)).into();
    assert_eq!(wanted, [4, 4, 13, 16, 32]);
    for number in 0..5 {
        spares.promise(format!("used-{number}.tmp"), SectorSums::of_zeros(8192));
    }
    let wanted: Vec<usize> = (0..8).map(|_| spares.used_wanted(20, 10)).collect();
    assert_eq!(
        wanted,
        [27, 27, 27, 27, 27, 27, 27, 7],
        "those there count, and what was long ago does not"
    );
}

/// Cycles between snapshots never end where segments do, so they have one segment more or less: all
/// are used again, and none is filled with zeros once both were seen.
#[test]
fn cycles_of_unequal_length_need_no_new_files() {
    let fs = SimFs::new();
    let mut persister = open_with(&fs, &with_spares()).unwrap();
    persister.load();
    let mut last = 0;
    let mut begun = Vec::new();
    for round in 0..40 {
        append(&mut persister, &mut last, [22, 15, 30][round % 3]);
        snapshot(&mut persister, last);
        wait_until("no spare in the making", || persister.wal.is_settled());
        begun.push(persister.wal.spares_begun());
    }
    assert!(begun[0] > 0, "a log that grows needs new ones");
    assert_eq!(begun[39], begun[9], "{begun:?}");
}

/// Nothing was ever made: what is there was given back. Once it is lent there is none, until the
/// thread that is begun for it has made one.
#[test]
fn what_was_given_and_lent_is_made_when_it_is_asked_for() {
    let fs = SimFs::new();
    let files = Arc::new(Files::new(Arc::new(fs.clone()), Path::new(DIR)));
    files.open("used-1.tmp", OpenMode::Create).unwrap().write_at(&[7; 8192], 0).unwrap();
    let mut spares = Spares::new(Arc::clone(&files), 8192);
    spares.promise("used-1.tmp".to_owned(), SectorSums::of_zeros(8192));
    spares.settle();
    spares.prepare(1);
    drop(spares.lender().lend());
    assert!(spares.is_short() && fs.used_bytes() == 0);
    spares.prepare(1);
    wait_until("a spare", || !spares.is_short());
    assert!(spares.take().is_some());
}

#[test]
fn a_crash_with_the_thread_at_work_leaves_the_old_state_or_the_new() {
    let mut random = fastrand::Rng::with_seed(11);
    let mut reused = 0;
    for seed in 0..400 {
        let steps: Vec<Step> = random_steps(seed, 60);
        let fs = SimFs::new();
        fs.plan(random.u64(20..500), Fault::Crash);
        let progress = run_with(&fs, &with_spares(), &steps);
        reused += used(&fs);
        for survives in [0, 50, 100] {
            let crashed = fs.after_power_cut(|| random.u8(..100) < survives);
            let found = open(&crashed).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            let found = { found }.load();
            let found = Model::of(&found);
            assert!(progress.allows(&found), "seed {seed}: found {found:#?} of {progress:#?}");
        }
    }
    assert!(reused > 50, "only {reused} used segments were on the disk");
}
