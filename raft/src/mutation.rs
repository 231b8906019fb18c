//! What must become durable, in order, and how far it has come.

use std::collections::VecDeque;

use oarlock_storage::{Batch, Entry, HardState, SnapshotMeta, StagedSnapshot};

use crate::mistake;
use crate::types::Index;

/// The number of a mutation; grows by one each, for ever.
pub(crate) type Seq = u64;

/// Not to be spoken before `until` is on disk. Made by the rules, opened only by
/// [`crate::shared::Shared`].
#[must_use]
#[derive(Debug)]
pub(crate) struct AfterDurable<T> {
    pub(crate) value: T,
    pub(crate) until: Until,
}

/// What must be on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// Everything up to this mutation.
    All(Seq),
    /// The term and the vote as of this mutation: they need not wait for the log, and on a disk
    /// without room for entries they do not.
    HardState(Seq),
}

/// One piece of work for the log writer.
#[derive(Debug)]
pub(crate) enum WriteStep {
    /// Make a batch durable.
    Persist(Batch),
    /// Write a piece of a snapshot that a leader sends; the first one begins it.
    Receive { meta: SnapshotMeta, first: bool, data: Vec<u8> },
    /// Make the received snapshot current.
    Install,
    /// Make a snapshot of this peer's own state current.
    Compact(StagedSnapshot),
}

/// Everything queued at one moment, and the last mutation in it.
#[derive(Debug)]
pub(crate) struct WriteWork {
    pub(crate) steps: Vec<WriteStep>,
    pub(crate) through: Seq,
}

/// The queue between the rules and the log writer.
///
/// Invariants:
/// 1. `durable <= last`, and neither ever falls.
/// 2. `durable_index` is at most the last index of the rules' log, and everything up to it is on
///    disk, in this very log: a truncation takes it back at once.
#[derive(Debug, Default)]
pub(crate) struct Mutations {
    last: Seq,
    /// The last mutation that changed the term or the vote.
    last_hard_state: Seq,
    /// The last mutation that changed the log.
    last_log: Seq,
    durable: Seq,
    /// Terms and votes are on disk up to here; at least as far as everything is.
    durable_hard_state: Seq,
    steps: Vec<WriteStep>,
    /// Ends of appends under way: once `Seq` is durable, so is the log up to `Index`.
    tails: VecDeque<(Seq, Index)>,
    durable_index: Index,
}

impl Mutations {
    /// The queue of a peer whose log is durable up to `durable_index`.
    pub(crate) fn recovered(durable_index: Index) -> Self {
        Self { durable_index, ..Self::default() }
    }

    /// The last mutation that changed the log.
    pub(crate) fn last_log(&self) -> Seq {
        self.last_log
    }

    /// Whether all of this is on disk.
    pub(crate) fn has(&self, until: Until) -> bool {
        match until {
            Until::All(seq) => seq <= self.durable,
            Until::HardState(seq) => seq <= self.durable_hard_state,
        }
    }

    /// How far this peer's own log is on disk.
    pub(crate) fn durable_index(&self) -> Index {
        self.durable_index
    }

    /// Wraps what must not be spoken before everything queued so far is on disk.
    pub(crate) fn after_durable<T>(&self, value: T) -> AfterDurable<T> {
        AfterDurable { value, until: Until::All(self.last) }
    }

    /// Wraps what rests on the term and the vote alone: it need not wait for the log.
    pub(crate) fn after_hard_state<T>(&self, value: T) -> AfterDurable<T> {
        AfterDurable { value, until: Until::HardState(self.last_hard_state) }
    }

    pub(crate) fn hard_state(&mut self, hard_state: HardState) {
        self.batch().hard_state = Some(hard_state);
        self.last += 1;
        self.last_hard_state = self.last;
    }

    pub(crate) fn truncate_from(&mut self, index: Index) {
        let batch = self.batch();
        // Entries of the batch come after its truncation: those above `index` never need writing.
        let kept = batch.entries.partition_point(|entry| entry.id.index < index);
        batch.entries.truncate(kept);
        if batch.entries.is_empty() {
            batch.truncate_from = Some(batch.truncate_from.map_or(index, |from| from.min(index)));
        }
        self.last += 1;
        self.last_log = self.last;
        self.clamp(index - 1);
    }

    pub(crate) fn append(&mut self, entries: impl IntoIterator<Item = Entry>) {
        let batch = self.batch();
        let before = batch.entries.len();
        batch.entries.extend(entries);
        let tail = batch.entries[before..].last().expect("an append has entries").id.index;
        self.last += 1;
        self.last_log = self.last;
        self.tails.push_back((self.last, tail));
    }

    pub(crate) fn receive(&mut self, meta: SnapshotMeta, first: bool, data: Vec<u8>) {
        self.push(WriteStep::Receive { meta, first, data });
    }

    /// The received snapshot replaces the log up to `last_included`. If it replaces all of the log,
    /// what is on disk is of this log only up to `same_through`, until the snapshot is there too.
    pub(crate) fn install(&mut self, last_included: Index, same_through: Option<Index>) {
        self.push(WriteStep::Install);
        if let Some(index) = same_through {
            self.clamp(index);
        }
        self.tails.push_back((self.last, last_included));
    }

    pub(crate) fn compact(&mut self, staged: StagedSnapshot) {
        self.push(WriteStep::Compact(staged));
    }

    /// Whether entries are queued, and nothing else.
    pub(crate) fn only_entries_queued(&self) -> bool {
        matches!(
            self.steps[..],
            [WriteStep::Persist(Batch { hard_state: None, truncate_from: None, .. })]
        )
    }

    /// Whether anything is queued.
    pub(crate) fn has_work(&self) -> bool {
        !self.steps.is_empty()
    }

    /// Nothing new, but the writer may have something left that had no room.
    pub(crate) fn take_again(&self) -> WriteWork {
        WriteWork { steps: Vec::new(), through: self.last }
    }

    /// Takes everything queued; `None` if nothing is.
    pub(crate) fn take(&mut self) -> Option<WriteWork> {
        if self.steps.is_empty() {
            return None;
        }
        Some(WriteWork { steps: std::mem::take(&mut self.steps), through: self.last })
    }

    /// Everything up to `through` is on disk.
    pub(crate) fn on_durable(&mut self, through: Seq) {
        assert!(
            self.durable <= through && through <= self.last,
            "durable {} → {through} of {}",
            self.durable,
            self.last
        );
        self.durable = through;
        self.durable_hard_state = through;
        while let Some(&(_, index)) = self.tails.front().filter(|(seq, _)| *seq <= through) {
            self.durable_index = self.durable_index.max(index);
            self.tails.pop_front();
        }
    }

    /// Terms and votes up to `through` are on disk; entries wait.
    pub(crate) fn on_hard_state_durable(&mut self, through: Seq) {
        assert!(self.durable_hard_state <= through && through <= self.last, "written in order");
        self.durable_hard_state = through;
    }

    /// Entries above `index` are gone: neither what is on disk nor what is on its way there counts.
    fn clamp(&mut self, index: Index) {
        if mistake!(CountsTruncatedAsDurable) {
            return;
        }
        self.durable_index = self.durable_index.min(index);
        for (_, tail) in &mut self.tails {
            *tail = index.min(*tail);
        }
    }

    fn push(&mut self, step: WriteStep) {
        self.steps.push(step);
        self.last += 1;
    }

    /// The batch that more may be added to: the last step, if it is one.
    fn batch(&mut self) -> &mut Batch {
        if !matches!(self.steps.last(), Some(WriteStep::Persist(_))) {
            self.steps.push(WriteStep::Persist(Batch::default()));
        }
        match self.steps.last_mut() {
            Some(WriteStep::Persist(batch)) => batch,
            _ => unreachable!("the last step was just made a batch"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::EntryId;

    fn entries(range: std::ops::RangeInclusive<Index>, term: u64) -> Vec<Entry> {
        range
            .map(|index| Entry { id: EntryId::new(index, term), tag: 0, data: [].into() })
            .collect()
    }

    fn only_batch(mutations: &mut Mutations) -> Batch {
        let mut work = mutations.take().expect("work");
        match (work.steps.len(), work.steps.pop()) {
            (1, Some(WriteStep::Persist(batch))) => batch,
            other => panic!("not one batch: {other:?}"),
        }
    }

    #[test]
    fn what_was_appended_and_truncated_before_the_writer_came_is_never_written() {
        let mut mutations = Mutations::recovered(4);
        mutations.append(entries(5..=8, 1));
        mutations.truncate_from(7);
        mutations.append(entries(7..=7, 2));
        let batch = only_batch(&mut mutations);
        assert_eq!(batch.truncate_from, None, "entries 7 and 8 never reached the disk");
        assert_eq!(batch.entries, [entries(5..=6, 1), entries(7..=7, 2)].concat());
    }

    #[test]
    fn a_truncation_below_the_batch_replaces_its_entries() {
        let mut mutations = Mutations::recovered(4);
        mutations.append(entries(5..=8, 1));
        mutations.truncate_from(3);
        mutations.append(entries(3..=3, 2));
        let batch = only_batch(&mut mutations);
        assert_eq!((batch.truncate_from, batch.entries), (Some(3), entries(3..=3, 2)));
    }

    #[test]
    fn the_durable_index_follows_the_disk_and_falls_with_a_truncation() {
        let mut mutations = Mutations::recovered(2);
        mutations.append(entries(3..=5, 1));
        let first = mutations.take().expect("work").through;
        mutations.truncate_from(4);
        mutations.append(entries(4..=9, 2));
        mutations.on_durable(first);
        assert_eq!(mutations.durable_index(), 3, "4 and 5 of term 1 are no longer this log");
        let second = mutations.take().expect("work").through;
        mutations.on_durable(second);
        assert_eq!(mutations.durable_index(), 9);
    }

    #[test]
    fn a_log_that_a_snapshot_replaces_is_not_on_disk_before_the_snapshot_is() {
        let mut mutations = Mutations::recovered(12);
        mutations.install(9, Some(3));
        assert_eq!(mutations.durable_index(), 3, "4 to 9 are on disk, but of another log");
        let through = mutations.take().expect("work").through;
        mutations.on_durable(through);
        assert_eq!(mutations.durable_index(), 9);
    }

    #[test]
    fn a_snapshot_step_splits_batches() {
        let mut mutations = Mutations::recovered(2);
        mutations.append(entries(3..=3, 1));
        mutations.install(9, Some(2));
        mutations.append(entries(10..=10, 2));
        let work = mutations.take().expect("work");
        assert!(matches!(
            work.steps[..],
            [WriteStep::Persist(_), WriteStep::Install, WriteStep::Persist(_)]
        ));
        assert_eq!(mutations.durable_index(), 2);
        mutations.on_durable(work.through);
        assert_eq!(mutations.durable_index(), 10);
    }
}
