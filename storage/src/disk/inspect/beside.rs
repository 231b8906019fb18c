//! The names beside a directory that is repaired: where the repaired one is made, where the damaged
//! one goes, and what an interrupted repair has left there.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::directory;
use super::super::files::{Files, io_error};
use super::super::lock_file::LockFile;
use crate::fs::Fs;
use crate::{Identity, StorageError};

/// The file that says whose a directory is: the last to be removed.
const IDENTITY: &str = "IDENTITY";

/// A directory and its neighbours.
pub(super) struct Beside {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    /// Where the repaired directory is made.
    pub(super) aside: PathBuf,
    /// Where the damaged one goes, or is already.
    pub(super) evidence: PathBuf,
    /// A repair was interrupted between its renames: the damaged directory has gone already.
    pub(super) is_moved: bool,
    /// Something was left by a repair that was interrupted.
    has_aside: bool,
}

impl Beside {
    pub(super) fn of(fs: Arc<dyn Fs>, dir: &Path) -> Result<Self, StorageError> {
        let name = dir.file_name().unwrap_or(dir.as_os_str()).to_string_lossy().into_owned();
        let parent = parent_of(dir);
        let there = fs.list(parent).map_err(|error| io_error("list", parent, error))?;
        let is_there = |name: &String| there.contains(name);
        let damaged = |nth: u64| format!("{name}.damaged-{nth}");
        let mut free = 1;
        while is_there(&damaged(free)) {
            free += 1;
        }
        let repaired = format!("{name}.repaired");
        let has_aside = is_there(&repaired);
        let is_moved = !is_there(&name) && has_aside && free > 1;
        let evidence = damaged(if is_moved { free - 1 } else { free });
        Ok(Self {
            fs,
            dir: dir.into(),
            aside: dir.with_file_name(repaired),
            evidence: dir.with_file_name(evidence),
            is_moved,
            has_aside,
        })
    }

    /// Where the damaged directory is now.
    pub(super) fn damaged(&self) -> &Path {
        if self.is_moved { &self.evidence } else { &self.dir }
    }

    /// Empties what an interrupted repair for `identity` has left; refused if it is anyone else's.
    pub(super) fn clear_aside(&self, identity: Identity) -> Result<(), StorageError> {
        if !self.has_aside {
            return Ok(());
        }
        let files = Files::new(Arc::clone(&self.fs), &self.aside);
        let _lock = LockFile::acquire(&files)?;
        match directory::read_identity(&files)? {
            Some(found) if found != identity => {
                let id = found.node_id;
                let what = format!("left by a repair for node {id}, not {}", identity.node_id);
                return Err(files.foreign("", what));
            }
            Some(_) => {}
            None => directory::check_nothing_is_lost(&files)?,
        }
        let names = files.list()?;
        for name in names.iter().filter(|name| *name != IDENTITY && !LockFile::is_name(name)) {
            files.unlink(name)?;
        }
        // What is left without an identity must be nothing.
        files.sync_dir()?;
        if names.iter().any(|name| name == IDENTITY) {
            files.unlink(IDENTITY)?;
        }
        files.sync_dir()
    }

    /// Puts the damaged directory away, if it is still in its place, and then the repaired one there.
    ///
    /// In this order for good: without the sync between them, a crash might keep the second name and
    /// not the first, and the damaged directory would have none.
    pub(super) fn exchange(&self) -> Result<(), StorageError> {
        if !self.is_moved {
            self.rename(&self.dir, &self.evidence)?;
        }
        self.rename(&self.aside, &self.dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), StorageError> {
        self.fs.rename(from, to).map_err(|error| io_error("rename", from, error))?;
        let parent = parent_of(from);
        self.fs.sync_dir(parent).map_err(|error| io_error("sync", parent, error))
    }
}

/// The directory that `path` is in.
fn parent_of(path: &Path) -> &Path {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or_else(|| Path::new("."))
}
