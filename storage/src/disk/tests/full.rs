//! A disk that is full: noticed before anything depends on it, survived, and left behind by itself.

use std::time::{Duration, Instant};

use super::workload::{Model, Step, perform, random_steps};
use super::{open_with, options};
use crate::disk::{DiskOptions, DiskPersister};
use crate::fs::sim::SimFs;
use crate::{Batch, Entry, EntryId, HardState, Persister, SnapshotMeta, StorageError};

const SEGMENT: usize = 64 << 10;
/// What a directory without a log takes.
const BASE: usize = SEGMENT + 16384;

fn with_spares() -> DiskOptions {
    DiskOptions { segment_bytes: SEGMENT as u64, prepare_spares: true, ..options() }
}

/// An empty directory on a disk with room for so many segments.
fn small_disk(segments: usize) -> (SimFs, DiskPersister) {
    let fs = SimFs::new();
    let persister = open_with(&fs, &with_spares()).unwrap();
    fs.set_capacity(Some(BASE + segments * SEGMENT));
    (fs, persister)
}

fn append(index: u64, len: usize) -> Batch {
    let entry = Entry { id: EntryId::new(index, 1), tag: 0, data: vec![7; len].into() };
    Batch { entries: vec![entry], ..Batch::default() }
}

fn vote(term: u64) -> Batch {
    let hard_state = Some(HardState { current_term: term, voted_for: Some(1) });
    Batch { hard_state, ..Batch::default() }
}

fn meta(index: u64) -> SnapshotMeta {
    SnapshotMeta { last_included: EntryId::new(index, 1), ..SnapshotMeta::default() }
}

/// Waits for the thread that makes spares.
#[track_caller]
pub(super) fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}: not within 10 s");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Appends entries of `len` bytes behind `last` as long as there is room; returns the last index.
fn fill(persister: &mut DiskPersister, mut last: u64, len: usize) -> u64 {
    while persister.has_room() {
        match persister.persist(&append(last + 1, len)) {
            Ok(()) => last += 1,
            Err(error) => {
                assert!(matches!(error, StorageError::NoSpace { .. }), "{error}");
                break;
            }
        }
        wait_until("it is known if there is room", || persister.wal.is_settled());
    }
    last
}

/// Appends until nothing goes any more, whatever room there should be; returns the last index.
fn exhaust(persister: &mut DiskPersister, mut last: u64, len: usize) -> u64 {
    loop {
        match persister.persist(&append(last + 1, len)) {
            Ok(()) => last += 1,
            Err(error) => {
                assert!(matches!(error, StorageError::NoSpace { .. }), "{error}");
                return last;
            }
        }
    }
}

fn last_index(fs: &SimFs) -> u64 {
    fs.set_capacity(None);
    Model::of(&open_with(fs, &with_spares()).unwrap().load()).last().index
}

#[test]
fn a_full_disk_is_noticed_while_much_still_fits() {
    for segments in 0..4 {
        let (fs, mut persister) = small_disk(segments);
        let noticed = fill(&mut persister, 0, 1000);
        let last = exhaust(&mut persister, noticed, 1000);
        let reserve = (last - noticed) as usize * 1536;
        assert!(reserve > SEGMENT / 4, "{reserve} bytes are left at {segments} segments");
        assert_eq!(last_index(&fs.after_power_cut(|| false)), last);
    }
}

#[test]
fn terms_and_votes_fit_when_entries_do_not() {
    for len in [5_000, 20_000] {
        let (fs, mut persister) = small_disk(2);
        let last = exhaust(&mut persister, 0, len);
        for term in 2..10 {
            persister.persist(&vote(term)).unwrap();
            assert_eq!(exhaust(&mut persister, last, len), last, "a vote makes no room");
        }
        persister
            .persist(&Batch { truncate_from: Some(last), ..Batch::default() })
            .expect("a truncation is as short");
        let found = fs.after_power_cut(|| false);
        found.set_capacity(None);
        let found = open_with(&found, &with_spares()).unwrap().load();
        assert_eq!(found.hard_state.current_term, 9);
        assert_eq!(found.entries.len() as u64, last - 1);
    }
}

#[test]
fn the_log_goes_on_by_itself_once_there_is_space() {
    let (fs, mut persister) = small_disk(2);
    let mut last = 0;
    for round in 2..5 {
        last = exhaust(&mut persister, last, 3000);
        assert!(!persister.has_room());
        fs.set_capacity(Some(BASE + 2 * round * SEGMENT));
        wait_until("there is room again", || persister.has_room());
        persister.persist(&append(last + 1, 3000)).unwrap();
        last += 1;
    }
    assert_eq!(last_index(&fs.after_power_cut(|| false)), last);
}

#[test]
fn a_directory_on_a_full_disk_can_be_opened_again() {
    for segments in 2..6 {
        let (fs, mut persister) = small_disk(segments);
        let last = fill(&mut persister, 0, 5000);
        let last = exhaust(&mut persister, last, 5000);
        drop(persister);
        for _ in 0..3 {
            let mut persister = open_with(&fs, &with_spares()).unwrap();
            assert_eq!(persister.load().entries.len() as u64, last);
        }
    }
}

#[test]
fn a_snapshot_finds_room_on_a_full_disk_and_gives_space_back() {
    let (fs, mut persister) = small_disk(5);
    let mut last = 0;
    for round in 0..10 {
        last = fill(&mut persister, last, 1000);
        let state = vec![round; SEGMENT / 2];
        let staged = persister.snapshot_stage().write_all(meta(last), &state).unwrap();
        persister.save_state_and_snapshot(&Batch::default(), staged).unwrap();
        wait_until("there is room again", || persister.has_room());
        let used = fs.used_bytes();
        assert!(used <= BASE + 5 * SEGMENT, "{used} bytes");
    }
    let found = fs.after_power_cut(|| false);
    found.set_capacity(None);
    let found = open_with(&found, &with_spares()).unwrap().load();
    assert_eq!(&*found.snapshot.expect("the last one"), vec![9; SEGMENT / 2]);
}

#[test]
fn a_mark_fits_when_entries_do_not() {
    let (fs, mut persister) = small_disk(4);
    let last = exhaust(&mut persister, 0, 5000);
    let staged = persister.snapshot_stage().write_all(meta(last), b"state").unwrap();
    persister.make_room(&Batch::default()).unwrap();
    persister.save_state_and_snapshot(&Batch::default(), staged).unwrap();
    wait_until("there is room again", || persister.has_room());
    persister.persist(&append(last + 1, 5000)).unwrap();
    assert_eq!(last_index(&fs.after_power_cut(|| false)), last + 1);
}

#[test]
fn a_snapshot_that_does_not_fit_leaves_nothing_and_can_be_written_on_later() {
    let (fs, mut persister) = small_disk(2);
    let last = fill(&mut persister, 0, 1000);
    let content: Vec<u8> = (0..8 * SEGMENT).map(|i| (i / 1000) as u8).collect();
    let stage = persister.snapshot_stage();
    let error = stage.write_all(meta(last), &content).unwrap_err();
    assert!(matches!(error, StorageError::NoSpace { .. }), "{error}");
    assert!(!fs.contents().keys().any(|name| name.contains("snap")), "its file is gone");

    // In uneven pieces, each tried again until it fits.
    let mut writer = stage.begin(meta(last)).unwrap();
    let mut failures = 0;
    for piece in content.chunks(50_001) {
        while let Err(error) = writer.write(piece) {
            assert!(matches!(error, StorageError::NoSpace { .. }), "{error}");
            failures += 1;
            fs.set_capacity(Some(fs.used_bytes() + 30_000));
        }
    }
    fs.set_capacity(Some(fs.used_bytes()));
    assert!(matches!(writer.complete(), Err(StorageError::NoSpace { .. })));
    fs.set_capacity(None);
    writer.complete().unwrap();
    assert!(failures > 5, "{failures} failures");
    let staged = writer.finish().unwrap();
    let snapshot = persister.save_state_and_snapshot(&Batch::default(), staged).unwrap();
    assert!(*snapshot == content);
    drop(persister);
    let found = open_with(&fs.after_power_cut(|| false), &with_spares()).unwrap().load();
    assert!(*found.snapshot.unwrap() == content, "with its checksums");
}

#[test]
fn workloads_on_a_disk_that_fills_up_again_and_again_come_out_right() {
    let mut shortages = 0;
    for seed in 0..60 {
        let fs = SimFs::new();
        // Whatever is made ahead: with spares, and without.
        let options = DiskOptions { prepare_spares: seed % 2 == 0, ..options() };
        let mut persister = open_with(&fs, &options).unwrap();
        let mut model = Model::default();
        for step in random_steps(seed, 60) {
            if matches!(step, Step::Restart) {
                drop(persister);
                fs.set_capacity(None);
                persister = open_with(&fs, &options).unwrap();
                assert_eq!(Model::of(&persister.load()), model);
                continue;
            }
            fs.set_capacity(Some(fs.used_bytes() + 600));
            while let Err(error) = perform(&mut persister, &step) {
                assert!(matches!(error, StorageError::NoSpace { .. }), "seed {seed}: {error}");
                shortages += 1;
                let found = fs.after_power_cut(|| false);
                found.set_capacity(None);
                let found = open_with(&found, &options).unwrap().load();
                assert_eq!(Model::of(&found), model, "seed {seed}: nothing was changed");
                fs.set_capacity(None);
                wait_until("there is room again", || persister.has_room());
            }
            model = model.after(&step);
        }
        drop(persister);
        fs.set_capacity(None);
        let found = open_with(&fs.after_power_cut(|| false), &options).unwrap().load();
        assert_eq!(Model::of(&found), model, "seed {seed}");
    }
    assert!(shortages > 100, "{shortages} shortages");
}
