//! The threads of a peer under every order in which they may run: the shipped code, on locks, threads
//! and time that a scheduler decides about (`oarlock_sync::model`).
//!
//! Goal: nobody waits for ever, or until some deadline comes to the rescue; every caller is told
//! exactly once; nothing is said before it is on disk; what is committed is applied in order, once;
//! whoever kills a peer finds it gone. Method: small scenes with a few threads, each played under
//! thousands of schedules, and a list of mistakes that must be found by them (`mistakes.rs`).

mod alone;
mod cluster;
mod disk;
mod follower;
mod mistakes;
mod snapshots;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use oarlock_rpc::codec::Wire;
use oarlock_sync::model;
use serde::{Deserialize, Serialize};

use crate::{EntryId, Options, ReplicatedOptions, RestoreError, StateMachine};

/// How many schedules of each scene are tried, unless the environment says otherwise.
const SCHEDULES: usize = 2000;

/// More than a burst of commands gathers for, and less than any time-out: what takes longer was
/// forgotten, and found by accident.
const PROMPTLY: Duration = Duration::from_millis(40);

/// A command: what is appended.
#[derive(Serialize, Deserialize)]
struct Append(u64);

impl Wire for Append {}

/// A list of what was applied, in order, which the scene can look at.
#[derive(Clone, Default)]
struct List(Arc<Mutex<Vec<(EntryId, u64)>>>);

impl List {
    fn items(&self) -> Vec<(EntryId, u64)> {
        self.0.lock().expect("nobody panics with it").clone()
    }
}

impl StateMachine for List {
    type Command = Append;
    type Output = usize;

    fn apply(&mut self, id: EntryId, Append(item): Append) -> usize {
        let mut list = self.0.lock().expect("nobody panics with it");
        assert!(list.last().is_none_or(|(before, _)| *before < id), "{id} behind {list:?}");
        list.push((id, item));
        list.len()
    }

    fn snapshot(&self) -> Vec<u8> {
        self.items().iter().flat_map(|(_, item)| item.to_le_bytes()).collect()
    }

    fn restore(&mut self, _snapshot: &[u8]) -> Result<(), RestoreError> {
        Ok(())
    }
}

/// A time-out that never comes.
const NEVER: Duration = Duration::from_secs(100_000);

/// The default options, and the same random time-outs in every execution.
fn options() -> ReplicatedOptions {
    ReplicatedOptions {
        raft: Options { seed: 1, ..Options::default() },
        snapshot_log_bytes: None,
        snapshot_log_bytes_max: 0,
        timeout: NEVER,
    }
}

/// A stretch in which nobody may have to wait for a deadline. Where the exploration lets deadlines
/// come early it says nothing.
struct Prompt {
    begun: Duration,
}

impl Prompt {
    fn begin() -> Self {
        Self { begun: model::elapsed() }
    }

    #[track_caller]
    fn end(self) {
        let took = model::elapsed().saturating_sub(self.begun);
        assert!(took <= PROMPTLY || model::deadlines_come_early(), "only after {took:?}");
    }
}

/// Counts how often a caller is told something.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<u32>>>);

impl Told {
    /// A new caller, who is to call the function it gets.
    fn expect(&self) -> impl FnOnce() + Send + 'static {
        let told = Arc::clone(&self.0);
        let mut counts = told.lock().expect("nobody panics with it");
        counts.push(0);
        let caller = counts.len() - 1;
        drop(counts);
        move || told.lock().expect("nobody panics with it")[caller] += 1
    }

    /// Everybody was told, once.
    #[track_caller]
    fn check(&self) {
        let counts = self.0.lock().expect("nobody panics with it");
        assert!(counts.iter().all(|count| *count == 1), "told how often: {counts:?}");
    }
}
