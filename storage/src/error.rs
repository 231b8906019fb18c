//! What can go wrong between us and the disk.

use std::io;
use std::path::PathBuf;

/// An operating error of the storage engine. Each names the file, what happened, and the cure.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// A file operation failed. The persister is dead from here on.
    #[error("{operation} {path}: {source}; fix the cause and start the node again")]
    Io {
        /// What was attempted: `write`, `sync`, `rename`…
        operation: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is no space for something new, and so nothing was changed: the same call may succeed
    /// later. The persister goes on.
    #[error("{operation} {path}: {source}; free some space, and it goes on by itself")]
    NoSpace {
        /// What was attempted.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An earlier error made the persister refuse everything.
    #[error("the storage failed earlier and accepts nothing more: {0}; start the node again")]
    Latched(String),
    /// A file holds what no crash can have left there.
    #[error("{path}: damaged at offset {offset}: {what}; nothing was changed: {cure}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where in the file, in bytes.
        offset: u64,
        /// What is wrong there, with the indexes concerned where they are known.
        what: String,
        /// What the operator can do.
        cure: &'static str,
    },
    /// The directory is in use by another process (or by this one, a second time).
    #[error("{path}: in use by {owner}; stop that process, or use another directory")]
    InUse {
        /// The directory.
        path: PathBuf,
        /// What the lock file says of its owner.
        owner: String,
    },
    /// The directory belongs to another node or cluster, or to a newer format.
    #[error("{path}: {what}; use the directory it was made for, or an empty one")]
    Foreign {
        /// The directory or file.
        path: PathBuf,
        /// Whose it is, and whose was expected.
        what: String,
    },
}

impl StorageError {
    /// Whether the system had no space left, for anybody or for us.
    pub(crate) fn is_for_want_of_space(&self) -> bool {
        let (Self::Io { source, .. } | Self::NoSpace { source, .. }) = self else { return false };
        matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }

    /// The same error of an operation that no promise depends on, and that may be tried again.
    pub(crate) fn of_something_new(self) -> Self {
        if !self.is_for_want_of_space() {
            return self;
        }
        match self {
            Self::Io { operation, path, source } => Self::NoSpace { operation, path, source },
            other => other,
        }
    }
}
