//! The row of segments: appending to the last, moving on to a new one, removing the oldest.

use std::collections::VecDeque;
use std::sync::Arc;

use super::files::{File, Files};
use super::format::{
    BatchHeader, BatchWriter, Changes, HEAD_BYTES, SECTOR_BYTES, SegmentHead, StateCopy,
};
use super::segment::{self, Segment, zero_filled};
use super::spare::{SPARES_MAX, Spares};
use crate::{Entry, EntryId, StorageError};

/// A write buffer larger than this is given back after use.
const BUFFER_BYTES_KEPT: usize = 4 << 20;

/// A segment that takes no more batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closed {
    pub(crate) number: u64,
    /// The last index of the log when the segment was closed.
    pub(crate) last_index: u64,
}

/// The write-ahead log.
pub(crate) struct Wal {
    files: Arc<Files>,
    segment_bytes: u64,
    /// None if spares are not to be made ahead.
    spares: Option<Spares>,
    /// Oldest first; numbers are contiguous, up to the one before `active`.
    closed: VecDeque<Closed>,
    active: Segment,
    buffer: Vec<u8>,
}

impl Wal {
    pub(crate) fn new(
        files: Arc<Files>,
        segment_bytes: u64,
        prepare_spares: bool,
        closed: VecDeque<Closed>,
        active: Segment,
    ) -> Self {
        let spares = prepare_spares.then(|| Spares::new(Arc::clone(&files), segment_bytes));
        Self { files, segment_bytes, spares, closed, active, buffer: Vec::new() }
    }

    /// Makes one batch durable and returns its number. `state` is what all batches before it add up
    /// to.
    pub(crate) fn append(
        &mut self,
        state: &StateCopy,
        changes: Changes,
        entries: &[Entry],
    ) -> Result<u64, StorageError> {
        let mut batch = BatchWriter::new(std::mem::take(&mut self.buffer));
        for entry in entries {
            batch.push(entry);
        }
        let len = batch.extent();
        if !self.active.has_room(len) {
            self.rotate(state, len)?;
        }
        let header = BatchHeader {
            first: entries.first().map_or(EntryId::default(), |entry| entry.id),
            last_term: entries.last().map_or(0, |entry| entry.id.term),
            entry_count: u32::try_from(entries.len()).expect("a batch is smaller than 4 GiB"),
            changes,
            ..BatchHeader::default()
        };
        let number = self.active.next_batch();
        self.active.append(header, &mut batch)?;
        let buffer = batch.into_buffer();
        if buffer.capacity() <= BUFFER_BYTES_KEPT {
            self.buffer = buffer;
        }
        if let Some(spares) = &mut self.spares
            && self.active.is_half_full()
        {
            spares.prepare(1);
        }
        Ok(number)
    }

    /// Goes on to a new segment with room for a batch of `len` bytes.
    ///
    /// The order matters. First the new segment becomes durable, under its name; then the old one is
    /// sealed, durably; only then anything is written to the new one. So a seal proves that a
    /// successor existed, and a batch in the successor that the old segment was complete.
    fn rotate(&mut self, state: &StateCopy, len: usize) -> Result<(), StorageError> {
        let old = &self.active;
        let file_bytes = segment_bytes_for(self.segment_bytes, len as u64);
        let number = old.number + 1;
        let (aside, file) = self.blank(number, file_bytes)?;
        let head = SegmentHead {
            identity: old.identity,
            number,
            salt: fastrand::u64(..),
            file_bytes,
            first_batch: old.next_batch(),
            previous_chain: old.chain(),
            born_batches: 0,
            state: *state,
        };
        let new = Segment::publish(&self.files, &aside, file, &head)?;
        self.active.seal()?;
        self.closed.push_back(Closed { number: self.active.number, last_index: state.last_index });
        self.active = new;
        // A log that needed one segment more is likely to need others, and soon.
        if let Some(spares) = &mut self.spares {
            spares.prepare(SPARES_MAX);
        }
        Ok(())
    }

    /// A zero-filled file and its name.
    fn blank(&self, number: u64, file_bytes: u64) -> Result<(String, File), StorageError> {
        if file_bytes == self.segment_bytes
            && let Some(spare) = self.spares.as_ref().and_then(Spares::take)
        {
            return Ok(spare);
        }
        let aside = format!("{}.tmp", segment::name(number));
        let file = zero_filled(&self.files, &aside, file_bytes)?;
        Ok((aside, file))
    }

    /// Removes the oldest segments as long as the log up to `floor` covers what is in them. Their
    /// names are gone for good after the next sync of the directory. Returns whether any were.
    ///
    /// Oldest first and one by one: should a crash undo some of the removals, what is left of the
    /// old segments is recognised as no longer needed.
    pub(crate) fn purge(&mut self, floor: u64) -> Result<bool, StorageError> {
        let mut purged = false;
        while let Some(oldest) = self.closed.front().filter(|oldest| oldest.last_index <= floor) {
            self.files.unlink(&segment::name(oldest.number))?;
            self.closed.pop_front();
            purged = true;
        }
        Ok(purged)
    }
}

/// The length of a segment that has room for `needed` bytes of batches and a seal.
pub(crate) fn segment_bytes_for(segment_bytes: u64, needed: u64) -> u64 {
    let least = HEAD_BYTES as u64 + needed + SECTOR_BYTES as u64;
    segment_bytes.max(least.next_multiple_of(HEAD_BYTES as u64))
}
