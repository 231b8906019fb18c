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
        let path = files.path(LOCK);
        match files.fs().lock(&path) {
            Ok(guard) => Ok(Self { guard }),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Err(StorageError::InUse { path: files.dir().into(), owner: owner(files) })
            }
            Err(error) => Err(io_error("lock", &path, error)),
        }
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

/// The first line of the lock file, if it can be read and is not absurdly long.
fn owner(files: &Files) -> String {
    let text = files.read_small(LOCK, 256).ok().flatten().unwrap_or_default();
    match String::from_utf8_lossy(&text).lines().next() {
        Some(line) if !line.is_empty() => line.to_owned(),
        _ => "another process".to_owned(),
    }
}
