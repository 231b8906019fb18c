//! One batch: header, entries, padding, trailer. It begins and ends at a sector's border, so no
//! sector that is durable is ever written again.
//!
//! The header has a CRC of its own and says which entries the batch holds: a batch with a damaged
//! body can still be named.

use std::fmt;

use super::SECTOR_BYTES;
use super::block::{get_u32, get_u64, put_u32, put_u64};
use super::is_zero;
use super::segment_head::SnapshotRef;
use crate::{EntryId, HardState};

/// The length of a batch's header.
pub(crate) const BATCH_HEADER_BYTES: usize = 144;
/// The length of the trailer: the last bytes of the last sector.
pub(super) const TRAILER_BYTES: usize = 8;
/// The last byte of a header, and of a batch: where it is zero, the write was cut short before it.
/// Half of its bits are set, so that no damage of a bit or two passes for that.
const END: u8 = 0xa5;
const HEADER_END_AT: usize = BATCH_HEADER_BYTES - 1;

const MAGIC: u32 = u32::from_le_bytes(*b"OBAT");

const HAS_HARD_STATE: u32 = 1;
const HAS_VOTE: u32 = 2;
const HAS_TRUNCATE: u32 = 4;
const HAS_MARK: u32 = 8;
const REPLACES_DAMAGED: u32 = 16;
const SEAL: u32 = 32;
const KNOWN_FLAGS: u32 = 63;

/// How many times the hard state has changed since the directory was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Generation(pub(crate) u64);

impl Generation {
    pub(crate) fn next(self) -> Self {
        // One change a nanosecond would take five centuries to get there.
        Self(self.0.saturating_add(1))
    }
}

/// Makes a snapshot the current one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) snapshot: SnapshotRef,
    /// The snapshot that was current turned out damaged: it does not become the previous one.
    pub(crate) replaces_damaged: bool,
}

/// What a batch changes, apart from appending entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    pub(crate) hard_state: Option<(Generation, HardState)>,
    pub(crate) truncate_from: Option<u64>,
    pub(crate) mark: Option<Mark>,
}

/// A batch's header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BatchHeader {
    pub(crate) salt: u64,
    pub(crate) number: u64,
    pub(crate) first: EntryId,
    pub(crate) last_term: u64,
    pub(crate) entry_count: u32,
    pub(crate) payload_bytes: u32,
    pub(crate) payload_crc: u32,
    /// The chain value before this batch: the header CRC of the batch before it.
    pub(crate) previous_chain: u32,
    /// How many of its sectors are, by right, what the segment held there before: mostly zeros.
    pub(crate) unchanged_sectors: u32,
    pub(crate) changes: Changes,
    /// Not a batch but the end of the segment: the next one exists, and begins with this number.
    pub(crate) is_seal: bool,
}

impl fmt::Display for BatchHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "batch {}", self.number)?;
        if self.entry_count > 0 {
            let last_index = self.first.index.saturating_add(u64::from(self.entry_count) - 1);
            write!(f, " (entries {} to {})", self.first, EntryId::new(last_index, self.last_term))?;
        }
        if self.changes.hard_state.is_some() {
            f.write_str(" (hard state)")?;
        }
        Ok(())
    }
}

impl BatchHeader {
    /// Whether the batch changes the hard state and nothing else.
    pub(crate) fn is_hard_state_alone(&self) -> bool {
        let changes = self.changes;
        changes.hard_state.is_some()
            && changes.truncate_from.is_none()
            && changes.mark.is_none()
            && self.entry_count == 0
    }

    fn flags(&self) -> u32 {
        let Changes { hard_state, truncate_from, mark } = self.changes;
        let mut flags = 0;
        let mut set = |flag: u32, when: bool| flags |= if when { flag } else { 0 };
        set(HAS_HARD_STATE, hard_state.is_some());
        set(HAS_VOTE, hard_state.is_some_and(|(_, state)| state.voted_for.is_some()));
        set(HAS_TRUNCATE, truncate_from.is_some());
        set(HAS_MARK, mark.is_some());
        set(REPLACES_DAMAGED, mark.is_some_and(|mark| mark.replaces_damaged));
        set(SEAL, self.is_seal);
        flags
    }

    /// Writes the header into the first bytes of `block`; returns its CRC, the new chain value.
    pub(super) fn encode(&self, block: &mut [u8]) -> u32 {
        let block = &mut block[..BATCH_HEADER_BYTES];
        block.fill(0);
        put_u32(block, 0, MAGIC);
        put_u64(block, 8, self.salt);
        put_u64(block, 16, self.number);
        put_u64(block, 24, self.first.index);
        put_u64(block, 32, self.first.term);
        put_u64(block, 40, self.last_term);
        put_u32(block, 48, self.entry_count);
        put_u32(block, 52, self.payload_bytes);
        put_u32(block, 56, self.payload_crc);
        put_u32(block, 60, self.previous_chain);
        put_u32(block, 64, self.unchanged_sectors);
        put_u32(block, 68, self.flags());
        if let Some((generation, state)) = self.changes.hard_state {
            put_u64(block, 72, generation.0);
            put_u64(block, 80, state.current_term);
            put_u64(block, 88, state.voted_for.unwrap_or(0));
        }
        put_u64(block, 96, self.changes.truncate_from.unwrap_or(0));
        if let Some(mark) = self.changes.mark {
            mark.snapshot.encode(block, 104);
        }
        block[HEADER_END_AT] = END;
        let crc = crc32fast::hash(&block[8..]);
        put_u32(block, 4, crc);
        crc
    }

    /// The header at the beginning of `block` and its chain value; `None` if there is none, or it is
    /// damaged.
    pub(crate) fn decode(block: &[u8]) -> Option<(Self, u32)> {
        let block = block.get(..BATCH_HEADER_BYTES)?;
        if get_u32(block, 0) != MAGIC {
            return None;
        }
        let crc = get_u32(block, 4);
        let flags = get_u32(block, 68);
        if crc != crc32fast::hash(&block[8..]) || flags & !KNOWN_FLAGS != 0 {
            return None;
        }
        let when = |flag: u32| flags & flag != 0;
        let hard_state = || HardState {
            current_term: get_u64(block, 80),
            voted_for: when(HAS_VOTE).then(|| get_u64(block, 88)),
        };
        let header = Self {
            salt: get_u64(block, 8),
            number: get_u64(block, 16),
            first: EntryId::new(get_u64(block, 24), get_u64(block, 32)),
            last_term: get_u64(block, 40),
            entry_count: get_u32(block, 48),
            payload_bytes: get_u32(block, 52),
            payload_crc: get_u32(block, 56),
            previous_chain: get_u32(block, 60),
            unchanged_sectors: get_u32(block, 64),
            changes: Changes {
                hard_state: when(HAS_HARD_STATE)
                    .then(|| (Generation(get_u64(block, 72)), hard_state())),
                truncate_from: when(HAS_TRUNCATE).then(|| get_u64(block, 96)),
                mark: when(HAS_MARK).then(|| Mark {
                    snapshot: SnapshotRef::decode(block, 104),
                    replaces_damaged: when(REPLACES_DAMAGED),
                }),
            },
            is_seal: when(SEAL),
        };
        Some((header, crc))
    }

    /// How many bytes the batch takes in its segment.
    pub(crate) fn extent(&self) -> usize {
        extent(self.payload_bytes as usize)
    }

    /// Whether `batch`, [`extent`](Self::extent) bytes from the header on, is what was written.
    pub(crate) fn body_is_good(&self, batch: &[u8]) -> bool {
        let trailer_at = batch.len() - TRAILER_BYTES;
        get_u64(batch, trailer_at) == trailer(self.salt, self.number)
            && crc32fast::hash(&batch[BATCH_HEADER_BYTES..trailer_at]) == self.payload_crc
    }
}

/// How many bytes a batch with `payload_bytes` of entries takes: whole sectors.
pub(crate) fn extent(payload_bytes: usize) -> usize {
    (BATCH_HEADER_BYTES + payload_bytes + TRAILER_BYTES).next_multiple_of(SECTOR_BYTES)
}

/// How many of the sectors that `runs` fill one after the other are all zero.
pub(super) fn zero_sectors<'a>(runs: impl IntoIterator<Item = &'a [u8]>) -> u32 {
    let (mut zeros, mut missing, mut is_zero_so_far) = (0, SECTOR_BYTES, true);
    for mut run in runs {
        while !run.is_empty() {
            let (now, later) = run.split_at(run.len().min(missing));
            is_zero_so_far = is_zero_so_far && is_zero(now);
            missing -= now.len();
            if missing == 0 {
                zeros += u32::from(is_zero_so_far);
                (missing, is_zero_so_far) = (SECTOR_BYTES, true);
            }
            run = later;
        }
    }
    zeros
}

/// The trailer of a batch. It ends with [`END`], so that a missing end always shows.
pub(super) fn trailer(salt: u64, number: u64) -> u64 {
    (salt ^ number) & (u64::MAX >> 8) | u64::from(END) << 56
}

/// Whether `batch`, with a good header and a bad body, lacks sectors: they were never written.
pub(crate) fn lacks_sectors(header: &BatchHeader, batch: &[u8]) -> bool {
    zero_sectors([batch]) > header.unchanged_sectors
}

/// Whether the trailer of `batch` is missing from some byte of it on.
pub(crate) fn has_no_end(header: &BatchHeader, batch: &[u8]) -> bool {
    let found = &batch[batch.len() - TRAILER_BYTES..];
    let written = found.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let whole = trailer(header.salt, header.number).to_le_bytes();
    written < TRAILER_BYTES && found[..written] == whole[..written]
}

/// Whether `sector` begins like the batch that is expected, and ends in zeros before its header
/// does: a write that was cut short within the header.
pub(crate) fn is_header_cut_short(sector: &[u8], salt: u64, number: u64) -> bool {
    let written = sector.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    if written > HEADER_END_AT {
        return false;
    }
    let mut expected = [0; 24];
    put_u32(&mut expected, 0, MAGIC);
    put_u64(&mut expected, 8, salt);
    put_u64(&mut expected, 16, number);
    // The CRC, at 4, cannot be known.
    [0..4, 8..24].into_iter().flatten().all(|at| at >= written || sector[at] == expected[at])
}

/// Moves a complete batch into a segment of zeros, with another salt and chain. Returns the new chain
/// value.
pub(crate) fn restamp(batch: &mut [u8], salt: u64, previous_chain: u32) -> u32 {
    let (header, _) = BatchHeader::decode(batch).expect("only verified batches are moved");
    let trailer_at = batch.len() - TRAILER_BYTES;
    put_u64(batch, trailer_at, trailer(salt, header.number));
    // It may come from one that held something else before.
    let unchanged_sectors = zero_sectors([&*batch]);
    BatchHeader { salt, previous_chain, unchanged_sectors, ..header }.encode(batch)
}

#[cfg(test)]
mod tests;
