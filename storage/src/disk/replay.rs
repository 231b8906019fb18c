//! What a run of batches adds up to: the fold that recovery makes over the log.

use std::sync::Arc;

use super::format::{BATCH_HEADER_BYTES, BatchHeader, StateCopy};
use super::segment_reader::Whole;
use crate::{Entry, EntryId, Payload};

/// The bytes in front of each entry's data.
const FRAME_BYTES: usize = 13;

/// The state after some batch, with the entries of the segments that still exist.
///
/// Invariant: `entries` is contiguous and ends at `state.last_index`.
pub(crate) struct Replay {
    pub(crate) state: StateCopy,
    pub(crate) entries: Vec<Entry>,
}

impl Replay {
    /// The state before the first batch of a segment, from its head.
    pub(crate) fn new(state: StateCopy) -> Self {
        Self { state, entries: Vec::new() }
    }

    /// The index of the entry before the first one that is known.
    pub(crate) fn start_index(&self) -> u64 {
        self.state.last_index - self.entries.len() as u64
    }

    /// Applies one verified batch, whose entries `split` says are the next of `entries`. An error
    /// means that the batch does not fit behind the ones before it, which its checksums rule out
    /// unless it was made wrong.
    pub(crate) fn apply(
        &mut self,
        header: &BatchHeader,
        split: Split,
        entries: &mut impl Iterator<Item = Entry>,
    ) -> Result<(), String> {
        let changes = header.changes;
        if let Some((generation, hard_state)) = changes.hard_state {
            if generation != self.state.generation.next() {
                return Err(format!("{header} skips a generation of the hard state"));
            }
            if hard_state.current_term < self.state.hard_state.current_term {
                return Err(format!("{header} takes current_term back"));
            }
            self.state.generation = generation;
            self.state.hard_state = hard_state;
        }
        if let Some(from) = changes.truncate_from {
            self.truncate(from).map_err(|what| format!("{header} {what}"))?;
        }
        self.append(header, split, entries).map_err(|what| format!("{header} {what}"))?;
        if let Some(mark) = changes.mark {
            let last_included = mark.snapshot.last_included;
            if mark.snapshot.resets_log {
                self.entries.clear();
                self.state.last_index = last_included.index;
                self.state.last_term = Some(last_included.term);
            } else if last_included.index > self.state.last_index {
                return Err(format!("{header} marks a snapshot at {last_included}, past the log"));
            }
            self.state.take_mark(mark.snapshot, mark.replaces_damaged);
        }
        Ok(())
    }

    fn truncate(&mut self, from: u64) -> Result<(), String> {
        if from == 0 {
            return Err("truncates the whole log away".to_owned());
        }
        let last_index = from - 1;
        if last_index >= self.state.last_index {
            return Ok(());
        }
        let dropped = self.state.last_index - last_index;
        let kept = (self.entries.len() as u64).saturating_sub(dropped);
        self.entries.truncate(usize::try_from(kept).expect("no more than there were"));
        self.state.last_index = last_index;
        // Below the oldest segment the term is not known any more; a snapshot covers it.
        self.state.last_term = self.entries.last().map(|entry| entry.id.term);
        Ok(())
    }

    fn append(
        &mut self,
        header: &BatchHeader,
        split: Split,
        entries: &mut impl Iterator<Item = Entry>,
    ) -> Result<(), String> {
        let first_index = header.first.index;
        if header.entry_count > 0 && Some(first_index) != self.state.last_index.checked_add(1) {
            return Err(format!("leaves a gap behind entry {}", self.state.last_index));
        }
        if first_index.checked_add(u64::from(header.entry_count)).is_none() {
            return Err("counts past the last index there is".to_owned());
        }
        for entry in entries.take(split.entry_count) {
            let floor = self.state.last_term.unwrap_or(0);
            if entry.id.term < floor || entry.id.term > header.last_term {
                return Err(format!("holds {}, out of order behind term {floor}", entry.id));
            }
            self.state.last_index = entry.id.index;
            self.state.last_term = Some(entry.id.term);
            self.entries.push(entry);
        }
        match split.rest {
            Rest::Nothing => Ok(()),
            Rest::CutShort => Err("has an entry cut short".to_owned()),
            Rest::More => Err("holds more bytes than entries".to_owned()),
        }
    }
}

/// How a batch's bytes come apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Split {
    /// How many whole entries are there, of those the header counts.
    pub(crate) entry_count: usize,
    rest: Rest,
}

/// What is behind them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    Nothing,
    /// An entry that is longer than the batch.
    CutShort,
    /// More than the header counts.
    More,
}

/// Takes `batch` apart, which is at `batch_at` in its segment, and puts its entries behind `entries`,
/// as parts of `whole`, the segment.
pub(crate) fn split_entries(
    header: &BatchHeader,
    batch_at: usize,
    batch: &[u8],
    whole: &Arc<Whole>,
    entries: &mut Vec<Entry>,
) -> Split {
    let end = BATCH_HEADER_BYTES + header.payload_bytes as usize;
    let mut at = BATCH_HEADER_BYTES;
    for nth in 0..header.entry_count {
        let frame = batch[at..end].first_chunk::<FRAME_BYTES>();
        let index = header.first.index.checked_add(u64::from(nth));
        let (Some(frame), Some(index)) = (frame, index) else {
            return Split { entry_count: nth as usize, rest: Rest::CutShort };
        };
        let term = u64::from_le_bytes(*frame.first_chunk().expect("eight of thirteen bytes"));
        let len = u32::from_le_bytes(frame[8..12].try_into().expect("four of thirteen bytes"));
        at += FRAME_BYTES;
        let Some(data) = batch[at..end].get(..len as usize) else {
            return Split { entry_count: nth as usize, rest: Rest::CutShort };
        };
        let data = match u32::try_from(batch_at + at) {
            Ok(at) => Payload::part(Arc::clone(whole) as _, at, len),
            // Past 4 GiB, which takes a batch of nearly as many.
            Err(_) => Payload::from(data),
        };
        entries.push(Entry { id: EntryId::new(index, term), tag: frame[12], data });
        at += len as usize;
    }
    let rest = if at == end { Rest::Nothing } else { Rest::More };
    Split { entry_count: header.entry_count as usize, rest }
}
