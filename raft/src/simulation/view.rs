//! What checks look at.

use std::time::{Duration, Instant};

use super::Peer;
use crate::configuration::Configuration;
use crate::peer::RoleName;
use crate::rules::{Progress, Role};
use crate::state_machine::StateMachine;
use crate::types::{Entry, EntryId, Index, PeerId, Term};

impl<M: StateMachine> Peer<M> {
    /// This peer.
    pub fn id(&self) -> PeerId {
        self.rules.me()
    }

    /// Its `current_term`.
    pub fn current_term(&self) -> Term {
        self.rules.current_term()
    }

    /// Its role.
    pub fn role(&self) -> RoleName {
        match self.rules.role() {
            Role::Follower => RoleName::Follower,
            Role::PreCandidate { .. } => RoleName::PreCandidate,
            Role::Candidate { .. } => RoleName::Candidate,
            Role::Leader { .. } => RoleName::Leader,
        }
    }

    /// Whether it leads, as far as it knows.
    pub fn is_leader(&self) -> bool {
        self.rules.is_leader()
    }

    /// Who leads, as far as it knows.
    pub fn leader(&self) -> Option<PeerId> {
        self.rules.leader()
    }

    /// Whether it has learned that it was removed from its cluster.
    pub fn is_removed(&self) -> bool {
        self.rules.is_removed()
    }

    /// The configuration in force here, committed or not.
    pub fn configuration(&self) -> &Configuration {
        self.rules.configuration()
    }

    /// The last entry its snapshot covers, or will when it is on disk.
    pub fn base(&self) -> EntryId {
        self.rules.log().base()
    }

    /// The last entry of its log.
    pub fn last(&self) -> EntryId {
        self.rules.log().last()
    }

    /// The entries from `from` on.
    pub fn entries_from(&self, from: Index) -> Vec<Entry> {
        self.rules.log().slice(from, usize::MAX, usize::MAX)
    }

    /// The size of its log, in bytes.
    pub fn log_bytes(&self) -> u64 {
        self.rules.log().entries_bytes()
    }

    /// Its `commit_index`.
    pub fn commit_index(&self) -> Index {
        self.rules.commit_index()
    }

    /// What the state machine has been given.
    pub fn applied(&self) -> Index {
        self.applied
    }

    /// The state machine.
    pub fn machine(&self) -> &M {
        &self.served.machine
    }

    /// The same, to take what it has noted.
    pub fn machine_mut(&mut self) -> &mut M {
        &mut self.served.machine
    }

    /// When it campaigns, and how long it waits before it does.
    pub fn election_timer(&self) -> (Instant, Duration) {
        self.rules.election_timer()
    }

    /// Whether it leads, and by its lease nobody else can have been elected.
    pub fn lease_holds(&self, now: Instant) -> bool {
        self.rules.lease_holds(now)
    }

    /// How far a leader knows the log of `peer` to match its own, and when it last heard from there.
    pub fn progress(&self, peer: PeerId) -> Option<(Index, Instant)> {
        let Role::Leader { progress } = self.rules.role() else { return None };
        progress.get(&peer).map(|p: &Progress| (p.match_index(), p.last_contact()))
    }

    /// Whether the outcome of a call is not known yet.
    pub fn awaits(&self, call: u64) -> bool {
        self.calls.contains_key(&call)
    }

    /// The term in which a call was made whose outcome is not known yet; not of votes and questions.
    pub fn sent_in_term(&self, call: u64) -> Option<Term> {
        match self.calls.get(&call)? {
            (_, super::Sent::Piece(sent)) => Some(sent.term),
            (_, super::Sent::Append(term, _) | super::Sent::TimeoutNow(term)) => Some(*term),
            (_, super::Sent::Vote(_)) => None,
        }
    }
}
