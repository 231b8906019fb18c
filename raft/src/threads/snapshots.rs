//! The snapshot thread: writes down what the applier froze, burst by burst, while that goes on
//! applying; and drops what is so large that the applier would be late.

use std::io::{self, Write};
use std::sync::Arc;

use oarlock_storage::{SnapshotMeta, SnapshotStage, SnapshotWriter, StagedSnapshot, StorageError};

use crate::peer::SnapshotError;
use crate::rules::{Rules, Why};
use crate::shared::Shared;
use crate::state_machine::Frozen;
use crate::threads::pace::Pace;

/// How much is written at a time.
const PIECE_BYTES: usize = 256 << 10;
/// After so many bytes the thread rests, and looks whether anybody still wants the snapshot. As many as
/// the storage syncs at a time; after fewer, more of the work would be to begin again.
const BURST_BYTES_MAX: u64 = 2 << 20;
/// Of a smaller state there are so many bursts, unless they would be smaller than a piece.
const BURSTS_MIN: u64 = 64;

/// What the snapshot thread is to do.
pub(crate) enum Job {
    /// Write this snapshot, and make it current.
    Write(FrozenState),
    /// Drop this, which takes long.
    Drop(Box<dyn Send>),
}

/// A state that the applier froze.
pub(crate) struct FrozenState {
    pub(crate) meta: SnapshotMeta,
    pub(crate) why: Why,
    pub(crate) state: Box<dyn Frozen>,
}

/// The thread's body: one job after the other, until the peer stops.
pub(crate) fn snapshots_thread(shared: &Arc<Shared>, stage: &dyn SnapshotStage) {
    while let Some(job) = shared.take_job() {
        match job {
            Job::Write(frozen) => write(shared, stage, frozen),
            Job::Drop(unwanted) => drop(unwanted),
        }
    }
}

fn write(shared: &Shared, stage: &dyn SnapshotStage, frozen: FrozenState) {
    let index = frozen.meta.last_included.index;
    let why = frozen.why;
    let mut pace = Pace::begin(shared, index, why, frozen.state.len_hint());
    let written = frozen.write_aside(stage, &mut |written| pace.go_on(shared, written));
    // The state may be as large as what was written, and is not for the lock.
    drop(frozen);
    match written {
        Ok(Some(staged)) => {
            // Not waited for: on a full disk that could take long.
            let unused = shared.step(|rules, _| rules.snapshot_written(staged, why, true));
            // A file is removed or memory given back, which is not for the lock either.
            drop(unused);
        }
        Ok(None) => drop(shared.step(Rules::snapshot_failed)),
        Err(error) => {
            log::warn!(target: "SNAP", "no snapshot at {index}: {error}");
            drop(shared.step(Rules::snapshot_failed));
        }
    }
}

impl FrozenState {
    /// Writes the state aside; `None` if `goes_on`, which is asked before each burst but the first and
    /// told how much there is, says that nobody wants it any more.
    pub(crate) fn write_aside(
        &self,
        stage: &dyn SnapshotStage,
        goes_on: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Option<StagedSnapshot>, SnapshotError> {
        let writer = stage.begin(self.meta.clone())?;
        let buffer = Vec::with_capacity(PIECE_BYTES);
        let burst = self.state.len_hint().unwrap_or(u64::MAX) / BURSTS_MIN;
        let burst_bytes = burst.clamp(PIECE_BYTES as u64, BURST_BYTES_MAX);
        let mut pieces =
            Pieces { writer, buffer, burst_bytes, burst_ends: burst_bytes, goes_on, end: None };
        let result = self.state.write_to(&mut pieces).and_then(|()| pieces.flush());
        match (pieces.end, result) {
            (Some(End::Unwanted), _) => Ok(None),
            (Some(End::Failed(error)), _) => Err(error.into()),
            (None, Err(error)) => Err(SnapshotError::StateMachine(error.to_string())),
            (None, Ok(())) => Ok(Some(pieces.writer.finish()?)),
        }
    }
}

/// Why there are to be no more pieces.
enum End {
    Unwanted,
    Failed(StorageError),
}

/// Gathers what is written, so that the storage sees large pieces.
struct Pieces<'a> {
    writer: Box<dyn SnapshotWriter>,
    buffer: Vec<u8>,
    burst_bytes: u64,
    /// How much is written when the burst ends.
    burst_ends: u64,
    goes_on: &'a mut dyn FnMut(u64) -> bool,
    end: Option<End>,
}

impl Write for Pieces<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(PIECE_BYTES - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..taken]);
        if self.buffer.len() == PIECE_BYTES {
            self.flush()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.end.is_none() && !self.buffer.is_empty() {
            // No rest behind the last piece: a small state is not to wait for nothing.
            let written = self.writer.len_bytes();
            let burst_is_over = written >= self.burst_ends;
            if burst_is_over {
                self.burst_ends = written + self.burst_bytes;
            }
            self.end = if burst_is_over && !(self.goes_on)(written) {
                Some(End::Unwanted)
            } else {
                self.writer.write(&self.buffer).err().map(End::Failed)
            };
            self.buffer.clear();
        }
        match self.end {
            None => Ok(()),
            Some(_) => Err(io::Error::other("nobody wants the rest of this snapshot")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EntryId;
    use oarlock_storage::{Batch, MemoryPersister, Persister};

    /// A state that is written like this, with a flush behind its first bytes, which nobody asked for.
    struct Flushed(Vec<u8>, Option<u64>);

    impl Frozen for Flushed {
        fn write_to(&self, out: &mut dyn Write) -> io::Result<()> {
            let (first, others) = self.0.split_at(1000);
            out.write_all(first)?;
            out.flush()?;
            out.write_all(others)
        }

        fn len_hint(&self) -> Option<u64> {
            self.1
        }
    }

    /// Writes so many bytes as long as `goes_on`, and checks them: after how many bytes that was asked,
    /// and whether they were all written.
    fn written(len: usize, hint: Option<u64>, goes_on: impl Fn(u64) -> bool) -> (Vec<u64>, bool) {
        let mut persister = MemoryPersister::new();
        persister.load();
        let content: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
        let last_included = EntryId::new(1, 1);
        let frozen = FrozenState {
            meta: SnapshotMeta { last_included, ..SnapshotMeta::default() },
            why: Why::DiskIsFull,
            state: Box::new(Flushed(content.clone(), hint)),
        };
        let mut asked = Vec::new();
        let mut goes_on = |written| {
            asked.push(written);
            goes_on(written)
        };
        let staged = frozen.write_aside(&*persister.snapshot_stage(), &mut goes_on).unwrap();
        let is_written = staged.is_some();
        if let Some(staged) = staged {
            let entries =
                vec![oarlock_storage::Entry { id: last_included, tag: 0, data: Vec::new().into() }];
            persister.persist(&Batch { entries, ..Batch::default() }).unwrap();
            let snapshot = persister.save_state_and_snapshot(&Batch::default(), staged).unwrap();
            assert!(*snapshot == *content);
        }
        (asked, is_written)
    }

    #[test]
    fn a_large_state_is_written_in_bursts() {
        let len = 7 << 20;
        let (asked, is_written) = written(len, None, |_| true);
        assert!(is_written);
        assert_eq!(asked.len(), 3, "{asked:?}");
        let lens = asked.windows(2).map(|pair| pair[1] - pair[0]);
        assert!(lens.into_iter().all(|len| len.abs_diff(BURST_BYTES_MAX) <= PIECE_BYTES as u64));
        // The smaller it is, the smaller they are.
        let (asked, _) = written(len, Some(len as u64), |_| true);
        assert_eq!(asked.len(), len / PIECE_BYTES - 1, "{asked:?}");
        assert_eq!(written(PIECE_BYTES, Some(7), |_| true), (Vec::new(), true));
    }

    #[test]
    fn what_nobody_wants_is_not_written_to_its_end() {
        let (asked, is_written) = written(7 << 20, None, |written| written < 3 << 20);
        assert!(!is_written && asked.len() == 2, "{asked:?}");
    }
}
