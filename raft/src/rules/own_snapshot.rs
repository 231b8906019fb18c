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
    /// The last entry that the log had when this peer started.
    found: Index,
}

impl OwnSnapshot {
    /// Of a peer that starts, with a log up to `found`.
    pub(super) fn at_start(found: Index) -> Self {
        Self { found, ..Self::default() }
    }
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
        let OwnSnapshot { stage, again_at, .. } = self.own_snapshot;
        let is_too_early = again_at.is_some_and(|at| now < at) || self.catches_up(applied, why);
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
        self.own_snapshot = OwnSnapshot::at_start(self.own_snapshot.found);
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
        self.own_snapshot.stage = Stage::None;
        self.own_snapshot.again_at = again_at;
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

    /// Whether this peer still applies what it had when it started. Then it has better things to do: its
    /// log is as long as it was, clients wait, and what it would write is old already.
    fn catches_up(&self, applied: Index, why: Why) -> bool {
        let found = self.own_snapshot.found.min(self.log.last().index);
        applied < found && why != Why::DiskIsFull
    }

    fn is_snapshot_due(&self, applied: Index, why: Why) -> bool {
        match why {
            Why::LogIsLong { limit } => self.log.entries_bytes() > limit,
            Why::DiskIsFull => self.log.last().index == applied,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use oarlock_storage::Recovered;

    use super::*;
    use crate::configuration::Configuration;
    use crate::message::AppendEntriesArgs;
    use crate::options::Options;
    use crate::rules::elected::{elect, write};
    use crate::types::{Entry, EntryId, EntryKind, PeerId};

    const LOG_IS_LONG: Why = Why::LogIsLong { limit: 1 };

    fn entry(index: Index, term: u64) -> Entry {
        let data = Arc::<[u8]>::from(&b"some bytes"[..]).into();
        Entry { id: EntryId::new(index, term), tag: EntryKind::Command.tag(), data }
    }

    /// One of so many voters, whose log has ten entries of the first term.
    fn started(voters: u64) -> (Rules, Instant) {
        let now = crate::shared::Shared::now();
        let entries = (1..=10).map(|index| entry(index, 1)).collect();
        let configuration = Configuration::of_voters((0..voters).map(PeerId));
        let options = Options { seed: 1, ..Options::default() };
        let mut recovered = Recovered { entries, ..Recovered::default() };
        recovered.hard_state.current_term = 1;
        let rules = Rules::recovered(PeerId(0), configuration, recovered, options, now);
        (rules.unwrap(), now)
    }

    #[test]
    fn what_was_there_at_the_start_is_applied_before_a_snapshot_is_taken() {
        let (mut rules, _) = started(1);
        let now = elect(&mut rules, 1);
        write(&mut rules, now);
        assert!(rules.commit_index >= 10);
        for applied in [1, 9] {
            assert_eq!(rules.begin_snapshot(applied, LOG_IS_LONG, now), None, "at {applied}");
        }
        let meta = rules.begin_snapshot(10, LOG_IS_LONG, now).expect("it has caught up");
        assert_eq!(meta.last_included, EntryId::new(10, 1));
    }

    #[test]
    fn what_was_cut_off_is_not_waited_for() {
        let (mut rules, now) = started(3);
        let args = AppendEntriesArgs {
            term: 2,
            leader_id: PeerId(1),
            prev_log: EntryId::new(5, 1),
            leader_commit: 6,
            entries: vec![entry(6, 2)],
        };
        drop(rules.handle_append_entries(args, now));
        assert_eq!((rules.commit_index, rules.log().last().index), (6, 6));
        assert_eq!(rules.begin_snapshot(5, LOG_IS_LONG, now), None);
        assert!(rules.begin_snapshot(6, LOG_IS_LONG, now).is_some());
    }
}
