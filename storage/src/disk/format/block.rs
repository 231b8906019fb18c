//! What all fixed-size blocks have in common: magic (8), CRC-32 (4), major (2), minor (2), fields.
//! The CRC covers the whole block except itself.

use std::fmt;

/// The newest format that is known.
const MAJOR: u16 = 2;
/// What blocks say that the first format has too.
const FIRST_MAJOR: u16 = 1;
const MINOR: u16 = 0;

const CRC_AT: usize = 8;
const MAJOR_AT: usize = 12;
const MINOR_AT: usize = 14;
/// Where a block's own fields begin.
pub(crate) const FIELDS_AT: usize = 16;

/// Why a block cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BlockFault {
    /// Its CRC or its magic is wrong: damage.
    Damaged,
    /// It was written by a newer major version: not ours to judge, or to change.
    Newer(u16),
}

impl fmt::Display for BlockFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged => f.write_str("the checksum does not match"),
            Self::Newer(major) => write!(f, "format {major} is newer than {MAJOR}, the last known"),
        }
    }
}

/// Completes a block whose fields are in place: magic, version, CRC.
pub(crate) fn seal(block: &mut [u8], magic: [u8; 8]) {
    seal_as(FIRST_MAJOR, block, magic);
}

/// The same of a block that only the second format has: programs that know only the first refuse it.
pub(crate) fn seal_second(block: &mut [u8], magic: [u8; 8]) {
    seal_as(MAJOR, block, magic);
}

fn seal_as(major: u16, block: &mut [u8], magic: [u8; 8]) {
    block[..8].copy_from_slice(&magic);
    block[MAJOR_AT..MINOR_AT].copy_from_slice(&major.to_le_bytes());
    block[MINOR_AT..FIELDS_AT].copy_from_slice(&MINOR.to_le_bytes());
    let crc = block_crc(block);
    put_u32(block, CRC_AT, crc);
}

/// Checks a block: magic, CRC, version, in this order, so that damage never passes for a version.
pub(crate) fn check(block: &[u8], magic: [u8; 8]) -> Result<(), BlockFault> {
    if block[..8] != magic || get_u32(block, CRC_AT) != block_crc(block) {
        return Err(BlockFault::Damaged);
    }
    match u16::from_le_bytes([block[MAJOR_AT], block[MAJOR_AT + 1]]) {
        major if major > MAJOR => Err(BlockFault::Newer(major)),
        _ => Ok(()),
    }
}

fn block_crc(block: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&block[..CRC_AT]);
    hasher.update(&block[CRC_AT + 4..]);
    hasher.finalize()
}

pub(crate) fn put_u32(block: &mut [u8], at: usize, value: u32) {
    block[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

pub(crate) fn put_u64(block: &mut [u8], at: usize, value: u64) {
    block[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

pub(crate) fn get_u32(block: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(block[at..at + 4].try_into().expect("four bytes were asked for"))
}

pub(crate) fn get_u64(block: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(block[at..at + 8].try_into().expect("eight bytes were asked for"))
}
