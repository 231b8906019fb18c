//! What can go wrong, and the two questions every caller asks of it.

use oarlock_rpc::codec::CodecError;
use oarlock_storage::{EntryId, StorageError};

use crate::types::PeerId;

/// A peer could not be started.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The durable state holds a snapshot this build cannot read.
    #[error("the snapshot's configuration cannot be read: {0}; start a build that knows it")]
    Snapshot(CodecError),
    /// The log holds an entry this build does not know.
    #[error("log entry {id} is of kind {tag}, unknown to this build; start a newer one")]
    UnknownEntry {
        /// Which entry.
        id: EntryId,
        /// The kind it claims.
        tag: u8,
    },
    /// The log holds a configuration this build cannot read.
    #[error("log entry {id} is a configuration that cannot be read: {source}; start a newer build")]
    Configuration {
        /// Which entry.
        id: EntryId,
        /// What is wrong with it.
        source: CodecError,
    },
    /// The state machine refused its own snapshot.
    #[error("the state machine cannot restore the snapshot at {last_included}: {source}")]
    Restore {
        /// The snapshot's last entry.
        last_included: EntryId,
        /// What the state machine said.
        source: RestoreError,
    },
    /// A thread could not be started.
    #[error("cannot start a thread: {0}; free some resources and try again")]
    Thread(#[from] std::io::Error),
}

/// A state machine could not take over a snapshot's content; says why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RestoreError(pub String);

/// The peer does not run any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this peer has stopped: {0}")]
pub struct Stopped(pub String);

impl Stopped {
    pub(crate) fn killed() -> Self {
        Self("it was told to".to_owned())
    }

    pub(crate) fn removed() -> Self {
        Self("it was removed from its cluster; its directory is of no use any more".to_owned())
    }

    pub(crate) fn storage(error: &StorageError) -> Self {
        Self(error.to_string())
    }
}

/// A command was not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// This peer does not lead, or is giving way to another; nothing was appended.
    #[error("this peer is not the leader{}", hint(*.leader))]
    NotLeader {
        /// Who does, as far as this peer knows.
        leader: Option<PeerId>,
    },
    /// The leader holds as much uncommitted data as it may; nothing was appended.
    #[error("too much is waiting to be committed; try again later")]
    Busy,
    /// The disks of a majority are full; nothing was appended.
    #[error("the disks of a majority have no room for further entries; free some space")]
    NoSpace,
    /// The command is larger than the options allow; nothing was appended.
    #[error("the command has {len} bytes, more than the {limit} allowed")]
    TooLarge {
        /// Its encoded size, in bytes.
        len: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The command cannot be encoded; nothing was appended.
    #[error("the command cannot be encoded: {0}")]
    Encode(CodecError),
    /// The command was appended, and another leader's entry took its place: it never takes effect.
    #[error("leadership was lost before the command was committed; it has no effect")]
    Superseded,
    /// The command was appended, and its fate is not known: it may or may not take effect.
    #[error("the command at {id} may or may not take effect")]
    Unknown {
        /// Where it was appended.
        id: EntryId,
    },
    /// The peer stopped.
    #[error("{stopped}")]
    Stopped {
        /// Why.
        stopped: Stopped,
        /// Where the command had been appended, if it had: then it may take effect.
        id: Option<EntryId>,
    },
}

impl SubmitError {
    /// Whether the command may have taken effect, or may still do so.
    pub fn may_have_taken_effect(&self) -> bool {
        matches!(self, Self::Unknown { .. } | Self::Stopped { id: Some(_), .. })
    }

    /// Whether the same command may succeed later, or at another peer, without being changed.
    pub fn is_retry_useful(&self) -> bool {
        !matches!(self, Self::TooLarge { .. } | Self::Encode(_))
    }
}

/// A read was not served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// This peer does not lead, or leads no longer.
    #[error("this peer is not the leader{}", hint(*.leader))]
    NotLeader {
        /// Who does, as far as this peer knows.
        leader: Option<PeerId>,
    },
    /// No majority confirmed the leadership in time.
    #[error("no majority answered in time")]
    TimedOut,
    /// The peer stopped.
    #[error("{0}")]
    Stopped(#[from] Stopped),
}

fn hint(leader: Option<PeerId>) -> String {
    leader.map_or_else(String::new, |peer| format!("; peer {peer} is"))
}
