//! One owner per directory: the `LOCK` file.

use std::io;
use std::path::Path;

use super::files::{Files, io_error};
use crate::StorageError;
use crate::fs::LockGuard;

const LOCK: &str = "LOCK";

/// The directory's lock, held until dropped. The system releases it when the process dies, so what
/// a crash leaves behind never has to be cleaned up by hand.
pub(crate) struct LockFile {
    guard: Box<dyn LockGuard>,
}

impl LockFile {
    /// Takes the lock, or fails at once with what the owner wrote about itself.
    pub(crate) fn acquire(files: &Files) -> Result<Self, StorageError> {
        let guard = files.fs().lock(&files.path(LOCK));
        guard.map(|guard| Self { guard }).map_err(|error| refused(files, error))
    }

    /// The same for a reader, who writes nothing: `None` if there is no lock file, and so no owner.
    pub(crate) fn acquire_to_read(files: &Files) -> Result<Option<Self>, StorageError> {
        let guard = files.fs().lock_to_read(&files.path(LOCK));
        let guard = guard.map_err(|error| refused(files, error))?;
        Ok(guard.map(|guard| Self { guard }))
    }

    /// Leaves a note about us for whoever finds the directory locked.
    pub(crate) fn describe(&self, files: &Files, node_id: u64) -> Result<(), StorageError> {
        let text = format!("process {} (node {node_id})\n", std::process::id());
        self.guard.describe(&text).map_err(|error| io_error("write", &files.path(LOCK), error))
    }

    /// Whether `name` is the lock file's.
    pub(crate) fn is_name(name: &str) -> bool {
        Path::new(name) == Path::new(LOCK)
    }
}

/// Why a lock was not taken.
fn refused(files: &Files, error: io::Error) -> StorageError {
    if error.kind() == io::ErrorKind::WouldBlock {
        return StorageError::InUse { path: files.dir().into(), owner: owner(files) };
    }
    io_error("lock", &files.path(LOCK), error)
}

/// The first line of the lock file, if it can be read and is not absurdly long.
fn owner(files: &Files) -> String {
    let text = files.read_small(LOCK, 256).ok().flatten().unwrap_or_default();
    match String::from_utf8_lossy(&text).lines().next() {
        Some(line) if !line.is_empty() => line.to_owned(),
        _ => "another process".to_owned(),
    }
}
