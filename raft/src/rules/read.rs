//! Linearizable reads that never touch the log (dissertation 6.4): a read takes the commit index,
//! and waits for the proof that its leader still led after it began.
//!
//! The proof is a round of messages, which all reads share that begin before its first message
//! leaves. Or, if another peer passed the read on, what that peer said of itself when it did: its
//! [`Vouch`]. In a cluster of three the two are a majority, and such a read waits for nobody. Or, if
//! the options say so, its lease ([`lease`](super::lease)): then no read waits while that holds.
//!
//! All that a leader says to a read is an index. So where a read waits for nobody, and the peer that
//! passed it on had applied as much by then, that peer serves it from its own state. It may be the
//! leader itself, alone in its cluster or with a lease: then nobody need wake its applier.

use std::collections::VecDeque;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::{Role, Rules};
use crate::mistake;
use crate::types::{Index, PeerId, Term};

/// What a peer says of itself when it passes a read on to the leader: in which term it is, and how
/// much it has applied.
///
/// The term proves as much as an answer to a message of a round: a peer that was in the leader's term
/// after the read began has helped no later leader into office before. So it must be made after the
/// read came, not kept from earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vouch {
    /// Who says so.
    pub peer: PeerId,
    /// Its current term.
    pub term: Term,
    /// Everything up to this index is in its state, where it would serve the read itself; 0 if it
    /// would not.
    pub applied: Index,
}

/// What proves that the leader of a read still led after it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Proof {
    /// A round of messages that is still to come.
    Round,
    /// A vouch, or a lease: it was there when the read began.
    AtHand,
}

/// What became of a read that a leader was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begun {
    /// It waits here.
    Waits(ReadId),
    /// Whoever vouched for this peer may serve it.
    ByVoucher,
}

/// A read at this peer: how it is proved, and its number among those of its kind, which grows by one
/// each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReadId {
    pub(crate) proof: Proof,
    pub(crate) number: u64,
}

#[derive(Debug)]
struct Read {
    number: u64,
    /// The round that confirms it; 0 if it needs none.
    round: u64,
    /// What must be applied before it is served; not known before the leader has committed an
    /// entry of its own term, since until then its commit index may be behind.
    index: Option<Index>,
}

/// Reads of one kind that wait, oldest first. None is served before one that came before it; rounds
/// and indexes rise with numbers, so that keeps no read waiting, but perhaps a look that has neither.
#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Read>,
    next: u64,
    /// Reads up to this one are lost: the leadership they relied on is over.
    failed_through: Option<u64>,
}

/// All reads that wait, and the rounds.
///
/// All reads that begin before a round's first message leaves share it.
#[derive(Debug, Default)]
pub(super) struct Reads {
    by_round: Queue,
    proved: Queue,
    latest_round: u64,
    /// When the latest round may start, if it lingers for more reads.
    round_after: Option<Instant>,
    /// Whether a message of the latest round has left: then it is too late to join.
    started: bool,
    confirmed_round: u64,
}

impl Queue {
    fn push(&mut self, round: u64, index: Option<Index>) -> u64 {
        let number = self.next;
        self.next += 1;
        self.waiting.push_back(Read { number, round, index });
        number
    }

    /// They are all lost. Returns whether there were any.
    fn fail(&mut self) -> bool {
        let Some(last) = self.waiting.back() else { return false };
        self.failed_through = Some(last.number);
        self.waiting.clear();
        true
    }

    /// The last that is ready, with which all before it go too.
    fn take(&mut self, is_ready: impl Fn(&Read) -> bool) -> Option<u64> {
        let count = self.waiting.iter().take_while(|read| is_ready(read)).count();
        self.waiting.drain(..count).next_back().map(|read| read.number)
    }
}

impl Reads {
    pub(super) fn latest_round(&self) -> u64 {
        self.latest_round
    }

    /// When the latest round may start by a message of its own.
    pub(super) fn round_after(&self, now: Instant) -> Instant {
        self.round_after.unwrap_or(now)
    }

    pub(super) fn round_started(&mut self) {
        self.started = true;
    }

    fn queues(&mut self) -> [(Proof, &mut Queue); 2] {
        [(Proof::Round, &mut self.by_round), (Proof::AtHand, &mut self.proved)]
    }
}

impl Rules {
    /// Begins a read, if this peer leads. Whoever passed it on may have vouched for this peer.
    pub(crate) fn begin_read(&mut self, vouch: Option<Vouch>, now: Instant) -> Option<Begun> {
        if !self.is_leader() {
            return None;
        }
        let known = self.has_committed_in_term() || mistake!(ReadsBeforeOwnCommit);
        let index = known.then_some(self.commit_index);
        let is_proved =
            vouch.is_some_and(|vouch| self.is_proof(vouch)) || (known && self.lease_holds(now));
        if is_proved {
            if known && vouch.is_some_and(|vouch| self.has_applied_enough(vouch)) {
                return Some(Begun::ByVoucher);
            }
            let number = self.reads.proved.push(0, index);
            self.wake.committed |= index.is_some_and(|index| index <= self.last_applied);
            return Some(Begun::Waits(ReadId { proof: Proof::AtHand, number }));
        }
        if self.reads.started || self.reads.latest_round == self.reads.confirmed_round {
            self.reads.latest_round += 1;
            self.reads.started = false;
            self.reads.round_after = Some(now + self.options.linger);
            self.wake.entries_to_send = true;
        }
        let number = self.reads.by_round.push(self.reads.latest_round, index);
        self.wake.committed |= mistake!(ReadsWithoutRound);
        self.confirm_reads();
        Some(Begun::Waits(ReadId { proof: Proof::Round, number }))
    }

    /// Begins a look at what this peer has applied, whatever that is. It waits for the applier, and for
    /// reads before it of which a leader has the proof but not yet the index; and it is lost with them.
    pub(crate) fn begin_look(&mut self) -> ReadId {
        let number = self.reads.proved.push(0, Some(0));
        self.wake.committed = true;
        ReadId { proof: Proof::AtHand, number }
    }

    /// What this peer vouches for now.
    pub(crate) fn vouch(&self) -> Vouch {
        Vouch { peer: self.me, term: self.current_term, applied: self.last_applied }
    }

    /// Whether the state of the peer that vouches has everything that a read which begins now must
    /// see.
    fn has_applied_enough(&self, vouch: Vouch) -> bool {
        vouch.applied >= self.commit_index || (vouch.applied > 0 && mistake!(LetsAnyVoucherServe))
    }

    /// Whether `vouch` proves that nobody else can have led before it was made: it is of our term,
    /// and together we are a majority.
    fn is_proof(&self, vouch: Vouch) -> bool {
        let is_of_term = vouch.term == self.current_term || mistake!(BelievesAnyVouch);
        let together = |peer| peer == self.me || peer == vouch.peer;
        is_of_term && (self.configuration().has_majority(together) || mistake!(OneVouchIsAMajority))
    }

    /// Sees how far the rounds have come.
    pub(super) fn confirm_reads(&mut self) {
        let Role::Leader { progress } = &self.role else { return };
        let (me, latest) = (self.me, self.reads.latest_round);
        let confirmed = self.configuration().majority_value(|peer| {
            if peer == me { latest } else { progress.get(&peer).map_or(0, |p| p.round_acked) }
        });
        if confirmed > self.reads.confirmed_round {
            self.reads.confirmed_round = confirmed;
            self.wake.committed = true;
        }
    }

    /// Something of the leader's own term is committed: reads that waited for it know their index.
    pub(super) fn on_commit_for_reads(&mut self) {
        let commit_index = self.commit_index;
        for (_, queue) in self.reads.queues() {
            for read in queue.waiting.iter_mut().filter(|read| read.index.is_none()) {
                read.index = Some(commit_index);
            }
        }
    }

    /// Leadership is over, and with it every read that waits.
    pub(super) fn fail_reads(&mut self) {
        for (_, queue) in self.reads.queues() {
            self.wake.committed |= queue.fail();
        }
    }

    /// The last of the reads of some kind that failed since the last call.
    pub(super) fn take_failed_reads(&mut self) -> Option<ReadId> {
        let mut queues = self.reads.queues().into_iter();
        queues.find_map(|(proof, queue)| {
            queue.failed_through.take().map(|number| ReadId { proof, number })
        })
    }

    /// The last of the reads of some kind that may be served now; they are waiting no longer. Only the kinds
    /// that come behind `behind`.
    pub(super) fn take_ready_reads(&mut self, behind: Option<Proof>) -> Option<ReadId> {
        let (confirmed, applied) = (self.reads.confirmed_round, self.last_applied);
        let is_ready = |read: &Read| {
            (read.round <= confirmed || mistake!(ReadsWithoutRound))
                && read.index.is_some_and(|index| index <= applied)
        };
        let mut queues = self.reads.queues().into_iter().filter(|(proof, _)| Some(*proof) > behind);
        queues
            .find_map(|(proof, queue)| queue.take(is_ready).map(|number| ReadId { proof, number }))
    }

    /// Whether an entry of the current term is committed, as far as this peer knows.
    pub(super) fn has_committed_in_term(&self) -> bool {
        self.log.id_at(self.commit_index).is_some_and(|id| id.term == self.current_term)
    }
}

#[cfg(test)]
mod tests {
    use oarlock_storage::Recovered;

    use super::*;
    use crate::configuration::Configuration;
    use crate::message::{AppendEntriesReply, AppendOutcome};
    use crate::options::Options;
    use crate::rules::elected::{elect, waiting, write};
    use crate::rules::{ApplyWork, Due, Send};

    const OTHER: PeerId = PeerId(1);

    /// Of a peer that serves no reads itself.
    fn vouch_of(peer: PeerId, term: Term) -> Vouch {
        Vouch { peer, term, applied: 0 }
    }

    /// The leader of term 1 among so many voters, with nothing committed yet.
    fn leader_of(voters: u64) -> (Rules, Instant) {
        let start = crate::shared::Shared::now();
        let configuration = Configuration::of_voters((0..voters).map(PeerId));
        let options = Options { seed: 1, ..Options::default() };
        let mut rules =
            Rules::recovered(PeerId(0), configuration, Recovered::default(), options, start)
                .unwrap();
        let now = elect(&mut rules, voters);
        (rules, now)
    }

    /// Its first entry is on its disk and that of `OTHER`, committed, and applied.
    fn commit(rules: &mut Rules, now: Instant) {
        write(rules, now);
        let Due::Now(Send::Append { sent, .. }) = rules.replication_due(OTHER, now) else {
            panic!("nothing to send")
        };
        let outcome = AppendOutcome::Matched { index: rules.log().last().index };
        let reply = AppendEntriesReply { term: 1, outcome, has_room: true };
        rules.on_append_reply(OTHER, 1, &sent, Some(&reply), now);
        assert!(matches!(rules.apply_due(0, now), Due::Now(_)), "nothing is committed");
        rules.last_applied = rules.commit_index;
    }

    #[test]
    fn in_a_cluster_of_three_whoever_passes_a_read_on_proves_that_it_may_be_served() {
        let (mut rules, now) = leader_of(3);
        let vouch = Some(vouch_of(OTHER, 1));
        let early = waiting(rules.begin_read(vouch, now));
        assert_eq!((early.proof, rules.take_ready_reads(None)), (Proof::AtHand, None));
        commit(&mut rules, now);
        assert_eq!(rules.take_ready_reads(None), Some(early), "something of its term is committed");
        // One that needs a round does not keep others waiting.
        let slow = waiting(rules.begin_read(None, now));
        assert_eq!((slow.proof, rules.take_ready_reads(None)), (Proof::Round, None));
        let quick = waiting(rules.begin_read(vouch, now));
        assert_eq!(rules.take_ready_reads(None), Some(quick));
        assert!(rules.take_wake().committed, "the applier sleeps on");
    }

    #[test]
    fn a_vouch_of_another_term_or_of_no_voter_proves_nothing() {
        let (mut rules, now) = leader_of(3);
        commit(&mut rules, now);
        for (peer, term) in [(OTHER, 0), (OTHER, 2), (PeerId(9), 1), (PeerId(0), 1)] {
            let read = waiting(rules.begin_read(Some(vouch_of(peer, term)), now));
            assert_eq!(read.proof, Proof::Round, "S{peer} in term {term}");
        }
        assert_eq!(rules.take_ready_reads(None), None);
    }

    #[test]
    fn in_a_cluster_of_five_two_are_no_majority() {
        let (mut rules, now) = leader_of(5);
        let read = waiting(rules.begin_read(Some(vouch_of(OTHER, 1)), now));
        assert_eq!(read.proof, Proof::Round);
    }

    #[test]
    fn who_vouches_and_has_applied_enough_serves_the_read() {
        let (mut rules, now) = leader_of(3);
        let vouch = |term, applied| Some(Vouch { peer: OTHER, term, applied });
        waiting(rules.begin_read(vouch(1, 9), now));
        commit(&mut rules, now);
        let committed = rules.commit_index;
        assert!(committed > 0, "and before, nothing was of its term");
        let left = Some(Begun::ByVoucher);
        assert_eq!(rules.begin_read(vouch(1, committed), now), left);
        assert_eq!(rules.begin_read(vouch(1, committed + 1), now), left, "it will be committed");
        assert_eq!(waiting(rules.begin_read(vouch(1, committed - 1), now)).proof, Proof::AtHand);
        // Whatever it has applied, somebody else may lead by now.
        assert_eq!(waiting(rules.begin_read(vouch(2, committed), now)).proof, Proof::Round);
        assert_eq!(waiting(rules.begin_read(vouch(0, committed), now)).proof, Proof::Round);
        let (mut rules, now) = leader_of(5);
        assert_eq!(waiting(rules.begin_read(vouch(1, 9), now)).proof, Proof::Round);
    }

    #[test]
    fn a_peer_looks_at_what_it_has_applied_whoever_leads() {
        let (mut rules, now) = leader_of(3);
        commit(&mut rules, now);
        rules.follow(2, OTHER, now);
        assert!(rules.begin_read(None, now).is_none());
        let _ = rules.take_wake();
        let look = rules.begin_look();
        assert!(rules.take_wake().committed, "the applier sleeps on");
        assert_eq!((rules.take_failed_reads(), rules.take_ready_reads(None)), (None, Some(look)));
    }

    /// Something to apply is there each time the applier comes, and reads of either kind.
    #[test]
    fn neither_reads_nor_what_is_to_be_applied_wait_for_the_others_to_end() {
        let (mut rules, now) = leader_of(3);
        commit(&mut rules, now);
        rules.last_applied = 0;
        let mut order = Vec::new();
        for _ in 0..6 {
            rules.begin_look();
            let read = waiting(rules.begin_read(None, now));
            assert_eq!(read.proof, Proof::Round);
            rules.reads.by_round.waiting.back_mut().expect("it waits").index = Some(0);
            rules.reads.confirmed_round = rules.reads.latest_round;
            order.push(match rules.apply_due(0, now) {
                Due::Now(ApplyWork::ServeReads { through }) => Some(through.proof),
                Due::Now(ApplyWork::Entries(_)) => None,
                other => panic!("{other:?}"),
            });
        }
        let turn = [Some(Proof::Round), Some(Proof::AtHand), None];
        assert_eq!(order, [turn, turn].concat());
    }

    #[test]
    fn reads_of_either_kind_are_lost_with_the_leadership() {
        let (mut rules, now) = leader_of(3);
        let by_round = waiting(rules.begin_read(None, now));
        let vouched = waiting(rules.begin_read(Some(vouch_of(OTHER, 1)), now));
        rules.follow(2, OTHER, now);
        let lost = [rules.take_failed_reads(), rules.take_failed_reads()];
        assert_eq!(lost, [Some(by_round), Some(vouched)]);
        assert_eq!((rules.take_failed_reads(), rules.take_ready_reads(None)), (None, None));
    }
}
