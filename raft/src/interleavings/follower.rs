//! Scenes with a follower: requests on network threads, answers that wait for the disk, those who
//! wait for a leader.

use std::sync::Arc;
use std::time::Duration;

use oarlock_rpc::codec::Wire;
use oarlock_rpc::{Awaited, Completion, End, Method, codec, promise};
use oarlock_sync::model::{deadlines_come_early, explore};
use oarlock_sync::thread;

use super::alone::{DiskOf, deadline_in};
use super::disk::{Disk, Platter};
use super::{List, PROMPTLY, Prompt, SCHEDULES, Told, options};
use crate::cluster::Peers;
use crate::message::{
    APPEND_ENTRIES, AppendEntriesArgs, AppendEntriesReply, AppendOutcome, REQUEST_VOTE,
    RequestVoteArgs, RequestVoteReply,
};
use crate::types::{Entry, EntryKind, Index};
use crate::{EntryId, PeerId, Replicated};

const TIMEOUT: Duration = Duration::from_secs(1);

/// Nobody is there.
struct Nowhere;

impl End for Nowhere {
    fn start(&self, _method: Method, _args: Vec<u8>, done: Completion) {
        drop(done);
    }
}

fn follower(disk: DiskOf, platter: &Platter) -> Replicated<List> {
    let nowhere = |id| (PeerId(id), Arc::new(Nowhere) as Arc<dyn End>);
    let peers = Peers::from([nowhere(2), nowhere(3)]);
    Replicated::open(PeerId(1), peers, Box::new(disk(platter)), List::default(), options())
        .expect("an empty disk opens")
}

/// An `AppendEntries` with the entries `from..=to` of term 1; the answer is on disk when it comes.
fn append(
    peer: &Replicated<List>,
    from: Index,
    to: Index,
    platter: &Platter,
    told: &Told,
    must_answer: bool,
) -> Awaited<()> {
    let entries = (from..=to).map(|index| Entry {
        id: EntryId::new(index, 1),
        tag: EntryKind::NoOp.tag(),
        data: Arc::<[u8]>::from([]).into(),
    });
    let prev_log = EntryId::new(from - 1, u64::from(from > 1));
    let args = AppendEntriesArgs {
        term: 1,
        leader_id: PeerId(2),
        prev_log,
        leader_commit: from - 1,
        entries: entries.collect(),
    };
    let (peer, platter, tell) = (peer.clone(), platter.clone(), told.expect());
    let service = peer.service();
    let (answered, answer) = promise();
    let done = Completion::new(move |reply| {
        // Whoever runs this holds no lock of the peer's.
        peer.status();
        tell();
        let _answered = answered;
        assert!(reply.is_some() || !must_answer, "not answered");
        let Some(reply) = reply.map(decode::<AppendEntriesReply>) else { return };
        let held = platter.held();
        assert_eq!(held.hard_state.current_term, 1, "the term is not on disk");
        if let AppendOutcome::Matched { index } = reply.outcome {
            assert!(held.last.index >= index, "{index} is not on disk");
        }
    });
    let bytes = codec::encode(&args).expect("it is short");
    service.handle(APPEND_ENTRIES.name, &bytes, done).expect("a known method");
    answer
}

fn decode<T: Wire>(bytes: Vec<u8>) -> T {
    codec::decode(&bytes).expect("a reply")
}

/// A candidate asks for our vote; the vote is on disk when it is given.
fn ask_for_vote(
    peer: &Replicated<List>,
    platter: &Platter,
    told: &Told,
    must_answer: bool,
) -> Awaited<()> {
    let (term, candidate_id) = (1, PeerId(2));
    let args = RequestVoteArgs {
        pre_vote: false,
        handed_over: false,
        term,
        candidate_id,
        last_log: EntryId::default(),
    };
    let (peer, platter, tell) = (peer.clone(), platter.clone(), told.expect());
    let service = peer.service();
    let (answered, answer) = promise();
    let done = Completion::new(move |reply| {
        // Whoever runs this holds no lock of the peer's.
        peer.status();
        tell();
        let _answered = answered;
        assert!(reply.is_some() || !must_answer, "not answered");
        let Some(reply) = reply.map(decode::<RequestVoteReply>) else { return };
        if reply.vote_granted {
            assert_eq!(platter.held().hard_state.voted_for, Some(2), "the vote is not on disk");
        }
    });
    let bytes = codec::encode(&args).expect("it is short");
    service.handle(REQUEST_VOTE.name, &bytes, done).expect("a known method");
    answer
}

/// Requests on three network threads. Where nobody kills the peer, all are answered without waiting
/// for a time-out.
pub(super) fn requests(disk: DiskOf, with_kill: bool) {
    let (platter, told) = (Platter::default(), Told::default());
    let peer = follower(disk, &platter);
    let prompt = Prompt::begin();
    let mut network = Vec::new();
    for nth in 0..3u64 {
        let (peer, platter, told) = (peer.clone(), platter.clone(), told.clone());
        network.push(thread::spawn(move || match nth {
            0 => vec![ask_for_vote(&peer, &platter, &told, !with_kill)],
            1 => vec![
                append(&peer, 1, 2, &platter, &told, !with_kill),
                append(&peer, 3, 3, &platter, &told, !with_kill),
            ],
            // The first ones again, which may come before them, or say nothing new.
            _ => vec![append(&peer, 1, 2, &platter, &told, !with_kill)],
        }));
    }
    if with_kill {
        peer.kill();
    }
    for thread in network {
        for answer in thread.join().expect("a network thread") {
            answer.wait();
        }
    }
    if !with_kill {
        assert_eq!(platter.held().last.index, 3);
        prompt.end();
        peer.kill();
    }
    told.check();
}

/// Somebody waits for a leader, and one shows itself; or the peer is killed.
pub(super) fn leader_awaited(with_leader: bool) {
    let (platter, told) = (Platter::default(), Told::default());
    let peer = follower(Disk::slow, &platter);
    let prompt = Prompt::begin();
    let waiter = thread::spawn({
        let peer = peer.clone();
        // A leader that shows itself once is forgotten after a time-out: then the wait ends as well.
        let deadline = deadline_in(TIMEOUT);
        move || peer.wait_for_leader((0, None), deadline)
    });
    if with_leader {
        let answer = append(&peer, 1, 1, &platter, &told, false);
        answer.wait();
        let known = waiter.join().expect("whoever waits");
        assert!(known == (1, Some(PeerId(2))) || deadlines_come_early());
        prompt.end();
        peer.kill();
    } else {
        peer.kill();
        waiter.join().expect("whoever waits");
        prompt.end();
    }
    told.check();
}

/// Entries in numbers: while the applier rests nobody wakes it, and at the end it has done all that
/// came.
pub(super) fn applier_rests(disk: DiskOf) {
    let (platter, told) = (Platter::default(), Told::default());
    let peer = follower(disk, &platter);
    // Each commits what is before it.
    for (from, to) in [(1, 2), (3, 4), (5, 5), (6, 6)] {
        append(&peer, from, to, &platter, &told, true).wait();
    }
    // Nobody else shows itself: this waits for longer than any rest.
    peer.wait_for_leader((1, Some(PeerId(2))), deadline_in(PROMPTLY));
    let applied = peer.raft().status().last_applied;
    assert!(applied == 5 || deadlines_come_early(), "applied {applied}");
    peer.kill();
    told.check();
}

#[test]
fn an_applier_that_rests_wakes_by_itself() {
    explore(SCHEDULES, || applier_rests(Disk::slow));
    explore(SCHEDULES, || applier_rests(Disk::instant));
}

#[test]
fn answers_wait_for_the_disk_and_for_nothing_else() {
    explore(SCHEDULES, || requests(Disk::slow, false));
}

#[test]
fn answers_wait_for_the_disk_where_whoever_queued_writes() {
    explore(SCHEDULES, || requests(Disk::instant, false));
}

#[test]
fn a_kill_drops_answers_that_wait() {
    explore(SCHEDULES, || requests(Disk::slow, true));
    explore(SCHEDULES, || requests(Disk::instant, true));
}

#[test]
fn whoever_waits_for_a_leader_is_woken() {
    explore(SCHEDULES, || leader_awaited(true));
    explore(SCHEDULES, || leader_awaited(false));
}
