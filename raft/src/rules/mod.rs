//! Figure 2 as a value: the state of one peer, its role changes, its invariants.
//!
//! Rules take the time and a seeded random source as arguments; they never read a clock, sleep,
//! lock, send or touch a file. Three verbs tell which side of a call one is on:
//! `handle_<rpc>(args, now) → reply`, `on_<rpc>_reply(peer, sent, reply, now)`, and
//! `<duty>_due(now) → Due<work>` for what a thread comes to fetch.
//!
//! Invariants, checked after every step of a debug build:
//! 1. `last_included.index ≤ commit_index ≤ last log index`, and `last_applied ≤ commit_index`.
//! 2. `current_term` is at least the term of every entry.
//! 3. A leader's entries of its own term are never truncated (leader append-only, section 5.3).
//! 4. `match_index < next_index` for every peer of a leader.
//! 5. What this peer counts of itself towards a majority is on its disk.
//! 6. A leader's followers are the other members of the configuration in force.

mod apply;
mod commands;
mod commit;
mod configurations;
#[cfg(test)]
mod elected;
mod election;
mod gather;
mod hand_over;
mod hang_up;
mod lease;
mod membership;
mod own_snapshot;
mod progress;
mod read;
mod replication;
mod rng;
#[cfg(test)]
mod sim;
mod snapshot;
mod space;
mod stall;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use oarlock_storage::{HardState, Recovered, Snapshot};

pub(crate) use apply::ApplyWork;
#[cfg(feature = "simulation")]
pub(crate) use election::VoteRound;
pub(crate) use own_snapshot::Why;
pub(crate) use progress::Progress;
pub use read::Vouch;
pub(crate) use read::{Begun, Proof, ReadId};
pub(crate) use replication::{Send, SentAppend};
pub(crate) use snapshot::SentPiece;
pub(crate) use space::{Reach, Refusal, Written};

use self::configurations::Configurations;
use self::gather::Gather;
use self::hand_over::HandOver;
use self::lease::Lease;
use self::own_snapshot::OwnSnapshot;
use self::read::Reads;
use self::rng::Rng;
use self::space::Space;
use crate::configuration::Configuration;
use crate::error::OpenError;
use crate::log::Log;
use crate::mistake;
use crate::mutation::{Mutations, WriteWork};
use crate::options::Options;
use crate::types::{EntryId, EntryKind, Index, PeerId, Term};

/// What a thread finds when it comes for work.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Due<T> {
    /// This, now.
    Now(T),
    /// Nothing before this moment, unless a step wakes it.
    At(Instant),
    /// Nothing until a step wakes it.
    WhenWoken,
}

/// Which threads a step gave something to look at: one flag for each condition variable.
#[expect(clippy::struct_excessive_bools, reason = "independent flags, not a state")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wake {
    pub(crate) election: bool,
    pub(crate) entries_to_send: bool,
    pub(crate) log_writer: bool,
    pub(crate) committed: bool,
    pub(crate) leader: bool,
    pub(crate) members: bool,
}

/// Follower, candidate or leader (section 5.1); leader-only state exists in a leader alone.
#[derive(Debug)]
pub(crate) enum Role {
    Follower,
    /// Asks whether an election could be won, before disturbing anybody (PreVote).
    PreCandidate {
        votes: BTreeSet<PeerId>,
        /// The votes of the candidacy in this very term that timed out before it was decided: a
        /// late one may still win it.
        campaign: BTreeSet<PeerId>,
    },
    Candidate {
        votes: BTreeSet<PeerId>,
        /// The leader of the term before wants this peer to succeed it.
        handed_over: bool,
    },
    Leader {
        progress: BTreeMap<PeerId, Progress>,
    },
}

/// A piece of a snapshot at a time: what this follower has of the one a leader is sending.
#[derive(Debug)]
struct Incoming {
    term: Term,
    last_included: EntryId,
    /// The offset of the next piece, in bytes.
    wants: u64,
}

/// One peer's state.
#[derive(Debug)]
pub(crate) struct Rules {
    me: PeerId,
    options: Options,
    configurations: Configurations,
    rng: Rng,

    // Persistent at every peer.
    current_term: Term,
    voted_for: Option<PeerId>,
    log: Log,
    mutations: Mutations,
    /// The current snapshot; behind `log.base()` while a newer one is on its way to the disk.
    snapshot: Option<Snapshot>,

    // Volatile at every peer.
    commit_index: Index,
    last_applied: Index,
    rest: apply::Rest,
    /// What the applier was given last, if it was reads to serve.
    served_reads: Option<Proof>,
    role: Role,
    leader: Option<PeerId>,
    /// The random time-out of this stint as follower or candidate.
    election_timeout: Duration,
    election_deadline: Instant,
    /// When this peer last heard from the leader of `current_term`.
    heard_from_leader: Option<Instant>,
    /// A round of vote requests the election thread has to send.
    round_to_send: bool,
    incoming: Option<Incoming>,
    own_snapshot: OwnSnapshot,
    reads: Reads,
    lease: Lease,
    /// A leader's entries that are not committed, in logical bytes.
    uncommitted_bytes: u64,
    gather: Gather,
    space: Space,
    /// Since when the log writer is busy with what it took, if it is.
    writing_since: Option<Instant>,
    /// A leader's, while it passes its leadership on.
    hand_over: Option<HandOver>,
    /// Somebody knows that this peer was removed from the cluster.
    told_of_removal: bool,

    wake: Wake,
}

impl Rules {
    /// A peer as it starts or restarts: a follower, with what its disk held.
    pub(crate) fn recovered(
        me: PeerId,
        initial: Configuration,
        recovered: Recovered,
        options: Options,
        now: Instant,
    ) -> Result<Self, OpenError> {
        options.check();
        let Recovered { hard_state, snapshot, entries } = recovered;
        let base = snapshot.as_ref().map_or(EntryId::default(), |s| s.meta.last_included);
        let stored = snapshot.as_ref().map(|s| Configuration::decode(&s.meta.configuration));
        let stored = stored.transpose().map_err(OpenError::Snapshot)?;
        let mut configurations = Configurations::new(stored, initial);
        for entry in &entries {
            let id = entry.id;
            if EntryKind::from_tag(entry.tag).is_none() {
                return Err(OpenError::UnknownEntry { id, tag: entry.tag });
            }
            configurations
                .appended(entry)
                .map_err(|source| OpenError::Configuration { id, source })?;
        }
        let log = Log::recovered(base, entries);
        let mut rules = Self {
            me,
            configurations,
            rng: Rng::new(options.seed, me),
            current_term: hard_state.current_term,
            voted_for: hard_state.voted_for.map(PeerId),
            mutations: Mutations::recovered(log.last().index),
            own_snapshot: OwnSnapshot::at_start(log.last().index),
            log,
            snapshot,
            commit_index: base.index,
            last_applied: base.index,
            rest: apply::Rest::default(),
            served_reads: None,
            role: Role::Follower,
            leader: None,
            election_timeout: Duration::ZERO,
            election_deadline: now,
            heard_from_leader: None,
            round_to_send: false,
            incoming: None,
            reads: Reads::default(),
            lease: Lease::at_start(&options, now),
            uncommitted_bytes: 0,
            gather: Gather::new(options.linger, now),
            space: Space::default(),
            writing_since: None,
            hand_over: None,
            told_of_removal: false,
            wake: Wake::default(),
            options,
        };
        rules.draw_election_timeout(now);
        rules.check_invariants();
        Ok(rules)
    }

    pub(crate) fn me(&self) -> PeerId {
        self.me
    }

    pub(crate) fn current_term(&self) -> Term {
        self.current_term
    }

    pub(crate) fn role(&self) -> &Role {
        &self.role
    }

    pub(crate) fn is_leader(&self) -> bool {
        matches!(self.role, Role::Leader { .. })
    }

    /// Who this peer believes leads `current_term`.
    pub(crate) fn leader(&self) -> Option<PeerId> {
        self.leader
    }

    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    pub(crate) fn commit_index(&self) -> Index {
        self.commit_index
    }

    pub(crate) fn last_applied(&self) -> Index {
        self.last_applied
    }

    /// What must become durable, and how far it has come.
    pub(crate) fn mutations(&self) -> &Mutations {
        &self.mutations
    }

    /// The log writer's work. While commands arrive one upon the other, they are let gather.
    pub(crate) fn writes_due(&mut self, now: Instant) -> Due<WriteWork> {
        if self.is_leader()
            && self.mutations.only_entries_queued()
            && let Some(until) = self.gather.until(now)
        {
            return Due::At(until);
        }
        let work = self.mutations.take();
        if work.is_some() {
            self.gather.taken(self.log.last().index);
            self.wake.entries_to_send |= self.is_leader();
        }
        let due = match work {
            Some(work) => Due::Now(work),
            None => self.space.look_due(now, || self.mutations.take_again()),
        };
        if matches!(due, Due::Now(_)) {
            self.writing_since = Some(now);
        }
        due
    }

    /// Durable state is in memory: there are no syncs to share.
    pub(crate) fn writes_are_instant(&mut self) {
        self.gather.writes_are_instant();
    }

    /// Whether the log writer has anything to do, now or once it is time to look for room.
    pub(crate) fn has_writes(&self) -> bool {
        self.mutations.has_work() || !self.space.has_room()
    }

    /// Has the log writer look at what was queued while it wrote.
    pub(crate) fn wake_for_writes(&mut self) {
        self.wake.log_writer |= self.has_writes();
    }

    /// The log writer did what it could of the work up to `through`.
    pub(crate) fn on_written(
        &mut self,
        through: crate::mutation::Seq,
        written: Written,
        now: Instant,
    ) {
        if let Some(since) = self.writing_since.take() {
            self.gather.written(now.saturating_duration_since(since));
        }
        match written.reach {
            Reach::All => self.mutations.on_durable(through),
            Reach::HardState => self.mutations.on_hard_state_durable(through),
            Reach::Nothing => {}
        }
        if let Some(snapshot) = written.snapshot {
            self.snapshot = Some(snapshot);
            self.wake.entries_to_send = true;
            self.wake.committed = true;
        }
        self.advance_commit(now);
        self.on_room(written.has_room && written.reach == Reach::All, now);
    }

    /// Takes what the steps since the last call woke.
    pub(crate) fn take_wake(&mut self) -> Wake {
        std::mem::take(&mut self.wake)
    }

    /// Takes along whether the steps since the last call have something for followers.
    pub(crate) fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.wake.entries_to_send)
    }

    /// Seen a higher term: whoever has it knows more (section 5.1).
    fn step_up_to(&mut self, term: Term, now: Instant) {
        assert!(term > self.current_term, "term {} → {term}", self.current_term);
        self.set_term_and_vote(term, None);
        self.become_follower(None, now);
    }

    /// Follows `leader`, if one is known, in the current term. The vote of the term stays: a peer
    /// that steps down within its term has voted in it.
    fn become_follower(&mut self, leader: Option<PeerId>, now: Instant) {
        let led = self.is_leader();
        if !matches!(self.role, Role::Follower) {
            self.role = Role::Follower;
            self.draw_election_timeout(now);
        }
        self.round_to_send = false;
        if mistake!(ForgetsVoteOnStepDown) {
            self.voted_for = None;
        }
        if led {
            self.heard_from_leader = None;
            self.hand_over = None;
            self.fail_reads();
            self.wake.members = true;
            crate::trace!(self, "LEAD", "steps down last={}", self.log.last());
        }
        if self.leader != leader {
            self.leader = leader;
            self.wake.leader = true;
        }
    }

    fn set_term_and_vote(&mut self, term: Term, vote: Option<PeerId>) {
        assert!(term >= self.current_term, "term {} → {term}", self.current_term);
        assert!(
            term > self.current_term || self.voted_for.is_none() || self.voted_for == vote,
            "second vote in term {term}: {:?} → {vote:?}",
            self.voted_for
        );
        if term > self.current_term {
            crate::trace!(self, "TERM", "→ T{term}");
            self.heard_from_leader = None;
        }
        self.current_term = term;
        self.voted_for = vote;
        let voted_for = vote.map(|peer| peer.0);
        if !mistake!(ForgetsTerm) {
            let voted_for = voted_for.filter(|_| !mistake!(ForgetsVote));
            self.mutations.hard_state(HardState { current_term: term, voted_for });
        }
        self.wake.log_writer = true;
    }

    /// Draws a new random time-out, as every change of role does, and starts it.
    fn draw_election_timeout(&mut self, now: Instant) {
        let (shortest, longest) =
            (*self.options.election_timeout.start(), *self.options.election_timeout.end());
        let chance = self.rng.below(longest.saturating_sub(shortest));
        self.election_timeout = if mistake!(SameTimeouts) { shortest } else { shortest + chance };
        if !self.space.has_room() {
            // Whoever has room comes first: it has campaigned twice before this peer does.
            self.election_timeout += longest * 2;
        }
        self.election_deadline = now + self.election_timeout;
        // The new deadline may be before the one the election thread sleeps towards.
        self.wake.election = true;
    }

    /// Starts the same time-out again. The deadline only moves back, so nobody need be woken: the
    /// thread finds out when it gets there.
    fn postpone_election(&mut self, now: Instant) {
        debug_assert!(!self.is_leader(), "a leader has no election to postpone");
        self.election_deadline = now + self.election_timeout;
    }

    fn election_timeout_max(&self) -> Duration {
        *self.options.election_timeout.end()
    }

    fn election_timeout_min(&self) -> Duration {
        *self.options.election_timeout.start()
    }

    fn set_commit_index(&mut self, index: Index, now: Instant) {
        assert!(index >= self.commit_index, "commit_index {} → {index}", self.commit_index);
        assert!(index <= self.log.last().index, "commit {index} behind {}", self.log.last());
        if index > self.commit_index {
            if self.is_leader() {
                self.uncommitted_bytes -= self.log.bytes_between(self.commit_index, index);
            }
            let was_settled = self.is_configuration_committed();
            self.commit_index = index;
            self.wake.committed |= self.wakes_applier();
            self.wake.members |= self.is_configuration_committed() && !was_settled;
            let at = self.moment(now);
            if let Role::Leader { progress } = &self.role {
                self.wake.entries_to_send |= progress.values().any(|p| p.has_commit_news(&at));
            }
        }
    }

    /// Checks the numbered invariants of this module.
    pub(crate) fn check_invariants(&self) {
        let (base, last) = (self.log.base(), self.log.last());
        assert!(base.index <= self.commit_index, "1: base {base}, commit {}", self.commit_index);
        assert!(self.commit_index <= last.index, "1: commit {}, last {last}", self.commit_index);
        assert!(
            self.last_applied <= self.commit_index,
            "1: applied {}, commit {}",
            self.last_applied,
            self.commit_index
        );
        assert!(last.term <= self.current_term, "2: last {last} in term {}", self.current_term);
        assert!(self.mutations.durable_index() <= last.index, "5: durable beyond {last}");
        if let Role::Leader { progress } = &self.role {
            let mut members = self.configuration().members();
            members.remove(&self.me);
            assert!(progress.keys().eq(&members), "6: {:?}, {members:?}", progress.keys());
            for (peer, progress) in progress {
                progress.check_invariants(*peer, last.index);
            }
        }
    }
}
