//! The log of a node on raft-engine.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};

use raft::eraftpb::{Entry, HardState};
use raft_engine::{Engine, LogBatch, MessageExt};

use crate::library::engine;

const GROUP: u64 = 1;
/// After so many entries the log is compacted.
const COMPACTED_ENTRIES: u64 = 1 << 17;

struct Indexed;

impl MessageExt for Indexed {
    type Entry = Entry;

    fn index(entry: &Entry) -> u64 {
        entry.index
    }
}

/// A log on disk, and a thread that removes what is no longer needed of it.
pub struct Disk {
    engine: Arc<Engine>,
    batch: LogBatch,
    compacted: u64,
    purger: Option<(Sender<u64>, JoinHandle<()>)>,
}

impl Disk {
    /// A new one, in a directory of its own.
    pub fn open(dir: &Path) -> Self {
        let engine = Arc::new(engine::open(dir));
        let (sender, receiver) = channel();
        let its = Arc::clone(&engine);
        let purger = thread::spawn(move || {
            for index in receiver {
                its.compact_to(GROUP, index);
                its.purge_expired_files().expect("files that can be removed");
            }
        });
        Self { engine, batch: LogBatch::default(), compacted: 0, purger: Some((sender, purger)) }
    }

    /// Makes entries, and the term and vote if there are new ones, durable.
    pub fn persist(&mut self, entries: &[Entry], hard_state: Option<&HardState>, sync: bool) {
        if !entries.is_empty() {
            self.batch.add_entries::<Indexed>(GROUP, entries).expect("a batch that fits");
        }
        if let Some(hard_state) = hard_state {
            let key = b"hard_state".to_vec();
            self.batch.put_message(GROUP, key, hard_state).expect("a batch that fits");
        }
        self.engine.write(&mut self.batch, sync).expect("a disk that works");
    }

    /// Everything up to `index` was applied.
    pub fn applied(&mut self, index: u64) {
        if index >= self.compacted + COMPACTED_ENTRIES {
            self.compacted = index;
            if let Some((purger, _)) = &self.purger {
                purger.send(index).expect("the purger runs");
            }
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Some((sender, purger)) = self.purger.take() {
            drop(sender);
            assert!(purger.join().is_ok() || thread::panicking(), "the purger panicked");
        }
    }
}
