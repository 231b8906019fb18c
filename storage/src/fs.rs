//! The file operations durable state rests on, and nothing else: the one door to the system, so that
//! tests can put a disk behind it that forgets, tears and fails on command.

#[cfg(any(test, feature = "power-cut"))]
pub(crate) mod forgetful;
mod real;
#[cfg(any(test, feature = "simulation"))]
pub(crate) mod sim;
mod uncached;
mod write_buffer;

use std::any::Any;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

use crate::SnapshotBytes;

pub(crate) use real::RealFs;

/// How to open a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OpenMode {
    /// An existing file, to read.
    Read,
    /// An existing file, to read and write.
    Write,
    /// A file for reading and writing that is empty now, whether or not it existed.
    Create,
    /// As `Write`, of a log: nobody reads what is written before the file is opened again, so it
    /// need not stay in memory.
    WriteLog,
    /// As `Create`, of a log.
    CreateLog,
}

impl OpenMode {
    /// Whether the file is empty now.
    pub(crate) fn creates(self) -> bool {
        matches!(self, Self::Create | Self::CreateLog)
    }

    /// Whether the file is an existing one that is written.
    #[cfg(any(test, feature = "power-cut"))]
    pub(crate) fn rewrites(self) -> bool {
        matches!(self, Self::Write | Self::WriteLog)
    }
}

/// A file system, as far as we need one.
pub(crate) trait Fs: Send + Sync {
    /// Makes `dir` and its parents, and their names durable. Does nothing if it exists.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    /// Opens a file.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn FsFile>>;
    /// Gives a file a new name, in place of the file that has it, in one step.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a name.
    fn unlink(&self, path: &Path) -> io::Result<()>;
    /// The names in `dir`, sorted.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Makes the names in `dir` durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Takes the exclusive lock on the file at `path`, which is made if it is missing; `Err` of kind
    /// [`io::ErrorKind::WouldBlock`] if anyone has it. It is given back when the guard is dropped.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn LockGuard>>;
    /// The same lock, without making or writing the file; `None` if there is none.
    fn lock_to_read(&self, path: &Path) -> io::Result<Option<Box<dyn LockGuard>>>;
}

/// An open file. Positions are bytes from its start.
pub(crate) trait FsFile: Send + Sync {
    /// Its length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Fills `buffer` from `offset`; an error of kind `UnexpectedEof` if the file is too short.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
    /// Writes all of `bytes` at `offset`.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Writes `pieces` one after the other from `offset` on, with one call where the system can.
    /// It may use the file's own position: one caller at a time.
    fn write_pieces_at(&self, pieces: &mut [IoSlice<'_>], offset: u64) -> io::Result<()>;
    /// Writes `pieces` as [`write_pieces_at`](Self::write_pieces_at) does, and makes them durable (and
    /// nothing else), all with one call of the system. False if that is not possible here: then they
    /// are to be written and synced, all of them.
    fn write_durably(&self, pieces: &[IoSlice<'_>], offset: u64) -> io::Result<bool> {
        let _ = (pieces, offset);
        Ok(false)
    }
    /// Makes content and length durable.
    fn sync_data(&self) -> io::Result<()>;
    /// Cuts the file to `len` bytes, no more than it has, and makes content and length durable.
    fn cut(&self, len: u64) -> io::Result<()>;
    /// Whether exactly one name leads to the file.
    fn has_one_name(&self) -> io::Result<bool> {
        Ok(true)
    }
    /// Takes away everybody's permission to write, for later openers.
    fn set_read_only(&self) -> io::Result<()>;
    /// Maps `len` bytes from `offset`, which nobody may change or cut off from now on. They
    /// come into memory when they are looked at.
    fn map(&self, offset: u64, len: usize) -> io::Result<Arc<dyn SnapshotBytes>>;
}

/// A held lock.
pub(crate) trait LockGuard: Any + Send {
    /// Replaces the text in the lock file: information for whoever finds it locked.
    fn describe(&self, text: &str) -> io::Result<()>;
}
