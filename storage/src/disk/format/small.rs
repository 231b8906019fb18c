//! The small blocks: `IDENTITY`, and the two slots of `VOTE`.

use super::SECTOR_BYTES;
use super::batch::Generation;
use super::block::{self, BlockFault, FIELDS_AT, get_u32, get_u64, put_u32, put_u64};
use crate::HardState;

const IDENTITY_MAGIC: [u8; 8] = *b"OARLKIDN";
const SLOT_MAGIC: [u8; 8] = *b"OARLKVOT";

/// The length of the identity file.
pub(crate) const IDENTITY_BYTES: usize = SECTOR_BYTES;
/// What a slot holds: one sector, written whole or not at all.
pub(crate) const SLOT_BYTES: usize = SECTOR_BYTES;
/// From one slot to the next: far enough that no write touches the block of the other.
pub(crate) const SLOT_STRIDE: usize = 4096;

const HAS_VOTE: u32 = 1;
const ALONE: u32 = 2;

/// Whose directory it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster the node belongs to; 0 if none was given.
    pub cluster_id: u64,
    /// The node's own id.
    pub node_id: u64,
}

impl Identity {
    pub(crate) fn encode(self) -> [u8; IDENTITY_BYTES] {
        let mut block = [0; IDENTITY_BYTES];
        put_u64(&mut block, FIELDS_AT, self.cluster_id);
        put_u64(&mut block, FIELDS_AT + 8, self.node_id);
        block::seal(&mut block, IDENTITY_MAGIC);
        block
    }

    pub(crate) fn decode(block: &[u8]) -> Result<Self, BlockFault> {
        if block.len() != IDENTITY_BYTES {
            return Err(BlockFault::Damaged);
        }
        block::check(block, IDENTITY_MAGIC)?;
        let field = |i: usize| get_u64(block, FIELDS_AT + 8 * i);
        Ok(Self { cluster_id: field(0), node_id: field(1) })
    }
}

/// The second copy of the hard state. It is written after the batch that holds the first copy is
/// durable, so it also attests that this batch once was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct VoteSlot {
    pub(crate) identity: Identity,
    pub(crate) generation: Generation,
    pub(crate) hard_state: HardState,
    /// The batch that holds the first copy.
    pub(crate) batch: u64,
    /// Whether that batch holds nothing else, so that this slot can stand in for it.
    pub(crate) alone: bool,
}

impl VoteSlot {
    pub(crate) fn encode(&self) -> [u8; SLOT_BYTES] {
        let mut block = [0; SLOT_BYTES];
        let fields = [
            self.identity.cluster_id,
            self.identity.node_id,
            self.generation.0,
            self.hard_state.current_term,
            self.hard_state.voted_for.unwrap_or(0),
            self.batch,
        ];
        for (i, field) in fields.into_iter().enumerate() {
            put_u64(&mut block, FIELDS_AT + 8 * i, field);
        }
        let vote = if self.hard_state.voted_for.is_some() { HAS_VOTE } else { 0 };
        let alone = if self.alone { ALONE } else { 0 };
        put_u32(&mut block, FIELDS_AT + 48, vote | alone);
        block::seal(&mut block, SLOT_MAGIC);
        block
    }

    pub(crate) fn decode(block: &[u8]) -> Result<Self, BlockFault> {
        if block.len() != SLOT_BYTES {
            return Err(BlockFault::Damaged);
        }
        block::check(block, SLOT_MAGIC)?;
        let field = |i: usize| get_u64(block, FIELDS_AT + 8 * i);
        let flags = get_u32(block, FIELDS_AT + 48);
        Ok(Self {
            identity: Identity { cluster_id: field(0), node_id: field(1) },
            generation: Generation(field(2)),
            hard_state: HardState {
                current_term: field(3),
                voted_for: (flags & HAS_VOTE != 0).then(|| field(4)),
            },
            batch: field(5),
            alone: flags & ALONE != 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_come_back_as_they_were() {
        let identity = Identity { cluster_id: 5, node_id: 6 };
        assert_eq!(Identity::decode(&identity.encode()), Ok(identity));
        for (voted_for, alone) in [(None, false), (Some(0), true), (Some(9), false)] {
            let slot = VoteSlot {
                identity,
                generation: Generation(7),
                hard_state: HardState { current_term: 8, voted_for },
                batch: 10,
                alone,
            };
            assert_eq!(VoteSlot::decode(&slot.encode()), Ok(slot));
        }
    }

    #[test]
    fn a_newer_major_is_told_from_damage() {
        let mut block = Identity { cluster_id: 5, node_id: 6 }.encode();
        block[12] = 3;
        assert_eq!(Identity::decode(&block), Err(BlockFault::Damaged));
        let crc = {
            let mut hasher = crc32fast::Hasher::new();
            hasher.update(&block[..8]);
            hasher.update(&block[12..]);
            hasher.finalize()
        };
        put_u32(&mut block, 8, crc);
        assert_eq!(Identity::decode(&block), Err(BlockFault::Newer(3)));
        assert_eq!(Identity::decode(&block[..100]), Err(BlockFault::Damaged));
    }
}
