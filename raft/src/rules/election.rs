//! Elections (section 5.2), the election restriction (5.4.1), PreVote (dissertation 9.6), leader
//! stickiness (dissertation 4.2.3), and a leader that steps down when it cannot hear a majority
//! (dissertation 6.2).

use std::collections::{BTreeMap, BTreeSet};
#[cfg(feature = "simulation")]
use std::time::Duration;
use std::time::Instant;

use super::{Due, Role, Rules};
use crate::message::{RequestVoteArgs, RequestVoteReply};
use crate::mistake;
use crate::mutation::AfterDurable;
use crate::types::PeerId;

/// One candidacy's requests: the same arguments for every other voter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VoteRound {
    pub(crate) args: RequestVoteArgs,
    pub(crate) voters: Vec<PeerId>,
}

impl Rules {
    /// The election thread's work: a round of requests, once our own vote in it is durable.
    pub(crate) fn election_due(&mut self, now: Instant) -> Due<AfterDurable<VoteRound>> {
        if self.round_to_send {
            self.round_to_send = false;
            return Due::Now(self.vote_round());
        }
        if self.is_leader() {
            // Though it may have left the configuration: until that is committed, it leads.
            if now >= self.election_deadline {
                self.check_quorum(now);
            }
            self.end_hand_over(now);
            return self.next_election();
        }
        if !self.may_campaign() || now < self.election_deadline {
            return self.next_election();
        }
        self.become_pre_candidate(now);
        self.round_to_send = false;
        Due::Now(self.vote_round())
    }

    /// When this peer campaigns unless something happens, and its random time-out.
    #[cfg(feature = "simulation")]
    pub(crate) fn election_timer(&self) -> (Instant, Duration) {
        (self.election_deadline, self.election_timeout)
    }

    /// When to ask again; never, of a peer that may not campaign: a change of the configuration
    /// wakes it.
    fn next_election<T>(&self) -> Due<T> {
        if self.is_leader() || self.may_campaign() {
            let hand_over_until = self.hand_over_until().unwrap_or(self.election_deadline);
            return Due::At(self.election_deadline.min(hand_over_until));
        }
        Due::WhenWoken
    }

    /// Whether this peer votes, or did until a change that is not known to be committed. In the
    /// latter case the others may need it: its log may be the only one that is up-to-date enough
    /// for a majority, and then it must lead until the change is committed (dissertation 4.2.2).
    pub(super) fn may_campaign(&self) -> bool {
        self.configurations.is_voter_since(self.commit_index, self.me)
    }

    /// Our own vote of this round is on disk, so it counts.
    pub(crate) fn on_own_vote(&mut self, args: &RequestVoteArgs, now: Instant) {
        self.count_vote(self.me, args, now);
    }

    /// A voter answered.
    pub(crate) fn on_vote_reply(
        &mut self,
        peer: PeerId,
        args: &RequestVoteArgs,
        reply: &RequestVoteReply,
        now: Instant,
    ) {
        if reply.candidate_retired {
            self.learn_of_removal();
        } else if reply.term > self.current_term && !(args.pre_vote && mistake!(PreVoteHidesTerm)) {
            self.step_up_to(reply.term, now);
        } else if reply.vote_granted {
            self.count_vote(peer, args, now);
        }
    }

    /// Somebody asks for our vote, or whether we would give it.
    pub(crate) fn handle_request_vote(
        &mut self,
        args: &RequestVoteArgs,
        now: Instant,
    ) -> AfterDurable<RequestVoteReply> {
        // A peer that hears from a leader ignores candidates altogether, their term included:
        // one that was cut off, or left the cluster, must not depose a leader that works. Unless
        // that leader wishes it.
        let hears = self.has_live_leader(now) || self.has_promised(now);
        let listens = args.handed_over || !hears || mistake!(VotesWhileItHears);
        let granted = listens && self.grants_vote(args, now);
        crate::trace!(
            self,
            "VOTE",
            "{} S{} T{}{} their last={} ours={}",
            if granted { "grants" } else { "refuses" },
            args.candidate_id,
            args.term,
            if args.pre_vote { " (pre-vote)" } else { "" },
            args.last_log,
            self.log.last()
        );
        // It may have left without hearing of it: nobody speaks to it any more.
        let candidate_retired = self.is_retired_for_good(args.candidate_id);
        let reply =
            RequestVoteReply { term: self.current_term, vote_granted: granted, candidate_retired };
        self.mutations.after_hard_state(reply)
    }

    fn grants_vote(&mut self, args: &RequestVoteArgs, now: Instant) -> bool {
        // The candidate's log must be at least as up-to-date as ours (section 5.4.1): `EntryId`
        // compares by term, then by index.
        let up_to_date = if mistake!(ComparesLogsByLength) {
            args.last_log.index >= self.log.last().index
        } else {
            args.last_log >= self.log.last() || mistake!(VotesForAnyLog)
        };
        if args.pre_vote {
            return args.term > self.current_term && up_to_date;
        }
        if args.term < self.current_term {
            return false;
        }
        if args.term > self.current_term {
            self.step_up_to(args.term, now);
        }
        let free =
            self.voted_for.is_none_or(|peer| peer == args.candidate_id) || mistake!(VotesTwice);
        if !free || !up_to_date {
            if mistake!(RefusedVoteResetsTimer) && !self.is_leader() {
                self.postpone_election(now);
            }
            return false;
        }
        if self.voted_for.is_none() {
            self.set_term_and_vote(args.term, Some(args.candidate_id));
        }
        self.postpone_election(now);
        true
    }

    /// Whether a leader of the current term showed itself within the shortest election time-out.
    fn has_live_leader(&self, now: Instant) -> bool {
        let heard = self.heard_from_leader.is_some_and(|at| now < at + self.election_timeout_min());
        heard || self.is_leader()
    }

    fn become_pre_candidate(&mut self, now: Instant) {
        let campaign = match &mut self.role {
            Role::Candidate { votes, .. } => std::mem::take(votes),
            Role::PreCandidate { campaign, .. } => std::mem::take(campaign),
            Role::Follower | Role::Leader { .. } => BTreeSet::new(),
        };
        self.become_follower(None, now);
        self.role = Role::PreCandidate { votes: BTreeSet::new(), campaign };
        self.draw_election_timeout(now);
        crate::trace!(self, "VOTE", "asks for pre-votes last={}", self.log.last());
    }

    pub(super) fn become_candidate(&mut self, handed_over: bool, now: Instant) {
        assert!(handed_over || !self.has_promised(now), "campaigns though it promised not to vote");
        self.set_term_and_vote(self.current_term + 1, Some(self.me));
        self.role = Role::Candidate { votes: BTreeSet::new(), handed_over };
        self.draw_election_timeout(now);
        self.round_to_send = true;
        self.wake.election = true;
        crate::trace!(self, "VOTE", "campaigns last={}", self.log.last());
    }

    fn become_leader(&mut self, now: Instant) {
        let campaigns = matches!(self.role, Role::Candidate { .. } | Role::PreCandidate { .. });
        assert!(campaigns && self.voted_for == Some(self.me), "only a candidate is elected");
        self.role = Role::Leader { progress: BTreeMap::new() };
        self.refresh_followers(now);
        self.uncommitted_bytes = self.log.bytes_between(self.commit_index, self.log.last().index);
        self.leader = Some(self.me);
        self.wake.members = true;
        self.election_deadline = now + self.election_timeout_max();
        self.wake.leader = true;
        self.wake.election = true;
        self.wake.entries_to_send = true;
        crate::trace!(
            self,
            "LEAD",
            "elected last={} commit={}",
            self.log.last(),
            self.commit_index
        );
        if self.options.no_op_on_election {
            self.append_first_entry(now);
        }
    }

    fn vote_round(&self) -> AfterDurable<VoteRound> {
        let pre_vote = matches!(self.role, Role::PreCandidate { .. });
        let term = self.current_term + u64::from(pre_vote);
        let last_log = self.log.last();
        let handed_over = matches!(self.role, Role::Candidate { handed_over: true, .. });
        let candidate_id = self.me;
        let args = RequestVoteArgs { pre_vote, handed_over, term, candidate_id, last_log };
        let configuration = self.configuration();
        let voters = configuration.members();
        let voters = voters.into_iter().filter(|&p| p != self.me && configuration.is_voter(p));
        self.mutations.after_hard_state(VoteRound { args, voters: voters.collect() })
    }

    /// Counts a vote if it is for the candidacy that is still under way.
    fn count_vote(&mut self, from: PeerId, args: &RequestVoteArgs, now: Instant) {
        let term = self.current_term;
        let votes = match &mut self.role {
            Role::PreCandidate { votes, .. } if args.pre_vote && args.term == term + 1 => votes,
            // Nothing has changed since: a leader of this term, or a higher one, would have made us
            // its follower.
            Role::PreCandidate { campaign, .. } if !args.pre_vote && args.term == term => campaign,
            Role::Candidate { votes, .. } if !args.pre_vote && args.term == term => votes,
            _ => return,
        };
        votes.insert(from);
        if !self.configurations.latest().has_majority(|peer| votes.contains(&peer)) {
            return;
        }
        if args.pre_vote {
            self.become_candidate(false, now);
        } else {
            self.become_leader(now);
        }
    }

    /// A leader that has not heard from a majority for the longest election time-out leads nobody:
    /// by then any follower that does not hear it campaigns. Nor had it better lead if its own disk
    /// is what it does not hear from.
    fn check_quorum(&mut self, now: Instant) {
        let Role::Leader { progress } = &self.role else { return };
        let since = now.checked_sub(self.election_timeout_max());
        let heard = |peer: PeerId| {
            peer == self.me || progress.get(&peer).is_some_and(|p| Some(p.last_contact) >= since)
        };
        if self.is_held_up_by_its_disk(now) {
            crate::trace!(self, "LEAD", "its disk stalls, and it gives way");
            self.become_follower(None, now);
        } else if self.configuration().has_majority(heard) || mistake!(NeverStepsDown) {
            // Looked at again well within the next time-out.
            self.election_deadline = now + self.election_timeout_min() / 2;
        } else {
            self.become_follower(None, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use oarlock_storage::Recovered;

    use super::*;
    use crate::configuration::Configuration;
    use crate::options::Options;
    use crate::types::{EntryId, Term};

    /// S0 of three, at the moment its first election time-out comes.
    fn pre_candidate() -> (Rules, Instant) {
        let now = crate::shared::Shared::now();
        let voters = Configuration::of_voters([0, 1, 2].map(PeerId));
        let options = Options { seed: 1, ..Options::lab() };
        let mut rules =
            Rules::recovered(PeerId(0), voters, Recovered::default(), options, now).unwrap();
        let now = rules.election_deadline;
        assert!(matches!(rules.election_due(now), Due::Now(_)));
        (rules, now)
    }

    fn args(pre_vote: bool, term: Term) -> RequestVoteArgs {
        let (candidate_id, last_log) = (PeerId(0), EntryId::default());
        RequestVoteArgs { pre_vote, handed_over: false, term, candidate_id, last_log }
    }

    const GRANTED_T0: RequestVoteReply =
        RequestVoteReply { term: 0, vote_granted: true, candidate_retired: false };
    const GRANTED_T1: RequestVoteReply =
        RequestVoteReply { term: 1, vote_granted: true, candidate_retired: false };

    /// S0, which campaigned in term 1, heard nothing, and asks for pre-votes again.
    fn timed_out_candidate() -> (Rules, Instant) {
        let (mut rules, now) = pre_candidate();
        rules.on_own_vote(&args(true, 1), now);
        rules.on_vote_reply(PeerId(1), &args(true, 1), &GRANTED_T0, now);
        assert!(matches!(rules.role, Role::Candidate { .. }) && rules.current_term == 1);
        rules.on_own_vote(&args(false, 1), now);
        rules.round_to_send = false;
        let now = rules.election_deadline;
        assert!(matches!(rules.election_due(now), Due::Now(_)));
        assert!(matches!(rules.role, Role::PreCandidate { .. }) && rules.current_term == 1);
        (rules, now)
    }

    #[test]
    fn a_late_vote_still_wins_the_term_it_was_given_in() {
        let (mut rules, now) = timed_out_candidate();
        rules.on_vote_reply(
            PeerId(2),
            &args(false, 1),
            &GRANTED_T1,
            now + Duration::from_millis(1),
        );
        assert!(rules.is_leader() && rules.current_term == 1);
    }

    #[test]
    fn a_late_vote_counts_no_more_once_somebody_leads_the_term() {
        let (mut rules, now) = timed_out_candidate();
        rules.follow(1, PeerId(1), now);
        rules.on_vote_reply(PeerId(2), &args(false, 1), &GRANTED_T1, now);
        let later = rules.election_deadline;
        assert!(matches!(rules.election_due(later), Due::Now(_)));
        rules.on_vote_reply(PeerId(2), &args(false, 1), &GRANTED_T1, later);
        assert!(matches!(rules.role, Role::PreCandidate { .. }), "{:?}", rules.role);
    }

    #[test]
    fn who_hears_a_leader_listens_only_to_the_successor_it_wishes_for() {
        let (mut rules, now) = pre_candidate();
        rules.follow(1, PeerId(1), now);
        let of_another = |handed_over| RequestVoteArgs {
            candidate_id: PeerId(2),
            handed_over,
            ..args(false, 2)
        };
        assert!(!rules.handle_request_vote(&of_another(false), now).value.vote_granted);
        assert_eq!(rules.current_term, 1);
        assert!(rules.handle_request_vote(&of_another(true), now).value.vote_granted);
        assert_eq!(rules.current_term, 2);
    }

    #[test]
    fn a_late_pre_vote_is_no_vote() {
        let (mut rules, now) = timed_out_candidate();
        rules.on_vote_reply(PeerId(2), &args(true, 1), &GRANTED_T0, now);
        assert!(matches!(rules.role, Role::PreCandidate { .. }) && rules.current_term == 1);
    }
}
