//! A directory that was written once and is kept under `testdata/`: every later version opens it,
//! and finds its bytes where the documents in `docs/` say.
//!
//! `OARLOCK_WRITE_GOLDEN=<dir> cargo test -p oarlock-storage golden` makes a new one; that is for a
//! new major format only.

use std::fs;
use std::path::{Path, PathBuf};

use super::options;
use crate::disk::{DiskOptions, DiskPersister};
use crate::{Batch, Entry, EntryId, HardState, Persister, SnapshotMeta};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/golden-v1")
}

fn golden_options() -> DiskOptions {
    DiskOptions { node_id: 3, cluster_id: Some(0x0a11), ..options() }
}

fn entry(index: u64, term: u64) -> Entry {
    let data = format!("entry {index} of term {term}").into_bytes();
    Entry { id: EntryId::new(index, term), tag: 2, data: data.into() }
}

fn write(dir: &Path) {
    let mut persister = DiskPersister::open(dir, golden_options()).unwrap();
    let hard_state = |current_term, voted_for| Some(HardState { current_term, voted_for });
    let mut persist = |batch: &Batch| persister.persist(batch).unwrap();
    persist(&Batch { hard_state: hard_state(1, Some(3)), ..Batch::default() });
    persist(&Batch { entries: (1..=4).map(|i| entry(i, 1)).collect(), ..Batch::default() });
    persist(&Batch { hard_state: hard_state(2, None), ..Batch::default() });
    let entries = vec![entry(4, 2), entry(5, 2)];
    persist(&Batch { truncate_from: Some(4), entries, ..Batch::default() });
    for (index, next) in [(3, 6), (5, 7)] {
        let term = if index == 3 { 1 } else { 2 };
        let meta = SnapshotMeta {
            last_included: EntryId::new(index, term),
            configuration: b"members 1 2 3"[..].into(),
        };
        let content = format!("state at {index}");
        let staged = persister.snapshot_stage().write_all(meta, content.as_bytes()).unwrap();
        let batch = Batch { entries: vec![entry(next, 2)], ..Batch::default() };
        persister.save_state_and_snapshot(&batch, staged).unwrap();
    }
    // This one needs a new segment.
    let long = Entry { data: vec![0; 2000].into(), ..entry(8, 2) };
    persister.persist(&Batch { entries: vec![long], ..Batch::default() }).unwrap();
    persister.persist(&Batch { hard_state: hard_state(7, Some(2)), ..Batch::default() }).unwrap();
}

/// A copy that may be opened, which changes it.
fn copy_of_golden() -> tempfile::TempDir {
    if let Some(dir) = std::env::var_os("OARLOCK_WRITE_GOLDEN") {
        write(Path::new(&dir));
    }
    let copy = tempfile::tempdir().unwrap();
    for item in fs::read_dir(golden()).unwrap() {
        let item = item.unwrap();
        fs::copy(item.path(), copy.path().join(item.file_name())).unwrap();
    }
    copy
}

#[test]
fn every_version_opens_the_golden_directory() {
    let copy = copy_of_golden();
    let mut persister = DiskPersister::open(copy.path(), golden_options()).unwrap();
    let found = persister.load();
    assert_eq!(found.hard_state, HardState { current_term: 7, voted_for: Some(2) });
    let snapshot = found.snapshot.unwrap();
    assert_eq!(&*snapshot, b"state at 5");
    assert_eq!(snapshot.meta.last_included, EntryId::new(5, 2));
    assert_eq!(&*snapshot.meta.configuration, b"members 1 2 3");
    assert_eq!(found.entries[..2], [entry(6, 2), entry(7, 2)]);
    assert_eq!(*found.entries[2].data, [0; 2000]);
    assert_eq!(found.entries.len(), 3);
}

fn number(bytes: &[u8], at: usize, len: usize) -> u64 {
    bytes[at..at + len].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// The tables of `docs/wal-format.md`, row by row where a value is known.
#[test]
fn the_documented_offsets_hold() {
    let read = |name: &str| fs::read(golden().join(name)).unwrap();
    let identity = read("IDENTITY");
    assert_eq!(&identity[..8], b"OARLKIDN");
    assert_eq!((number(&identity, 12, 2), number(&identity, 14, 2)), (1, 0));
    assert_eq!((number(&identity, 16, 8), number(&identity, 24, 8)), (0x0a11, 3));
    assert_eq!(identity.len(), 512);

    // The third generation of the hard state is in slot 1.
    let vote = read("VOTE");
    let slot = &vote[4096..4608];
    assert_eq!(&slot[..8], b"OARLKVOT");
    assert_eq!((number(slot, 32, 8), number(slot, 40, 8), number(slot, 48, 8)), (3, 7, 2));
    assert_eq!((number(slot, 56, 8), number(slot, 64, 4)), (8, 3));

    let first = read("wal-00000000000000000001.log");
    assert_eq!(&first[..8], b"OARLKSEG");
    assert_eq!((number(&first, 32, 8), number(&first, 56, 8)), (1, 1));
    // The second batch: four entries.
    let batch = &first[4096 + 512..];
    assert_eq!(&batch[..4], b"OBAT");
    assert_eq!(crc32fast::hash(&batch[8..144]), number(batch, 4, 4) as u32);
    assert_eq!((number(batch, 16, 8), number(batch, 48, 4)), (2, 4));
    assert_eq!((number(batch, 24, 8), number(batch, 32, 8), number(batch, 40, 8)), (1, 1, 1));
    assert_eq!(batch[143], 0xa5);
    assert_eq!((number(batch, 144, 8), number(batch, 152, 4), batch[156]), (1, 17, 2));
    assert_eq!(&batch[157..174], b"entry 1 of term 1");
    assert_eq!(batch[511], 0xa5);

    let second = read("wal-00000000000000000002.log");
    assert_eq!((number(&second, 32, 8), number(&second, 48, 8)), (2, 8192));
    assert_eq!((number(&second, 56, 8), number(&second, 72, 8), number(&second, 80, 8)), (7, 7, 2));
    assert_eq!(number(&second, 120, 8), 5, "the current snapshot");
    assert_eq!(number(&second, 152, 8), 3, "the previous one");

    let snapshot = read("snapshot-00000000000000000005-00000000000000000002.snap");
    assert_eq!(&snapshot[..8], b"OARLKSNP");
    assert_eq!(&snapshot[4096..4106], b"state at 5");
    assert_eq!(&snapshot[4106..4119], b"members 1 2 3");
    assert_eq!(number(&snapshot, 4119, 4) as u32, crc32fast::hash(b"state at 5"));
    assert_eq!(&snapshot[4123..4131], b"OARLKSNE");
    assert_eq!(snapshot.len(), 4123 + 64);
}
