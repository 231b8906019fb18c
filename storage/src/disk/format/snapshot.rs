//! A snapshot file: head (4 KiB), content, configuration, table of chunk CRCs, footer.

use super::block::{self, BlockFault, FIELDS_AT, get_u32, get_u64, put_u32, put_u64};
use super::{CHUNK_BYTES, HEAD_BYTES};
use crate::EntryId;

const HEAD_MAGIC: [u8; 8] = *b"OARLKSNP";
const FOOTER_MAGIC: [u8; 8] = *b"OARLKSNE";

/// The length of the footer, which ends the file.
pub(crate) const FOOTER_BYTES: usize = 64;

/// The head: what the file is. It names the cluster and not the node, so that the same snapshot is
/// the same bytes everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SnapshotHead {
    pub(crate) cluster_id: u64,
    pub(crate) last_included: EntryId,
}

impl SnapshotHead {
    pub(crate) fn encode(&self) -> [u8; HEAD_BYTES] {
        let mut block = [0; HEAD_BYTES];
        put_u64(&mut block, FIELDS_AT, self.cluster_id);
        put_u64(&mut block, FIELDS_AT + 8, self.last_included.index);
        put_u64(&mut block, FIELDS_AT + 16, self.last_included.term);
        block::seal(&mut block, HEAD_MAGIC);
        block
    }

    pub(crate) fn decode(block: &[u8]) -> Result<Self, BlockFault> {
        assert_eq!(block.len(), HEAD_BYTES, "the caller reads a whole head");
        block::check(block, HEAD_MAGIC)?;
        let field = |i: usize| get_u64(block, FIELDS_AT + 8 * i);
        Ok(Self { cluster_id: field(0), last_included: EntryId::new(field(1), field(2)) })
    }
}

/// The footer: how long the parts are, and the CRC of the two small ones. Known only when all the
/// content has been written, hence at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SnapshotFooter {
    pub(crate) last_included: EntryId,
    pub(crate) content_bytes: u64,
    pub(crate) configuration_bytes: u32,
    /// Of configuration and table together.
    pub(crate) table_crc: u32,
}

impl SnapshotFooter {
    /// The footer's bytes, and their CRC, by which the log refers to the snapshot.
    pub(crate) fn encode(&self) -> ([u8; FOOTER_BYTES], u32) {
        let mut block = [0; FOOTER_BYTES];
        put_u64(&mut block, FIELDS_AT, self.last_included.index);
        put_u64(&mut block, FIELDS_AT + 8, self.last_included.term);
        put_u64(&mut block, FIELDS_AT + 16, self.content_bytes);
        put_u32(&mut block, FIELDS_AT + 24, self.configuration_bytes);
        put_u32(&mut block, FIELDS_AT + 28, self.table_crc);
        block::seal(&mut block, FOOTER_MAGIC);
        (block, get_u32(&block, 8))
    }

    pub(crate) fn decode(block: &[u8]) -> Result<(Self, u32), BlockFault> {
        assert_eq!(block.len(), FOOTER_BYTES, "the caller reads a whole footer");
        block::check(block, FOOTER_MAGIC)?;
        let footer = Self {
            last_included: EntryId::new(get_u64(block, FIELDS_AT), get_u64(block, FIELDS_AT + 8)),
            content_bytes: get_u64(block, FIELDS_AT + 16),
            configuration_bytes: get_u32(block, FIELDS_AT + 24),
            table_crc: get_u32(block, FIELDS_AT + 28),
        };
        Ok((footer, get_u32(block, 8)))
    }

    /// Where the configuration begins: right behind the content.
    pub(crate) fn table_at(&self) -> Option<u64> {
        self.content_bytes.checked_add(HEAD_BYTES as u64)
    }

    /// The length of configuration and table together.
    pub(crate) fn table_bytes(&self) -> u64 {
        let chunks = self.content_bytes.div_ceil(CHUNK_BYTES as u64);
        u64::from(self.configuration_bytes) + 4 * chunks
    }

    /// How long the whole file must be.
    pub(crate) fn file_bytes(&self) -> Option<u64> {
        self.table_at()?.checked_add(self.table_bytes())?.checked_add(FOOTER_BYTES as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_and_footer_come_back_as_they_were() {
        let head = SnapshotHead { cluster_id: 1, last_included: EntryId::new(3, 4) };
        assert_eq!(SnapshotHead::decode(&head.encode()), Ok(head));
        let footer = SnapshotFooter {
            last_included: EntryId::new(3, 4),
            content_bytes: CHUNK_BYTES as u64 + 1,
            configuration_bytes: 6,
            table_crc: 7,
        };
        let (block, crc) = footer.encode();
        assert_eq!(SnapshotFooter::decode(&block), Ok((footer, crc)));
        assert_eq!(footer.file_bytes(), Some(4096 + 65537 + 6 + 2 * 4 + 64));
    }

    #[test]
    fn absurd_lengths_do_not_wrap() {
        let footer = SnapshotFooter {
            last_included: EntryId::default(),
            content_bytes: u64::MAX,
            configuration_bytes: u32::MAX,
            table_crc: 0,
        };
        assert_eq!(footer.file_bytes(), None);
    }
}
