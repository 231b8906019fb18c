//! Directories that were written once and are kept under `testdata/`, one of each major format: every
//! later version opens them, and finds their bytes where the documents in `docs/` say.
//!
//! `OARLOCK_WRITE_GOLDEN=<dir> cargo test -p oarlock-storage golden` makes the newest again; that is for a
//! new major format only.

use std::fs;
use std::path::{Path, PathBuf};

use super::options;
use crate::disk::{DiskOptions, DiskPersister};
use crate::{Batch, Entry, EntryId, HardState, Persister, SnapshotMeta};

fn golden(major: u16) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("testdata/golden-v{major}"))
}

fn golden_options() -> DiskOptions {
    DiskOptions { node_id: 3, cluster_id: Some(0x0a11), ..options() }
}

fn entry(index: u64, term: u64) -> Entry {
    let data = format!("entry {index} of term {term}").into_bytes();
    Entry { id: EntryId::new(index, term), tag: 2, data: data.into() }
}

/// The last segment of the second format, which stands on the bytes of an earlier one.
const SECOND_LAST: &str = "wal-00000000000000000007.log";

/// A log that has gone round: its last segment stands on the bytes of an earlier one, and takes one
/// batch of entries that were there before and one that was not.
fn write_second(dir: &Path) {
    let mut persister = DiskPersister::open(dir, golden_options()).unwrap();
    let hard_state = Some(HardState { current_term: 1, voted_for: Some(3) });
    persister.persist(&Batch { hard_state, ..Batch::default() }).unwrap();
    let mut last = 0;
    while !dir.join(SECOND_LAST).exists() {
        last += 1;
        let entry = Entry { data: vec![b'v'; 1500].into(), ..entry(last, 1) };
        persister.persist(&Batch { entries: vec![entry], ..Batch::default() }).unwrap();
        if last % 3 == 0 {
            let meta = SnapshotMeta {
                last_included: EntryId::new(last - 1, 1),
                configuration: b"members 1 2 3"[..].into(),
            };
            let content = format!("state at {}", last - 1);
            let staged = persister.snapshot_stage().write_all(meta, content.as_bytes()).unwrap();
            persister.save_state_and_snapshot(&Batch::default(), staged).unwrap();
        }
    }
    persister.persist(&Batch { entries: vec![entry(last + 1, 1)], ..Batch::default() }).unwrap();
}

#[test]
fn the_second_format_is_opened_and_its_offsets_hold() {
    if let Some(dir) = std::env::var_os("OARLOCK_WRITE_GOLDEN") {
        write_second(Path::new(&dir));
    }
    let segment = fs::read(golden(2).join(SECOND_LAST)).unwrap();
    assert_eq!((number(&segment, 12, 2), number(&segment, 48, 8)), (2, 8192));
    assert_eq!(number(&segment, 116, 4) & 16, 16, "it stands on others");
    // A sum for each of 16 sectors, in a sector of their own.
    let sums = &segment[4096..4608];
    assert_eq!(number(&segment, 184, 4) as u32, crc32fast::hash(sums));
    assert_eq!(&segment[4608..4612], b"OBAT", "the first batch");
    let rest = 4608 + 2048;
    assert_eq!(&segment[rest..rest + 4], b"OBAT", "the second");
    assert_eq!(number(&segment, 4608 + 64, 4), 1, "a sector that was as it is");
    for sector in (rest + 512) / 512..16 {
        let bytes = &segment[sector * 512..][..512];
        assert_eq!(number(sums, sector * 4, 4) as u32, crc32fast::hash(bytes), "sector {sector}");
    }
    let copy = copy_of(2);
    let mut persister = DiskPersister::open(copy.path(), golden_options()).unwrap();
    let found = persister.load();
    assert_eq!(found.hard_state, HardState { current_term: 1, voted_for: Some(3) });
    let last = found.entries.last().unwrap();
    assert_eq!(*last, entry(last.id.index, 1));
    assert_eq!(*found.entries[found.entries.len() - 2].data, [b'v'; 1500]);
}

/// A copy that may be opened, which changes it.
fn copy_of(major: u16) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for item in fs::read_dir(golden(major)).unwrap() {
        let item = item.unwrap();
        fs::copy(item.path(), copy.path().join(item.file_name())).unwrap();
    }
    copy
}

#[test]
fn every_version_opens_the_golden_directory() {
    let copy = copy_of(1);
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
    let read = |name: &str| fs::read(golden(1).join(name)).unwrap();
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
