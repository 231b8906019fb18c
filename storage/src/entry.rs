//! What the log is made of.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Payload;

/// The identity of a log entry: where it is and the term that wrote it. Printed `index@term`.
///
/// Two logs that hold the same identity agree on everything before it (log matching, the paper's
/// section 5.3). `EntryId::default()`, printed `0@0`, is the position before the first entry.
/// Ordered as the up-to-date check of section 5.4.1 asks: by term, then by index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct EntryId {
    /// The position in the log; the first entry has index 1.
    pub index: u64,
    /// The term of the leader that appended it.
    pub term: u64,
}

impl EntryId {
    /// The identity of the entry at `index`, of `term`.
    pub const fn new(index: u64, term: u64) -> Self {
        Self { index, term }
    }
}

impl PartialOrd for EntryId {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for EntryId {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.term, self.index).cmp(&(other.term, other.index))
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.index, self.term)
    }
}

/// One log entry. Cloning shares the data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Where it is, and of which term.
    pub id: EntryId,
    /// What kind of entry the layer above says it is; storage only keeps it.
    pub tag: u8,
    /// The payload.
    pub data: Payload,
}

impl Entry {
    /// What an entry counts beside its data: term (8), tag (1), length (4).
    pub(crate) const FRAME_BYTES: u64 = 8 + 1 + 4;

    /// The bytes this entry counts for in [`crate::Persister::raft_state_bytes`]: its term, tag,
    /// length and data.
    pub fn logical_bytes(&self) -> u64 {
        Self::FRAME_BYTES + self.data.len() as u64
    }
}

/// What a peer must remember about elections (the paper's Figure 2, persistent state).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// The latest term this peer has seen.
    pub current_term: u64,
    /// The peer voted for in `current_term`, if any.
    pub voted_for: Option<u64>,
}
