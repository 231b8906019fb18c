//! When an entry is committed (sections 5.3 and 5.4.2).

use std::time::Instant;

use oarlock_sync::stages::{self, Stage};

use super::{Role, Rules};
use crate::mistake;

impl Rules {
    /// The leader's rule: an index is committed when a majority has it on disk *and* it is of the
    /// leader's own term; what is before it is committed with it (Figure 8 shows why).
    pub(super) fn advance_commit(&mut self, now: Instant) {
        let Role::Leader { progress } = &self.role else { return };
        let own = if mistake!(CountsItselfBeforeSync) {
            self.log.last().index
        } else {
            self.mutations.durable_index()
        };
        let me = self.me;
        let reached = self.configuration().majority_value(|peer| {
            if peer == me {
                own
            } else {
                progress.get(&peer).map_or(0, super::Progress::match_index)
            }
        });
        let of_own_term = self.log.id_at(reached).is_some_and(|id| id.term == self.current_term);
        if reached > self.commit_index && (of_own_term || mistake!(CommitsOlderTerms)) {
            self.wake.members |= !self.has_committed_in_term();
            self.set_commit_index(reached, now);
            stages::mark(Stage::Committed, reached, now);
            crate::trace!(self, "CMIT", "commit={reached}");
            self.on_commit_for_reads();
            self.on_commit_for_membership(now);
        }
    }
}
