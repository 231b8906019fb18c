//! Going on to a new segment: what the batch that does it takes, beside one that does not.

use std::time::Instant;

use oarlock_storage::DiskOptions;

use super::append::Log;
use super::floor::Floor;
use super::{Plan, directory, median};

const ENTRIES: u64 = 16;
const VALUE: usize = 4096;

pub(crate) fn run(plan: &Plan) -> String {
    let dir = directory();
    let mut floor = Floor::new(dir.path(), 16 << 20);
    let raw = vec![7; ENTRIES as usize * VALUE];
    let log_dir = dir.path().join("log");
    let mut log = Log::open(&log_dir, DiskOptions::new(1), VALUE);
    let mut batch = log.batch(ENTRIES);
    let (mut floors, mut usual, mut rotating) = (Vec::new(), Vec::new(), Vec::new());
    let segments = || {
        let names = std::fs::read_dir(&log_dir).expect("the log's directory");
        names.filter(|item| item.as_ref().is_ok_and(|item| is_segment(&item.file_name()))).count()
    };
    let wanted = if plan.is_test { 1 } else { 40 };
    let mut count = segments();
    while rotating.len() < wanted {
        floors.push(seconds(|| floor.append(&raw)));
        let took = seconds(|| log.append(&mut batch));
        let now = segments();
        if now > count { &mut rotating } else { &mut usual }.push(took);
        count = now;
    }
    let [floor, usual, rotating] = [floors, usual, rotating].map(|times| median(times) * 1e6);
    let syncs = (rotating - usual) / floor;
    format!(
        "Batches of {ENTRIES} × {VALUE} B, {wanted} segments of 16 MiB, medians: a raw write and sync \
         {floor:.0} µs, a batch {usual:.0} µs, a batch that goes on to the next segment {rotating:.0} µs; \
         so that takes as much as {syncs:.1} raw syncs.\n"
    )
}

fn is_segment(name: &std::ffi::OsStr) -> bool {
    name.to_string_lossy().starts_with("wal-")
}

fn seconds(work: impl FnOnce()) -> f64 {
    let began = Instant::now();
    work();
    began.elapsed().as_secs_f64()
}
