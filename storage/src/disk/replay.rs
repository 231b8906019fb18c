//! What a run of batches adds up to: the fold that recovery makes over the log.

use super::format::{BatchHeader, StateCopy};
use crate::{Entry, EntryId};

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

    /// Applies one verified batch. An error means that the batch does not fit behind the ones
    /// before it, which its checksums rule out unless it was made wrong.
    pub(crate) fn apply(&mut self, header: &BatchHeader, payload: &[u8]) -> Result<(), String> {
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
        self.append(header, payload).map_err(|what| format!("{header} {what}"))?;
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

    fn append(&mut self, header: &BatchHeader, mut payload: &[u8]) -> Result<(), String> {
        let first_index = header.first.index;
        if header.entry_count > 0 && Some(first_index) != self.state.last_index.checked_add(1) {
            return Err(format!("leaves a gap behind entry {}", self.state.last_index));
        }
        let end_index = first_index.checked_add(u64::from(header.entry_count));
        for index in first_index..end_index.ok_or("counts past the last index there is")? {
            let (entry, rest) = split_entry(payload, index).ok_or("has an entry cut short")?;
            let floor = self.state.last_term.unwrap_or(0);
            if entry.id.term < floor || entry.id.term > header.last_term {
                return Err(format!("holds {}, out of order behind term {floor}", entry.id));
            }
            self.state.last_index = index;
            self.state.last_term = Some(entry.id.term);
            self.entries.push(entry);
            payload = rest;
        }
        if payload.is_empty() { Ok(()) } else { Err("holds more bytes than entries".to_owned()) }
    }
}

/// Takes one entry off the front of `payload`.
fn split_entry(payload: &[u8], index: u64) -> Option<(Entry, &[u8])> {
    let (frame, rest) = payload.split_first_chunk::<FRAME_BYTES>()?;
    let term = u64::from_le_bytes(*frame.first_chunk()?);
    let len = u32::from_le_bytes(frame[8..12].try_into().expect("four of thirteen bytes"));
    let (data, rest) = rest.split_at_checked(len as usize)?;
    Some((Entry { id: EntryId::new(index, term), tag: frame[12], data: data.into() }, rest))
}
