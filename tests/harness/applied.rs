//! Every message on every apply channel, checked as it comes: each server gets every index once
//! and in order, and no two servers get different commands at one index.
//!
//! What a server applied before a crash stays on record, and what it applies again is compared
//! with it. The first violation is remembered, and fails the test at its next question.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use super::command::Command;

/// The records of all servers of a cluster.
pub(crate) struct Applied {
    state: Mutex<State>,
}

struct State {
    servers: Vec<Record>,
    max_index: u64,
    violation: Option<String>,
}

#[derive(Default)]
struct Record {
    commands: BTreeMap<u64, Command>,
    /// By the present incarnation.
    last_applied: u64,
}

impl Applied {
    pub(crate) fn new(servers: usize) -> Self {
        let servers = (0..servers).map(|_| Record::default()).collect();
        Self { state: Mutex::new(State { servers, max_index: 0, violation: None }) }
    }

    /// A server starts again: from the snapshot that it persisted, if there is one.
    pub(crate) fn restart(&self, server: usize, snapshot: Option<&[u8]>) {
        let mut state = self.state.lock();
        state.servers[server].last_applied = 0;
        if let Some(snapshot) = snapshot {
            state.restore(server, None, snapshot);
        }
    }

    /// A command came.
    pub(crate) fn command(&self, server: usize, index: u64, bytes: &[u8]) {
        self.state.lock().apply(server, index, bytes);
    }

    /// A snapshot of everything up to `last_included` came.
    pub(crate) fn snapshot(&self, server: usize, last_included: u64, bytes: &[u8]) {
        self.state.lock().restore(server, Some(last_included), bytes);
    }

    /// What a service puts into a snapshot of everything up to `index`: the index, and the
    /// commands up to there.
    pub(crate) fn encode_snapshot(&self, server: usize, index: u64) -> Vec<u8> {
        let state = self.state.lock();
        let commands = state.servers[server].commands.range(..=index);
        let mut bytes = index.to_le_bytes().to_vec();
        for (_, command) in commands {
            let command = command.encode();
            let len = u32::try_from(command.len()).expect("commands of the suites are short");
            bytes.extend(len.to_le_bytes());
            bytes.extend(command);
        }
        bytes
    }

    /// How many servers have applied something at `index`, and what.
    #[track_caller]
    pub(crate) fn n_committed(&self, index: u64) -> (usize, Option<Command>) {
        let state = self.state.lock();
        if let Some(violation) = &state.violation {
            panic!("{violation}");
        }
        let at_index = || state.servers.iter().filter_map(|record| record.commands.get(&index));
        let first = at_index().next();
        assert!(
            at_index().all(|command| Some(command) == first),
            "committed values at index {index} do not match: {:?}",
            at_index().collect::<Vec<_>>()
        );
        (at_index().count(), first.cloned())
    }

    /// The highest index that any server applied.
    pub(crate) fn max_index(&self) -> u64 {
        self.state.lock().max_index
    }

    /// What went wrong first, if anything did.
    pub(crate) fn violation(&self) -> Option<String> {
        self.state.lock().violation.clone()
    }
}

impl State {
    fn apply(&mut self, server: usize, index: u64, bytes: &[u8]) {
        let Some(command) = Command::decode(bytes) else {
            return self.violated(format!("S{server} applied no command at {index}: {bytes:?}"));
        };
        let expected = self.servers[server].last_applied + 1;
        if index != expected {
            self.violated(format!(
                "S{server} applied out of order: index {index} instead of {expected}"
            ));
        }
        for (other, record) in self.servers.iter().enumerate() {
            if let Some(theirs) = record.commands.get(&index).filter(|theirs| **theirs != command) {
                let what = format!("S{server} applied {command:?}, S{other} {theirs:?}");
                return self.violated(format!("at index {index} {what}"));
            }
        }
        self.max_index = self.max_index.max(index);
        let record = &mut self.servers[server];
        record.commands.insert(index, command);
        record.last_applied = index;
    }

    fn restore(&mut self, server: usize, last_included: Option<u64>, snapshot: &[u8]) {
        let Some((index, commands)) = decode_snapshot(snapshot) else {
            return self.violated(format!("S{server} got a snapshot that cannot be read"));
        };
        if last_included.is_some_and(|expected| index != expected) {
            return self.violated(format!(
                "S{server} got a snapshot of {index} as one of {last_included:?}"
            ));
        }
        let record = &mut self.servers[server];
        if index < record.last_applied {
            let last_applied = record.last_applied;
            return self.violated(format!(
                "S{server} got a snapshot of {index} after applying {last_applied}"
            ));
        }
        *record = Record { commands, last_applied: index };
    }

    fn violated(&mut self, what: String) {
        log::debug!(target: "TEST", "violation: {what}");
        self.violation.get_or_insert(what);
    }
}

/// The last index of a snapshot, and the commands from 1 up to there.
fn decode_snapshot(bytes: &[u8]) -> Option<(u64, BTreeMap<u64, Command>)> {
    let (index, mut rest) = bytes.split_first_chunk()?;
    let index = u64::from_le_bytes(*index);
    let mut commands = BTreeMap::new();
    while !rest.is_empty() {
        let (len, behind) = rest.split_first_chunk()?;
        let (command, behind) = behind.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        commands.insert(commands.len() as u64 + 1, Command::decode(command)?);
        rest = behind;
    }
    (commands.len() as u64 == index).then_some((index, commands))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(applied: &Applied, server: usize, index: u64, number: i64) {
        applied.command(server, index, &Command::from(number).encode());
    }

    #[track_caller]
    fn assert_violation(applied: &Applied, part: &str) {
        let violation = applied.violation().unwrap_or_default();
        assert!(violation.contains(part), "{violation:?} does not say {part:?}");
    }

    #[test]
    fn servers_that_agree_are_counted() {
        let applied = Applied::new(3);
        apply(&applied, 0, 1, 10);
        apply(&applied, 2, 1, 10);
        apply(&applied, 2, 2, 20);
        assert_eq!(applied.n_committed(1), (2, Some(Command::from(10))));
        assert_eq!(applied.n_committed(2), (1, Some(Command::from(20))));
        assert_eq!(applied.n_committed(3), (0, None));
        assert_eq!(applied.max_index(), 2);
        assert_eq!(applied.violation(), None);
    }

    #[test]
    #[should_panic(expected = "at index 1 S1 applied 11, S0 10")]
    fn another_command_at_an_index_is_a_violation() {
        let applied = Applied::new(2);
        apply(&applied, 0, 1, 10);
        apply(&applied, 1, 1, 11);
        applied.n_committed(1);
    }

    #[test]
    fn a_gap_and_a_repetition_are_violations() {
        for second in [1, 3] {
            let applied = Applied::new(1);
            apply(&applied, 0, 1, 10);
            apply(&applied, 0, second, 10);
            assert_violation(&applied, "out of order");
        }
    }

    #[test]
    fn a_restarted_server_applies_all_again_and_nothing_else() {
        let applied = Applied::new(1);
        apply(&applied, 0, 1, 10);
        applied.restart(0, None);
        apply(&applied, 0, 1, 10);
        assert_eq!(applied.violation(), None);
        applied.restart(0, None);
        apply(&applied, 0, 1, 11);
        assert_violation(&applied, "at index 1 S0 applied 11, S0 10");
    }

    #[test]
    fn a_snapshot_stands_for_the_commands_in_it() {
        let applied = Applied::new(2);
        (1..=3).for_each(|index| apply(&applied, 0, index, 10));
        let snapshot = applied.encode_snapshot(0, 2);
        applied.snapshot(1, 2, &snapshot);
        apply(&applied, 1, 3, 10);
        assert_eq!(applied.n_committed(1), (2, Some(Command::from(10))));
        assert_eq!(applied.n_committed(3).0, 2);
        applied.restart(1, Some(&snapshot));
        assert_eq!(applied.n_committed(3).0, 1);
        apply(&applied, 1, 3, 10);
        assert_eq!(applied.violation(), None);
    }

    #[test]
    fn a_snapshot_of_another_index_or_of_the_past_is_a_violation() {
        let applied = Applied::new(2);
        (1..=3).for_each(|index| apply(&applied, 0, index, 10));
        let snapshot = applied.encode_snapshot(0, 2);
        applied.snapshot(1, 3, &snapshot);
        assert_violation(&applied, "a snapshot of 2 as one of");

        let applied = Applied::new(1);
        (1..=3).for_each(|index| apply(&applied, 0, index, 10));
        applied.snapshot(0, 2, &snapshot);
        assert_violation(&applied, "after applying 3");
    }
}
