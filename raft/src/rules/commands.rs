//! What a leader appends of its own accord: clients' commands, and what it needs itself.

use std::sync::Arc;
use std::time::Instant;

use super::Rules;
use crate::types::{Entry, EntryId, EntryKind};

impl Rules {
    /// A log entry from a client, if this peer leads (section 5.3) and there is room for it: `None`
    /// otherwise.
    pub(crate) fn start(&mut self, command: Arc<[u8]>, now: Instant) -> Option<EntryId> {
        let takes_it = self.is_leader() && self.refusal().is_none();
        takes_it.then(|| self.append_as_leader(EntryKind::Command, command, now))
    }

    /// Log entries from a client, one behind the other: as many of `commands` as there is room for, or
    /// none if this peer does not lead. Returns the first one's id. What is not taken stays in `commands`.
    pub(crate) fn start_all(
        &mut self,
        commands: &mut impl Iterator<Item = Arc<[u8]>>,
        now: Instant,
    ) -> Option<EntryId> {
        if !self.is_leader() || self.refusal().is_some() {
            return None;
        }
        let before = self.log.last().index;
        while !self.is_overloaded() {
            let Some(command) = commands.next() else { break };
            let entry = self.next_entry(EntryKind::Command, command);
            self.log.append(entry);
        }
        let first = self.log.id_at(before + 1)?;
        self.mutations.append(self.log.entries_behind(before).cloned());
        self.appended_as_leader(now);
        if self.log.last() != first {
            // The first is followed at once.
            self.appended_as_leader(now);
        }
        Some(first)
    }

    /// Whether this leader holds as much that is not committed as it may.
    pub(crate) fn is_overloaded(&self) -> bool {
        self.is_leader() && self.uncommitted_bytes > self.options.uncommitted_bytes_max
    }

    pub(super) fn append_as_leader(
        &mut self,
        kind: EntryKind,
        data: Arc<[u8]>,
        now: Instant,
    ) -> EntryId {
        let entry = self.next_entry(kind, data);
        let id = entry.id;
        self.log.append(entry.clone());
        if self.configurations.appended(&entry).expect("a leader appends what it encoded") {
            self.configuration_changed(now);
        }
        self.mutations.append([entry]);
        self.appended_as_leader(now);
        id
    }

    /// What this leader is about to append.
    fn next_entry(&mut self, kind: EntryKind, data: Arc<[u8]>) -> Entry {
        debug_assert!(self.is_leader(), "only a leader appends of its own accord");
        let id = EntryId::new(self.log.last().index + 1, self.current_term);
        let entry = Entry { id, tag: kind.tag(), data: data.into() };
        self.uncommitted_bytes += entry.logical_bytes();
        entry
    }

    /// An entry is on its way to the disk. While entries gather, the threads look again by themselves;
    /// where commands linger, those that send are woken once the log writer has taken them.
    fn appended_as_leader(&mut self, now: Instant) {
        let is_first = self.gather.arrived(now);
        self.wake.log_writer |= is_first;
        self.wake.entries_to_send |=
            is_first && self.options.linger.is_zero() && !self.gather.is_left();
    }
}
