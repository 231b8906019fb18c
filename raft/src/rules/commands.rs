//! What a leader appends of its own accord: clients' commands, and what it needs itself.

use std::time::Instant;

use oarlock_storage::Payload;

use super::Rules;
use crate::types::{Entry, EntryId, EntryKind};

impl Rules {
    /// A log entry from a client, if this peer leads (section 5.3) and there is room for it: `None`
    /// otherwise.
    pub(crate) fn start(&mut self, command: Payload, now: Instant) -> Option<EntryId> {
        let takes_it = self.is_leader() && self.refusal().is_none();
        takes_it.then(|| self.append_as_leader(EntryKind::Command, command, now))
    }

    /// Log entries from a client, one behind the other: as many of `commands` as there is room for. This
    /// peer must lead, and refuse none. Returns the first one's id. What is not taken stays in `commands`.
    pub(crate) fn start_all(
        &mut self,
        commands: &mut impl Iterator<Item = Payload>,
        now: Instant,
    ) -> Option<EntryId> {
        assert!(self.is_leader() && self.refusal().is_none(), "a leader that takes commands");
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
            // Several in one step are a burst (`gather.rs`): this says so, and more would say no more.
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
        data: Payload,
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
    fn next_entry(&mut self, kind: EntryKind, data: Payload) -> Entry {
        debug_assert!(self.is_leader(), "only a leader appends of its own accord");
        let id = EntryId::new(self.log.last().index + 1, self.current_term);
        let entry = Entry { id, tag: kind.tag(), data };
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use oarlock_storage::Recovered;

    use super::*;
    use crate::configuration::Configuration;
    use crate::options::Options;
    use crate::rules::Due;
    use crate::rules::elected::{elect, write};
    use crate::types::PeerId;

    /// A leader whose writes take a millisecond and served several callers before, long ago.
    fn leader() -> (Rules, Instant) {
        let start = crate::shared::Shared::now();
        let configuration = Configuration::of_voters([PeerId(0)]);
        let options = Options { seed: 1, ..Options::default() };
        let recovered = Recovered::default();
        let mut rules =
            Rules::recovered(PeerId(0), configuration, recovered, options, start).unwrap();
        let mut now = elect(&mut rules, 1);
        write(&mut rules, now);
        for _ in 0..100 {
            rules.gather.written(Duration::from_millis(1));
        }
        assert!(rules.start_all(&mut commands(2), now).is_some());
        now += Duration::from_millis(100);
        write(&mut rules, now);
        (rules, now + Duration::from_millis(100))
    }

    fn commands(count: usize) -> impl Iterator<Item = Payload> {
        (0..count).map(|_| [7; 10].into())
    }

    #[test]
    fn several_in_one_step_are_a_burst_and_one_alone_is_none() {
        for (count, waits) in [(1, false), (2, true), (50, true)] {
            let (mut rules, now) = leader();
            let before = rules.log.last().index;
            let first = rules.start_all(&mut commands(count), now).expect("there is room");
            assert_eq!(first, EntryId::new(before + 1, rules.current_term));
            assert_eq!(rules.log.last().index, before + count as u64);
            let due = rules.writes_due(now);
            assert_eq!(matches!(due, Due::At(_)), waits, "{count}: {due:?}");
        }
    }

    #[test]
    fn what_there_is_no_room_for_stays() {
        let (mut rules, now) = leader();
        rules.options.uncommitted_bytes_max = 100;
        let mut commands = commands(50);
        assert!(rules.start_all(&mut commands, now).is_some());
        // Each is counted with the 13 bytes of what stands before it.
        assert_eq!(commands.count(), 45);
        assert_eq!(rules.start_all(&mut [].into_iter(), now), None);
    }
}
