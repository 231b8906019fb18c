//! Who serves a read, and on which thread.
#![expect(clippy::disallowed_methods, reason = "these tests wait in real time")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use oarlock_rpc::codec::Wire;
use oarlock_storage::MemoryPersister;
use serde::{Deserialize, Serialize};

use super::ReadBy;
use crate::tests::{Add, Cluster, Counter};
use crate::{
    EntryId, Options, PeerId, Peers, ReadError, Replicated, ReplicatedOptions, RestoreError,
    StateMachine, Vouch,
};

const LONG: Duration = Duration::from_secs(10);

/// Applies a command when it is let, and notes how many it has applied.
struct Held {
    begun: Sender<()>,
    go_on: Receiver<()>,
    applied: usize,
}

#[derive(Serialize, Deserialize)]
struct Step;

impl Wire for Step {}

impl StateMachine for Held {
    type Command = Step;
    type Output = usize;

    fn apply(&mut self, _id: EntryId, _step: Step) -> usize {
        self.begun.send(()).expect("the test waits");
        let half = self.applied * 2;
        self.applied = usize::MAX;
        self.go_on.recv_timeout(LONG).expect("the test lets it");
        self.applied = half / 2 + 1;
        self.applied
    }

    fn snapshot(&self) -> Vec<u8> {
        Vec::new()
    }

    fn restore(&mut self, _snapshot: &[u8]) -> Result<(), RestoreError> {
        Ok(())
    }
}

/// What a look finds, and the name of the thread that it is on.
fn look(peer: &Replicated<Held>, is_brief: bool) -> Receiver<(usize, Option<String>)> {
    let (tell, told) = unbounded();
    let look = |state: &Held| (state.applied, thread::current().name().map(str::to_owned));
    let here = |state: &Held| is_brief.then(|| look(state));
    peer.look_with(here, look, move |found| drop(tell.send(found.expect("it runs"))));
    told
}

#[test]
fn a_brief_look_waits_for_no_thread_unless_something_is_being_applied() {
    let ((begun, has_begun), (let_go, go_on)) = (unbounded(), bounded(1));
    let machine = Held { begun, go_on, applied: 0 };
    let disk = Box::new(MemoryPersister::new());
    let options = ReplicatedOptions::default();
    let peer = Replicated::open(PeerId(0), Peers::new(), disk, machine, options).unwrap();
    peer.wait_for_leader((0, None), super::deadline_in(LONG));
    let here = thread::current().name().map(str::to_owned);
    let applier = Some("raft-0-applier".to_owned());
    // As soon as the applier is done with what an election leaves it to do.
    let deadline = super::deadline_in(LONG);
    while look(&peer, true).recv_timeout(LONG).unwrap() != (0, here.clone()) {
        assert!(oarlock_sync::now() < deadline, "it never looks by itself");
    }
    assert_eq!(look(&peer, false).recv_timeout(LONG).unwrap(), (0, applier.clone()));
    // In the middle of a command nobody sees half of it, nor waits for the rest.
    peer.submit_with(&Step, |_| {});
    has_begun.recv_timeout(LONG).unwrap();
    let looks = [look(&peer, true), look(&peer, false)];
    assert!(looks.iter().all(|told| told.try_recv().is_err()), "it saw half a command");
    let_go.send(()).unwrap();
    for told in looks {
        assert_eq!(told.recv_timeout(LONG).unwrap(), (1, applier.clone()));
    }
    peer.submit_with(&Step, |_| {});
    let_go.send(()).unwrap();
    has_begun.recv_timeout(LONG).unwrap();
    peer.read(|state| assert_eq!(state.applied, 2)).unwrap();
    assert_eq!(look(&peer, true).recv_timeout(LONG).unwrap().0, 2);
    peer.kill();
    for is_brief in [true, false] {
        let (tell, told) = unbounded();
        let here = |_: &Held| is_brief.then_some(());
        peer.look_with(here, |_| (), move |found| drop(tell.send(found)));
        assert!(matches!(told.try_recv().expect("at once"), Err(ReadError::Stopped(_))));
    }
}

#[test]
fn a_look_that_panics_stops_the_peer_on_whichever_thread_it_is() {
    for is_brief in [true, false] {
        let disk = Box::new(MemoryPersister::new());
        let options = ReplicatedOptions::default();
        let peer = Replicated::open(PeerId(0), Peers::new(), disk, Counter(0), options).unwrap();
        let looks = AssertUnwindSafe(|| {
            // Here as soon as the applier is done with what an election leaves it to do.
            while peer.raft().stopped().is_none() {
                let here = |_: &Counter| is_brief.then(|| panic!("a look"));
                let there = move |_: &Counter| assert!(is_brief, "a look");
                peer.look_with(here, there, |_| {});
                thread::sleep(Duration::from_millis(1));
            }
        });
        assert_eq!(catch_unwind(looks).is_err(), is_brief);
        let why = peer.raft().stopped().expect("it has stopped").to_string();
        let who = if is_brief { "a look at the state" } else { "thread raft-0-applier" };
        assert_eq!(why, format!("this peer has stopped: {who} panicked"));
        // Whoever kills it hears of the applier's panic.
        assert_eq!(catch_unwind(AssertUnwindSafe(|| peer.kill())).is_err(), !is_brief);
    }
}

/// Looks as long as it may take until it is on this thread, when dropped.
struct LooksWhenDropped<'a>(&'a Replicated<Counter>);

impl Drop for LooksWhenDropped<'_> {
    fn drop(&mut self) {
        let deadline = super::deadline_in(LONG);
        let mut found = None;
        while found.is_none() && oarlock_sync::now() < deadline {
            let here = |state: &Counter| {
                found = Some(state.0);
                found
            };
            self.0.look_with(here, |state| state.0, |_| {});
        }
        assert_eq!(found, Some(0));
    }
}

#[test]
fn a_look_amid_somebody_elses_panic_stops_nobody() {
    let disk = Box::new(MemoryPersister::new());
    let options = ReplicatedOptions::default();
    let peer = Replicated::open(PeerId(0), Peers::new(), disk, Counter(0), options).unwrap();
    let panics = AssertUnwindSafe(|| {
        let _looks = LooksWhenDropped(&peer);
        panic!("for another reason");
    });
    assert!(catch_unwind(panics).is_err());
    assert!(peer.raft().stopped().is_none());
    peer.kill();
}

/// Who serves a read that `vouch` came with: the leader, or whoever vouched.
fn served_by_voucher(cluster: &Cluster, leader: PeerId, vouch: Vouch) -> bool {
    let (tell, told) = unbounded();
    cluster.peers[&leader].read_vouched_with(vouch, move |by| {
        tell.send(matches!(by.expect("it leads"), ReadBy::Voucher)).unwrap();
    });
    told.recv_timeout(LONG).unwrap()
}

#[test]
fn a_follower_serves_what_it_has_applied_and_the_leader_what_it_has_not() {
    // So long that a busy machine elects nobody else meanwhile.
    let options = |_| Options {
        election_timeout: Duration::from_secs(1)..=Duration::from_millis(1500),
        ..Options::default()
    };
    let cluster = Cluster::with_options(3, None, options);
    let leader = cluster.leader();
    let answered = cluster.peers[&leader].submit(&Add(1)).unwrap();
    let (_, follower) = cluster.peers.iter().find(|(id, _)| **id != leader).expect("two of three");
    // It hears of the commit with the next heartbeat.
    let committed = cluster.peers[&leader].status().commit_index;
    let deadline = super::deadline_in(LONG);
    while follower.status().last_applied < committed {
        assert!(oarlock_sync::now() < deadline, "it never hears of the commit");
        thread::sleep(Duration::from_millis(1));
    }
    let (vouch, known) = follower.vouch();
    assert_eq!((known, vouch.applied), (Some(leader), committed));
    assert!(served_by_voucher(&cluster, leader, vouch));
    let found = {
        let (tell, told) = unbounded();
        let done = move |found: Result<_, _>| tell.send(found.unwrap()).unwrap();
        follower.look_with(|state| Some(state.0), |state| state.0, done);
        told.recv_timeout(LONG).unwrap()
    };
    assert_eq!(found, answered);
    assert!(!served_by_voucher(&cluster, leader, Vouch { applied: committed - 1, ..vouch }));
    assert!(!served_by_voucher(&cluster, leader, Vouch { applied: 0, ..vouch }));
    follower.kill();
    let (_, known) = follower.vouch();
    assert_eq!((known, follower.leader().1), (None, None), "another life may vote by now");
}
