//! Bytes on disk: every structure is laid out by hand, little-endian, at fixed offsets, so that the
//! skeleton of a directory depends on no codec. No I/O here. `docs/wal-format.md` and
//! `docs/snapshot-format.md` have the tables.

mod batch;
mod batch_writer;
mod block;
#[cfg(test)]
mod fuzz;
mod sector_sums;
mod segment_head;
mod small;
mod snapshot;

pub(crate) use batch::{
    BATCH_HEADER_BYTES, BatchHeader, Changes, Generation, Mark, has_no_end, is_header_cut_short,
    lacks_sectors, restamp,
};
pub(crate) use batch_writer::{BatchWriter, extent_of, seal_frame};
pub(crate) use block::BlockFault;
pub(crate) use sector_sums::{SectorSums, sums_bytes};
pub(crate) use segment_head::{SegmentHead, SnapshotRef, StateCopy};
pub use small::Identity;
pub(crate) use small::{IDENTITY_BYTES, SLOT_BYTES, SLOT_STRIDE, VoteSlot};
pub(crate) use snapshot::{FOOTER_BYTES, SnapshotFooter, SnapshotHead};

/// The unit a disk writes whole or not at all; the only thing we assume about its writes.
pub(crate) const SECTOR_BYTES: usize = 512;
/// The head of a segment or a snapshot: one page of a usual file system.
pub(crate) const HEAD_BYTES: usize = 4096;
/// The piece of a snapshot's content that one CRC covers.
pub(crate) const CHUNK_BYTES: usize = 64 * 1024;

/// Whether `bytes` are zeros only.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    // In blocks without an early exit inside, which compile to wide loads.
    let mut blocks = bytes.chunks_exact(64);
    blocks.by_ref().all(|block| block.iter().fold(0, |any, byte| any | byte) == 0)
        && blocks.remainder().iter().all(|byte| *byte == 0)
}
