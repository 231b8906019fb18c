//! What leases must stand, and what they must mean: connections that end though both sides live, leaders
//! that fall silent while others are about to campaign, and invariant 42.

use oarlock_raft::PeerId;
use oarlock_raft::simulation::Peer;

use crate::disk::Stop;
use crate::invariant::Invariant;
use crate::schedule::Event;
use crate::world::World;

/// Out of a thousand faults, where leaders have leases, so many come with the end of connections, and
/// so many with a leader that falls silent, bit by bit.
const HANG_UPS: u64 = 300;
const SILENCES: u64 = 300;
/// How long only some do not hear it, in microseconds.
const SILENT_TO_SOME_MAX_US: u64 = 900_000;
/// How long nobody hears it, if it is back before it steps down, in microseconds.
const BACK_FROM_US: u64 = 230_000;
const BACK_UNTIL_US: u64 = 500_000;
/// How soon who heard it last is back, at the latest, in microseconds.
const BACK_MAX_US: u64 = 20_000;

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
        let leads = |id: &PeerId| peer_of(*id).is_some_and(Peer::is_leader);
        let leaders: Vec<PeerId> = self.nodes.keys().copied().filter(leads).collect();
        let term_of = |id: PeerId| peer_of(id).map_or(0, Peer::current_term);
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

    /// A fault has come; where leaders have leases, something may come with it.
    pub(crate) fn try_leases(&mut self, victim: PeerId) {
        if !self.has_leases() {
            return;
        }
        if self.random.chance(HANG_UPS) {
            self.hang_up(victim);
        }
        if self.random.chance(SILENCES) {
            let leader = self.oldest_leader().unwrap_or(victim);
            self.silence_to_some(leader);
        }
    }

    /// Some hear the leader no more, and will campaign; after a while nobody does. By then the others
    /// have just promised it not to vote, so nobody can win before its lease ends.
    fn silence_to_some(&mut self, leader: PeerId) {
        for other in self.ids() {
            if self.random.chance(400) {
                self.cut.extend([(leader, other), (other, leader)]);
            }
        }
        let pause = self.random.micros(200_000, SILENT_TO_SOME_MAX_US);
        self.after(pause, Event::FallSilent { leader });
    }

    /// Nobody hears it any more: those who did last lose their connections, or start anew, or hear it
    /// again just when another has found that it could win.
    pub(crate) fn fall_silent(&mut self, leader: PeerId) {
        if self.healed {
            return;
        }
        let heard = |id: &PeerId| *id != leader && !self.cut.contains(&(leader, *id));
        let heard: Vec<PeerId> = self.ids().into_iter().filter(heard).collect();
        let kind = self.random.below(3);
        self.isolate(leader);
        match kind {
            0 => self.hang_up(leader),
            1 => {
                let pause = self.random.micros(BACK_FROM_US, BACK_UNTIL_US);
                self.after(pause, Event::Reconnect);
            }
            _ => {}
        }
        for id in heard {
            if kind == 2 {
                self.stop_node(id, Stop::Kill);
                let pause = self.random.micros(1_000, BACK_MAX_US);
                self.after(pause, Event::Start { node: id });
            }
        }
    }

    /// The connections by which a leader speaks to some others end, though it may live.
    fn hang_up(&mut self, leader: PeerId) {
        for id in self.ids() {
            let is_there =
                self.nodes[&id].running.is_some() && !self.nodes[&id].is_paused(self.now);
            if id != leader && is_there && self.random.chance(700) {
                let now = self.time_at(id);
                self.running(id).peer.on_hang_up(leader, now);
                self.after_step(id);
            }
        }
    }
}
