//! raft-engine: a batch is one write of as many entries, synced.
//!
//! Compression is off, because the values would compress to nothing; files are as long as our
//! segments, and purged ones are used again, which is its default.

use std::path::Path;

use protobuf::well_known_types::BytesValue;
use raft_engine::{Config, Engine, LogBatch, MessageExt, ReadableSize};

use crate::{Log, value};

const GROUP: u64 = 1;

/// Tells it the index of an entry, which is in its first bytes.
struct Indexed;

impl MessageExt for Indexed {
    type Entry = BytesValue;

    fn index(entry: &BytesValue) -> u64 {
        let index = entry.value.first_chunk().expect("an entry begins with its index");
        u64::from_le_bytes(*index)
    }
}

/// A log that is appended to.
pub struct RaftEngine {
    engine: Engine,
    batch: LogBatch,
    entries: Vec<BytesValue>,
    entry: BytesValue,
    last_index: u64,
}

impl RaftEngine {
    pub fn open(dir: &Path, value_bytes: usize) -> Self {
        let dir = dir.join("raft-engine");
        let config = Config {
            dir: dir.to_str().expect("a path that is text").to_owned(),
            batch_compression_threshold: ReadableSize(0),
            target_file_size: ReadableSize::mb(16),
            purge_threshold: ReadableSize::mb(64),
            ..Config::default()
        };
        let engine = Engine::open(config).expect("a new directory");
        let mut entry = BytesValue::new();
        entry.set_value(value(value_bytes));
        Self { engine, batch: LogBatch::default(), entries: Vec::new(), entry, last_index: 0 }
    }
}

impl Log for RaftEngine {
    fn append(&mut self, count: u64) {
        self.entries.resize(count as usize, self.entry.clone());
        for entry in &mut self.entries {
            self.last_index += 1;
            entry.value[..8].copy_from_slice(&self.last_index.to_le_bytes());
        }
        self.batch.add_entries::<Indexed>(GROUP, &self.entries).expect("a batch that fits");
        self.engine.write(&mut self.batch, true).expect("a disk that works");
    }

    fn compact(&mut self) {
        self.engine.compact_to(GROUP, self.last_index + 1);
        self.engine.purge_expired_files().expect("files that can be removed");
    }
}
