//! The log behind the last snapshot, in memory: log matching and conflict hints.

use std::collections::VecDeque;

use crate::mistake;
use crate::types::{Entry, EntryId, Index, Term};

/// The entries after `base`.
///
/// Invariants, asserted where entries enter:
/// 1. Indexes are contiguous, from `base.index + 1`.
/// 2. Terms never fall, and none is below `base.term`.
/// 3. `base` never moves back.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// The last entry the snapshot covers (`last_included`); `0@0` without a snapshot.
    base: EntryId,
    entries: VecDeque<Entry>,
    /// The sum of the entries' logical bytes.
    entries_bytes: u64,
}

/// Entries that are no more in the log.
#[derive(Debug, Default)]
pub(crate) struct Discarded {
    _entries: VecDeque<Entry>,
}

impl Log {
    /// The log a peer restarts with.
    pub(crate) fn recovered(base: EntryId, entries: Vec<Entry>) -> Self {
        let mut last = base;
        let mut entries_bytes = 0;
        for entry in &entries {
            assert_follows(entry.id, last);
            entries_bytes += entry.logical_bytes();
            last = entry.id;
        }
        // Not one by one: a long log would be in memory twice.
        Self { base, entries: entries.into(), entries_bytes }
    }

    pub(crate) fn base(&self) -> EntryId {
        self.base
    }

    pub(crate) fn last(&self) -> EntryId {
        self.entries.back().map_or(self.base, |entry| entry.id)
    }

    /// The payload and fixed fields of all entries, in bytes.
    pub(crate) fn entries_bytes(&self) -> u64 {
        self.entries_bytes
    }

    /// The identity of the entry at `index`, or of the base; `None` outside.
    pub(crate) fn id_at(&self, index: Index) -> Option<EntryId> {
        if index == self.base.index {
            return Some(self.base);
        }
        self.position(index).map(|at| self.entries[at].id)
    }

    /// Whether the log holds exactly this entry, or has it as its base.
    pub(crate) fn holds(&self, id: EntryId) -> bool {
        self.id_at(id.index) == Some(id)
    }

    /// Appends one entry behind the last.
    pub(crate) fn append(&mut self, entry: Entry) {
        assert_follows(entry.id, self.last());
        self.entries_bytes += entry.logical_bytes();
        self.entries.push_back(entry);
    }

    /// The entries behind `index`.
    pub(crate) fn entries_behind(&self, index: Index) -> impl Iterator<Item = &Entry> {
        assert!(index >= self.base.index, "entries behind {index}, of a log behind {}", self.base);
        let at = usize::try_from(index - self.base.index).unwrap_or(usize::MAX);
        self.entries.range(at.min(self.entries.len())..)
    }

    /// Drops every entry from `index` on.
    pub(crate) fn truncate_from(&mut self, index: Index) {
        assert!(index > self.base.index, "truncate {index} at or below the base {}", self.base);
        while self.last().index >= index {
            let dropped = self.entries.pop_back().expect("the last entry is above the base");
            self.entries_bytes -= dropped.logical_bytes();
        }
    }

    /// Makes `base` the log's base: keeps what is behind it if the log holds it, else drops
    /// everything. Returns whether it was held (Figure 13, steps 6 and 7), and what is gone: dropping
    /// that may take long, and is not for the lock.
    pub(crate) fn compact(&mut self, base: EntryId) -> (bool, Discarded) {
        assert!(base.index > self.base.index, "base {} → {base} moves back", self.base);
        let held = self.holds(base)
            || (mistake!(InstallKeepsConflict) && self.id_at(base.index).is_some());
        let covered = if held {
            usize::try_from(base.index - self.base.index).expect("it holds them")
        } else {
            self.entries.len()
        };
        let discarded = self.take_front(covered);
        self.base = base;
        (held, Discarded { _entries: discarded })
    }

    /// Takes the first `count` entries out. Only the shorter part of the log is moved.
    fn take_front(&mut self, count: usize) -> VecDeque<Entry> {
        let bytes = |entries: &VecDeque<Entry>| entries.iter().map(Entry::logical_bytes).sum();
        if count <= self.entries.len() / 2 {
            let front: VecDeque<Entry> = self.entries.drain(..count).collect();
            let front_bytes: u64 = bytes(&front);
            self.entries_bytes -= front_bytes;
            return front;
        }
        let kept = self.entries.split_off(count);
        self.entries_bytes = bytes(&kept);
        std::mem::replace(&mut self.entries, kept)
    }

    /// The logical bytes of the entries behind `after`, up to and including `through`.
    pub(crate) fn bytes_between(&self, after: Index, through: Index) -> u64 {
        let at = |index: Index| usize::try_from(index - self.base.index).unwrap_or(usize::MAX);
        self.entries.range(at(after)..at(through)).map(Entry::logical_bytes).sum()
    }

    /// The first index from which on the log has no more than `bytes_max` logical bytes.
    pub(crate) fn first_index_of_last_bytes(&self, bytes_max: u64) -> Index {
        let mut bytes = 0;
        let newest_first = self.entries.iter().rev().take_while(|entry| {
            bytes += entry.logical_bytes();
            bytes <= bytes_max
        });
        let count = newest_first.count() as Index;
        self.last().index + 1 - count
    }

    /// The entries from `from` on (which must be above the base), sharing their data: at most
    /// `count_max`, and at most `bytes_max` of payload unless the first alone has more.
    pub(crate) fn slice(&self, from: Index, count_max: usize, bytes_max: usize) -> Vec<Entry> {
        let Some(start) = self.position(from) else { return Vec::new() };
        let mut bytes = 0;
        self.entries
            .range(start..)
            .take(count_max)
            .enumerate()
            .take_while(|(nth, entry)| {
                bytes += entry.data.len();
                *nth == 0 || bytes <= bytes_max
            })
            .map(|(_, entry)| entry.clone())
            .collect()
    }

    /// The first index of the run of entries that share the term of the one at `index`.
    pub(crate) fn first_index_of_term_at(&self, index: Index) -> Index {
        let term = self.id_at(index).map(|id| id.term);
        let in_run = |i: &Index| self.id_at(*i).map(|id| id.term) == term;
        (self.base.index + 1..=index).rev().take_while(in_run).last().unwrap_or(index)
    }

    /// The last index whose entry has a term of at most `term`; the base's index if none has.
    pub(crate) fn last_index_up_to_term(&self, term: Term) -> Index {
        self.base.index + self.entries.partition_point(|entry| entry.id.term <= term) as Index
    }

    fn position(&self, index: Index) -> Option<usize> {
        let at = usize::try_from(index.checked_sub(self.base.index + 1)?).ok()?;
        (at < self.entries.len()).then_some(at)
    }
}

/// Invariants 1 and 2, where entries enter.
fn assert_follows(id: EntryId, last: EntryId) {
    assert_eq!(id.index, last.index + 1, "append {id} behind {last}");
    assert!(id.term >= last.term, "append {id} behind {last}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(index: Index, term: Term) -> Entry {
        Entry { id: EntryId::new(index, term), tag: 0, data: vec![0; 10].into() }
    }

    /// Entries 1… with these terms.
    fn log(terms: &[Term]) -> Log {
        let entries = terms.iter().zip(1..).map(|(&term, index)| entry(index, term)).collect();
        Log::recovered(EntryId::default(), entries)
    }

    #[test]
    fn an_empty_log_ends_at_its_base() {
        let log = Log::recovered(EntryId::new(7, 2), Vec::new());
        assert_eq!(log.last(), EntryId::new(7, 2));
        assert!(log.holds(EntryId::new(7, 2)) && !log.holds(EntryId::new(7, 1)));
        assert_eq!(log.id_at(6), None);
    }

    #[test]
    #[should_panic(expected = "append 3@1 behind 1@1")]
    fn a_gap_is_refused() {
        log(&[1]).append(entry(3, 1));
    }

    #[test]
    #[should_panic(expected = "append 2@1 behind 1@2")]
    fn a_falling_term_is_refused() {
        log(&[2]).append(entry(2, 1));
    }

    #[test]
    fn compaction_keeps_what_is_behind_a_held_base_only() {
        for index in 1..=4 {
            let mut held = log(&[2, 2, 2, 2]);
            let (was_held, Discarded { _entries: gone }) = held.compact(EntryId::new(index, 2));
            assert!(was_held);
            assert!(gone.iter().map(|entry| entry.id.index).eq(1..=index));
            assert_eq!((held.base(), held.last()), (EntryId::new(index, 2), EntryId::new(4, 2)));
            assert_eq!(held.entries_bytes(), (4 - index) * entry(4, 2).logical_bytes());
        }

        let mut conflicting = log(&[1, 1, 2, 2]);
        assert!(!conflicting.compact(EntryId::new(3, 3)).0);
        assert_eq!(conflicting.last(), EntryId::new(3, 3));
        assert_eq!(conflicting.entries_bytes(), 0);
    }

    #[test]
    fn a_slice_is_bounded_by_count_and_bytes_but_never_empty_of_a_large_entry() {
        let log = log(&[1, 1, 1, 1]);
        let indexes = |slice: Vec<Entry>| slice.iter().map(|e| e.id.index).collect::<Vec<_>>();
        assert_eq!(indexes(log.slice(2, 9, 1000)), [2, 3, 4]);
        assert_eq!(indexes(log.slice(2, 2, 1000)), [2, 3]);
        assert_eq!(indexes(log.slice(1, 9, 20)), [1, 2]);
        assert_eq!(indexes(log.slice(1, 9, 1)), [1]);
        assert_eq!(indexes(log.slice(5, 9, 1000)), []);
    }

    #[test]
    fn bytes_are_counted_over_a_range_behind_the_base() {
        let mut log = log(&[1, 1, 1, 1]);
        log.compact(EntryId::new(1, 1));
        assert_eq!(log.bytes_between(1, 4), 3 * entry(1, 1).logical_bytes());
        assert_eq!(log.bytes_between(2, 3), entry(1, 1).logical_bytes());
        assert_eq!(log.bytes_between(4, 4), 0);
        let each = entry(1, 1).logical_bytes();
        let last = log.last().index;
        assert_eq!(log.first_index_of_last_bytes(each - 1), last + 1);
        assert_eq!(log.first_index_of_last_bytes(each), last);
        assert_eq!(log.first_index_of_last_bytes(u64::MAX), log.base().index + 1);
    }

    #[test]
    fn conflict_hints_name_runs_of_a_term() {
        let log = log(&[1, 1, 4, 4, 4, 5]);
        assert_eq!(log.first_index_of_term_at(5), 3);
        assert_eq!(log.first_index_of_term_at(2), 1);
        assert_eq!(log.last_index_up_to_term(4), 5);
        assert_eq!(log.last_index_up_to_term(3), 2);
        assert_eq!(log.last_index_up_to_term(0), 0);
    }
}
