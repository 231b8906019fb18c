//! The file of an old snapshot, kept to write the next one over it.
//!
//! A file that grows takes blocks of the file system, entries in its journal for each sync, and new
//! pages for its cache; and removing one gives all of that back, to be had again for the next. To
//! write over what nobody needs any more takes none of it. So of the snapshots that this process wrote,
//! one stays on a shelf where it would have been removed: it takes the room that the next one is about to take.
//!
//! Nothing may change under those who look at a snapshot. A file gets onto the shelf only when the
//! last handle on its content is gone, it has no name but the one in this directory, and its name
//! there is durably none of a snapshot. Whoever is short of space has it removed
//! ([`Shelf::give_up`]).

use std::collections::BTreeMap;
use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, Weak};

use oarlock_sync::Mutex;

use super::directory::ASIDE_SUFFIX;
use super::files::{File, Files};
use crate::{EntryId, SnapshotBytes, StorageError};

/// A name for what is on the shelf: not a snapshot's, one that the next opening removes, and nobody
/// else's; an earlier owner of the directory may still run.
fn any_name() -> String {
    format!("used-snapshot-{:016x}{ASIDE_SUFFIX}", fastrand::u64(..))
}

/// One place for an old snapshot, and what is known of those that may come there.
#[derive(Default)]
pub(crate) struct Shelf(Mutex<State>);

#[derive(Default)]
struct State {
    /// The snapshots that this process has published, and has not removed.
    published: BTreeMap<EntryId, Published>,
    /// On the shelf.
    used: Option<Used>,
    /// The directory is given back.
    is_closed: bool,
}

struct Published {
    file: File,
    content: Weak<dyn SnapshotBytes>,
}

struct Used {
    name: String,
    file: File,
    /// No crash brings back its old name.
    is_settled: bool,
}

impl Shelf {
    /// The snapshot up to `last_included` is in `file`, which was written here, and `content` is how
    /// all who look at it do so.
    pub(crate) fn published(
        &self,
        last_included: EntryId,
        file: File,
        content: &Arc<dyn SnapshotBytes>,
    ) {
        let published = Published { file, content: Arc::downgrade(content) };
        self.0.lock().published.insert(last_included, published);
    }

    /// Takes over the file `name`, which holds the snapshot up to `last_included` and is needed no
    /// more, instead of its being removed. False if it `is_unwanted`, or must not be written over, or
    /// there is no place: then it is to be removed, and nothing here keeps its space.
    pub(crate) fn take_over(
        &self,
        files: &Files,
        name: &str,
        last_included: EntryId,
        is_unwanted: bool,
    ) -> Result<bool, StorageError> {
        let mut state = self.0.lock();
        let Some(Published { file, content }) = state.published.remove(&last_included) else {
            return Ok(false);
        };
        let has_place = state.used.is_none() && !state.is_closed;
        if is_unwanted || !has_place || content.strong_count() > 0 {
            return Ok(false);
        }
        // What was looked at was looked at before anything is written.
        fence(Ordering::Acquire);
        // A copy of the directory by hard links would change with it.
        if !file.has_one_name()? {
            return Ok(false);
        }
        let used = Used { name: any_name(), file, is_settled: false };
        match files.rename(name, &used.name) {
            Ok(()) => state.used = Some(used),
            Err(error) if error.is_for_want_of_space() => return Ok(false),
            Err(error) => return Err(error),
        }
        Ok(true)
    }

    /// The directory was synced.
    pub(crate) fn settle(&self) {
        if let Some(used) = &mut self.0.lock().used {
            used.is_settled = true;
        }
    }

    /// Takes the file off the shelf, to be written over, by the name `aside`.
    pub(crate) fn take(&self, files: &Files, aside: &str) -> Result<Option<File>, StorageError> {
        let mut state = self.0.lock();
        let Some(used) = state.used.take_if(|used| used.is_settled) else { return Ok(None) };
        match files.rename(&used.name, aside) {
            Ok(()) => Ok(Some(used.file.renamed(files, aside))),
            Err(error) if error.is_for_want_of_space() => {
                drop(state);
                used.remove(files);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Removes what is on the shelf, since its space is needed: whether there was anything.
    pub(crate) fn give_up(&self, files: &Files) -> bool {
        // Removed without the lock, which the log writer may want.
        let used = self.0.lock().used.take();
        used.map(|used| used.remove(files)).is_some()
    }

    /// The directory is given back: what is on the shelf is removed, and nothing comes there any more.
    pub(crate) fn close(&self, files: &Files) {
        self.0.lock().is_closed = true;
        self.give_up(files);
    }

    /// The same behind a failure: nothing is changed on the disk.
    pub(crate) fn abandon(&self) {
        let mut state = self.0.lock();
        state.is_closed = true;
        state.used = None;
    }
}

impl Used {
    fn remove(self, files: &Files) {
        // The space is free when nobody has the file open any more.
        drop(self.file);
        if let Err(error) = files.unlink(&self.name) {
            log::warn!("an old snapshot stays until the next opening: {error}");
        }
    }
}
