//! Looking at a directory that no node is using, without changing a byte of it: is it as it was
//! written, and what is in it? And, when asked for by name, saving what can be saved of a damaged one.
//!
//! A directory in use is refused, by the process that uses it. What a node would say instead of
//! starting is said here in the same words.

mod beside;
mod dump;
mod repair;
mod snapshot;
mod verify;
mod walk;

use std::path::Path;
use std::sync::Arc;

pub use dump::{Record, dump};
#[cfg(test)]
pub(crate) use repair::repair_on;
pub use repair::{Repaired, repair};
pub use snapshot::{SnapshotReport, inspect_snapshot};
pub use verify::{Defect, Report, Summary, verify};

use super::files::Files;
use super::lock_file::LockFile;
use super::{directory, segment};
use crate::fs::{Fs, RealFs};
use crate::{Identity, StorageError};

/// A directory that is read, and the lock that keeps a node from starting meanwhile.
struct Reading {
    files: Files,
    _lock: Option<LockFile>,
}

impl Reading {
    fn begin(dir: &Path) -> Result<Self, StorageError> {
        Self::begin_on(Arc::new(RealFs::default()), dir)
    }

    fn begin_on(fs: Arc<dyn Fs>, dir: &Path) -> Result<Self, StorageError> {
        let files = Files::new(fs, dir);
        // First, so that a directory that is not there is said so.
        files.list()?;
        let lock = LockFile::acquire_to_read(&files)?;
        Ok(Self { files, _lock: lock })
    }

    /// Whose directory it is; an error if that cannot be told, or it is nobody's.
    fn identity(&self) -> Result<Identity, StorageError> {
        if let Some(identity) = directory::read_identity(&self.files)? {
            return Ok(identity);
        }
        directory::check_nothing_is_lost(&self.files)?;
        Err(self.files.foreign("", "there is no log in it"))
    }

    /// The numbers of the segments, in order.
    fn segments(&self) -> Result<Vec<u64>, StorageError> {
        let names = self.files.list()?;
        Ok(names.iter().filter_map(|name| segment::number_of(name)).collect())
    }
}
