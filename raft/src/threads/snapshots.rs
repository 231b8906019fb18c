//! The snapshot thread: writes down what the applier froze, piece by piece, while that goes on
//! applying; and drops what is so large that the applier would be late.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use oarlock_storage::{SnapshotMeta, SnapshotStage, SnapshotWriter, StagedSnapshot, StorageError};

use crate::peer::SnapshotError;
use crate::rules::{Rules, Why};
use crate::shared::Shared;
use crate::state_machine::Frozen;

/// How much is written at a time. Between two pieces the thread rests, and looks whether anybody
/// still wants the snapshot.
const PIECE_BYTES: usize = 256 << 10;

/// For so many times as long as it has worked, the thread rests: clients are not to notice it much.
const REST_PER_WORK: u32 = 5;
/// The longest rest between two pieces.
const REST_MAX: Duration = Duration::from_millis(500);

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
    let (why, mut pace) = (frozen.why, Pace { why: frozen.why, index, rested: Shared::now() });
    let written = frozen.write_aside(stage, &mut |_| pace.go_on(shared));
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
    /// Writes the state aside; `None` if `goes_on`, which is asked before each piece but the first and
    /// told how much there is, says that nobody wants it any more.
    pub(crate) fn write_aside(
        &self,
        stage: &dyn SnapshotStage,
        goes_on: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Option<StagedSnapshot>, SnapshotError> {
        let writer = stage.begin(self.meta.clone())?;
        let buffer = Vec::with_capacity(PIECE_BYTES);
        let mut pieces = Pieces { writer, buffer, goes_on, end: None };
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
            self.end = if written > 0 && !(self.goes_on)(written) {
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

/// How fast a snapshot is written.
struct Pace {
    why: Why,
    index: u64,
    rested: Instant,
}

impl Pace {
    /// Rests, unless the snapshot is urgent; whether to go on.
    fn go_on(&mut self, shared: &Shared) -> bool {
        let worked = Shared::now() - self.rested;
        let (is_wanted, rest) = shared
            .look(|rules, _| (rules.wants_snapshot(self.index), self.rest_after(worked, rules)));
        let is_running = shared.rest(rest.min(REST_MAX));
        self.rested = Shared::now();
        is_wanted && is_running
    }

    /// How long to rest. The less, the longer the log has grown meanwhile: it is read again by a
    /// restart, so it is not to get much longer than half again of what was to be.
    fn rest_after(&self, worked: Duration, rules: &Rules) -> Duration {
        match self.why {
            Why::LogIsLong { limit } if rules.has_room() => {
                let percent = percent_of_rest(rules.log().entries_bytes(), limit);
                worked * REST_PER_WORK * percent / 100
            }
            Why::LogIsLong { .. } | Why::DiskIsFull => Duration::ZERO,
        }
    }
}

/// From 100, while a log is not longer than `limit`, to 0, once it is half again as long.
fn percent_of_rest(log_bytes: u64, limit: u64) -> u32 {
    let margin = (limit / 2).max(1);
    let left = margin.saturating_sub(log_bytes.saturating_sub(limit));
    let percent = u128::from(left) * 100 / u128::from(margin);
    u32::try_from(percent).expect("at most a hundred")
}

#[cfg(test)]
mod tests {
    use super::percent_of_rest;

    #[test]
    fn the_longer_the_log_the_shorter_the_rests() {
        let percents = [0, 100, 125, 150, 1000].map(|bytes| percent_of_rest(bytes, 100));
        assert_eq!(percents, [100, 100, 50, 0, 0]);
        assert!([0, 1, u64::MAX].iter().all(|&limit| percent_of_rest(7, limit) <= 100));
    }
}
