//! A disk that forgets, for tests: what was not synced may be lost, sector by sector; names that
//! were not synced may be lost, one by one; and any operation can be made to fail.
//!
//! It is harsher than any real file system, on purpose: unsynced sectors and names survive in any
//! combination. Only two things are taken for granted: a sector is written whole or not at all, and
//! a rename is.

mod file;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;

use oarlock_sync::Mutex;

use super::{Fs, FsFile, LockGuard, OpenMode};

const SECTOR: usize = 512;

/// What happens at the operation a fault is planned for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The machine stops before it: it and everything after it fails and changes nothing.
    Crash,
    /// It alone fails, with this error, and changes nothing. A failed sync leaves what it was to
    /// sync readable, but nothing will ever write it out.
    Error(io::ErrorKind),
    /// If it is a write, half of it is done and then it fails for want of room: whole sectors, where
    /// the file has some already.
    Short,
}

/// A simulated file system with one directory. Cloning shares it.
#[derive(Clone, Default)]
pub struct SimFs(Arc<Mutex<Disk>>);

#[derive(Clone, Default)]
struct Disk {
    files: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    unsynced_names: Vec<NameChange>,
    is_locked: bool,
    /// How many changes were tried so far.
    operations: u64,
    /// How many syncs of files were tried.
    syncs: u64,
    plan: Option<(u64, Fault)>,
    /// How many bytes fit, if that is limited.
    capacity: Option<usize>,
    /// How many reads will still succeed, if that is limited.
    reads_left: Option<u64>,
    /// The machine went down: nothing works any more.
    is_down: bool,
    /// The planned fault has come.
    failed: bool,
    /// What was tried after it.
    after_failure: Vec<&'static str>,
    unmade: Option<Unmade>,
}

#[derive(Clone, Default)]
struct Inode {
    /// What it was first called.
    made_as: String,
    current: Vec<u8>,
    durable: Vec<u8>,
    dirty: BTreeSet<usize>,
}

/// A sync that is not made though it was asked for: what a program without it would leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmade {
    /// Of directories.
    OfDirectories,
    /// Of files whose first names begin like this.
    OfFiles(&'static str),
}

#[derive(Clone)]
enum NameChange {
    Link(String, usize),
    Rename(String, String, usize),
    Unlink(String),
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Link(name, file) => _ = names.insert(name.clone(), *file),
            Self::Rename(from, to, file) => {
                // An earlier change of the old name may have been lost, but never is another file
                // renamed in its place.
                if names.get(from) == Some(file) {
                    names.remove(from);
                }
                names.insert(to.clone(), *file);
            }
            Self::Unlink(name) => _ = names.remove(name),
        }
    }
}

impl SimFs {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// Plans a fault for the `operation`th change from now, counted from 0.
    pub fn plan(&self, operation: u64, fault: Fault) {
        let mut disk = self.0.lock();
        let at = disk.operations + operation;
        disk.plan = Some((at, fault));
    }

    /// Limits the disk to `bytes` of files that have a name, or not at all. A write beyond that does
    /// what fits, and fails.
    pub fn set_capacity(&self, bytes: Option<usize>) {
        self.0.lock().capacity = bytes;
    }

    /// How many bytes the files that have a name take.
    pub fn used_bytes(&self) -> usize {
        self.0.lock().used_bytes()
    }

    /// Takes back what was planned.
    pub fn plan_nothing(&self) {
        self.0.lock().plan = None;
    }

    /// Lets `count` more reads succeed, and fails the one after them.
    pub fn plan_read_error(&self, count: u64) {
        self.0.lock().reads_left = Some(count);
    }

    /// Makes some syncs do nothing from now on, on this disk and those that come of it.
    pub fn leave_unmade(&self, unmade: Unmade) {
        self.0.lock().unmade = Some(unmade);
    }

    /// How many changes were tried so far.
    pub fn operations(&self) -> u64 {
        self.0.lock().operations
    }

    /// How many syncs of files were tried so far.
    pub fn syncs(&self) -> u64 {
        self.0.lock().syncs
    }

    /// What was tried after the planned fault came.
    pub fn after_failure(&self) -> Vec<&'static str> {
        self.0.lock().after_failure.clone()
    }

    /// Whether the planned fault has come.
    pub fn has_failed(&self) -> bool {
        self.0.lock().failed
    }

    /// The disk as a new process finds it after the old one died: the page cache is still there.
    #[must_use]
    pub fn after_kill(&self) -> Self {
        let mut disk = self.0.lock().clone();
        disk.restart();
        disk.drop_unnamed();
        Self(Arc::new(Mutex::new(disk)))
    }

    /// The disk after a loss of power. Of everything unsynced, what `survives` says survives.
    #[must_use]
    pub fn after_power_cut(&self, mut survives: impl FnMut() -> bool) -> Self {
        let old = self.0.lock();
        let mut disk =
            Disk { names: old.durable_names.clone(), unmade: old.unmade, ..Disk::default() };
        for change in &old.unsynced_names {
            if survives() {
                change.apply(&mut disk.names);
            }
        }
        disk.files = vec![Inode::default(); old.files.len()];
        for file in disk.names.values() {
            let inode = &old.files[*file];
            let mut content = inode.durable.clone();
            for sector in &inode.dirty {
                if survives() {
                    write_sector(&mut content, &inode.current, *sector);
                }
            }
            disk.files[*file] = Inode {
                made_as: inode.made_as.clone(),
                current: content.clone(),
                durable: content,
                dirty: BTreeSet::new(),
            };
        }
        disk.durable_names = disk.names.clone();
        Self(Arc::new(Mutex::new(disk)))
    }

    /// How many independent choices [`after_power_cut`](Self::after_power_cut) has.
    pub fn choices(&self) -> usize {
        let disk = self.0.lock();
        let dirty: usize = disk.files.iter().map(|inode| inode.dirty.len()).sum();
        dirty + disk.unsynced_names.len()
    }

    /// The content of a file, as a reader sees it.
    pub fn content(&self, name: &str) -> Option<Vec<u8>> {
        let disk = self.0.lock();
        disk.names.get(name).map(|file| disk.files[*file].current.clone())
    }

    /// All files, as a reader sees them.
    pub fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        let disk = self.0.lock();
        disk.names
            .iter()
            .map(|(name, file)| (name.clone(), disk.files[*file].current.clone()))
            .collect()
    }

    /// Flips a bit of a file, durably: the disk did it, nobody else.
    pub fn flip(&self, name: &str, bit: usize) {
        let mut disk = self.0.lock();
        let file = disk.names[name];
        let Inode { current, durable, .. } = &mut disk.files[file];
        current[bit / 8] ^= 1 << (bit % 8);
        durable[bit / 8] ^= 1 << (bit % 8);
    }

    /// Whether a reader sees exactly `contents`.
    pub fn holds(&self, contents: &BTreeMap<String, Vec<u8>>) -> bool {
        let disk = self.0.lock();
        disk.names.len() == contents.len()
            && contents.iter().all(|(name, content)| {
                disk.names.get(name).is_some_and(|file| disk.files[*file].current == *content)
            })
    }

    /// A disk that holds exactly `contents`, durably.
    pub fn holding(contents: &BTreeMap<String, Vec<u8>>) -> Self {
        let mut disk = Disk::default();
        for (name, content) in contents {
            disk.names.insert(name.clone(), disk.files.len());
            disk.files.push(Inode {
                made_as: name.clone(),
                current: content.clone(),
                durable: content.clone(),
                dirty: BTreeSet::new(),
            });
        }
        disk.durable_names = disk.names.clone();
        Self(Arc::new(Mutex::new(disk)))
    }
}

fn write_sector(to: &mut Vec<u8>, from: &[u8], sector: usize) {
    let start = sector * SECTOR;
    let end = from.len().min(start + SECTOR);
    if to.len() < end {
        to.resize(end, 0);
    }
    to[start..end].copy_from_slice(&from[start..end]);
}

impl Inode {
    /// How many of `len` bytes at `offset` are written if the write is cut short behind them.
    fn short_of(&self, offset: usize, len: usize) -> usize {
        let end = offset + len;
        if end < self.current.len() { (end / SECTOR * SECTOR).saturating_sub(offset) } else { len }
    }
}

impl Disk {
    fn used_bytes(&self) -> usize {
        self.names.values().map(|file| self.files[*file].current.len()).sum()
    }

    /// How long the file may grow.
    fn len_max(&self, file: usize) -> usize {
        let Some(capacity) = self.capacity else { return usize::MAX };
        self.files[file].current.len() + capacity.saturating_sub(self.used_bytes())
    }

    fn restart(&mut self) {
        self.is_locked = false;
        self.plan = None;
        self.reads_left = None;
        self.is_down = false;
        self.failed = false;
        self.after_failure.clear();
    }

    /// Forgets the content of files that no name leads to, now or after any loss.
    fn drop_unnamed(&mut self) {
        let mut named: BTreeSet<usize> =
            self.names.values().chain(self.durable_names.values()).copied().collect();
        named.extend(self.unsynced_names.iter().filter_map(|change| match change {
            NameChange::Link(_, file) | NameChange::Rename(_, _, file) => Some(*file),
            NameChange::Unlink(_) => None,
        }));
        for (file, inode) in self.files.iter_mut().enumerate() {
            if !named.contains(&file) {
                *inode = Inode::default();
            }
        }
    }

    /// Counts a change, and says what is to happen to it.
    fn change(&mut self, what: &'static str) -> io::Result<Option<Fault>> {
        if self.failed {
            self.after_failure.push(what);
        }
        if self.is_down {
            return Err(io::Error::other("the machine is down"));
        }
        let operation = self.operations;
        self.operations += 1;
        match self.plan {
            Some((at, fault)) if at == operation => {
                self.failed = true;
                self.is_down = fault == Fault::Crash;
                match fault {
                    Fault::Crash => Err(io::Error::other("the machine went down")),
                    Fault::Error(_) if what == "sync" => Ok(Some(fault)),
                    Fault::Error(kind) => Err(kind.into()),
                    Fault::Short if what == "write" => Ok(Some(fault)),
                    Fault::Short => Err(io::ErrorKind::StorageFull.into()),
                }
            }
            _ => Ok(None),
        }
    }

    fn rename_now(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.unsynced_names.push(change);
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().expect("a file in the directory").to_string_lossy().into_owned()
}

impl Fs for SimFs {
    fn create_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn FsFile>> {
        let mut disk = self.0.lock();
        let name = name_of(path);
        if mode.creates() {
            disk.change("create")?;
            let file = disk.files.len();
            disk.files.push(Inode { made_as: name.clone(), ..Inode::default() });
            disk.rename_now(NameChange::Link(name.clone(), file));
        }
        let file = *disk.names.get(&name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(file::SimFile {
            disk: Arc::clone(&self.0),
            file,
            is_writable: mode != OpenMode::Read,
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.0.lock();
        disk.change("rename")?;
        let (from, to) = (name_of(from), name_of(to));
        let file = *disk.names.get(&from).ok_or(io::ErrorKind::NotFound)?;
        disk.rename_now(NameChange::Rename(from, to, file));
        Ok(())
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.0.lock();
        disk.change("unlink")?;
        let name = name_of(path);
        if !disk.names.contains_key(&name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        disk.rename_now(NameChange::Unlink(name));
        Ok(())
    }

    fn list(&self, _dir: &Path) -> io::Result<Vec<String>> {
        Ok(self.0.lock().names.keys().cloned().collect())
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        let mut disk = self.0.lock();
        disk.change("sync_dir")?;
        if disk.unmade == Some(Unmade::OfDirectories) {
            return Ok(());
        }
        disk.durable_names = disk.names.clone();
        disk.unsynced_names.clear();
        Ok(())
    }

    fn lock(&self, _path: &Path) -> io::Result<Box<dyn LockGuard>> {
        let mut disk = self.0.lock();
        if disk.is_locked {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        disk.is_locked = true;
        Ok(Box::new(file::SimLock(Arc::clone(&self.0))))
    }

    fn lock_to_read(&self, path: &Path) -> io::Result<Option<Box<dyn LockGuard>>> {
        self.lock(path).map(Some)
    }
}
