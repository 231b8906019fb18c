//! Passing leadership on, from the outside: ask, and wait until another leads.

use std::time::Duration;

use crate::error::Stopped;
use crate::peer::Raft;
use crate::rules::Rules;
use crate::shared::Shared;
use crate::types::PeerId;

/// Leadership was not passed on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandOverError {
    /// This peer does not lead, so there is nothing to pass on.
    #[error("this peer does not lead")]
    NotLeader {
        /// Who does, as far as this peer knows.
        leader: Option<PeerId>,
    },
    /// No other voter was heard lately and has room on its disk.
    #[error("no other voter is well enough to lead")]
    NoSuccessor,
    /// The successor did not take over in time; this peer leads on.
    #[error("{successor} did not take over in time; this peer leads on")]
    TimedOut {
        /// Who was to lead.
        successor: PeerId,
    },
    /// The peer does not run any more.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl Raft {
    /// Passes leadership to the voter whose log is most up-to-date, as a leader had better do
    /// before it is stopped (dissertation 3.10): clients then wait for one round of votes instead
    /// of an election time-out. Returns who leads then.
    ///
    /// Commands that come meanwhile are refused with `NotLeader`, and fare better if they are tried
    /// again. If it does not come about within `timeout`, this peer leads on.
    pub fn hand_over(&self, timeout: Duration) -> Result<PeerId, HandOverError> {
        let shared = self.shared();
        let deadline = Shared::now() + timeout;
        let begun = shared.step(|rules, now| {
            if !rules.is_leader() {
                return Err(HandOverError::NotLeader { leader: rules.leader() });
            }
            rules.begin_hand_over(deadline, now).ok_or(HandOverError::NoSuccessor)
        })?;
        let successor = begun?;
        let leader = shared.wait_for_leader(deadline, |rules| match rules.leader() {
            Some(leader) if !rules.is_leader() => Some(Some(leader)),
            // Patience ended a moment before the deadline of ours.
            Some(_) if !rules.hands_over() => Some(None),
            _ => None,
        });
        shared.step(Rules::end_hand_over)?;
        match (leader.flatten(), self.stopped()) {
            (Some(leader), _) => Ok(leader),
            (None, Some(stopped)) => Err(stopped.into()),
            (None, None) => Err(HandOverError::TimedOut { successor }),
        }
    }
}
