//! Whose directory it is, and making a new one.

use super::files::Files;
use super::format::{
    BlockFault, HEAD_BYTES, IDENTITY_BYTES, Identity, SegmentHead, StateCopy, is_zero,
};
use super::lock_file::LockFile;
use super::segment::{self, zero_filled};
use super::{snapshot, vote};
use crate::StorageError;

const IDENTITY: &str = "IDENTITY";
/// What is still being written when a process dies ends like this.
pub(crate) const ASIDE_SUFFIX: &str = ".tmp";

/// The identity stored in the directory; `None` if it has none.
pub(crate) fn read_identity(files: &Files) -> Result<Option<Identity>, StorageError> {
    // One byte more than it may have, to see that it has it.
    let Some(block) = files.read_small(IDENTITY, IDENTITY_BYTES as u64 + 1)? else {
        return Ok(None);
    };
    match Identity::decode(&block) {
        Ok(identity) => Ok(Some(identity)),
        Err(fault @ BlockFault::Newer(_)) => Err(files.foreign(IDENTITY, fault.to_string())),
        Err(fault @ BlockFault::Damaged) => Err(files.damaged(IDENTITY, 0, fault.to_string())),
    }
}

/// The identity of the directory, checked against what the caller expects. A new directory is made
/// for the caller.
pub(crate) fn identity_for(
    files: &Files,
    node_id: u64,
    cluster_id: Option<u64>,
    segment_bytes: u64,
) -> Result<Identity, StorageError> {
    let Some(found) = read_identity(files)? else {
        let identity = Identity { cluster_id: cluster_id.unwrap_or(0), node_id };
        check_nothing_is_lost(files)?;
        initialise(files, identity, segment_bytes)?;
        return Ok(identity);
    };
    if found.node_id != node_id {
        let what = format!("made for node {}, opened for node {node_id}", found.node_id);
        return Err(files.foreign("", what));
    }
    match cluster_id {
        Some(cluster_id) if cluster_id != found.cluster_id => {
            let stored = found.cluster_id;
            Err(files.foreign("", format!("made for cluster {stored}, opened for {cluster_id}")))
        }
        _ => Ok(found),
    }
}

/// A directory without identity must be empty, or what a crash during [`initialise`] leaves.
pub(crate) fn check_nothing_is_lost(files: &Files) -> Result<(), StorageError> {
    for name in files.list()? {
        if LockFile::is_name(&name) || name.ends_with(ASIDE_SUFFIX) || name == "lost+found" {
            continue;
        }
        let is_blank = match name.as_str() {
            vote::VOTE => vote::read(files)?.is_none(),
            name if name == segment::name(1) => is_blank_segment(files, name)?,
            name if segment::number_of(name).is_some() || snapshot::id_of(name).is_some() => false,
            _ => return Err(files.foreign("", format!("holds {name}, which is not Oarlock's"))),
        };
        if !is_blank {
            return Err(files.damaged(IDENTITY, 0, format!("it is missing, but {name} is there")));
        }
    }
    Ok(())
}

/// Whether nothing was ever written to the segment.
fn is_blank_segment(files: &Files, name: &str) -> Result<bool, StorageError> {
    let Some(file) = files.open_existing(name)? else { return Ok(true) };
    let len = file.len()?;
    let mut at = HEAD_BYTES as u64;
    while at < len {
        let piece = file.read_at(at, (len - at).min(1 << 20))?;
        if !is_zero(&piece) {
            return Ok(false);
        }
        at += piece.len() as u64;
    }
    Ok(true)
}

/// Makes the first segment, and then, as the step that counts, the identity.
fn initialise(files: &Files, identity: Identity, segment_bytes: u64) -> Result<(), StorageError> {
    let aside = format!("{}{ASIDE_SUFFIX}", segment::name(1));
    let file = zero_filled(files, &aside, segment_bytes)?;
    let head = SegmentHead {
        identity,
        number: 1,
        salt: fastrand::u64(..),
        file_bytes: segment_bytes,
        first_batch: 1,
        previous_chain: 0,
        born_batches: 0,
        sums_crc: None,
        state: StateCopy { last_term: Some(0), ..StateCopy::default() },
    };
    segment::publish(files, &aside, file, &head.encode(), head.number)?;
    files.write_aside(IDENTITY, &identity.encode())?;
    files.sync_dir()
}
