//! The second copy of the hard state: the file `VOTE`, with two slots that are written in turn.
//!
//! A term or a vote is acknowledged only when it is in both places. The log is written first, so a
//! slot never knows of a batch that was not durable once: it is a witness for the log's end, and it
//! can stand in for a last batch that held nothing else.

use super::files::{File, Files};
use super::format::{BlockFault, Generation, Identity, SLOT_BYTES, SLOT_STRIDE, VoteSlot, is_zero};
use crate::fs::OpenMode;
use crate::{HardState, StorageError};

/// The file's name.
pub(crate) const VOTE: &str = "VOTE";
const FILE_BYTES: usize = 2 * SLOT_STRIDE;

/// The slot with the newest generation, if any can be read. A slot that cannot is not an error: the
/// log has the same state, and this file may be made anew.
pub(crate) fn read(files: &Files) -> Result<Option<VoteSlot>, StorageError> {
    let Some(bytes) = files.read_small(VOTE, FILE_BYTES as u64)? else { return Ok(None) };
    let mut newest: Option<VoteSlot> = None;
    for (i, slot) in bytes.chunks(SLOT_STRIDE).enumerate() {
        let slot = &slot[..SLOT_BYTES.min(slot.len())];
        match VoteSlot::decode(slot) {
            Ok(slot) => {
                newest = newest.into_iter().chain([slot]).max_by_key(|slot| slot.generation);
            }
            Err(BlockFault::Newer(major)) => {
                return Err(files.foreign(VOTE, BlockFault::Newer(major).to_string()));
            }
            Err(BlockFault::Damaged) if is_zero(slot) => {}
            Err(BlockFault::Damaged) => {
                log::warn!("{}: slot {i} is damaged; the log decides", files.path(VOTE).display());
            }
        }
    }
    Ok(newest)
}

/// The file, open for writing.
pub(crate) struct VoteFile {
    file: File,
    identity: Identity,
}

impl VoteFile {
    /// Opens the file, or makes a new one if it is missing or has lost its length. The caller syncs
    /// the directory.
    pub(crate) fn open(files: &Files, identity: Identity) -> Result<Self, StorageError> {
        let len = files.open_existing(VOTE)?.map(|file| file.len()).transpose()?;
        if len != Some(FILE_BYTES as u64) {
            files.write_aside(VOTE, &[0; FILE_BYTES])?;
        }
        Ok(Self { file: files.open(VOTE, OpenMode::Write)?, identity })
    }

    /// Makes `hard_state` durable, in place of the generation before the last one. `batch`, which
    /// holds it too, must be durable already; `alone` says that it holds nothing else.
    pub(crate) fn write(
        &self,
        (generation, hard_state): (Generation, HardState),
        (batch, alone): (u64, bool),
    ) -> Result<(), StorageError> {
        let slot = VoteSlot { identity: self.identity, generation, hard_state, batch, alone };
        self.file.write_at(&slot.encode(), (generation.0 % 2) * SLOT_STRIDE as u64)?;
        self.file.sync()
    }
}
