//! raft-engine with a thread that writes: whatever has come up goes into one write, with one sync, and
//! is acknowledged behind it.

use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use protobuf::well_known_types::BytesValue;
use raft_engine::{Config, Engine, LogBatch, MessageExt, ReadableSize};

use super::inbox::Inbox;

const GROUP: u64 = 1;

/// The usual engine: no compression, files as long as our segments.
pub fn open(dir: &Path) -> Engine {
    let config = Config {
        dir: dir.to_str().expect("a path that is text").to_owned(),
        batch_compression_threshold: ReadableSize(0),
        target_file_size: ReadableSize::mb(16),
        purge_threshold: ReadableSize::mb(64),
        ..Config::default()
    };
    Engine::open(config).expect("a new directory")
}

/// An entry as it is written.
pub struct Record(BytesValue);

impl Record {
    /// An entry at `index`, with this command.
    pub fn new(index: u64, command: &[u8]) -> Self {
        let mut record = BytesValue::new();
        record.set_value([&index.to_le_bytes(), command].concat());
        Self(record)
    }
}

struct Indexed;

impl MessageExt for Indexed {
    type Entry = BytesValue;

    fn index(entry: &BytesValue) -> u64 {
        let index = entry.value.first_chunk().expect("an entry begins with its index");
        u64::from_le_bytes(*index)
    }
}

enum Job<T> {
    Append(Vec<Record>, T),
    Vote(Vec<u8>),
    Compact(u64),
}

/// The thread, which acknowledges values of this type.
pub struct Writer<T> {
    inbox: Arc<Inbox<Job<T>>>,
    thread: Option<JoinHandle<()>>,
}

impl<T: Send + 'static> Writer<T> {
    /// A new log in a directory of its own.
    pub fn start(dir: &Path, done: impl Fn(T) + Send + 'static) -> Self {
        let engine = open(dir);
        let inbox = Arc::new(Inbox::new());
        let jobs = Arc::clone(&inbox);
        let thread = thread::spawn(move || write(&engine, &jobs, done));
        Self { inbox, thread: Some(thread) }
    }

    /// Writes entries, and acknowledges `done`.
    pub fn append(&self, records: Vec<Record>, done: T) {
        self.inbox.push(Job::Append(records, done));
    }

    /// Writes a vote. It is there before what comes behind it is acknowledged.
    pub fn save_vote(&self, vote: Vec<u8>) {
        self.inbox.push(Job::Vote(vote));
    }

    /// Lets go of what is before and at `index`.
    pub fn compact(&self, index: u64) {
        self.inbox.push(Job::Compact(index));
    }
}

fn write<T>(engine: &Engine, inbox: &Inbox<Job<T>>, done: impl Fn(T)) {
    let (mut jobs, mut batch, mut written) = (Vec::new(), LogBatch::default(), Vec::new());
    while inbox.take(&mut jobs, None) {
        let mut compacted = None;
        for job in jobs.drain(..) {
            match job {
                Job::Append(records, acknowledged) => {
                    let entries: Vec<_> = records.into_iter().map(|record| record.0).collect();
                    batch.add_entries::<Indexed>(GROUP, &entries).expect("a batch that fits");
                    written.push(acknowledged);
                }
                Job::Vote(vote) => {
                    batch.put(GROUP, b"vote".to_vec(), vote).expect("a batch that fits");
                }
                Job::Compact(index) => compacted = Some(index),
            }
        }
        engine.write(&mut batch, true).expect("a disk that works");
        written.drain(..).for_each(&done);
        if let Some(index) = compacted {
            engine.compact_to(GROUP, index + 1);
            engine.purge_expired_files().expect("files that can be removed");
        }
    }
}

impl<T> Drop for Writer<T> {
    fn drop(&mut self) {
        self.inbox.close();
        if let Some(thread) = self.thread.take() {
            assert!(thread.join().is_ok() || thread::panicking(), "the writer panicked");
        }
    }
}
