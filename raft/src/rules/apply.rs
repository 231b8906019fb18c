//! What the applier comes for (`lastApplied` of Figure 2).

use std::time::Instant;

use super::{Due, ReadId, Rules};
use crate::mistake;
use crate::types::{Entry, Index, Snapshot};

/// The most one visit of the applier takes along.
const ENTRIES_MAX: usize = 1024;
const BYTES_MAX: usize = 4 << 20;

/// One piece of work for the applier, in the order it must be done.
#[derive(Debug)]
pub(crate) enum ApplyWork {
    /// The reads of its kind up to this one are lost.
    FailReads { through: ReadId },
    /// The reads of its kind up to this one may be served now.
    ServeReads { through: ReadId },
    /// The state is replaced by a snapshot, which is durable.
    Restore(Snapshot),
    /// What the state machine last froze is the current snapshot; everything up to this index has been
    /// applied meanwhile.
    Published(Snapshot, Index),
    /// The next committed entries.
    Entries(Vec<Entry>),
    /// The disk is full: a snapshot of everything up to this index would give space back.
    MakeRoom(Index),
}

impl Rules {
    /// The applier's work; it has done everything up to `applied`.
    pub(crate) fn apply_due(&mut self, applied: Index, now: Instant) -> Due<ApplyWork> {
        assert!(applied >= self.last_applied, "last_applied {} → {applied}", self.last_applied);
        self.last_applied = applied;
        if let Some(through) = self.take_failed_reads() {
            return Due::Now(ApplyWork::FailReads { through });
        }
        if let Some(through) = self.take_ready_reads() {
            return Due::Now(ApplyWork::ServeReads { through });
        }
        if let Some(snapshot) = self.take_published() {
            return Due::Now(ApplyWork::Published(snapshot, applied));
        }
        let base = self.log.base();
        if applied < base.index {
            // The entries are gone; the snapshot that covers them is there once it is durable.
            let current = self.snapshot.clone().filter(|s| s.meta.last_included == base);
            return current.map_or(Due::WhenWoken, |s| Due::Now(ApplyWork::Restore(s)));
        }
        if applied < self.commit_index {
            let count_max = usize::try_from(self.commit_index - applied).unwrap_or(usize::MAX);
            let mut entries = self.log.slice(applied + 1, count_max.min(ENTRIES_MAX), BYTES_MAX);
            if mistake!(AppliesOutOfOrder) && entries.len() > 1 {
                entries.swap(0, 1);
            }
            return Due::Now(ApplyWork::Entries(entries));
        }
        // With nothing behind it, a snapshot can replace the whole log.
        if applied > base.index && applied == self.log.last().index {
            return self.space.compaction_due(now, applied);
        }
        Due::WhenWoken
    }
}
