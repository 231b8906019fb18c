//! The log of a node: in memory, and on raft-engine behind it if it is to be durable.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::path::Path;
use std::sync::Arc;

use openraft::alias::{LogIdOf, VoteOf};
use openraft::entry::RaftEntry as _;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::{EntryPayload, LogState, OptionalSend, RaftLogReader, RaftTypeConfig};
use parking_lot::Mutex;

use super::Types;
use crate::library::engine::{Record, Writer};

type Entry = <Types as RaftTypeConfig>::Entry;

/// A handle on a log.
#[derive(Clone)]
pub struct Log {
    state: Arc<Mutex<State>>,
    disk: Option<Arc<Writer<IOFlushed<Types>>>>,
}

#[derive(Default)]
struct State {
    vote: Option<VoteOf<Types>>,
    purged: Option<LogIdOf<Types>>,
    /// Behind what is purged, without a gap.
    entries: VecDeque<Entry>,
}

impl State {
    fn position(&self, index: u64) -> usize {
        let first = self.entries.front().map_or(0, Entry::index);
        (index.saturating_sub(first) as usize).min(self.entries.len())
    }
}

impl Log {
    /// An empty one.
    pub fn open(dir: Option<&Path>) -> Self {
        let done = |flushed: IOFlushed<Types>| flushed.io_completed(Ok(()));
        let disk = dir.map(|dir| Arc::new(Writer::start(dir, done)));
        Self { state: Arc::default(), disk }
    }
}

impl RaftLogReader<Types> for Log {
    async fn try_get_log_entries<R>(&mut self, range: R) -> Result<Vec<Entry>, io::Error>
    where
        R: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let state = self.state.lock();
        let from = match range.start_bound() {
            Bound::Included(&from) => state.position(from),
            Bound::Excluded(&before) => state.position(before + 1),
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(&last) => state.position(last + 1),
            Bound::Excluded(&to) => state.position(to),
            Bound::Unbounded => state.entries.len(),
        };
        Ok(state.entries.range(from..to.max(from)).cloned().collect())
    }

    async fn read_vote(&mut self) -> Result<Option<VoteOf<Types>>, io::Error> {
        Ok(self.state.lock().vote)
    }
}

impl RaftLogStorage<Types> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        let state = self.state.lock();
        let last_log_id = state.entries.back().map(|entry| entry.log_id).or(state.purged);
        Ok(LogState { last_purged_log_id: state.purged, last_log_id })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &VoteOf<Types>) -> Result<(), io::Error> {
        self.state.lock().vote = Some(*vote);
        if let Some(disk) = &self.disk {
            disk.save_vote(format!("{vote}").into_bytes());
        }
        Ok(())
    }

    async fn append<I>(&mut self, entries: I, flushed: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut records = Vec::new();
        let mut state = self.state.lock();
        for entry in entries {
            if self.disk.is_some() {
                records.push(record(&entry));
            }
            state.entries.push_back(entry);
        }
        drop(state);
        match &self.disk {
            Some(disk) => disk.append(records, flushed),
            None => flushed.io_completed(Ok(())),
        }
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogIdOf<Types>>) -> Result<(), io::Error> {
        assert!(self.disk.is_none() || self.state.lock().entries.is_empty(), "a leader that stays");
        let mut state = self.state.lock();
        let kept = last.map_or(0, |last| state.position(last.index + 1));
        state.entries.truncate(kept);
        Ok(())
    }

    async fn purge(&mut self, through: LogIdOf<Types>) -> Result<(), io::Error> {
        let mut state = self.state.lock();
        let kept_from = state.position(through.index + 1);
        state.entries.drain(..kept_from);
        state.purged = Some(through);
        drop(state);
        if let Some(disk) = &self.disk {
            disk.compact(through.index);
        }
        Ok(())
    }
}

/// What is written of an entry: its index comes first.
fn record(entry: &Entry) -> Record {
    let command: &[u8] = match &entry.payload {
        EntryPayload::Normal(command) => &command.0,
        EntryPayload::Blank | EntryPayload::Membership(_) => &[],
    };
    Record::new(entry.index(), command)
}
