//! Closing files that have no name any more, aside: the system then takes back the room of a large one
//! and its pages in the cache, for which nobody that writes a log should wait.

use std::thread::{self, JoinHandle};

use super::files::File;

/// A file of no more bytes is closed here and now.
const CLOSED_HERE_MAX: u64 = if cfg!(test) { 64 << 10 } else { 8 << 20 };

/// Closes files, each on a thread of its own; there is one now and then. Dropped, it waits for them.
#[derive(Default)]
pub(crate) struct Closer {
    threads: Vec<JoinHandle<()>>,
}

impl Closer {
    /// Closes `file`, whose last name was removed.
    pub(crate) fn close(&mut self, file: File) {
        self.threads.retain(|thread| !thread.is_finished());
        if file.len().is_ok_and(|len| len <= CLOSED_HERE_MAX) {
            return;
        }
        let builder = thread::Builder::new().name("oarlock-close".to_owned());
        match builder.spawn(move || drop(file)) {
            Ok(thread) => self.threads.push(thread),
            // It went with the closure: closed here, after all.
            Err(error) => log::warn!("no thread to close an old snapshot: {error}"),
        }
    }
}

impl Drop for Closer {
    fn drop(&mut self) {
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                log::error!("a thread that closes an old snapshot panicked");
            }
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::disk::files::Files;
    use crate::disk::{DiskOptions, DiskPersister};
    use crate::fs::{OpenMode, RealFs};
    use crate::{Batch, Entry, EntryId, Persister, SnapshotMeta};

    /// How many files of `dir` this process has open that have no name any more.
    fn open_without_name(dir: &Path) -> usize {
        let open = fs::read_dir("/proc/self/fd").unwrap();
        let targets = open.filter_map(|link| fs::read_link(link.ok()?.path()).ok());
        let is_nameless = |path: &Path| path.to_string_lossy().ends_with(" (deleted)");
        targets.filter(|path| path.starts_with(dir) && is_nameless(path)).count()
    }

    #[test]
    fn what_is_closed_aside_is_closed_before_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(Arc::new(RealFs::default()), dir.path());
        let mut closer = Closer::default();
        for len in [1, CLOSED_HERE_MAX + 1] {
            let file = files.open("f", OpenMode::Create).unwrap();
            file.write_at(&[7], len - 1).unwrap();
            let map = file.map(0, 1).unwrap();
            files.unlink("f").unwrap();
            assert_eq!(open_without_name(dir.path()), 1);
            closer.close(file);
            assert_eq!(closer.threads.len(), usize::from(len > CLOSED_HERE_MAX));
            assert_eq!(map.bytes().len(), 1, "a map outlives both name and file");
        }
        drop(closer);
        assert_eq!(open_without_name(dir.path()), 0);
    }

    #[test]
    fn a_directory_that_is_given_back_has_no_old_snapshot_open() {
        let dir = tempfile::tempdir().unwrap();
        let content = vec![7; 4 * usize::try_from(CLOSED_HERE_MAX).unwrap()];
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
            let names = fs::read_dir(dir.path()).unwrap().map(|item| item.unwrap().file_name());
            let snapshots = names.filter(|name| name.to_string_lossy().ends_with(".snap"));
            assert_eq!(snapshots.count(), 2, "the name of an old one goes at once");
            drop(persister);
            assert_eq!(open_without_name(dir.path()), 0);
        }
    }
}
