//! The first 4 KiB of a segment. It holds a copy of everything that the segments before it add up
//! to, apart from entries: so any run of segments up to the last can be understood without the
//! ones before it, and removing old segments never loses the hard state.

use super::batch::Generation;
use super::block::{self, BlockFault, FIELDS_AT, get_u32, get_u64, put_u32, put_u64};
use super::sector_sums::sums_bytes;
use super::{HEAD_BYTES, Identity};
use crate::{EntryId, HardState};

const MAGIC: [u8; 8] = *b"OARLKSEG";

const HAS_VOTE: u32 = 1;
const HAS_CURRENT: u32 = 2;
const HAS_PREVIOUS: u32 = 4;
const LAST_TERM_KNOWN: u32 = 8;
const STANDS_ON_OTHERS: u32 = 16;
const KNOWN_FLAGS: u32 = 31;

const SUMS_CRC_AT: usize = 120 + 2 * REF_BYTES;

/// How many bytes a [`SnapshotRef`] takes.
pub(super) const REF_BYTES: usize = 32;

/// What the log says about a snapshot: enough to tell its file from every other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SnapshotRef {
    pub(crate) last_included: EntryId,
    pub(crate) content_bytes: u64,
    /// The CRC of the snapshot's footer, which covers everything else in the file.
    pub(crate) footer_crc: u32,
    /// The log held another history, or ended before it, and was dropped: nothing from before this
    /// snapshot can stand in for it.
    pub(crate) resets_log: bool,
}

impl SnapshotRef {
    pub(super) fn encode(&self, block: &mut [u8], at: usize) {
        put_u64(block, at, self.last_included.index);
        put_u64(block, at + 8, self.last_included.term);
        put_u64(block, at + 16, self.content_bytes);
        put_u32(block, at + 24, self.footer_crc);
        put_u32(block, at + 28, u32::from(self.resets_log));
    }

    pub(super) fn decode(block: &[u8], at: usize) -> Self {
        Self {
            last_included: EntryId::new(get_u64(block, at), get_u64(block, at + 8)),
            content_bytes: get_u64(block, at + 16),
            footer_crc: get_u32(block, at + 24),
            resets_log: get_u32(block, at + 28) != 0,
        }
    }
}

/// What all batches up to some point add up to, apart from the entries themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StateCopy {
    pub(crate) hard_state: HardState,
    pub(crate) generation: Generation,
    /// The last entry of the log at that point. `None` for the term if the entry itself was dropped
    /// with an old segment and its successors were truncated.
    pub(crate) last_index: u64,
    pub(crate) last_term: Option<u64>,
    /// The current snapshot.
    pub(crate) current: Option<SnapshotRef>,
    /// The one before it, kept so that the current one may be lost.
    pub(crate) previous: Option<SnapshotRef>,
}

impl StateCopy {
    /// The log behind this index must be kept: the previous snapshot and the entries behind it can
    /// replace the current one.
    pub(crate) fn floor(&self) -> u64 {
        match (self.current, self.previous) {
            (None, _) => 0,
            (Some(current), _) if current.resets_log => current.last_included.index,
            (Some(_), previous) => previous.map_or(0, |previous| previous.last_included.index),
        }
    }

    /// Takes `mark` as the current snapshot. With `replaces_damaged`, the one that was current is
    /// forgotten instead of kept as the previous one.
    pub(crate) fn take_mark(&mut self, mark: SnapshotRef, replaces_damaged: bool) {
        if !replaces_damaged {
            self.previous = self.current;
        }
        if mark.resets_log {
            self.previous = None;
        }
        self.current = Some(mark);
    }
}

/// The head of one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHead {
    pub(crate) identity: Identity,
    pub(crate) number: u64,
    /// Random: bytes of an earlier file on the same blocks cannot pass for this one's.
    pub(crate) salt: u64,
    pub(crate) file_bytes: u64,
    pub(crate) first_batch: u64,
    /// The chain value at the end of the segment before.
    pub(crate) previous_chain: u32,
    /// How many batches were in it, synced, before it got its name.
    pub(crate) born_batches: u64,
    /// The CRC of the sums, which follow the head, of the sectors as they were before anything of this
    /// segment was written; `None` if they were zeros.
    pub(crate) sums_crc: Option<u32>,
    pub(crate) state: StateCopy,
}

impl SegmentHead {
    /// Where the first batch begins.
    pub(crate) fn batches_at(&self) -> u64 {
        HEAD_BYTES as u64 + self.sums_crc.map_or(0, |_| sums_bytes(self.file_bytes))
    }

    pub(crate) fn encode(&self) -> [u8; HEAD_BYTES] {
        let mut block = [0; HEAD_BYTES];
        let state = &self.state;
        let fields = [
            self.identity.cluster_id,
            self.identity.node_id,
            self.number,
            self.salt,
            self.file_bytes,
            self.first_batch,
            self.born_batches,
            state.last_index,
            state.last_term.unwrap_or(0),
            state.generation.0,
            state.hard_state.current_term,
            state.hard_state.voted_for.unwrap_or(0),
        ];
        for (i, field) in fields.into_iter().enumerate() {
            put_u64(&mut block, FIELDS_AT + 8 * i, field);
        }
        let mut flags = 0;
        if state.hard_state.voted_for.is_some() {
            flags |= HAS_VOTE;
        }
        if state.last_term.is_some() {
            flags |= LAST_TERM_KNOWN;
        }
        if let Some(current) = state.current {
            flags |= HAS_CURRENT;
            current.encode(&mut block, 120);
        }
        if let Some(previous) = state.previous {
            flags |= HAS_PREVIOUS;
            previous.encode(&mut block, 120 + REF_BYTES);
        }
        if let Some(crc) = self.sums_crc {
            flags |= STANDS_ON_OTHERS;
            put_u32(&mut block, SUMS_CRC_AT, crc);
        }
        put_u32(&mut block, 112, self.previous_chain);
        put_u32(&mut block, 116, flags);
        match self.sums_crc {
            Some(_) => block::seal_second(&mut block, MAGIC),
            None => block::seal(&mut block, MAGIC),
        }
        block
    }

    pub(crate) fn decode(block: &[u8]) -> Result<Self, BlockFault> {
        assert_eq!(block.len(), HEAD_BYTES, "the caller reads a whole head");
        block::check(block, MAGIC)?;
        let field = |i: usize| get_u64(block, FIELDS_AT + 8 * i);
        let flags = get_u32(block, 116);
        if flags & !KNOWN_FLAGS != 0 {
            return Err(BlockFault::Damaged);
        }
        let when = |flag: u32| flags & flag != 0;
        Ok(Self {
            identity: Identity { cluster_id: field(0), node_id: field(1) },
            number: field(2),
            salt: field(3),
            file_bytes: field(4),
            first_batch: field(5),
            born_batches: field(6),
            previous_chain: get_u32(block, 112),
            sums_crc: when(STANDS_ON_OTHERS).then(|| get_u32(block, SUMS_CRC_AT)),
            state: StateCopy {
                last_index: field(7),
                last_term: when(LAST_TERM_KNOWN).then(|| field(8)),
                generation: Generation(field(9)),
                hard_state: HardState {
                    current_term: field(10),
                    voted_for: when(HAS_VOTE).then(|| field(11)),
                },
                current: when(HAS_CURRENT).then(|| SnapshotRef::decode(block, 120)),
                previous: when(HAS_PREVIOUS).then(|| SnapshotRef::decode(block, 120 + REF_BYTES)),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn sample() -> SegmentHead {
        let reference = |index, resets_log| SnapshotRef {
            last_included: EntryId::new(index, 3),
            content_bytes: 100 + index,
            footer_crc: 0xdead_beef,
            resets_log,
        };
        SegmentHead {
            identity: Identity { cluster_id: 1, node_id: 2 },
            number: 3,
            salt: 4,
            file_bytes: 5 << 12,
            first_batch: 6,
            previous_chain: 7,
            born_batches: 8,
            sums_crc: Some(16),
            state: StateCopy {
                hard_state: HardState { current_term: 9, voted_for: Some(10) },
                generation: Generation(11),
                last_index: 12,
                last_term: Some(13),
                current: Some(reference(14, true)),
                previous: Some(reference(15, false)),
            },
        }
    }

    #[test]
    fn a_head_comes_back_as_it_was() {
        let full = sample();
        let bare = SegmentHead { state: StateCopy::default(), sums_crc: None, ..full };
        for head in [full, bare] {
            assert_eq!(SegmentHead::decode(&head.encode()), Ok(head));
        }
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let mut block = sample().encode();
        for bit in 0..HEAD_BYTES * 8 {
            block[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHead::decode(&block), Err(BlockFault::Damaged), "bit {bit}");
            block[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn the_floor_follows_the_snapshots() {
        let mark = |index, resets_log| SnapshotRef {
            last_included: EntryId::new(index, 1),
            content_bytes: 0,
            footer_crc: 0,
            resets_log,
        };
        let mut state = StateCopy::default();
        assert_eq!(state.floor(), 0);
        state.take_mark(mark(10, false), false);
        assert_eq!(state.floor(), 0, "without a previous snapshot the whole log stands in");
        state.take_mark(mark(20, false), false);
        assert_eq!(state.floor(), 10);
        state.take_mark(mark(15, false), true);
        assert_eq!(state.floor(), 10, "a damaged snapshot is never the previous one");
        state.take_mark(mark(40, true), false);
        assert_eq!(state.floor(), 40);
        state.take_mark(mark(50, false), false);
        assert_eq!(state.floor(), 40);
    }
}
