//! Snapshots: writing one, and opening a directory that has one, beside writing and reading the same
//! bytes as one file.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::time::Instant;

use oarlock_storage::{Batch, DiskOptions, DiskPersister, EntryId, Persister, SnapshotMeta};

use super::{Plan, directory, median};

const PIECE_BYTES: usize = 64 * 1024;

pub(crate) fn run(plan: &Plan) -> String {
    let mib = if plan.is_test { 1 } else { 256 };
    let content: Vec<u8> = (0..mib << 20).map(|at: usize| (at / 7 % 251) as u8).collect();
    let dir = directory();
    let log_dir = dir.path().join("log");
    let options = DiskOptions::new(1);
    let mut persister = DiskPersister::open(&log_dir, options.clone()).expect("a new directory");
    persister.load();
    let mut times: [Vec<f64>; 4] = Default::default();
    for round in 1..=plan.rounds() as u64 {
        times[0].push(seconds(|| raw_write(dir.path(), &content)));
        let meta =
            SnapshotMeta { last_included: EntryId::new(round, 1), ..SnapshotMeta::default() };
        times[1].push(seconds(|| {
            let stage = persister.snapshot_stage();
            let staged = stage.write_all(meta, &content).expect("room for a snapshot");
            let batch = Batch::default();
            persister.save_state_and_snapshot(&batch, staged).expect("a disk that works");
        }));
        times[2].push(seconds(|| raw_read(dir.path())));
        drop(persister);
        let began = Instant::now();
        persister = DiskPersister::open(&log_dir, options.clone()).expect("no damage");
        let found = persister.load().snapshot.expect("it was saved");
        times[3].push(began.elapsed().as_secs_f64());
        assert_eq!(found.len(), content.len(), "all of it is mapped");
    }
    let [raw_write, write, raw_read, map] = times.map(|times| median(times) * 1e3);
    let (writing, reading) = (raw_write / write, raw_read / map);
    format!(
        "| {mib} MiB | raw | Oarlock | ratio |\n\
         |---|---|---|---|\n\
         | write, and make current | {raw_write:.0} ms | {write:.0} ms | {writing:.2} |\n\
         | open a directory, verify and map | {raw_read:.0} ms | {map:.0} ms | {reading:.2} |\n"
    )
}

/// A file under another name, in pieces, synced, renamed, and its directory synced.
fn raw_write(dir: &Path, content: &[u8]) {
    let aside = dir.join("raw.tmp");
    let mut file = File::create(&aside).expect("a file");
    for piece in content.chunks(PIECE_BYTES) {
        file.write_all(piece).expect("room");
    }
    file.sync_data().expect("a disk that syncs");
    std::fs::rename(aside, dir.join("raw")).expect("a name");
    File::open(dir).and_then(|dir| dir.sync_all()).expect("a directory that syncs");
}

fn raw_read(dir: &Path) {
    let mut file = File::open(dir.join("raw")).expect("it was written");
    let (mut buffer, mut hasher) = (vec![0; PIECE_BYTES], crc32fast::Hasher::new());
    while let Ok(len @ 1..) = file.read(&mut buffer) {
        hasher.update(&buffer[..len]);
    }
    std::hint::black_box(hasher.finalize());
}

fn seconds(work: impl FnOnce()) -> f64 {
    let began = Instant::now();
    work();
    began.elapsed().as_secs_f64()
}
