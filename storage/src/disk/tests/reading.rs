//! Segments read by several threads come out as if one had read them.

use std::path::Path;
use std::sync::Arc;

use super::{DIR, open};
use crate::disk::files::Files;
use crate::disk::format::Identity;
use crate::disk::segment_reader::SegmentReader;
use crate::fs::sim::SimFs;
use crate::{Batch, Entry, EntryId, Persister, StorageError};

const IDENTITY: Identity = Identity { cluster_id: 0, node_id: 1 };

/// A log of many segments, and their numbers.
fn long_log() -> (SimFs, Vec<u64>) {
    let fs = SimFs::new();
    let mut persister = open(&fs).unwrap();
    for index in 1..=60 {
        let data = vec![index as u8; 700].into();
        let entry = Entry { id: EntryId::new(index, 1), tag: 0, data };
        persister.persist(&Batch { entries: vec![entry], ..Batch::default() }).unwrap();
    }
    drop(persister);
    let count = fs.contents().into_keys().filter(|name| name.starts_with("wal-")).count() as u64;
    assert!(count > 10, "{count} segments");
    (fs, (1..=count).collect())
}

/// Number, entries and end of a segment.
type Found = (u64, Vec<Entry>, u64);

/// What a reader with so many threads finds.
fn read(
    fs: &SimFs,
    numbers: &[u64],
    threads: usize,
    map: bool,
) -> (Vec<Found>, Result<(), StorageError>) {
    let files = Files::new(Arc::new(fs.clone()), Path::new(DIR));
    let mut found = Vec::new();
    let reader = SegmentReader { files: &files, identity: IDENTITY, map };
    let result = reader.read_all(numbers, threads, |number, segment| {
        assert_eq!(segment.bytes.is_some(), !map || number == numbers[numbers.len() - 1]);
        found.push((number, segment.entries, segment.end.0));
        Ok(())
    });
    (found, result)
}

#[test]
fn any_number_of_threads_finds_the_same() {
    let (fs, numbers) = long_log();
    let (alone, result) = read(&fs, &numbers, 1, true);
    result.unwrap();
    let entries: Vec<u64> =
        alone.iter().flat_map(|(_, entries, _)| entries).map(|entry| entry.id.index).collect();
    assert_eq!(entries, (1..=60).collect::<Vec<_>>());
    for (threads, map) in [(1, false), (2, true), (2, false), (3, true), (40, true)] {
        let (found, result) = read(&fs, &numbers, threads, map);
        result.unwrap();
        assert!(found == alone, "{threads} threads");
    }
}

#[test]
fn the_first_wrong_segment_is_the_one_reported() {
    let (fs, numbers) = long_log();
    let mut contents = fs.contents();
    for number in [3, 4, 9] {
        contents.remove(&format!("wal-{number:020}.log"));
    }
    let fs = SimFs::holding(&contents);
    for threads in 1..=3 {
        let (found, result) = read(&fs, &numbers, threads, true);
        assert_eq!(found.len(), 2, "{threads} threads");
        let error = result.unwrap_err().to_string();
        assert!(error.contains("wal-00000000000000000003.log"), "{threads} threads: {error}");
    }
}

#[test]
fn who_takes_them_may_stop() {
    let (fs, numbers) = long_log();
    let files = Files::new(Arc::new(fs), Path::new(DIR));
    let reader = SegmentReader { files: &files, identity: IDENTITY, map: true };
    for threads in 1..=3 {
        let mut taken = 0;
        let result = reader.read_all(&numbers, threads, |number, _| {
            taken += 1;
            if number == 5 { Err(files.damaged("x", 0, "enough")) } else { Ok(()) }
        });
        assert!(result.unwrap_err().to_string().contains("enough"));
        assert_eq!(taken, 5, "{threads} threads");
    }
}
