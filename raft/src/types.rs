//! The small types everything here is written in.

use std::fmt;

use serde::{Deserialize, Serialize};

pub use oarlock_storage::{Entry, EntryId, Snapshot, SnapshotMeta};

/// A term: the logical clock of section 5.1. Never falls at any peer.
pub type Term = u64;

/// A position in the log; the first entry has index 1.
pub type Index = u64;

/// The identity of one peer, never given to another.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct PeerId(pub u64);

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a log entry is for: the meaning of [`Entry::tag`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A command of the state machine.
    Command,
    /// Written by a new leader, so that it has an entry of its own term to commit (section 8).
    NoOp,
    /// Who the members are from here on: an encoded [`Configuration`](crate::Configuration). It is
    /// in force as soon as it is in the log, committed or not (section 6).
    Configuration,
}

impl EntryKind {
    /// The tag that stands for this kind in the log.
    pub const fn tag(self) -> u8 {
        match self {
            Self::Command => 0,
            Self::NoOp => 1,
            Self::Configuration => 2,
        }
    }

    /// The kind a tag stands for; `None` for one this build does not know.
    pub const fn from_tag(tag: u8) -> Option<Self> {
        match tag {
            0 => Some(Self::Command),
            1 => Some(Self::NoOp),
            2 => Some(Self::Configuration),
            _ => None,
        }
    }
}
