//! Leases and promises, rule by rule: stated times, no thread.

use std::collections::BTreeSet;
use std::time::Duration;

use oarlock_storage::Recovered;

use super::*;
use crate::configuration::Configuration;
use crate::message::{
    AppendEntriesArgs, AppendEntriesReply, AppendOutcome, RequestVoteArgs, RequestVoteReply,
    TimeoutNowArgs,
};
use crate::options::LeaseReads;
use crate::rules::elected::{elect, waiting, write};
use crate::rules::{Due, Proof, Send, SentAppend};
use crate::types::{EntryId, PeerId};

const ME: PeerId = PeerId(0);
const PROMISE: Duration = Duration::from_millis(250);
/// With clocks that drift by one per cent.
const LEASE: Duration = Duration::from_micros(247_500);
const LAST_OF_PROMISE: Duration = Duration::from_nanos(249_999_999);
const LAST_OF_LEASE: Duration = Duration::from_nanos(247_499_999);
const TRIP: Duration = Duration::from_millis(20);

/// S0 among so many voters, as it starts.
fn started(voters: u64, lease_reads: Option<LeaseReads>) -> (Rules, Instant) {
    let now = crate::shared::Shared::now();
    let configuration = Configuration::of_voters((0..voters).map(PeerId));
    let options = Options { seed: 1, lease_reads, ..Options::default() };
    (Rules::recovered(ME, configuration, Recovered::default(), options, now).unwrap(), now)
}

/// The same, just elected in term 1.
fn leader_of(voters: u64) -> (Rules, Instant) {
    let (mut rules, _) = started(voters, Some(LeaseReads::default()));
    let now = elect(&mut rules, voters);
    (rules, now)
}

/// A message leaves for `peer`.
fn send(rules: &mut Rules, peer: u64, now: Instant) -> SentAppend {
    match rules.replication_due(PeerId(peer), now) {
        Due::Now(Send::Append { sent, .. }) => sent,
        other => panic!("nothing for S{peer}: {other:?}"),
    }
}

/// `peer` has everything, and says so.
fn answer(rules: &mut Rules, peer: u64, sent: &SentAppend, now: Instant) {
    let outcome = AppendOutcome::Matched { index: rules.log().last().index };
    let term = rules.current_term();
    let reply = AppendEntriesReply { term, outcome, has_room: true };
    rules.on_append_reply(PeerId(peer), term, sent, Some(&reply), now);
}

/// The leader of so many voters; its first entry, which left at the moment returned, is on a majority's
/// disks and applied.
fn leased(voters: u64) -> (Rules, Instant) {
    let (mut rules, left) = leader_of(voters);
    write(&mut rules, left);
    for peer in 1..=voters / 2 {
        let sent = send(&mut rules, peer, left);
        answer(&mut rules, peer, &sent, left + TRIP);
    }
    assert!(rules.has_committed_in_term());
    rules.last_applied = rules.commit_index;
    (rules, left)
}

fn proof_at(rules: &mut Rules, now: Instant) -> Proof {
    waiting(rules.begin_read(None, now)).proof
}

fn heartbeat(term: Term) -> AppendEntriesArgs {
    AppendEntriesArgs {
        term,
        leader_id: PeerId(1),
        prev_log: EntryId::default(),
        leader_commit: 0,
        entries: Vec::new(),
    }
}

fn asks(pre_vote: bool, handed_over: bool, term: Term) -> RequestVoteArgs {
    let (candidate_id, last_log) = (PeerId(2), EntryId::default());
    RequestVoteArgs { pre_vote, handed_over, term, candidate_id, last_log }
}

fn grants(rules: &mut Rules, args: &RequestVoteArgs, now: Instant) -> bool {
    rules.handle_request_vote(args, now).value.vote_granted
}

#[test]
fn a_read_by_lease_waits_for_nobody_until_the_lease_runs_out() {
    let (mut rules, left) = leased(3);
    rules.take_wake();
    let last = left + LAST_OF_LEASE;
    let read = waiting(rules.begin_read(None, last));
    assert_eq!((read.proof, rules.take_ready_reads(None)), (Proof::AtHand, Some(read)));
    let wake = rules.take_wake();
    assert!(wake.committed && !wake.entries_to_send, "the applier alone has something to do");
    assert_eq!(proof_at(&mut rules, left + LEASE), Proof::Round, "counted from when it left");
    assert_eq!(rules.take_ready_reads(None), None);
}

#[test]
fn heartbeats_keep_it() {
    let (mut rules, mut now) = leased(3);
    for _ in 0..100 {
        now += rules.options.heartbeat_interval;
        let sent = send(&mut rules, 1, now);
        answer(&mut rules, 1, &sent, now + TRIP);
        assert!(rules.lease_holds(now + LAST_OF_LEASE));
    }
    assert_eq!(rules.reads.latest_round(), 0, "nobody was asked for the sake of a read");
}

#[test]
fn a_conflict_is_an_answer_and_silence_or_an_older_message_is_none() {
    let (mut rules, left) = leased(3);
    let (early, late) =
        (left + rules.options.heartbeat_interval, left + rules.options.heartbeat_interval * 2);
    let (sent_early, sent) = (send(&mut rules, 1, early), send(&mut rules, 1, late));
    rules.on_append_reply(PeerId(1), 1, &sent, None, late);
    assert!(!rules.lease_holds(left + LEASE), "nothing came back");
    let outcome = AppendOutcome::Conflict { term: None, first_index: 1 };
    let reply = AppendEntriesReply { term: 1, outcome, has_room: true };
    rules.on_append_reply(PeerId(1), 1, &sent, Some(&reply), late);
    answer(&mut rules, 1, &sent_early, late);
    assert!(rules.lease_holds(early + LEASE) && !rules.lease_holds(late + LEASE));
}

#[test]
fn before_something_of_its_term_is_committed_a_leader_has_no_use_for_a_lease() {
    let (mut rules, left) = leader_of(3);
    let sent = send(&mut rules, 1, left);
    let outcome = AppendOutcome::Matched { index: 0 };
    let reply = AppendEntriesReply { term: 1, outcome, has_room: true };
    rules.on_append_reply(PeerId(1), 1, &sent, Some(&reply), left);
    assert!(rules.lease_holds(left) && !rules.has_committed_in_term());
    assert_eq!(proof_at(&mut rules, left), Proof::Round);
}

#[test]
fn of_five_voters_the_older_of_two_answers_counts() {
    let (mut rules, left) = leased(5);
    let later = left + Duration::from_millis(60);
    let sent = send(&mut rules, 1, later);
    answer(&mut rules, 1, &sent, later + TRIP);
    assert!(!rules.lease_holds(left + LEASE), "one other is no majority with us");
    let sent = send(&mut rules, 2, later + TRIP);
    answer(&mut rules, 2, &sent, later + TRIP);
    assert!(rules.lease_holds(left + LEASE) && !rules.lease_holds(later + LEASE));
}

#[test]
fn while_voters_change_a_lease_needs_both_majorities_and_later_the_new_one() {
    let (mut rules, left) = leased(5);
    let now = left + TRIP;
    let these = |ids: &[u64]| ids.iter().copied().map(PeerId).collect::<BTreeSet<_>>();
    rules.change_voters(these(&[1, 3, 4]), &these(&[0, 2]), now);
    assert!(!rules.lease_holds(now), "of the new ones only S1 has answered");
    write(&mut rules, now);
    let sent = send(&mut rules, 3, now);
    answer(&mut rules, 3, &sent, now + TRIP);
    assert!(rules.lease_holds(left + LAST_OF_LEASE) && !rules.lease_holds(left + LEASE));
    // Both have the joint configuration now, which is committed: so the new one is in force, in which
    // this leader is not.
    let now = left + rules.options.heartbeat_interval;
    let sent = send(&mut rules, 1, now);
    answer(&mut rules, 1, &sent, now);
    assert_eq!(rules.configuration().to_string(), "{1,3,4}");
    assert!(rules.is_leader() && rules.lease_holds(left + TRIP + LAST_OF_LEASE));
    assert!(!rules.lease_holds(left + TRIP + LEASE), "its own word counts for nothing");
}

#[test]
fn who_told_another_to_campaign_has_no_lease_in_that_term_any_more() {
    let (mut rules, left) = leased(3);
    let now = left + TRIP;
    let until = now + TRIP;
    assert_eq!(rules.begin_hand_over(until, now), Some(PeerId(1)));
    assert!(rules.lease_holds(now), "nobody has been told yet");
    assert!(matches!(rules.replication_due(PeerId(1), now), Due::Now(Send::TimeoutNow(_))));
    assert_eq!(proof_at(&mut rules, now), Proof::Round);
    rules.end_hand_over(until);
    let now = until + rules.options.heartbeat_interval;
    let sent = send(&mut rules, 1, now);
    answer(&mut rules, 1, &sent, now);
    assert!(rules.is_leader() && !rules.hands_over() && !rules.lease_holds(now), "for ever");
}

#[test]
fn a_lease_ends_with_the_leadership() {
    let (mut rules, left) = leased(3);
    rules.follow(2, PeerId(1), left + TRIP);
    assert!(!rules.lease_holds(left + TRIP));
    assert_eq!(rules.begin_read(None, left + TRIP), None);
}

#[test]
fn who_heard_a_leader_votes_for_nobody_in_any_term_and_does_not_campaign() {
    let (mut rules, start) = started(3, Some(LeaseReads::default()));
    let heard = start + PROMISE * 2;
    drop(rules.handle_append_entries(heartbeat(1), heard));
    // As an answer to a question it asked before it heard the leader.
    let reply = RequestVoteReply { term: 7, vote_granted: false, candidate_retired: false };
    rules.on_vote_reply(PeerId(2), &asks(true, false, 1), &reply, heard);
    assert_eq!(rules.current_term(), 7);
    let last = heard + LAST_OF_PROMISE;
    for args in [asks(true, false, 9), asks(false, false, 9)] {
        assert!(!grants(&mut rules, &args, last), "{args:?}");
    }
    assert_eq!(rules.current_term(), 7, "nor does it take over the term of who asks");
    assert!(!matches!(rules.election_due(last), Due::Now(_)));
    assert!(grants(&mut rules, &asks(false, false, 9), heard + PROMISE));
}

#[test]
fn a_connection_that_ends_ends_no_promise() {
    let (mut rules, start) = started(3, Some(LeaseReads::default()));
    let heard = start + PROMISE * 2;
    drop(rules.handle_append_entries(heartbeat(1), heard));
    rules.on_hang_up(PeerId(1), heard + TRIP);
    let last = heard + LAST_OF_PROMISE;
    assert!(!grants(&mut rules, &asks(true, false, 2), last));
    assert!(!matches!(rules.election_due(last), Due::Now(_)));
    let soon = heard + PROMISE + rules.options.heartbeat_interval;
    assert!(matches!(rules.election_due(soon), Due::Now(_)), "but then it waits no longer");
}

#[test]
fn who_starts_keeps_the_promises_it_may_have_made_before() {
    let (mut rules, start) = started(3, Some(LeaseReads::default()));
    let last = start + LAST_OF_PROMISE;
    for pre_vote in [true, false] {
        assert!(!grants(&mut rules, &asks(pre_vote, false, 1), last));
    }
    assert!(grants(&mut rules, &asks(false, false, 1), start + PROMISE));
    let (mut rules, start) = started(3, None);
    assert!(grants(&mut rules, &asks(false, false, 1), start), "without leases there are none");
}

#[test]
fn a_promise_binds_nobody_whom_the_leader_asks_itself() {
    let (mut rules, start) = started(3, Some(LeaseReads::default()));
    drop(rules.handle_append_entries(heartbeat(1), start));
    assert!(grants(&mut rules, &asks(false, true, 2), start));
    let (mut rules, start) = started(3, Some(LeaseReads::default()));
    let wish = TimeoutNowArgs { term: 1, leader_id: PeerId(1) };
    assert_eq!(rules.handle_timeout_now(&wish, start).value.term, 2, "it campaigns");
}

#[test]
fn the_slower_a_clock_may_be_the_shorter_the_lease() {
    for (drift_ppm_max, lasts_us) in [(0, 250_000), (10_000, 247_500), (500_000, 125_000)] {
        let lease = LeaseReads { drift_ppm_max }.lease_of(PROMISE);
        assert_eq!(lease, Duration::from_micros(lasts_us));
    }
}

#[test]
#[should_panic(expected = "does not last from heartbeat to heartbeat")]
fn a_lease_too_short_to_be_kept_is_no_option() {
    started(3, Some(LeaseReads { drift_ppm_max: 800_000 }));
}
