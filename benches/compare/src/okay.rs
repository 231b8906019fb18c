//! okaywal: a batch is one entry with a chunk for each of ours, committed.
//!
//! Segments are as long as ours, and handed back for reuse when three quarters are full, which is the
//! proportion of its defaults.

use std::io;
use std::path::Path;

use okaywal::{Configuration, Entry, EntryId, LogManager, Recovery, SegmentReader, WriteAheadLog};

use crate::{Log, value};

const SEGMENT_BYTES: u32 = 16 << 20;

/// Nothing is kept of what it checkpoints.
#[derive(Debug)]
struct Forget;

impl LogManager for Forget {
    fn should_recover_segment(&mut self, _: &okaywal::RecoveredSegment) -> io::Result<Recovery> {
        Ok(Recovery::Abandon)
    }

    fn recover(&mut self, _: &mut Entry<'_>) -> io::Result<()> {
        Ok(())
    }

    fn checkpoint_to(
        &mut self,
        _: EntryId,
        _: &mut SegmentReader,
        _: &WriteAheadLog,
    ) -> io::Result<()> {
        Ok(())
    }
}

/// A log that is appended to.
pub struct Okay {
    log: WriteAheadLog,
    value: Vec<u8>,
}

impl Okay {
    pub fn open(dir: &Path, value_bytes: usize) -> Self {
        let log = Configuration::default_for(dir.join("okaywal"))
            .preallocate_bytes(SEGMENT_BYTES)
            .checkpoint_after_bytes(u64::from(SEGMENT_BYTES) / 4 * 3)
            .open(Forget)
            .expect("a new directory");
        Self { log, value: value(value_bytes) }
    }
}

impl Log for Okay {
    fn append(&mut self, count: u64) {
        let mut entry = self.log.begin_entry().expect("a log that works");
        for _ in 0..count {
            entry.write_chunk(&self.value).expect("room in the log");
        }
        entry.commit().expect("a disk that works");
    }

    /// It does so of its own accord.
    fn compact(&mut self) {}
}
