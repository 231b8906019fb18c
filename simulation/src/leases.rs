//! What leases rest on, and what they must mean: connections that end though both sides live, and
//! invariant 42.

use oarlock_raft::PeerId;

use crate::invariant::Invariant;
use crate::world::World;

/// Out of a thousand faults, where leaders have leases, so many come with the end of connections.
const HANG_UPS: u64 = 300;

impl World {
    /// Whether leaders read by lease.
    pub(crate) fn has_leases(&self) -> bool {
        self.character.lease_drift_ppm.is_some()
    }

    /// Of two peers that believe they lead, one of which has just taken a step, the one of the earlier
    /// term has no lease.
    pub(crate) fn check_leases(&mut self, id: PeerId) {
        if !self.has_leases() {
            return;
        }
        let peer_of = |id: PeerId| self.nodes[&id].running.as_ref().map(|running| &running.peer);
        let leads = |id: &PeerId| peer_of(*id).is_some_and(|peer| peer.is_leader());
        let leaders: Vec<PeerId> = self.nodes.keys().copied().filter(leads).collect();
        let term_of = |id: PeerId| peer_of(id).map_or(0, |peer| peer.current_term());
        if !leaders.contains(&id) {
            return;
        }
        for &other in leaders.iter().filter(|&&other| other != id) {
            let (early, late) =
                if term_of(other) < term_of(id) { (other, id) } else { (id, other) };
            let holds = peer_of(early).is_some_and(|peer| peer.lease_holds(self.time_at(early)));
            self.checks.require(Invariant::LeaseMeansAlone, !holds, || {
                format!(
                    "the lease of S{early} in T{} holds, and S{late} leads T{}",
                    term_of(early),
                    term_of(late)
                )
            });
        }
    }

    /// The connections by which a leader speaks to some others end, though it may live.
    pub(crate) fn hang_up(&mut self, leader: PeerId) {
        if !self.has_leases() || !self.random.chance(HANG_UPS) {
            return;
        }
        for id in self.ids() {
            let is_there =
                self.nodes[&id].running.is_some() && !self.nodes[&id].is_paused(self.now);
            if id != leader && is_there && self.random.chance(500) {
                let now = self.time_at(id);
                self.running(id).peer.on_hang_up(leader, now);
                self.after_step(id);
            }
        }
    }
}
