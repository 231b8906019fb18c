//! What can come between a caller and its answers.

use oarlock_raft::{EntryId, Term};

use crate::op::OpError;
use crate::request::REQUEST_BYTES_MAX;

/// Operations given to [`crate::LocalClient::execute`] were not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExecuteError {
    /// There was no leader to execute them; none did, and none will.
    #[error("no leader: {reason}")]
    NoLeader {
        /// What this node knows about why.
        reason: String,
    },
    /// They reached a leader, and nothing was heard of them in time: they may have been executed,
    /// or be executed later.
    #[error(
        "the command may or may not take effect ({}term {term}); \
         repeat it only if it is idempotent",
        .id.map_or_else(String::new, |id| format!("index {}, ", id.index))
    )]
    UnknownResult {
        /// Where in the log they are, if that is known.
        id: Option<EntryId>,
        /// The latest term this node knows of.
        term: Term,
    },
    /// Too many requests are waiting; these were not executed.
    #[error("too many requests are waiting to be replicated")]
    Busy,
    /// The disks of a majority are full; these were not executed. Reads are.
    #[error(
        "no room on the disks of a majority of the nodes: writes are refused, reads go on; free \
         some space, and writes go on by themselves"
    )]
    NoSpace,
    /// They are larger than a log entry may be; they were not executed.
    #[error("the command exceeds {REQUEST_BYTES_MAX} bytes; split it up")]
    TooLarge,
    /// This node has stopped; they were not executed.
    #[error("this node is shutting down")]
    Stopped,
}

impl ExecuteError {
    /// Whether the operations may have been executed, or may still be.
    pub fn may_have_taken_effect(&self) -> bool {
        matches!(self, Self::UnknownResult { .. })
    }

    /// Whether the same operations may succeed later without being changed.
    pub fn is_retry_useful(&self) -> bool {
        !matches!(self, Self::TooLarge)
    }
}

/// A clerk's call was not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClerkError {
    /// No server executed it by the deadline, and none will.
    #[error("no server accepted the request in time; it has no effect")]
    NotExecuted,
    /// No answer came by the deadline, or the answer is not remembered: it may have been executed.
    #[error("no answer to the request; it may or may not take effect")]
    UnknownResult,
    /// It is larger than a request may be; it was not sent.
    #[error("the request exceeds {REQUEST_BYTES_MAX} bytes")]
    TooLarge,
    /// It was executed, and had no effect for this reason.
    #[error("{0}")]
    Op(#[from] OpError),
}

impl ClerkError {
    /// Whether the request may have taken effect, or may still do so.
    pub fn may_have_taken_effect(&self) -> bool {
        matches!(self, Self::UnknownResult)
    }

    /// Whether the same request may succeed later without being changed.
    pub fn is_retry_useful(&self) -> bool {
        matches!(self, Self::NotExecuted | Self::UnknownResult)
    }
}
