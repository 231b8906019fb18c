//! The row of segments: appending to the last, moving on to a new one, removing the oldest.
//!
//! Space is had before anything is written. Where spares are made ahead, long batches leave the last
//! eighth of a segment alone unless a spare is ready, and begin no segment while there is no space for
//! further spares, so that short ones (a vote, a snapshot's mark) find room on a full disk.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::sync::Arc;

use super::files::Files;
use super::format::{
    BatchHeader, BatchWriter, Changes, HEAD_BYTES, SECTOR_BYTES, SectorSums, SegmentHead,
    StateCopy, sums_bytes,
};
use super::segment::{self, Blank, Segment, zero_filled};
use super::spare::{Lender, SPARES_MAX, Spares};
use crate::{Entry, EntryId, StorageError};

/// A write buffer larger than this is given back after use.
const BUFFER_BYTES_KEPT: usize = 4 << 20;

/// A batch of no more bytes than this may use the reserve.
const SHORT_BATCH_BYTES: usize = 4096;

/// A segment that takes no more batches.
pub(crate) struct Closed {
    pub(crate) number: u64,
    /// The last index of the log when the segment was closed.
    pub(crate) last_index: u64,
    /// What its sectors hold, if its file may be used again: it is as long as others, and nobody has
    /// mapped it.
    pub(crate) sums: Option<SectorSums>,
}

/// The write-ahead log.
pub(crate) struct Wal {
    files: Arc<Files>,
    segment_bytes: u64,
    spares: Spares,
    /// Whether spares are made ahead.
    prepares: bool,
    /// Oldest first; numbers are contiguous, up to the one before `active`.
    closed: VecDeque<Closed>,
    active: Segment,
    /// A file for the next segment, once one is needed.
    next: Option<Blank>,
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
        let spares = Spares::new(Arc::clone(&files), segment_bytes);
        let mut wal = Self {
            files,
            segment_bytes,
            spares,
            prepares: prepare_spares,
            closed,
            active,
            next: None,
            buffer: Vec::new(),
        };
        wal.prepare_ahead();
        wal
    }

    /// Whether the log may grow: false once a spare is wanted and there is no space for it.
    pub(crate) fn has_room(&self) -> bool {
        !self.spares.is_short()
    }

    /// Whether it is known if there is room.
    #[cfg(test)]
    pub(crate) fn is_settled(&self) -> bool {
        self.spares.is_settled()
    }

    /// How many spares were filled with zeros so far.
    #[cfg(test)]
    pub(crate) fn spares_begun(&self) -> u64 {
        self.spares.begun()
    }

    /// A way to borrow the space of the spares.
    pub(crate) fn lender(&self) -> Arc<Lender> {
        Arc::new(self.spares.lender())
    }

    /// Has space for a batch of `len` bytes. Nothing of the log is changed by it;
    /// [`StorageError::NoSpace`] if there is none now.
    pub(crate) fn make_room(&mut self, len: usize) -> Result<(), StorageError> {
        if self.active.has_room(len) {
            let uses_reserve = self.active.would_be_nearly_full(len);
            if uses_reserve && self.prepares {
                self.spares.prepare(1);
                if !self.spares.is_one_ready() && len > SHORT_BATCH_BYTES {
                    return self.check_not_short();
                }
            }
            return Ok(());
        }
        if len > SHORT_BATCH_BYTES {
            // The last spare is for short ones; and its space for the next opening, which copies a
            // segment.
            self.check_not_short()?;
        }
        // The sums of what a used one holds take room in it.
        let needed = len as u64 + sums_bytes(self.segment_bytes);
        let file_bytes = segment_bytes_for(self.segment_bytes, needed);
        if self.next.as_ref().is_some_and(|next| next.file_bytes >= file_bytes) {
            return Ok(());
        }
        // One that is there is too short, and its name is needed.
        if let Some(Blank { name, .. }) = self.next.take() {
            self.files.unlink(&name)?;
        }
        self.next = Some(self.blank(self.active.number + 1, file_bytes)?);
        Ok(())
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
            self.rotate(state)?;
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
        self.prepare_ahead();
        Ok(number)
    }

    /// Asks for a spare once the active segment is half full; and keeps one from being lent while
    /// the segment itself has little left.
    fn prepare_ahead(&mut self) {
        if self.prepares && self.active.is_half_full() {
            self.spares.prepare(1);
            self.spares.keep(usize::from(self.active.would_be_nearly_full(0)));
        }
    }

    /// Goes on to the segment that was made ready.
    ///
    /// The order matters. First the new segment becomes durable, under its name; then the old one is
    /// sealed, durably; only then anything is written to the new one. So a seal proves that a
    /// successor existed, and a batch in the successor that the old segment was complete.
    fn rotate(&mut self, state: &StateCopy) -> Result<(), StorageError> {
        let old = &self.active;
        let number = old.number + 1;
        let blank = self.next.take().expect("room was made for the batch");
        let head = SegmentHead {
            identity: old.identity,
            number,
            salt: fastrand::u64(..),
            file_bytes: blank.file_bytes,
            first_batch: old.next_batch(),
            previous_chain: old.chain(),
            born_batches: 0,
            sums_crc: None,
            state: *state,
        };
        let new = Segment::make(&self.files, blank, head)?;
        self.names_are_durable();
        self.active.seal()?;
        let old = std::mem::replace(&mut self.active, new);
        self.closed.push_back(Closed {
            number: old.number,
            last_index: state.last_index,
            sums: (old.file_bytes() == self.segment_bytes).then(|| old.into_sums()).flatten(),
        });
        // A log that needed one segment more is likely to need others, and soon.
        if self.prepares {
            self.spares.prepare(SPARES_MAX);
            self.spares.keep(0);
        }
        Ok(())
    }

    /// A file of that length for segment `number`.
    fn blank(&self, number: u64, file_bytes: u64) -> Result<Blank, StorageError> {
        if file_bytes == self.segment_bytes
            && let Some(spare) = self.spares.take()
        {
            return Ok(spare);
        }
        self.check_not_short()?;
        let aside = format!("{}.tmp", segment::name(number));
        let mut made = zero_filled(&self.files, &aside, file_bytes);
        if made.as_ref().is_err_and(StorageError::is_for_want_of_space)
            && self.files.shelf().give_up(&self.files)
        {
            made = zero_filled(&self.files, &aside, file_bytes);
        }
        match made {
            Ok(file) => Ok(Blank { name: aside, file, file_bytes, sums: None }),
            Err(error) => {
                // What is there of it takes space that is needed.
                if error.is_for_want_of_space()
                    && let Err(error) = self.files.unlink(&aside)
                {
                    log::warn!("an unfinished segment stays until the next opening: {error}");
                }
                Err(error.of_something_new())
            }
        }
    }

    /// While there is no space for a spare, there is none for a segment made by hand.
    fn check_not_short(&self) -> Result<(), StorageError> {
        if self.has_room() {
            return Ok(());
        }
        let path = self.files.path(&segment::name(self.active.number + 1));
        Err(StorageError::NoSpace {
            operation: "make",
            path,
            source: ErrorKind::StorageFull.into(),
        })
    }

    /// Removes the oldest segments as long as the log up to `floor` covers what is in them. Files that
    /// are to be used again may be once [`names_are_durable`](Self::names_are_durable).
    ///
    /// Oldest first and one by one: should a crash undo some of the removals, what is left of the
    /// old segments is recognised as no longer needed.
    pub(crate) fn purge(&mut self, floor: u64) -> Result<(), StorageError> {
        let count = self.closed.partition_point(|closed| closed.last_index <= floor);
        if count == 0 {
            return Ok(());
        }
        let had = self.closed.len();
        let mut wanted = self.spares.used_wanted(had, had - count);
        for oldest in self.closed.drain(..count) {
            let name = segment::name(oldest.number);
            match oldest.sums {
                Some(sums) if wanted > 0 => {
                    let used = format!("used-{}.tmp", oldest.number);
                    self.files.rename(&name, &used)?;
                    self.spares.promise(used, sums);
                    wanted -= 1;
                }
                _ => self.files.unlink(&name)?,
            }
        }
        Ok(())
    }

    /// The directory was synced: no crash brings back the names of what was purged, and only now may
    /// the files be overwritten.
    pub(crate) fn names_are_durable(&self) {
        self.spares.settle();
        self.files.shelf().settle();
    }
}

/// The length of a segment that has room for `needed` bytes of batches and a seal.
pub(crate) fn segment_bytes_for(segment_bytes: u64, needed: u64) -> u64 {
    let least = HEAD_BYTES as u64 + needed + SECTOR_BYTES as u64;
    segment_bytes.max(least.next_multiple_of(HEAD_BYTES as u64))
}
