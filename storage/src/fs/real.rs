//! The operating system's files, through the standard library alone.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, IoSlice, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{FileExt, MetadataExt as _};
use std::path::Path;
use std::sync::Arc;

use super::uncached::{Uncached, UncachedShared};
use super::{Fs, FsFile, LockGuard, OpenMode};
use crate::SnapshotBytes;
use crate::disk::mmap;

/// The operating system's file system.
#[derive(Clone, Default)]
pub(crate) struct RealFs {
    /// What the files of logs share.
    uncached: Arc<UncachedShared>,
}

impl Fs for RealFs {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        if dir.is_dir() {
            return Ok(());
        }
        // An empty parent means the working directory.
        let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or_else(|| Path::new("."));
        if parent != dir {
            self.create_dir(parent)?;
        }
        match fs::create_dir(dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        self.sync_dir(parent)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn FsFile>> {
        let mut options = OpenOptions::new();
        options.read(true);
        match mode {
            OpenMode::Read => {}
            OpenMode::Write | OpenMode::WriteLog => _ = options.write(true),
            OpenMode::Create | OpenMode::CreateLog => {
                _ = options.write(true).create(true).truncate(true);
            }
        }
        let file = options.open(path)?;
        let is_log = matches!(mode, OpenMode::WriteLog | OpenMode::CreateLog);
        let uncached = if is_log { Uncached::open(path, &self.uncached) } else { None };
        Ok(Arc::new(RealFile { file, uncached }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for item in fs::read_dir(dir)? {
            names.push(item?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn LockGuard>> {
        // Not truncated: until it is locked, its text belongs to the owner.
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(path)?;
        try_lock(file)
    }

    fn lock_to_read(&self, path: &Path) -> io::Result<Option<Box<dyn LockGuard>>> {
        match File::open(path) {
            Ok(file) => try_lock(file).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn try_lock(file: File) -> io::Result<Box<dyn LockGuard>> {
    match file.try_lock() {
        Ok(()) => Ok(Box::new(RealLock(file))),
        Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

struct RealFile {
    file: File,
    /// The same file, to write logs with.
    uncached: Option<Uncached>,
}

impl RealFile {
    /// Writes around the page cache if that is possible here; false if nothing counts as written.
    fn write_uncached(&self, pieces: &[IoSlice<'_>], offset: u64) -> io::Result<bool> {
        self.uncached.as_ref().map_or(Ok(false), |uncached| uncached.write(pieces, offset))
    }
}

impl FsFile for RealFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if self.write_uncached(&[IoSlice::new(bytes)], offset)? {
            return Ok(());
        }
        self.file.write_all_at(bytes, offset)
    }

    fn write_pieces_at(&self, mut pieces: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        if self.write_uncached(pieces, offset)? {
            return Ok(());
        }
        let mut file = &self.file;
        file.seek(SeekFrom::Start(offset))?;
        while !pieces.is_empty() {
            match file.write_vectored(pieces) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => IoSlice::advance_slices(&mut pieces, written),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn write_durably(&self, pieces: &[IoSlice<'_>], offset: u64) -> io::Result<bool> {
        self.uncached.as_ref().map_or(Ok(false), |file| file.write_durably(pieces, offset))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn cut(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)?;
        // Not of the data alone: that the file got shorter is not needed to read what is left.
        self.file.sync_all()
    }

    fn has_one_name(&self) -> io::Result<bool> {
        Ok(self.file.metadata()?.nlink() == 1)
    }

    fn set_read_only(&self) -> io::Result<()> {
        let mut permissions = self.file.metadata()?.permissions();
        permissions.set_readonly(true);
        self.file.set_permissions(permissions)
    }

    fn map(&self, offset: u64, len: usize) -> io::Result<Arc<dyn SnapshotBytes>> {
        mmap::map(&self.file, offset, len)
    }
}

/// The system gives the lock back when the file is closed, however the process ends.
struct RealLock(File);

impl LockGuard for RealLock {
    fn describe(&self, text: &str) -> io::Result<()> {
        self.0.set_len(0)?;
        self.0.write_all_at(text.as_bytes(), 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_written_behind_each_other_however_many_there_are() {
        let dir = tempfile::tempdir().unwrap();
        let file = RealFs::default().open(&dir.path().join("f"), OpenMode::Create).unwrap();
        // More than the system takes with one call.
        let pieces: Vec<Vec<u8>> = (0..3000_usize).map(|i| vec![i as u8; i % 7]).collect();
        let mut slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
        file.write_pieces_at(&mut slices, 5).unwrap();
        let expected = pieces.concat();
        let mut found = vec![0; expected.len()];
        file.read_exact_at(&mut found, 5).unwrap();
        assert!(found == expected);
        assert_eq!(file.len().unwrap(), 5 + expected.len() as u64);
    }
}
