//! Several simulated directories beside each other, whose own names can be lost as well; with one
//! count of operations over all of them.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::SnapshotBytes;
use crate::fs::sim::SimFs;
use crate::fs::{Fs, FsFile, LockGuard, OpenMode};

/// The parent of all directories.
pub(super) const ROOT: &str = "root";

/// A file system of one level of directories. Cloning shares it.
#[derive(Clone, Default)]
pub(super) struct Tree(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    names: BTreeMap<String, SimFs>,
    durable_names: BTreeMap<String, SimFs>,
    unsynced: Vec<(String, String)>,
    operations: u64,
    crash_at: Option<u64>,
    is_down: bool,
}

fn rename(names: &mut BTreeMap<String, SimFs>, from: &str, to: &str) {
    if let Some(dir) = names.remove(from) {
        names.insert(to.to_owned(), dir);
    }
}

impl Tree {
    /// A file system with one directory.
    pub(super) fn holding(name: &str, contents: &BTreeMap<String, Vec<u8>>) -> Self {
        let names = BTreeMap::from([(name.to_owned(), SimFs::holding(contents))]);
        let durable_names = names.clone();
        Self(Arc::new(Mutex::new(State { names, durable_names, ..State::default() })))
    }

    /// The machine stops before the `operation`th change from now, counted from 0.
    pub(super) fn plan_crash(&self, operation: u64) {
        let mut state = self.0.lock();
        state.crash_at = Some(state.operations + operation);
    }

    pub(super) fn is_down(&self) -> bool {
        self.0.lock().is_down
    }

    /// What a new process finds if only the old one died.
    pub(super) fn after_kill(&self) -> Self {
        let state = self.0.lock();
        let names = state.names.iter().map(|(name, dir)| (name.clone(), dir.after_kill()));
        let names: BTreeMap<_, _> = names.collect();
        // What was not durable still is not; but nobody cuts the power twice here.
        let durable_names = names.clone();
        Self(Arc::new(Mutex::new(State { names, durable_names, ..State::default() })))
    }

    /// What is found after a loss of power. Of everything unsynced, what `survives` says survives.
    pub(super) fn after_power_cut(&self, survives: &mut impl FnMut() -> bool) -> Self {
        let state = self.0.lock();
        let mut names = state.durable_names.clone();
        for (from, to) in &state.unsynced {
            if survives() {
                rename(&mut names, from, to);
            }
        }
        let cut =
            names.iter().map(|(name, dir)| (name.clone(), dir.after_power_cut(&mut *survives)));
        let names: BTreeMap<_, _> = cut.collect();
        let durable_names = names.clone();
        Self(Arc::new(Mutex::new(State { names, durable_names, ..State::default() })))
    }

    /// The content of a directory; `None` if there is none of that name.
    pub(super) fn contents(&self, name: &str) -> Option<BTreeMap<String, Vec<u8>>> {
        self.0.lock().names.get(name).map(SimFs::contents)
    }

    fn change(&self) -> io::Result<()> {
        let mut state = self.0.lock();
        if state.crash_at == Some(state.operations) {
            state.is_down = true;
        }
        state.operations += 1;
        if state.is_down { Err(io::Error::other("the machine is down")) } else { Ok(()) }
    }

    /// The directory that `path` is in.
    fn dir_of(&self, path: &Path) -> io::Result<SimFs> {
        self.dir(path.parent().expect("a file is in a directory"))
    }

    fn dir(&self, path: &Path) -> io::Result<SimFs> {
        let dir = self.0.lock().names.get(&name_of(path)).cloned();
        dir.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().expect("it has a name").to_string_lossy().into_owned()
}

impl Fs for Tree {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        if self.dir(dir).is_ok() {
            return Ok(());
        }
        self.change()?;
        let mut state = self.0.lock();
        let new = SimFs::new();
        state.names.insert(name_of(dir), new.clone());
        state.durable_names.insert(name_of(dir), new);
        Ok(())
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn FsFile>> {
        if mode.creates() {
            self.change()?;
        }
        let file = self.dir_of(path)?.open(path, mode)?;
        Ok(Arc::new(TreeFile { file, tree: self.clone() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change()?;
        if from.parent() != Some(Path::new(ROOT)) {
            return self.dir_of(from)?.rename(from, to);
        }
        let (from, to) = (name_of(from), name_of(to));
        let mut state = self.0.lock();
        if state.names.contains_key(&to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        rename(&mut state.names, &from, &to);
        state.unsynced.push((from, to));
        Ok(())
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        self.change()?;
        self.dir_of(path)?.unlink(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        if dir == Path::new(ROOT) {
            return Ok(self.0.lock().names.keys().cloned().collect());
        }
        self.dir(dir)?.list(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.change()?;
        if dir != Path::new(ROOT) {
            return self.dir(dir)?.sync_dir(dir);
        }
        let mut state = self.0.lock();
        state.durable_names = state.names.clone();
        state.unsynced.clear();
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn LockGuard>> {
        self.dir_of(path)?.lock(path)
    }

    fn lock_to_read(&self, path: &Path) -> io::Result<Option<Box<dyn LockGuard>>> {
        self.dir_of(path)?.lock_to_read(path)
    }
}

struct TreeFile {
    file: Arc<dyn FsFile>,
    tree: Tree,
}

impl FsFile for TreeFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.tree.change()?;
        self.file.write_all_at(bytes, offset)
    }

    fn write_pieces_at(&self, pieces: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        self.tree.change()?;
        self.file.write_pieces_at(pieces, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.tree.change()?;
        self.file.sync_data()
    }

    fn cut(&self, len: u64) -> io::Result<()> {
        self.tree.change()?;
        self.file.cut(len)
    }

    fn set_read_only(&self) -> io::Result<()> {
        self.file.set_read_only()
    }

    fn map(&self, offset: u64, len: usize) -> io::Result<Arc<dyn SnapshotBytes>> {
        self.file.map(offset, len)
    }
}
