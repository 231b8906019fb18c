//! Oarlock's persister as it comes.

use std::path::Path;

use oarlock_storage::{Batch, DiskOptions, DiskPersister, Entry, EntryId, Persister, SnapshotMeta};

use crate::{Log, value};

/// What a state machine would save; its writing is not what is measured.
const SNAPSHOT: &[u8] = &[7; 1024];

/// A log that is appended to.
pub struct Ours {
    persister: DiskPersister,
    batch: Batch,
    entry: Entry,
    last: EntryId,
}

impl Ours {
    pub fn open(dir: &Path, value_bytes: usize) -> Self {
        let mut persister = DiskPersister::open(&dir.join("oarlock"), DiskOptions::new(1))
            .expect("a new directory");
        persister.load();
        let last = EntryId::new(0, 1);
        let entry = Entry { id: last, tag: 0, data: value(value_bytes).into() };
        Self { persister, batch: Batch::default(), entry, last }
    }
}

impl Log for Ours {
    fn append(&mut self, count: u64) {
        self.batch.entries.resize(count as usize, self.entry.clone());
        for entry in &mut self.batch.entries {
            self.last.index += 1;
            entry.id.index = self.last.index;
        }
        self.persister.persist(&self.batch).expect("a disk that works");
    }

    fn compact(&mut self) {
        let meta = SnapshotMeta { last_included: self.last, ..SnapshotMeta::default() };
        let stage = self.persister.snapshot_stage();
        let staged = stage.write_all(meta, SNAPSHOT).expect("room for a snapshot");
        let saved = self.persister.save_state_and_snapshot(&Batch::default(), staged);
        saved.expect("a disk that works");
    }
}
