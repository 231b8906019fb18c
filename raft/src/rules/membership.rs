//! Membership changes (section 6; chapter 4 of the dissertation): joint consensus, for voters who
//! have caught up as learners before.
//!
//! A configuration is in force as soon as it is in the log. A change of voters is two entries: the
//! joint one, which the leader is asked for, and the new one, which whoever leads appends once the
//! joint one is committed. So a leader that dies in between leaves nobody stuck.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::{Progress, Role, Rules};
use crate::change::{CatchingUp, Change, ChangeError, ChangeState};
use crate::configuration::Configuration;
use crate::mistake;
use crate::types::{EntryId, EntryKind, PeerId};

impl Rules {
    /// The configuration in force: the latest in the log.
    pub(crate) fn configuration(&self) -> &Configuration {
        self.configurations.latest()
    }

    /// Whether this peer has left for good: it knows, or was told.
    pub(crate) fn is_removed(&self) -> bool {
        self.told_of_removal || self.is_retired_for_good(self.me)
    }

    /// Whether `peer` retired, and that is committed.
    pub(super) fn is_retired_for_good(&self, peer: PeerId) -> bool {
        self.configuration().is_retired(peer) && self.is_configuration_committed()
    }

    /// A voter says that this peer was removed.
    pub(super) fn learn_of_removal(&mut self) {
        self.told_of_removal = true;
        self.wake.members = true;
    }

    /// The other members, and where each is found; empty if the configuration does not say.
    pub(crate) fn other_members(&self) -> BTreeMap<PeerId, String> {
        let configuration = self.configuration();
        let others = configuration.members().into_iter().filter(|&peer| peer != self.me);
        let address = |peer| configuration.address(peer).unwrap_or_default().to_owned();
        others.map(|peer| (peer, address(peer))).collect()
    }

    /// Has every replication thread look.
    pub(crate) fn wake_replication(&mut self) {
        self.wake.entries_to_send = true;
    }

    /// Brings the members one step nearer to what `change` asks for, and tells how far they are.
    /// Asked again after each wake-up of those who wait for members, it arrives.
    pub(crate) fn pursue(
        &mut self,
        change: &Change,
        now: Instant,
    ) -> Result<ChangeState, ChangeError> {
        if !self.is_leader() {
            return Err(ChangeError::NotLeader { leader: self.leader });
        }
        let configuration = self.configuration().clone();
        if change.is_reached_by(&configuration) {
            let settled = self.is_configuration_committed() && !configuration.is_joint();
            let done = settled && self.has_committed_in_term();
            return Ok(if done {
                ChangeState::Done(configuration)
            } else {
                ChangeState::Committing(configuration)
            });
        }
        change.check(&configuration)?;
        if configuration.is_joint() {
            return Err(ChangeError::InProgress { configuration: configuration.to_string() });
        }
        if !self.may_change_configuration() {
            return Ok(ChangeState::Committing(configuration));
        }
        let mut learning = configuration.clone();
        for (&peer, address) in &change.add {
            if !learning.is_member(peer) {
                learning = learning.with_learner(peer, address.clone());
            }
        }
        if learning != configuration {
            self.append_configuration(&learning, now);
            return Ok(ChangeState::CatchingUp(self.not_level(change, now)));
        }
        let behind = self.not_level(change, now);
        if !behind.is_empty() {
            return Ok(ChangeState::CatchingUp(behind));
        }
        let voters = change.voters_after(&configuration);
        self.check_reachable(&voters, now)?;
        self.change_voters(voters, &change.remove, now);
        Ok(ChangeState::Committing(self.configuration().clone()))
    }

    /// Whether a change may begin: this peer leads, the configuration in force is committed and no
    /// joint one, and so is something of the leader's own term. Without the last, two leaders could
    /// each begin a change that the other knows nothing of.
    pub(crate) fn may_change_configuration(&self) -> bool {
        self.is_leader()
            && !self.configuration().is_joint()
            && self.is_configuration_committed()
            && (self.has_committed_in_term() || mistake!(ChangesInOneStep))
    }

    /// Begins a change of voters.
    pub(crate) fn change_voters(
        &mut self,
        voters: BTreeSet<PeerId>,
        leave: &BTreeSet<PeerId>,
        now: Instant,
    ) -> EntryId {
        let joint = self.configuration().joint(voters, leave);
        let moves = joint.voters().symmetric_difference(joint.outgoing()).count();
        let skips = mistake!(SkipsJointConsensus);
        let at_once = if mistake!(ChangesInOneStep) { moves == 1 } else { skips };
        self.append_configuration(&if at_once { joint.settled() } else { joint }, now)
    }

    /// Appends a configuration, which is in force at once.
    pub(crate) fn append_configuration(&mut self, next: &Configuration, now: Instant) -> EntryId {
        assert!(self.may_change_configuration() || self.configuration().is_joint());
        self.append_as_leader(EntryKind::Configuration, next.encode().into(), now)
    }

    /// A new leader's first entry, which it needs to commit anything at all (section 8). If the
    /// configuration is nowhere but in how the peers were started, this is where it gets into the
    /// log: from then on, a peer started with other ones changes nothing.
    pub(super) fn append_first_entry(&mut self, now: Instant) {
        if self.configurations.is_stored() {
            self.append_as_leader(EntryKind::NoOp, [].into(), now);
        } else {
            let configuration = self.configuration().encode();
            self.append_as_leader(EntryKind::Configuration, configuration.into(), now);
        }
    }

    /// Another configuration is in force.
    pub(super) fn configuration_changed(&mut self, now: Instant) {
        crate::trace!(
            self,
            "CONF",
            "{} at {}",
            self.configuration(),
            self.configurations.latest_index()
        );
        self.refresh_followers(now);
        // Fewer may have to agree.
        self.confirm_reads();
        self.wake.members = true;
        self.wake.election = true;
        self.wake.entries_to_send |= self.is_leader();
    }

    /// Feeds every member, and nobody else.
    pub(super) fn refresh_followers(&mut self, now: Instant) {
        let next_index = self.log.last().index + 1;
        let Role::Leader { progress } = &mut self.role else { return };
        let members = self.configurations.latest().members();
        progress.retain(|peer, _| members.contains(peer));
        for peer in members.into_iter().filter(|&peer| peer != self.me) {
            progress.entry(peer).or_insert_with(|| Progress::new(next_index, now));
        }
    }

    /// Something was committed by this leader: it may be the joint configuration, then the new one
    /// follows; or one that this leader is not in, then it has led for long enough.
    pub(super) fn on_commit_for_membership(&mut self, now: Instant) {
        if !self.is_configuration_committed() {
            return;
        }
        if self.configuration().is_joint() {
            let settled = self.configuration().settled();
            self.append_configuration(&settled, now);
        } else if !self.configuration().is_voter(self.me) {
            crate::trace!(self, "CONF", "is in the configuration no more");
            self.become_follower(None, now);
        }
    }

    pub(super) fn is_configuration_committed(&self) -> bool {
        self.commit_index >= self.configurations.latest_index()
    }

    /// Those of `change`'s voters to be who are not level with this leader's log.
    fn not_level(&self, change: &Change, now: Instant) -> Vec<CatchingUp> {
        let Role::Leader { progress } = &self.role else { return Vec::new() };
        let lately = now.checked_sub(self.election_timeout_max());
        let is_level = |follower: &Progress| {
            follower.caught_up_at().is_some() && follower.caught_up_at() >= lately
        };
        let learners = change.add.keys().filter(|&&peer| self.configuration().is_learner(peer));
        let behind = learners.filter_map(|&id| {
            let follower = progress.get(&id).filter(|follower| !is_level(follower))?;
            let last_index = self.log.last().index;
            Some(CatchingUp { id, match_index: follower.match_index(), last_index })
        });
        behind.collect()
    }

    /// Whether a majority of `voters` answers this leader, so that it could commit the change.
    fn check_reachable(&self, voters: &BTreeSet<PeerId>, now: Instant) -> Result<(), ChangeError> {
        let Role::Leader { progress } = &self.role else { return Ok(()) };
        let lately = now.checked_sub(self.election_timeout_max());
        let answers = |peer: &&PeerId| {
            let contact = progress.get(peer).map(Progress::last_contact);
            **peer == self.me || (contact.is_some() && contact >= lately)
        };
        let (voters, reachable) = (voters.len(), voters.iter().filter(answers).count());
        if reachable > voters / 2 {
            return Ok(());
        }
        Err(ChangeError::Unreachable { voters, reachable })
    }
}

#[cfg(test)]
mod tests {
    use oarlock_storage::Recovered;

    use super::*;
    use crate::message::{AppendEntriesArgs, RequestVoteArgs, RequestVoteReply};
    use crate::options::Options;
    use crate::rules::elected::write;
    use crate::rules::{Due, Send, SentAppend};
    use crate::types::{Entry, Index, Term};

    /// S1 of four, as it starts.
    fn follower() -> (Rules, Instant) {
        let now = crate::shared::Shared::now();
        let voters = Configuration::of_voters([1, 2, 3, 4].map(PeerId));
        let options = Options { seed: 1, ..Options::default() };
        (Rules::recovered(PeerId(1), voters, Recovered::default(), options, now).unwrap(), now)
    }

    /// S1 of four, just elected in term 1.
    fn leader() -> (Rules, Instant) {
        let (mut rules, _) = follower();
        let now = rules.election_deadline;
        for pre_vote in [true, false] {
            let Due::Now(round) = rules.election_due(now) else { panic!("no round of votes") };
            let args = round.value.args;
            assert_eq!(args.pre_vote, pre_vote);
            let reply = RequestVoteReply {
                term: args.term - u64::from(pre_vote),
                vote_granted: true,
                candidate_retired: false,
            };
            rules.on_own_vote(&args, now);
            rules.on_vote_reply(PeerId(2), &args, &reply, now);
            rules.on_vote_reply(PeerId(3), &args, &reply, now);
        }
        assert!(rules.is_leader());
        (rules, now)
    }

    /// `peer` has everything, and says so.
    fn acknowledge(rules: &mut Rules, peer: u64, now: Instant) {
        let peer = PeerId(peer);
        let sent: SentAppend = match rules.replication_due(peer, now) {
            Due::Now(Send::Append { sent, .. }) => sent,
            other => panic!("nothing to send to S{peer}: {other:?}"),
        };
        let term = rules.current_term();
        let outcome = crate::message::AppendOutcome::Matched { index: rules.log().last().index };
        let reply = crate::message::AppendEntriesReply { term, outcome, has_room: true };
        rules.on_append_reply(peer, term, &sent, Some(&reply), now);
    }

    fn set(ids: &[u64]) -> BTreeSet<PeerId> {
        ids.iter().copied().map(PeerId).collect()
    }

    fn configuration_at(index: Index, term: Term, configuration: &Configuration) -> Entry {
        let data = configuration.encode().into();
        Entry { id: EntryId::new(index, term), tag: EntryKind::Configuration.tag(), data }
    }

    /// The flaw of 2015 in one-step changes, which this rule closes: between two leaders that each
    /// begin a change the other has not heard of, majorities need not overlap.
    #[test]
    fn a_leader_begins_no_change_before_it_has_committed_something_of_its_term() {
        let (mut rules, now) = leader();
        let without_4 = Change::default().removing(PeerId(4));
        let state = rules.pursue(&without_4, now).unwrap();
        assert!(matches!(state, ChangeState::Committing(_)), "{state}");
        assert!(!rules.configuration().is_joint(), "begun with nothing committed");
        write(&mut rules, now);
        acknowledge(&mut rules, 2, now);
        acknowledge(&mut rules, 3, now);
        assert!(rules.has_committed_in_term());
        rules.pursue(&without_4, now).unwrap();
        assert_eq!(rules.configuration().to_string(), "{1,2,3}&{1,2,3,4}");
        let error = rules.pursue(&Change::default().removing(PeerId(3)), now).unwrap_err();
        assert!(matches!(error, ChangeError::InProgress { .. }), "{error}");
    }

    #[test]
    fn the_new_configuration_follows_once_a_majority_of_both_has_the_joint_one() {
        let (mut rules, now) = leader();
        write(&mut rules, now);
        acknowledge(&mut rules, 2, now);
        acknowledge(&mut rules, 3, now);
        rules.change_voters(set(&[1, 2]), &BTreeSet::new(), now);
        let now = now + rules.options.heartbeat_interval;
        write(&mut rules, now);
        acknowledge(&mut rules, 2, now);
        assert!(rules.configuration().is_joint(), "two of four are no majority of the old ones");
        acknowledge(&mut rules, 4, now);
        assert_eq!(rules.configuration().to_string(), "{1,2}");
        assert!(!rules.is_retired_for_good(PeerId(4)), "it is not committed yet");
        let members: Vec<_> = rules.other_members().into_keys().collect();
        assert_eq!(members, [PeerId(2)], "nobody speaks to those who left");
    }

    #[test]
    fn who_is_left_out_by_a_change_not_known_to_be_committed_may_have_to_lead() {
        let (mut rules, now) = follower();
        let settled = Configuration::of_voters([1, 2, 3, 4].map(PeerId))
            .joint(set(&[2, 3, 4]), &BTreeSet::new())
            .settled();
        let args = |leader_commit, prev_log, entries: Vec<Entry>| AppendEntriesArgs {
            term: 1,
            leader_id: PeerId(2),
            prev_log,
            leader_commit,
            entries,
        };
        drop(rules.handle_append_entries(
            args(0, EntryId::default(), vec![configuration_at(1, 1, &settled)]),
            now,
        ));
        let later = rules.election_deadline;
        assert!(!rules.configuration().is_voter(PeerId(1)));
        assert!(matches!(rules.election_due(later), Due::Now(_)), "it campaigns");
        assert!(!rules.is_removed());
        drop(rules.handle_append_entries(args(1, EntryId::new(1, 1), Vec::new()), later));
        let later = rules.election_deadline;
        assert!(rules.is_removed() && matches!(rules.election_due(later), Due::WhenWoken));
    }

    #[test]
    fn a_candidate_that_was_removed_is_told_once_that_is_committed() {
        let (mut rules, now) = follower();
        let settled = Configuration::of_voters([1, 2, 3, 4].map(PeerId))
            .joint(set(&[1, 2, 3]), &BTreeSet::new())
            .settled();
        let args = RequestVoteArgs {
            pre_vote: true,
            handed_over: false,
            term: 2,
            candidate_id: PeerId(4),
            last_log: EntryId::default(),
        };
        for (leader_commit, told) in [(0, false), (1, true)] {
            let entries = vec![configuration_at(1, 1, &settled)];
            let prev_log = EntryId::default();
            let append = AppendEntriesArgs {
                term: 1,
                leader_id: PeerId(2),
                prev_log,
                leader_commit,
                entries,
            };
            drop(rules.handle_append_entries(append, now));
            let reply = rules.handle_request_vote(&args, now).value;
            assert_eq!((reply.vote_granted, reply.candidate_retired), (false, told));
        }
        let (mut removed, now) = follower();
        let reply = RequestVoteReply { term: 1, vote_granted: false, candidate_retired: true };
        removed.on_vote_reply(PeerId(2), &args, &reply, now);
        assert!(removed.is_removed());
    }

    #[test]
    fn a_peer_that_joins_knows_nobody_and_waits() {
        let now = crate::shared::Shared::now();
        let options = Options { seed: 1, ..Options::default() };
        let nobody = Configuration::default();
        let rules = Rules::recovered(PeerId(9), nobody, Recovered::default(), options, now);
        let mut rules = rules.unwrap();
        let later = rules.election_deadline + rules.election_timeout_max() * 10;
        assert!(matches!(rules.election_due(later), Due::WhenWoken));
        assert!(!rules.is_removed());
    }
}
