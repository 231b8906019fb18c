//! Changing who the members are, from the outside: ask, and wait until it is done.

use std::sync::Arc;
use std::time::Duration;

use oarlock_rpc::End;

use crate::change::{Change, ChangeError, ChangeState};
use crate::cluster::Peers;
use crate::configuration::Configuration;
use crate::peer::Raft;
use crate::shared::Shared;
use crate::types::PeerId;

impl Raft {
    /// Changes who the members are: those to be added receive the log first, as learners, and vote
    /// once they are level with it; those to be removed leave in the same step. Returns the new
    /// configuration once it is committed, so that it is safe to stop whoever left.
    ///
    /// Only the leader can, and one change at a time. What this asks for may be asked again, of
    /// whichever peer leads then: it goes on where it was. After `timeout` it gives up, and drops the
    /// learners it had added if it was still waiting for those.
    pub fn change_membership(
        &self,
        change: &Change,
        timeout: Duration,
    ) -> Result<Configuration, ChangeError> {
        let deadline = Shared::now() + timeout;
        let mut reached = None;
        let outcome = self.shared().wait_for_members(deadline, |rules, now| {
            match rules.pursue(change, now) {
                Ok(ChangeState::Done(configuration)) => Some(Ok(configuration)),
                Ok(state) => {
                    reached = Some(state);
                    None
                }
                Err(error) => Some(Err(error)),
            }
        })?;
        outcome.unwrap_or_else(|| {
            let state = Box::new(reached.expect("it was asked at least once"));
            Err(ChangeError::TimedOut { undone: self.drop_learners(change, &state), state })
        })
    }

    /// Takes the next step of a change, and returns at once: for whoever cannot wait. See
    /// [`change_membership`](Self::change_membership).
    pub fn pursue_change(&self, change: &Change) -> Result<ChangeState, ChangeError> {
        self.shared().step(|rules, now| rules.pursue(change, now))?
    }

    /// The configuration in force at this peer, which may not be committed yet.
    pub fn configuration(&self) -> Configuration {
        self.shared().look(|rules, _| rules.configuration().clone())
    }

    /// The end to a member, as long as it is one.
    pub fn end_to(&self, member: PeerId) -> Option<Arc<dyn End>> {
        self.shared().end_to(member)
    }

    /// The ends to all other members.
    pub fn ends(&self) -> Peers {
        self.shared().ends()
    }

    /// Whether the members that were to catch up, and did not, are on their way out again.
    fn drop_learners(&self, change: &Change, state: &ChangeState) -> bool {
        let ChangeState::CatchingUp(_) = state else { return false };
        let dropped = Change { remove: change.add.keys().copied().collect(), ..Change::default() };
        self.pursue_change(&dropped).is_ok()
    }
}
