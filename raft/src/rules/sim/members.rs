//! Changes of membership among the faults: new peers come, voters leave and go on running, and
//! nobody waits until a change is sensible.

use std::collections::BTreeSet;
use std::time::Duration;

use super::peer::SimPeer;
use super::world::{Event, World};
use crate::change::Change;
use crate::rules::Rules;
use crate::types::PeerId;

/// The most peers a run ever has, those who left included.
const PEERS_MAX: u64 = 8;

impl World {
    /// Asks whoever may begin a change for one, perhaps several leaders of several terms.
    pub(super) fn reconfigure(&mut self) {
        if self.healed {
            return;
        }
        let gap = Duration::from_millis(50 + self.below(1200));
        self.schedule(gap, Event::Reconfigure);
        let may_change = |rules: &Rules| rules.may_change_configuration();
        let running = |id: &PeerId| self.peers[id].running.as_ref();
        let leaders: Vec<PeerId> =
            self.ids().filter(|id| running(id).is_some_and(|r| may_change(&r.rules))).collect();
        for leader in leaders {
            match self.below(6) {
                0 | 1 => self.add_learner(leader),
                2 => self.pursue_replacement(leader),
                3 => self.move_one_voter(leader),
                _ => self.choose_voters(leader),
            }
            self.pump(leader);
        }
    }

    /// A leader is asked for a change as soon as it leads, before it has committed anything.
    pub(super) fn change_at_once(&mut self, leader: PeerId) {
        let running = self.peers[&leader].running.as_ref();
        if running.is_some_and(|running| running.rules.may_change_configuration()) {
            self.move_one_voter(leader);
            self.pump(leader);
        }
    }

    fn add_learner(&mut self, leader: PeerId) {
        let newest = PeerId(self.peers.len() as u64 + 1);
        if newest.0 > PEERS_MAX {
            return;
        }
        self.peers.insert(newest, SimPeer::new());
        self.start_peer(newest);
        let now = self.now;
        let rules = &mut self.running(leader).rules;
        let next = rules.configuration().with_learner(newest, format!("S{newest}"));
        rules.append_configuration(&next, now);
    }

    /// One voter more or less: the steps of the flaw of 2015.
    fn move_one_voter(&mut self, leader: PeerId) {
        let members = self.running(leader).rules.configuration().members();
        let mut voters = self.running(leader).rules.configuration().voters().clone();
        let moved = self.one_of(&members);
        if !voters.remove(&moved) {
            voters.insert(moved);
        }
        self.change_voters(leader, voters);
    }

    /// Any of the members, however many.
    fn choose_voters(&mut self, leader: PeerId) {
        let members = self.running(leader).rules.configuration().members();
        let voters = members.into_iter().filter(|_| self.chance(60)).collect();
        self.change_voters(leader, voters);
    }

    fn change_voters(&mut self, leader: PeerId, voters: BTreeSet<PeerId>) {
        let now = self.now;
        let rules = &mut self.running(leader).rules;
        if !voters.is_empty() && voters != *rules.configuration().voters() {
            rules.change_voters(voters, &BTreeSet::new(), now);
        }
    }

    /// As the program does it: a learner takes a voter's place if it is level.
    fn pursue_replacement(&mut self, leader: PeerId) {
        let configuration = self.running(leader).rules.configuration().clone();
        let Some(&learner) = configuration.learners().first() else { return };
        let leaves = self.one_of(configuration.voters());
        let change = Change::default().adding(learner, format!("S{learner}")).removing(leaves);
        let now = self.now;
        // It may be refused: the others may not answer.
        drop(self.running(leader).rules.pursue(&change, now));
    }

    fn one_of(&mut self, peers: &BTreeSet<PeerId>) -> PeerId {
        let nth = self.below(peers.len() as u64) as usize;
        *peers.iter().nth(nth).expect("within the set")
    }
}
