//! Batches: what is written comes back, and no damage passes.

use super::*;
use crate::Entry;
use crate::disk::format::{BatchWriter, SectorSums, seal_frame};

fn sample() -> BatchHeader {
    let snapshot = SnapshotRef {
        last_included: EntryId::new(1, 2),
        content_bytes: 3,
        footer_crc: 4,
        resets_log: true,
    };
    BatchHeader {
        salt: 5,
        number: 6,
        first: EntryId::new(7, 8),
        last_term: 9,
        entry_count: 10,
        previous_chain: 11,
        changes: Changes {
            hard_state: Some((Generation(12), HardState { current_term: 13, voted_for: Some(14) })),
            truncate_from: Some(15),
            mark: Some(Mark { snapshot, replaces_damaged: true }),
        },
        ..BatchHeader::default()
    }
}

fn stamped(header: BatchHeader, data: &[u8]) -> (Vec<u8>, u32) {
    let entry = Entry { id: EntryId::new(7, 8), tag: 1, data: data.into() };
    let mut batch = BatchWriter::new(vec![1; 3]);
    batch.push(&entry);
    let chain = batch.stamp(header);
    (batch.to_vec(), chain)
}

/// Short and long data, zeros among them, in any order: what is written from where it is comes out
/// as if it had been copied.
#[test]
fn long_data_is_written_where_it_belongs() {
    let lens = [3, 1024, 0, 4096, 1023, 2000, 5];
    let entries: Vec<Entry> = lens
        .iter()
        .zip(0..)
        .map(|(len, at)| Entry {
            id: EntryId::new(7 + at, 8),
            tag: at as u8,
            data: vec![if at == 3 { 0 } else { at as u8 + 1 }; *len].into(),
        })
        .collect();
    let mut batch = BatchWriter::new(Vec::new());
    let mut expected = Vec::new();
    for entry in &entries {
        batch.push(entry);
        expected.extend_from_slice(&entry.id.term.to_le_bytes());
        expected.extend_from_slice(&(entry.data.len() as u32).to_le_bytes());
        expected.push(entry.tag);
        expected.extend_from_slice(&entry.data);
    }
    let extent = batch.extent();
    let chain = batch.stamp(sample());
    let bytes = batch.to_vec();
    assert_eq!(bytes.len(), extent);
    assert_eq!(batch.slices().iter().map(|slice| slice.len()).sum::<usize>(), extent);
    assert_eq!(batch.slices().len(), 7, "three long ones, and what stands around them");
    let (header, found_chain) = BatchHeader::decode(&bytes).unwrap();
    assert_eq!(chain, found_chain);
    assert_eq!(header.payload_bytes as usize, expected.len());
    assert!(header.body_is_good(&bytes));
    assert!(bytes[BATCH_HEADER_BYTES..].starts_with(&expected));
    let zeros = bytes.chunks(SECTOR_BYTES).filter(|sector| is_zero(sector)).count();
    assert_eq!((header.unchanged_sectors as usize, zeros), (zeros, 7));
}

#[test]
fn a_batch_comes_back_as_it_was() {
    for (data_bytes, sectors) in [(0, 1), (347, 1), (348, 2), (347 + 512 * 4, 5)] {
        let (batch, chain) = stamped(sample(), &vec![0; data_bytes]);
        assert_eq!(batch.len(), sectors * SECTOR_BYTES);
        let (header, found_chain) = BatchHeader::decode(&batch).unwrap();
        assert_eq!(chain, found_chain);
        assert!(header.body_is_good(&batch));
        assert_eq!(header.unchanged_sectors as usize, sectors.saturating_sub(2));
        assert_eq!(header.changes, sample().changes);
        assert_eq!(header.extent(), batch.len());
    }
}

#[test]
fn every_flipped_bit_is_found() {
    let (mut batch, _) = stamped(sample(), &[9; 900]);
    let good = |batch: &[u8]| {
        BatchHeader::decode(batch).is_some_and(|(header, _)| header.body_is_good(batch))
    };
    assert!(good(&batch));
    for bit in 0..batch.len() * 8 {
        batch[bit / 8] ^= 1 << (bit % 8);
        assert!(!good(&batch), "bit {bit}");
        batch[bit / 8] ^= 1 << (bit % 8);
    }
}

#[test]
fn a_moved_batch_is_good_in_its_new_place() {
    let (mut batch, chain) = stamped(sample(), &[9; 900]);
    let moved_chain = restamp(&mut batch, 77, 78);
    let (header, _) = BatchHeader::decode(&batch).unwrap();
    assert!(header.body_is_good(&batch));
    assert_eq!((header.salt, header.previous_chain), (77, 78));
    assert_ne!(chain, moved_chain);
}

/// One of which nothing was new where it stood, on a segment of zeros: as if it had been made for it.
#[test]
fn a_moved_batch_says_what_is_unchanged_in_its_new_place() {
    let entry = Entry { id: EntryId::new(12, 4), tag: 2, data: vec![0; 3000].into() };
    let mut batch = BatchWriter::new(Vec::new());
    batch.push(&entry);
    batch.stamp(sample());
    let on_zeros = batch.to_vec();
    let mut sums = SectorSums::of_zeros(8192);
    let body = [&[1; 512][..], &on_zeros[512..]];
    sums.replace(4096, usize::MAX, body);
    let mut batch = BatchWriter::new(Vec::new());
    batch.push(&entry);
    batch.stamp_over(sample(), &mut sums, 4096);
    let mut moved = batch.to_vec();
    let (header, _) = BatchHeader::decode(&moved).unwrap();
    assert_eq!(header.unchanged_sectors as usize, moved.len() / SECTOR_BYTES - 1);
    let sample = sample();
    restamp(&mut moved, sample.salt, sample.previous_chain);
    assert!(moved == on_zeros);
}

#[test]
fn a_seal_is_one_sector() {
    let frame = seal_frame(1, 2, 3);
    assert_eq!(frame.len(), SECTOR_BYTES);
    assert!(BatchHeader::decode(&frame).unwrap().0.is_seal);
}
