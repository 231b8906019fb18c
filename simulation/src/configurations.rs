//! Every configuration there ever was in a log: invariants 35 to 38.

use std::collections::BTreeMap;

use oarlock_raft::simulation::Peer;
use oarlock_raft::{Configuration, EntryId, Index, PeerId, Term};

use crate::invariant::{Checks, Invariant};
use crate::majority::overlap;
use crate::store::Store;

/// What is known of all configurations. The identity of none is 0@0.
#[derive(Debug)]
pub(crate) struct ConfigurationBook {
    /// What the founders were started with.
    founders: Configuration,
    /// What peers that join were started with.
    nobody: Configuration,
    appended: BTreeMap<(Index, Term), Configuration>,
    /// The latest that is committed, and all that are.
    committed: EntryId,
    all_committed: Vec<Configuration>,
    /// Those appended in the present step.
    fresh: Vec<EntryId>,
}

impl ConfigurationBook {
    pub(crate) fn new(founders: Configuration) -> Self {
        Self {
            founders,
            nobody: Configuration::default(),
            appended: BTreeMap::new(),
            committed: EntryId::default(),
            all_committed: Vec::new(),
            fresh: Vec::new(),
        }
    }

    /// The one that stands at `id`.
    fn at(&self, id: EntryId) -> &Configuration {
        self.appended.get(&(id.index, id.term)).unwrap_or(&self.founders)
    }

    /// The latest that is committed.
    pub(crate) fn committed(&self) -> &Configuration {
        self.at(self.committed)
    }

    /// Whether the latest that is committed is no step on the way to another.
    pub(crate) fn is_settled(&self) -> bool {
        !self.committed().is_joint()
    }

    /// How many were committed.
    pub(crate) fn committed_count(&self) -> u64 {
        self.all_committed.len() as u64
    }

    /// Whether `configuration` was committed.
    pub(crate) fn is_committed(&self, configuration: &Configuration) -> bool {
        *configuration == self.founders || self.all_committed.contains(configuration)
    }

    /// Whether `peer` has left in any configuration there ever was, committed or not.
    pub(crate) fn ever_retired(&self, peer: PeerId) -> bool {
        self.appended.values().any(|configuration| configuration.is_retired(peer))
    }

    /// A log has a configuration at `id`, and the one before it at `before`. Where it is seen first,
    /// its peer leads and has just appended it.
    pub(crate) fn appended(
        &mut self,
        peer: &Peer<Store>,
        id: EntryId,
        before: EntryId,
        configuration: Configuration,
        checks: &mut Checks,
    ) {
        if self.appended.insert((id.index, id.term), configuration).is_some() {
            return;
        }
        self.fresh.push(id);
        checks.require(Invariant::OneChangeAtATime, peer.commit_index() >= before.index, || {
            let (new, old) = (self.at(id), self.at(before));
            format!("S{} appends {new} at {id} before {old} at {before} is committed", peer.id())
        });
    }

    /// The entry at `id` is committed.
    pub(crate) fn commits(&mut self, id: EntryId) {
        if let Some(configuration) = self.appended.get(&(id.index, id.term)) {
            self.committed = id;
            self.all_committed.push(configuration.clone());
        }
    }

    /// What was appended in this step overlaps with whatever else may be in force: the latest that is
    /// committed, and those that may come to be, of logs with everything up to `last`, the last entry
    /// that is committed. What a leader appends that was overtaken long ago, and does not know it, comes
    /// to nothing: it stands where another entry is committed, or behind it in an earlier term.
    pub(crate) fn check_fresh(&mut self, last: EntryId, checks: &mut Checks) {
        for id in std::mem::take(&mut self.fresh) {
            let may_come_to_be = id.index > last.index && id.term >= last.term;
            if !may_come_to_be && id != self.committed {
                continue;
            }
            let new = self.at(id);
            let behind = self.appended.range((last.index + 1, last.term)..);
            let alive = behind.filter(|((_, term), _)| *term >= last.term).map(|(_, other)| other);
            for other in alive.chain([self.committed()]) {
                checks.require(Invariant::MajoritiesOverlap, overlap(new, other), || {
                    format!("{new} at {id} and {other} can decide without each other")
                });
            }
        }
    }

    /// What is in force at a peer is the latest in its log, which stands at `latest`.
    pub(crate) fn check_in_force(&self, peer: &Peer<Store>, latest: EntryId, checks: &mut Checks) {
        let found = peer.configuration();
        let right = self.is_in_force(found, latest);
        checks.require(Invariant::ConfigurationOfLog, right, || {
            let expected = self.at(latest);
            format!("S{} goes by {found} instead of {expected} at {latest}", peer.id())
        });
    }

    /// What a snapshot holds is in force at its last entry.
    pub(crate) fn check_snapshot(
        &self,
        peer: PeerId,
        (base, found): (EntryId, &Configuration),
        latest: EntryId,
        checks: &mut Checks,
    ) {
        let right = self.is_in_force(found, latest);
        checks.require(Invariant::ConfigurationOfSnapshot, right, || {
            let expected = self.at(latest);
            format!(
                "the snapshot of S{peer} at {base} has {found} instead of {expected} at {latest}"
            )
        });
    }

    /// Where the log says nothing yet, a peer that joins may know nobody.
    fn is_in_force(&self, found: &Configuration, latest: EntryId) -> bool {
        found == self.at(latest) || (latest == EntryId::default() && *found == self.nobody)
    }
}
