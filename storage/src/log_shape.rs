//! The shape of a log without its payloads: what both persisters check a batch against before they
//! write anything, and where the logical size is counted.

use std::collections::VecDeque;

use crate::{Batch, Entry, EntryId, HardState};

/// The logical size of what is always there: term (8), vote (1 + 8), and the log's base (8 + 8).
pub(crate) const FIXED_BYTES: u64 = 8 + 9 + 16;

/// Hard state, base and the terms of a log.
///
/// Invariants, checked before every change: (1) indexes are contiguous from `base`; (2) terms never
/// fall along the log; (3) `current_term` never falls, and within one term a vote is cast once;
/// (4) nothing at or below `base` changes; (5) `base` only grows.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogShape {
    pub(crate) hard_state: HardState,
    /// The last entry the snapshot covers; `0@0` without one.
    pub(crate) base: EntryId,
    /// The length of each entry's data.
    data_lens: VecDeque<u32>,
    /// The first entry of each term: few, however long the log is. Entries before the first that is
    /// left may be gone.
    terms: VecDeque<EntryId>,
    entry_bytes: u64,
}

impl LogShape {
    /// An empty log behind `base`.
    pub(crate) fn new(hard_state: HardState, base: EntryId) -> Self {
        Self { hard_state, base, ..Self::default() }
    }

    /// The log of `entries` behind `base`: what [`push`](Self::push)ing them one by one makes.
    pub(crate) fn of(hard_state: HardState, base: EntryId, entries: &[Entry]) -> Self {
        let mut shape = Self::new(hard_state, base);
        let mut last = base;
        shape.data_lens = entries
            .iter()
            .map(|entry| {
                assert_eq!(entry.id.index, last.index + 1, "gap behind {last}");
                if last == base || entry.id.term != last.term {
                    shape.terms.push_back(entry.id);
                }
                last = entry.id;
                shape.entry_bytes += entry.logical_bytes();
                u32::try_from(entry.data.len()).expect("an entry is smaller than 4 GiB")
            })
            .collect();
        shape
    }

    /// The last entry of the log, or the base if the log is empty.
    pub(crate) fn last(&self) -> EntryId {
        match self.terms.back() {
            Some(first) => EntryId::new(self.base.index + self.data_lens.len() as u64, first.term),
            None => self.base,
        }
    }

    /// The term of the entry at `index`, if the log (its base included) still knows it.
    pub(crate) fn term_at(&self, index: u64) -> Option<u64> {
        if index == self.base.index {
            return Some(self.base.term);
        }
        if index < self.base.index || index > self.last().index {
            return None;
        }
        let later = self.terms.partition_point(|first| first.index <= index);
        Some(self.terms[later - 1].term)
    }

    /// See [`crate::Persister::raft_state_bytes`].
    pub(crate) fn raft_state_bytes(&self) -> u64 {
        FIXED_BYTES + self.entry_bytes
    }

    /// How many entries are behind the base.
    pub(crate) fn entry_count(&self) -> usize {
        self.data_lens.len()
    }

    /// Panics if `batch` does not fit behind this log: the caller's bug, found before it is written.
    pub(crate) fn check(&self, batch: &Batch) {
        if let Some(new) = batch.hard_state {
            self.check_hard_state(new);
        }
        let mut last = self.last();
        if let Some(from) = batch.truncate_from {
            assert!(from > self.base.index, "truncate from {from} at or below base {}", self.base);
            if from <= last.index {
                let term = self.term_at(from - 1).expect("from is above the base, in the log");
                last = EntryId::new(from - 1, term);
            }
        }
        for entry in &batch.entries {
            assert_eq!(entry.id.index, last.index + 1, "gap: {} appended to {last}", entry.id);
            assert!(entry.id.term >= last.term, "term falls: {} appended to {last}", entry.id);
            last = entry.id;
        }
    }

    fn check_hard_state(&self, new: HardState) {
        let old = self.hard_state;
        assert!(
            new.current_term >= old.current_term,
            "current_term {} → {}",
            old.current_term,
            new.current_term
        );
        if new.current_term == old.current_term {
            assert!(
                old.voted_for.is_none() || new.voted_for == old.voted_for,
                "vote {:?} → {:?} within term {}",
                old.voted_for,
                new.voted_for,
                new.current_term
            );
        }
    }

    /// Takes over what `batch` changes. It must have passed [`check`](Self::check).
    pub(crate) fn apply(&mut self, batch: &Batch) {
        if let Some(new) = batch.hard_state {
            self.hard_state = new;
        }
        if let Some(from) = batch.truncate_from {
            self.truncate(from);
        }
        for entry in &batch.entries {
            self.push(entry);
        }
    }

    /// Appends one entry.
    pub(crate) fn push(&mut self, entry: &Entry) {
        let last = self.last();
        assert_eq!(entry.id.index, last.index + 1, "gap behind {last}");
        if self.terms.is_empty() || entry.id.term != last.term {
            self.terms.push_back(entry.id);
        }
        let data_len = u32::try_from(entry.data.len()).expect("an entry is smaller than 4 GiB");
        self.data_lens.push_back(data_len);
        self.entry_bytes += entry.logical_bytes();
    }

    /// Drops every entry with index `from` or above.
    pub(crate) fn truncate(&mut self, from: u64) {
        assert!(from > self.base.index, "truncate from {from} at or below base {}", self.base);
        while self.last().index >= from && !self.data_lens.is_empty() {
            let data_len = self.data_lens.pop_back();
            self.forget(data_len);
            let last_index = self.base.index + self.data_lens.len() as u64;
            if self.terms.back().is_some_and(|first| first.index > last_index)
                || self.data_lens.is_empty()
            {
                self.terms.pop_back();
            }
        }
    }

    /// Whether a snapshot up to `last_included`, taken after `batch`, drops the whole log: it does
    /// unless the log then holds exactly that entry. Panics if the snapshot is not newer than the
    /// current one.
    pub(crate) fn resets_log(&self, batch: &Batch, last_included: EntryId) -> bool {
        self.check_newer(last_included);
        let appended = batch.entries.iter().find(|entry| entry.id.index == last_included.index);
        let truncated = batch.truncate_from.is_some_and(|from| from <= last_included.index);
        let kept = if truncated { None } else { self.term_at(last_included.index) };
        appended.map(|entry| entry.id.term).or(kept) != Some(last_included.term)
    }

    /// Panics unless a snapshot up to `last_included` is newer than the current one.
    pub(crate) fn check_newer(&self, last_included: EntryId) {
        assert!(
            last_included.index > self.base.index,
            "snapshot {last_included} is not newer than the current {}",
            self.base
        );
    }

    /// Moves the base up to `last_included`. The entries behind it stay if the log holds exactly
    /// that entry; otherwise all go.
    pub(crate) fn compact(&mut self, last_included: EntryId) {
        self.check_newer(last_included);
        if self.term_at(last_included.index) == Some(last_included.term) {
            for _ in self.base.index..last_included.index {
                let data_len = self.data_lens.pop_front();
                self.forget(data_len);
            }
            let passed = self.terms.partition_point(|first| first.index <= last_included.index + 1);
            self.terms.drain(..passed.saturating_sub(1));
        } else {
            self.data_lens.clear();
            self.entry_bytes = 0;
        }
        if self.data_lens.is_empty() {
            self.terms.clear();
        }
        self.base = last_included;
    }

    fn forget(&mut self, data_len: Option<u32>) {
        let data_len = data_len.expect("the caller counted the entries");
        self.entry_bytes -= Entry::FRAME_BYTES + u64::from(data_len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(index: u64, term: u64) -> Entry {
        Entry { id: EntryId::new(index, term), tag: 0, data: vec![7; index as usize].into() }
    }

    fn shape(terms: &[u64]) -> LogShape {
        let mut shape = LogShape::default();
        for (i, term) in terms.iter().enumerate() {
            shape.push(&entry(i as u64 + 1, *term));
        }
        shape
    }

    #[test]
    fn a_log_made_at_once_is_the_one_made_step_by_step() {
        for terms in [&[][..], &[1], &[1, 1, 2, 2, 5]] {
            let entries: Vec<Entry> =
                terms.iter().zip(1..).map(|(term, index)| entry(index, *term)).collect();
            let at_once = LogShape::of(HardState::default(), EntryId::default(), &entries);
            assert_eq!(format!("{at_once:?}"), format!("{:?}", shape(terms)));
        }
    }

    #[test]
    fn size_follows_every_change() {
        let mut shape = shape(&[1, 1, 2]);
        assert_eq!(shape.raft_state_bytes(), FIXED_BYTES + 3 * 13 + 6);
        shape.truncate(3);
        assert_eq!(shape.raft_state_bytes(), FIXED_BYTES + 2 * 13 + 3);
        shape.compact(EntryId::new(1, 1));
        assert_eq!(shape.raft_state_bytes(), FIXED_BYTES + 13 + 2);
        assert_eq!(shape.last(), EntryId::new(2, 1));
        shape.compact(EntryId::new(9, 4));
        assert_eq!(shape.raft_state_bytes(), FIXED_BYTES);
        assert_eq!(shape.last(), EntryId::new(9, 4));
    }

    #[test]
    fn terms_are_known_wherever_the_log_was_cut() {
        let mut log = shape(&[1, 1, 2, 2, 2, 5]);
        let terms = |log: &LogShape| (0..=7).map(|index| log.term_at(index)).collect::<Vec<_>>();
        let some = |term| Some(term);
        assert_eq!(
            terms(&log)[1..],
            [1, 1, 2, 2, 2, 5].map(some).into_iter().chain([None]).collect::<Vec<_>>()
        );
        log.truncate(6);
        assert_eq!(log.last(), EntryId::new(5, 2));
        log.truncate(5);
        log.push(&entry(5, 3));
        log.compact(EntryId::new(2, 1));
        assert_eq!(terms(&log), [None, None, Some(1), Some(2), Some(2), Some(3), None, None]);
        log.compact(EntryId::new(3, 2));
        assert_eq!(terms(&log), [None, None, None, Some(2), Some(2), Some(3), None, None]);
        log.truncate(4);
        assert_eq!((log.last(), log.term_at(4)), (EntryId::new(3, 2), None));
        log.push(&entry(4, 2));
        assert_eq!(log.last(), EntryId::new(4, 2));
        log.compact(EntryId::new(4, 2));
        assert_eq!((log.entry_count(), log.last()), (0, EntryId::new(4, 2)));
    }

    #[test]
    fn a_snapshot_of_another_history_drops_the_log() {
        let mut log = shape(&[1, 1, 2]);
        log.compact(EntryId::new(2, 3));
        assert_eq!(log.entry_count(), 0);
        let mut log = shape(&[1, 1, 2]);
        log.compact(EntryId::new(2, 1));
        assert_eq!((log.entry_count(), log.last()), (1, EntryId::new(3, 2)));
    }

    #[track_caller]
    fn refused(shape: &LogShape, batch: Batch, why: &str) {
        let panic = std::panic::catch_unwind(|| shape.check(&batch)).unwrap_err();
        let text = panic.downcast_ref::<String>().expect("a formatted panic");
        assert!(text.contains(why), "{text:?} lacks {why:?}");
    }

    #[test]
    fn a_batch_that_breaks_the_shape_panics() {
        let mut log = shape(&[1, 2, 2]);
        log.hard_state = HardState { current_term: 3, voted_for: Some(1) };
        log.compact(EntryId::new(1, 1));
        let append = |index, term| Batch { entries: vec![entry(index, term)], ..Batch::default() };
        refused(&log, append(5, 2), "gap");
        refused(&log, append(3, 2), "gap");
        refused(&log, append(4, 1), "term falls");
        refused(&log, Batch { truncate_from: Some(1), ..Batch::default() }, "at or below base");
        let vote = |current_term, voted_for| Batch {
            hard_state: Some(HardState { current_term, voted_for }),
            ..Batch::default()
        };
        refused(&log, vote(2, None), "current_term 3 → 2");
        refused(&log, vote(3, Some(2)), "within term 3");
        refused(&log, vote(3, None), "within term 3");
        log.check(&vote(4, None));
        log.check(&Batch { truncate_from: Some(99), ..append(4, 2) });
        log.check(&Batch { truncate_from: Some(2), ..append(2, 1) });
    }
}
