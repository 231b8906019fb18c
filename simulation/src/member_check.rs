//! What must be true of changes of members, as those see it who ask for them: invariants 40 and 41.

use oarlock_raft::{Change, ChangeError, Configuration, PeerId};

use crate::administrator::Administrator;
use crate::invariant::Invariant;
use crate::world::World;

impl World {
    /// A node calls a change done.
    pub(crate) fn check_done(
        &mut self,
        node: PeerId,
        change: &Change,
        configuration: &Configuration,
    ) {
        let committed = self.book.configurations.is_committed(configuration);
        let reached = change.add.keys().all(|peer| configuration.voters().contains(peer))
            && !change.remove.iter().any(|&peer| configuration.is_member(peer))
            && !configuration.is_joint();
        self.checks.require(Invariant::ChangesAreDone, committed && reached, || {
            format!("S{node} calls {change:?} done, with {configuration}")
        });
        self.administrator.voters.extend(configuration.voters());
        self.administrator.retired.extend(configuration.retired());
    }

    /// A refusal for good has its reason.
    pub(crate) fn check_refused(&mut self, change: &Change, error: &ChangeError) {
        let of_retired = |id: &PeerId| self.book.configurations.ever_retired(*id);
        let has_reason = match error {
            ChangeError::Retired { id } => change.add.contains_key(id) && of_retired(id),
            ChangeError::NoVoters => change.add.keys().all(|id| change.remove.contains(id)),
            _ => false,
        };
        self.checks.require(Invariant::ChangesAreDone, has_reason, || {
            format!("{change:?} is refused: {error}")
        });
    }

    /// At the end: what was done once is still done, and who was removed is not there.
    pub(crate) fn check_members(&mut self) {
        let last = self.book.configurations.committed().clone();
        let Administrator { voters, retired, .. } = &self.administrator;
        let stays = retired.iter().all(|&id| last.is_retired(id))
            && voters.iter().all(|id| last.voters().contains(id) || last.is_retired(*id));
        self.checks.require(Invariant::ChangesAreDone, stays, || {
            format!("{last} in the end, after {retired:?} had retired, and {voters:?} voted")
        });
        for node in self.nodes.values().filter(|node| last.is_retired(node.id)) {
            let Some(running) = &node.running else { continue };
            let known = running.peer.configuration();
            let knows_somebody = known.voters().iter().any(|&peer| last.voters().contains(&peer));
            let asks = known.is_voter(node.id) || known.is_retired(node.id);
            self.checks.require(Invariant::RemovedPeersLeave, !(asks && knows_somebody), || {
                format!("S{} runs, with {known}, and the members are {last}", node.id)
            });
        }
    }
}
