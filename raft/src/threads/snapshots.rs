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
const REST_PER_WORK: u32 = 2;
/// The longest rest between two pieces.
const REST_MAX: Duration = Duration::from_millis(50);

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
            // Its file is removed, which is not for the lock either.
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
    /// Writes the state aside; `None` if `goes_on`, which is asked after each piece and told how much
    /// there is, says that nobody wants it any more.
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
            self.end = match self.writer.write(&self.buffer) {
                Err(error) => Some(End::Failed(error)),
                Ok(()) if (self.goes_on)(self.writer.len_bytes()) => None,
                Ok(()) => Some(End::Unwanted),
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
        let is_urgent = |rules: &Rules| match self.why {
            Why::LogIsLong { limit } => {
                !rules.has_room() || rules.log().entries_bytes() / 2 > limit
            }
            Why::DiskIsFull => true,
        };
        let (is_wanted, is_urgent) =
            shared.look(|rules, _| (rules.wants_snapshot(self.index), is_urgent(rules)));
        let worked = Shared::now() - self.rested;
        let rest = if is_urgent { Duration::ZERO } else { worked * REST_PER_WORK };
        let is_running = shared.rest(rest.min(REST_MAX));
        self.rested = Shared::now();
        is_wanted && is_running
    }
}
