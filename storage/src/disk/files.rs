//! The files of one directory: [`crate::fs`] with names instead of paths, and with errors that say
//! which operation failed on which file.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::shelf::Shelf;
use crate::fs::{Fs, FsFile, OpenMode};
use crate::{SnapshotBytes, StorageError};

/// What an operator can do about damage that no crash can explain.
pub(crate) const CURE: &str = "restore the whole directory from a copy made while the node was \
                               down, or let the node join again with a new id and an empty directory";

/// Names the operation and the file of a failed call.
pub(crate) fn io_error(operation: &'static str, path: &Path, source: io::Error) -> StorageError {
    StorageError::Io { operation, path: path.into(), source }
}

/// One directory.
pub(crate) struct Files {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    shelf: Shelf,
}

impl Files {
    pub(crate) fn new(fs: Arc<dyn Fs>, dir: &Path) -> Self {
        Self { fs, dir: dir.into(), shelf: Shelf::default() }
    }

    /// Where the file of an old snapshot may be kept for the next.
    pub(crate) fn shelf(&self) -> &Shelf {
        &self.shelf
    }

    pub(crate) fn fs(&self) -> &dyn Fs {
        &*self.fs
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// A failed call that concerns the directory as a whole.
    pub(crate) fn io(&self, operation: &'static str, source: io::Error) -> StorageError {
        io_error(operation, &self.dir, source)
    }

    /// Damage at `offset` of the file `name`.
    pub(crate) fn damaged(&self, name: &str, offset: u64, what: impl Into<String>) -> StorageError {
        StorageError::Damaged { path: self.path(name), offset, what: what.into(), cure: CURE }
    }

    /// Something that was made for somebody else.
    pub(crate) fn foreign(&self, name: &str, what: impl Into<String>) -> StorageError {
        StorageError::Foreign { path: self.path(name), what: what.into() }
    }

    pub(crate) fn create_dir(&self) -> Result<(), StorageError> {
        self.fs.create_dir(&self.dir).map_err(|error| io_error("create", &self.dir, error))
    }

    pub(crate) fn list(&self) -> Result<Vec<String>, StorageError> {
        self.fs.list(&self.dir).map_err(|error| io_error("list", &self.dir, error))
    }

    pub(crate) fn sync_dir(&self) -> Result<(), StorageError> {
        self.fs.sync_dir(&self.dir).map_err(|error| io_error("sync", &self.dir, error))
    }

    pub(crate) fn open(&self, name: &str, mode: OpenMode) -> Result<File, StorageError> {
        let path = self.path(name);
        let operation = if mode.creates() { "create" } else { "open" };
        match self.fs.open(&path, mode) {
            Ok(file) => Ok(File { file, path }),
            Err(error) => Err(io_error(operation, &path, error)),
        }
    }

    /// Opens a file to read; `None` if there is no such name.
    pub(crate) fn open_existing(&self, name: &str) -> Result<Option<File>, StorageError> {
        match self.open(name, OpenMode::Read) {
            Ok(file) => Ok(Some(file)),
            Err(StorageError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The first `len_max` bytes of a file; `None` if there is no such name.
    pub(crate) fn read_small(
        &self,
        name: &str,
        len_max: u64,
    ) -> Result<Option<Vec<u8>>, StorageError> {
        let Some(file) = self.open_existing(name)? else { return Ok(None) };
        let len = file.len()?.min(len_max);
        Ok(Some(file.read_at(0, len)?))
    }

    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<(), StorageError> {
        let path = self.path(from);
        self.fs.rename(&path, &self.path(to)).map_err(|error| io_error("rename", &path, error))
    }

    pub(crate) fn unlink(&self, name: &str) -> Result<(), StorageError> {
        let path = self.path(name);
        self.fs.unlink(&path).map_err(|error| io_error("remove", &path, error))
    }

    /// Writes a small file aside and gives it its name, in one step for every observer. Its name is
    /// durable only after [`sync_dir`](Self::sync_dir).
    pub(crate) fn write_aside(&self, name: &str, content: &[u8]) -> Result<(), StorageError> {
        let aside = format!("{name}.tmp");
        let file = self.open(&aside, OpenMode::Create)?;
        file.write_at(content, 0)?;
        file.sync()?;
        self.rename(&aside, name)
    }
}

/// An open file that knows its name.
#[derive(Clone)]
pub(crate) struct File {
    file: Arc<dyn FsFile>,
    path: PathBuf,
}

impl File {
    /// What the file is called from now on, in errors; the caller has renamed it.
    pub(crate) fn renamed(mut self, files: &Files, name: &str) -> Self {
        self.path = files.path(name);
        self
    }

    pub(crate) fn len(&self) -> Result<u64, StorageError> {
        self.file.len().map_err(|error| io_error("measure", &self.path, error))
    }

    /// Reads `len` bytes at `offset`. The caller has bounded `len` by the file's length.
    pub(crate) fn read_at(&self, offset: u64, len: u64) -> Result<Vec<u8>, StorageError> {
        let len = usize::try_from(len).expect("a file that was measured fits the address space");
        let mut buffer = vec![0; len];
        self.read_into(&mut buffer, offset)?;
        Ok(buffer)
    }

    /// Fills `buffer` from `offset`.
    pub(crate) fn read_into(&self, buffer: &mut [u8], offset: u64) -> Result<(), StorageError> {
        let result = self.file.read_exact_at(buffer, offset);
        result.map_err(|error| io_error("read", &self.path, error))
    }

    pub(crate) fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), StorageError> {
        let result = self.file.write_all_at(bytes, offset);
        result.map_err(|error| io_error("write", &self.path, error))
    }

    fn write_pieces_at(&self, pieces: &mut [IoSlice<'_>], offset: u64) -> Result<(), StorageError> {
        let result = self.file.write_pieces_at(pieces, offset);
        result.map_err(|error| io_error("write", &self.path, error))
    }

    /// Writes `pieces` one after the other and makes them durable; of what was written before, that is
    /// not promised.
    pub(crate) fn write_synced(
        &self,
        pieces: &mut [IoSlice<'_>],
        offset: u64,
    ) -> Result<(), StorageError> {
        let written = self.file.write_durably(pieces, offset);
        if written.map_err(|error| io_error("write", &self.path, error))? {
            return Ok(());
        }
        match pieces {
            [whole] => self.write_at(whole, offset)?,
            pieces => self.write_pieces_at(pieces, offset)?,
        }
        self.sync()
    }

    pub(crate) fn sync(&self) -> Result<(), StorageError> {
        self.file.sync_data().map_err(|error| io_error("sync", &self.path, error))
    }

    /// Cuts the file to `len` bytes, durably.
    pub(crate) fn cut(&self, len: u64) -> Result<(), StorageError> {
        self.file.cut(len).map_err(|error| io_error("cut", &self.path, error))
    }

    /// Whether no other name leads to the file.
    pub(crate) fn has_one_name(&self) -> Result<bool, StorageError> {
        self.file.has_one_name().map_err(|error| io_error("look at", &self.path, error))
    }

    pub(crate) fn set_read_only(&self) -> Result<(), StorageError> {
        self.file.set_read_only().map_err(|error| io_error("protect", &self.path, error))
    }

    pub(crate) fn map(
        &self,
        offset: u64,
        len: usize,
    ) -> Result<Arc<dyn SnapshotBytes>, StorageError> {
        self.file.map(offset, len).map_err(|error| io_error("map", &self.path, error))
    }
}
