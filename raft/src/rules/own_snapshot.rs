//! This peer's own snapshots: when one is due, and what becomes of it while commands go on being
//! applied. At most one is under way.
//!
//! The order: the state is frozen at an index; it is written aside, by another thread if it is large;
//! the log is compacted up to that index, and the log writer makes the snapshot current, in one
//! record; then the state machine is told. Entries behind the index are applied all the while: they
//! stay in the log, whose new start is the index and nothing later. If a leader's snapshot comes in
//! between it is the newer one, since it reaches beyond what was committed here: ours is dropped.

use std::time::{Duration, Instant};

use oarlock_storage::{Snapshot, SnapshotMeta, StagedSnapshot};

use super::Rules;
use crate::log::Discarded;
use crate::mutation::AfterDurable;
use crate::types::Index;

/// How long after one that could not be written the next is tried.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Why a snapshot is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// The log behind the last one has more bytes than this.
    LogIsLong { limit: u64 },
    /// The disk is full, and with no entry behind it a snapshot can replace the whole log.
    DiskIsFull,
}

/// How far it has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    None,
    /// It is written aside, up to this index.
    Written(Index),
    /// The log writer is to make it current, and then the state machine wants to know.
    OnItsWay(Index),
}

/// What is left of a snapshot that was written.
#[derive(Debug)]
#[expect(dead_code, reason = "it is there to be dropped, at a good time")]
pub(crate) enum Unused {
    /// Nobody wants it; its file is removed.
    Snapshot(StagedSnapshot),
    /// It stands for these.
    Entries(Discarded),
}

/// A snapshot of this peer's own state.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OwnSnapshot {
    stage: Stage,
    /// Since one could not be written: when the next is tried.
    again_at: Option<Instant>,
}

impl Rules {
    /// Begins a snapshot of everything up to `applied`, if it is due and none is under way: what it
    /// stands for. It ends with [`Rules::snapshot_written`] or [`Rules::snapshot_failed`].
    pub(crate) fn begin_snapshot(
        &mut self,
        applied: Index,
        why: Why,
        now: Instant,
    ) -> Option<SnapshotMeta> {
        let OwnSnapshot { stage, again_at } = self.own_snapshot;
        let is_too_early = again_at.is_some_and(|at| now < at);
        if stage != Stage::None || is_too_early || !self.is_snapshot_due(applied, why) {
            return None;
        }
        let meta = self.snapshot_meta(applied)?;
        self.own_snapshot.stage = Stage::Written(applied);
        Some(meta)
    }

    /// Discards the log that `staged` covers. Returns what is to be dropped without the lock: that, or
    /// `staged`, if nobody wants it any more. With `tell`, the state machine is told when it is current.
    pub(crate) fn snapshot_written(
        &mut self,
        staged: StagedSnapshot,
        why: Why,
        tell: bool,
    ) -> Unused {
        let index = staged.meta.last_included.index;
        assert_eq!(self.own_snapshot.stage, Stage::Written(index), "one at a time");
        self.own_snapshot = OwnSnapshot::default();
        if !self.wants_snapshot(index) || !self.is_snapshot_due(index, why) {
            return Unused::Snapshot(staged);
        }
        if tell {
            self.own_snapshot.stage = Stage::OnItsWay(index);
        }
        let AfterDurable { value, .. } = self.compact(staged);
        Unused::Entries(value)
    }

    /// The snapshot under way could not be written, or a newer one came.
    pub(crate) fn snapshot_failed(&mut self, now: Instant) {
        let Stage::Written(index) = self.own_snapshot.stage else {
            panic!("no snapshot is under way: {:?}", self.own_snapshot);
        };
        let again_at = self.wants_snapshot(index).then(|| now + AGAIN_AFTER);
        self.own_snapshot = OwnSnapshot { stage: Stage::None, again_at };
    }

    /// Whether one is under way, or the state machine is still to be told.
    #[cfg(feature = "simulation")]
    pub(crate) fn snapshot_is_under_way(&self) -> bool {
        self.own_snapshot.stage != Stage::None
    }

    /// Whether a snapshot up to `index` would still be the newest.
    pub(crate) fn wants_snapshot(&self, index: Index) -> bool {
        index > self.log.base().index
    }

    /// How many bytes the current snapshot has.
    pub(crate) fn snapshot_bytes(&self) -> u64 {
        self.snapshot.as_ref().map_or(0, |snapshot| snapshot.len() as u64)
    }

    /// The snapshot that the state machine is to be told of, once.
    pub(super) fn take_published(&mut self) -> Option<Snapshot> {
        let Stage::OnItsWay(index) = self.own_snapshot.stage else { return None };
        let current = self.snapshot.as_ref().filter(|s| s.meta.last_included.index >= index)?;
        let is_ours = current.meta.last_included.index == index;
        let current = is_ours.then(|| current.clone());
        self.own_snapshot.stage = Stage::None;
        current
    }

    fn is_snapshot_due(&self, applied: Index, why: Why) -> bool {
        match why {
            Why::LogIsLong { limit } => self.log.entries_bytes() > limit,
            Why::DiskIsFull => self.log.last().index == applied,
        }
    }
}
