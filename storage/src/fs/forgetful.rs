//! The operating system's files, with the memory of a disk that loses power: what was not synced can
//! be taken back. For tests that crash a peer without crashing the machine, whose page cache would
//! keep everything the dead peer wrote.
//!
//! Every write first notes what it overwrites, and every change of a name how to undo it. A sync
//! strikes out the notes it makes moot. [`PowerCut::forget`] undoes what is left, newest first: the
//! state of a disk that had written out nothing it was not told to.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice};
use std::mem;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Fs, FsFile, LockGuard, OpenMode, RealFs};
use crate::SnapshotBytes;

/// Files that are removed, but whose removal may be undone, get this behind their name.
const REMOVED: &str = ".removed";

/// Takes away what was not synced.
#[derive(Clone)]
pub struct PowerCut(Arc<Mutex<Notes>>);

/// The operating system's file system, with notes.
pub(crate) struct ForgetfulFs(Arc<Mutex<Notes>>);

#[derive(Default)]
struct Notes {
    /// The power is gone: nothing works any more.
    is_cut: bool,
    files: HashMap<PathBuf, Arc<Noted>>,
    /// Changes of names that are not durable, oldest first.
    names: Vec<NameChange>,
    removed: u64,
}

enum NameChange {
    Made(PathBuf),
    Renamed { from: PathBuf, to: PathBuf, replaced: Option<PathBuf> },
    Removed { path: PathBuf, kept: PathBuf },
}

/// A file under whatever name, and what its unsynced writes have overwritten, oldest first.
struct Noted {
    file: Arc<dyn FsFile>,
    /// The same file, to undo with; `None` if it cannot be written.
    undo: Option<File>,
    overwritten: Mutex<Vec<Overwritten>>,
}

struct Overwritten {
    offset: u64,
    bytes: Vec<u8>,
    /// How long the file was.
    len: u64,
}

impl Noted {
    fn open(path: &Path, mode: OpenMode) -> io::Result<Arc<Self>> {
        // What a write overwrites is read first, which had better be in memory.
        let mode = match mode {
            OpenMode::WriteLog => OpenMode::Write,
            OpenMode::CreateLog => OpenMode::Create,
            other => other,
        };
        let file = RealFs::default().open(path, mode)?;
        let is_written = mode != OpenMode::Read;
        let undo = is_written.then(|| OpenOptions::new().write(true).open(path)).transpose()?;
        Ok(Arc::new(Self { file, undo, overwritten: Mutex::default() }))
    }

    fn forget(&self) -> io::Result<()> {
        let Some(undo) = &self.undo else { return Ok(()) };
        for Overwritten { offset, bytes, len } in
            mem::take(&mut *self.overwritten.lock()).iter().rev()
        {
            undo.write_all_at(bytes, *offset)?;
            undo.set_len(*len)?;
        }
        Ok(())
    }
}

impl PowerCut {
    /// A disk and the hand on its plug.
    pub(crate) fn new() -> (Self, ForgetfulFs) {
        let notes = Arc::<Mutex<Notes>>::default();
        (Self(Arc::clone(&notes)), ForgetfulFs(notes))
    }

    /// From here on every operation fails, and changes nothing.
    pub fn cut(&self) {
        self.0.lock().is_cut = true;
    }

    /// Takes back everything that was not synced before the [`cut`](Self::cut). The peer that wrote
    /// it must have stopped.
    pub fn forget(&self) -> io::Result<()> {
        let mut notes = self.0.lock();
        notes.is_cut = true;
        for change in mem::take(&mut notes.names).into_iter().rev() {
            change.undo()?;
        }
        mem::take(&mut notes.files).into_values().try_for_each(|noted| noted.forget())
    }
}

impl NameChange {
    fn undo(self) -> io::Result<()> {
        match self {
            Self::Made(path) => fs::remove_file(path),
            Self::Removed { path, kept } => fs::rename(kept, path),
            Self::Renamed { from, to, replaced } => {
                fs::rename(&to, from)?;
                replaced.map_or(Ok(()), |kept| fs::rename(kept, to))
            }
        }
    }

    /// The change is durable: what was kept in case it was not may go.
    fn settle(self) -> io::Result<()> {
        match self {
            Self::Removed { kept, .. } | Self::Renamed { replaced: Some(kept), .. } => {
                fs::remove_file(kept)
            }
            Self::Made(_) | Self::Renamed { replaced: None, .. } => Ok(()),
        }
    }

    fn is_in(&self, dir: &Path) -> bool {
        let (Self::Made(path) | Self::Renamed { to: path, .. } | Self::Removed { path, .. }) = self;
        path.parent() == Some(dir)
    }
}

impl Notes {
    fn check(&self) -> io::Result<()> {
        if self.is_cut { Err(io::Error::other("the power is cut")) } else { Ok(()) }
    }

    /// Keeps what has the name `path`, if anything has, under another name.
    fn keep(&mut self, path: &Path) -> io::Result<Option<PathBuf>> {
        if !path.exists() {
            return Ok(None);
        }
        self.removed += 1;
        let mut kept = path.as_os_str().to_owned();
        kept.push(format!("{REMOVED}{}", self.removed));
        let kept = PathBuf::from(kept);
        fs::hard_link(path, &kept)?;
        Ok(Some(kept))
    }
}

impl Fs for ForgetfulFs {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.lock().check()?;
        RealFs::default().create_dir(dir)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn FsFile>> {
        let mut notes = self.0.lock();
        notes.check()?;
        if mode.creates() {
            // A new file in place of the old one: easier to undo than to empty that.
            if let Some(kept) = notes.keep(path)? {
                fs::remove_file(path)?;
                notes.names.push(NameChange::Removed { path: path.to_owned(), kept });
            }
            let opened = Noted::open(path, mode)?;
            notes.names.push(NameChange::Made(path.to_owned()));
            notes.files.insert(path.to_owned(), Arc::clone(&opened));
            return Ok(Arc::new(ForgetfulFile { notes: Arc::clone(&self.0), noted: opened }));
        }
        let known = notes.files.get(path).cloned();
        let opened = match known.filter(|_| mode.rewrites()) {
            Some(known) => known,
            None => Noted::open(path, mode)?,
        };
        if mode.rewrites() {
            notes.files.insert(path.to_owned(), Arc::clone(&opened));
        }
        Ok(Arc::new(ForgetfulFile { notes: Arc::clone(&self.0), noted: opened }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut notes = self.0.lock();
        notes.check()?;
        let replaced = notes.keep(to)?;
        RealFs::default().rename(from, to)?;
        if let Some(noted) = notes.files.remove(from) {
            notes.files.insert(to.to_owned(), noted);
        }
        notes.names.push(NameChange::Renamed {
            from: from.to_owned(),
            to: to.to_owned(),
            replaced,
        });
        Ok(())
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        let mut notes = self.0.lock();
        notes.check()?;
        let kept = notes.keep(path)?.ok_or(io::ErrorKind::NotFound)?;
        RealFs::default().unlink(path)?;
        notes.names.push(NameChange::Removed { path: path.to_owned(), kept });
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.0.lock().check()?;
        let names = RealFs::default().list(dir)?;
        Ok(names.into_iter().filter(|name| !name.contains(REMOVED)).collect())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut notes = self.0.lock();
        notes.check()?;
        RealFs::default().sync_dir(dir)?;
        let (settled, left) =
            mem::take(&mut notes.names).into_iter().partition(|change| change.is_in(dir));
        notes.names = left;
        let settled: Vec<NameChange> = settled;
        settled.into_iter().try_for_each(NameChange::settle)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn LockGuard>> {
        self.0.lock().check()?;
        RealFs::default().lock(path)
    }

    fn lock_to_read(&self, path: &Path) -> io::Result<Option<Box<dyn LockGuard>>> {
        self.0.lock().check()?;
        RealFs::default().lock_to_read(path)
    }
}

struct ForgetfulFile {
    notes: Arc<Mutex<Notes>>,
    noted: Arc<Noted>,
}

impl ForgetfulFile {
    fn check(&self) -> io::Result<()> {
        self.notes.lock().check()
    }
}

impl FsFile for ForgetfulFile {
    fn len(&self) -> io::Result<u64> {
        self.check()?;
        self.noted.file.len()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.check()?;
        self.noted.file.read_exact_at(buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.check()?;
        let file = &self.noted.file;
        let len = file.len()?;
        let held = len.saturating_sub(offset).min(bytes.len() as u64);
        let mut before = vec![0; usize::try_from(held).expect("no longer than what is written")];
        file.read_exact_at(&mut before, offset)?;
        self.noted.overwritten.lock().push(Overwritten { offset, bytes: before, len });
        file.write_all_at(bytes, offset)
    }

    fn write_pieces_at(&self, pieces: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        let pieces: Vec<&[u8]> = pieces.iter().map(|piece| &**piece).collect();
        self.write_all_at(&pieces.concat(), offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.check()?;
        let before = self.noted.overwritten.lock().len();
        self.noted.file.sync_data()?;
        // A sync that the cut overtakes has not happened.
        let notes = self.notes.lock();
        notes.check()?;
        self.noted.overwritten.lock().drain(..before);
        Ok(())
    }

    fn cut(&self, len: u64) -> io::Result<()> {
        self.sync_data()?;
        let notes = self.notes.lock();
        notes.check()?;
        self.noted.file.cut(len)
    }

    /// Besides those that lead to it in case that a change of names is undone.
    fn has_one_name(&self) -> io::Result<bool> {
        self.noted.file.has_one_name()
    }

    fn set_read_only(&self) -> io::Result<()> {
        self.check()?;
        self.noted.file.set_read_only()
    }

    fn map(&self, offset: u64, len: usize) -> io::Result<Arc<dyn SnapshotBytes>> {
        self.check()?;
        self.noted.file.map(offset, len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &Path) -> String {
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn what_was_synced_stays_and_what_was_not_is_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let (power, disk) = PowerCut::new();
        let path = dir.path().join("f");
        let file = disk.open(&path, OpenMode::Create).unwrap();
        file.write_all_at(b"abcdef", 0).unwrap();
        file.sync_data().unwrap();
        disk.sync_dir(dir.path()).unwrap();
        file.write_all_at(b"XY", 1).unwrap();
        file.write_all_at(b"Z+longer", 2).unwrap();
        assert_eq!(read(&path), "aXZ+longer");
        power.cut();
        assert!(file.write_all_at(b"!", 0).is_err() && file.sync_data().is_err());
        power.forget().unwrap();
        assert_eq!(read(&path), "abcdef");
    }

    #[test]
    fn a_write_through_another_handle_or_name_is_taken_back_too() {
        let dir = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| dir.path().join(name));
        fs::write(&a, "old").unwrap();
        let (power, disk) = PowerCut::new();
        let file = disk.open(&a, OpenMode::Write).unwrap();
        disk.rename(&a, &b).unwrap();
        disk.sync_dir(dir.path()).unwrap();
        file.write_all_at(b"1", 0).unwrap();
        disk.open(&b, OpenMode::Write).unwrap().write_all_at(b"2", 1).unwrap();
        power.forget().unwrap();
        assert_eq!(read(&b), "old");
    }

    #[test]
    fn names_are_taken_back_unless_their_directory_was_synced() {
        let dir = tempfile::tempdir().unwrap();
        let [a, b, c, d] = ["a", "b", "c", "d"].map(|name| dir.path().join(name));
        for path in [&a, &b, &c] {
            fs::write(path, path.file_name().unwrap().as_encoded_bytes()).unwrap();
        }
        let (power, disk) = PowerCut::new();
        disk.unlink(&a).unwrap();
        disk.sync_dir(dir.path()).unwrap();
        disk.open(&d, OpenMode::Create).unwrap().write_all_at(b"d", 0).unwrap();
        disk.rename(&d, &b).unwrap();
        disk.unlink(&c).unwrap();
        assert_eq!(disk.list(dir.path()).unwrap(), ["b"]);
        power.forget().unwrap();
        let left = RealFs::default().list(dir.path()).unwrap();
        assert_eq!(left, ["b", "c"]);
        assert_eq!((read(&b), read(&c)), ("b".to_owned(), "c".to_owned()));
    }

    #[test]
    fn a_file_that_was_emptied_has_its_content_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs::write(&path, "before").unwrap();
        let (power, disk) = PowerCut::new();
        disk.open(&path, OpenMode::Create).unwrap().write_all_at(b"after", 0).unwrap();
        power.forget().unwrap();
        assert_eq!(read(&path), "before");
    }
}
