//! Removing old snapshots aside: the system then takes back the room of a file and its pages in the
//! cache, and may wait for its journal to do so. Nobody that writes a log should wait for that.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use super::files::Files;

/// Removes files, each on a thread of its own; there is one now and then. Dropped, it waits for them.
pub(crate) struct Remover {
    files: Arc<Files>,
    under_way: Vec<(String, JoinHandle<()>)>,
}

impl Remover {
    pub(crate) fn new(files: Arc<Files>) -> Self {
        Self { files, under_way: Vec::new() }
    }

    /// Removes the file `name`, unless that is under way. One that cannot be removed stays, with a word
    /// in the journal: nothing rests on its absence.
    pub(crate) fn remove(&mut self, name: String) {
        self.under_way.retain(|(_, thread)| !thread.is_finished());
        if self.under_way.iter().any(|(known, _)| *known == name) {
            return;
        }
        let (files, its_name) = (Arc::clone(&self.files), name.clone());
        let remove = move || {
            if let Err(error) = files.unlink(&its_name) {
                log::warn!("an old snapshot stays until the next one: {error}");
            }
        };
        let builder = thread::Builder::new().name("oarlock-remove".to_owned());
        match builder.spawn(remove) {
            Ok(thread) => self.under_way.push((name, thread)),
            Err(error) => log::warn!("no thread to remove {name}, which stays: {error}"),
        }
    }

    /// Waits until nothing is under way.
    pub(crate) fn wait(&mut self) {
        for (name, thread) in self.under_way.drain(..) {
            if thread.join().is_err() {
                log::error!("the thread that removes {name} panicked");
            }
        }
    }
}

impl Drop for Remover {
    fn drop(&mut self) {
        self.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::disk::{DiskOptions, DiskPersister};
    use crate::fs::RealFs;
    use crate::{Batch, Entry, EntryId, Persister, SnapshotMeta};

    fn snapshots(dir: &Path) -> usize {
        let names = fs::read_dir(dir).unwrap().map(|item| item.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().ends_with(".snap")).count()
    }

    #[test]
    fn what_is_removed_aside_is_gone_before_the_end_and_what_cannot_be_hurts_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let files = Arc::new(Files::new(Arc::new(RealFs::default()), dir.path()));
        let mut remover = Remover::new(files);
        for name in ["a.snap", "b.snap"] {
            fs::write(dir.path().join(name), [7; 1000]).unwrap();
            remover.remove(name.to_owned());
        }
        remover.remove("nothing.snap".to_owned());
        drop(remover);
        assert_eq!(snapshots(dir.path()), 0);
    }

    #[test]
    fn a_directory_that_is_given_back_has_no_snapshot_too_many() {
        let dir = tempfile::tempdir().unwrap();
        let content = vec![7; 1 << 20];
        let mut index = 0;
        for _ in 0..4 {
            let mut persister = DiskPersister::open(dir.path(), DiskOptions::new(1)).unwrap();
            let recovered = persister.load().snapshot;
            assert_eq!(recovered.map_or(0, |found| found.meta.last_included.index), index);
            for _ in 0..3 {
                index += 1;
                let id = EntryId::new(index, 1);
                let entry = Entry { id, tag: 0, data: vec![7; 100].into() };
                persister.persist(&Batch { entries: vec![entry], ..Batch::default() }).unwrap();
                let meta = SnapshotMeta { last_included: id, ..SnapshotMeta::default() };
                let staged = persister.snapshot_stage().write_all(meta, &content).unwrap();
                persister.save_state_and_snapshot(&Batch::default(), staged).unwrap();
            }
            drop(persister);
            assert_eq!(snapshots(dir.path()), 2, "the newest and the one before");
        }
    }
}
