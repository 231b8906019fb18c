//! Members that come and go, with real threads: under load, with others than the first ones left in
//! the end, with new ones that never answer.
#![expect(clippy::disallowed_methods, reason = "these tests wait in real time")]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::tests::{Add, Cluster};
use crate::{Change, ChangeError, ChangeState, Configuration, PeerId};

/// Far beyond what a change takes here.
const PATIENCE: Duration = Duration::from_secs(20);

fn set(ids: &[u64]) -> BTreeSet<PeerId> {
    ids.iter().copied().map(PeerId).collect()
}

/// Asks whoever leads until the change is made.
#[track_caller]
fn change(cluster: &Cluster, change: &Change) -> Configuration {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let leader = cluster.leader();
        match cluster.peers[&leader].change_membership(change, PATIENCE) {
            Ok(configuration) => return configuration,
            // It stepped down, or left, on the way.
            Err(ChangeError::NotLeader { .. } | ChangeError::Stopped(_)) => {}
            Err(error) => panic!("{change:?}: {error}"),
        }
        assert!(Instant::now() < deadline, "{change:?} takes longer than {PATIENCE:?}");
        std::thread::yield_now();
    }
}

struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn add_at_anybody(cluster: &Cluster) -> Option<u64> {
    cluster.peers.values().find_map(|peer| peer.submit(&Add(1)).ok())
}

#[test]
fn a_cluster_of_three_grows_to_five_and_shrinks_to_three_others_under_load() {
    let mut cluster = Cluster::new(3, Some(4000));
    for _ in 0..200 {
        cluster.add(1);
    }
    for id in 4..=7 {
        cluster.start_new(PeerId(id));
    }
    let answered = AtomicU64::new(200);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    let counted = add_at_anybody(&cluster).is_some();
                    answered.fetch_add(u64::from(counted), Ordering::SeqCst);
                }
            });
        }
        // Though an assertion fails: the scope waits for its threads.
        let _over = SetOnDrop(&over);
        let some_more_are_answered = || {
            let (before, deadline) = (answered.load(Ordering::SeqCst), Instant::now() + PATIENCE);
            while answered.load(Ordering::SeqCst) < before + 20 {
                assert!(Instant::now() < deadline, "no more than {before} are answered");
                std::thread::yield_now();
            }
        };
        some_more_are_answered();
        let five = Change::default().adding(PeerId(4), "").adding(PeerId(5), "");
        assert_eq!(change(&cluster, &five).voters(), &set(&[1, 2, 3, 4, 5]));
        some_more_are_answered();
        // The founders leave, the leader with them.
        let others = Change::default().adding(PeerId(6), "").removing(PeerId(1));
        assert_eq!(change(&cluster, &others).voters(), &set(&[2, 3, 4, 5, 6]));
        some_more_are_answered();
        let three = Change::default().adding(PeerId(7), "").removing(PeerId(2));
        let three = three.removing(PeerId(3)).removing(PeerId(4));
        assert_eq!(change(&cluster, &three).voters(), &set(&[5, 6, 7]));
        some_more_are_answered();
    });
    for id in [1, 2, 3, 4] {
        cluster.kill(PeerId(id));
    }
    let counted = cluster.add(0);
    let answered = answered.load(Ordering::SeqCst);
    // What was appended by a leader that left meanwhile may count without having been answered.
    assert!(counted >= answered, "{answered} were answered, {counted} are there");
    cluster.kill(PeerId(5));
    assert_eq!(cluster.add(1), counted + 1, "two of the three new ones are a majority");
}

#[test]
fn a_peer_that_was_removed_stops_and_says_why() {
    let mut cluster = Cluster::new(3, None);
    cluster.add(1);
    let leader = cluster.leader();
    let gone = *cluster.peers.keys().find(|&&id| id != leader).expect("three peers");
    let removed = cluster.peers[&gone].raft().stop_signal();
    change(&cluster, &Change::default().removing(gone));
    // It hears of it when it asks for votes.
    assert!(removed.recv_timeout(PATIENCE).is_err(), "nothing is ever sent");
    let why = cluster.peers[&gone].raft().stopped().expect("it stopped");
    assert!(why.to_string().contains("removed"), "{why}");
    cluster.kill(gone);
    assert_eq!(cluster.add(1), 2);
    let error = cluster.peers[&cluster.leader()]
        .change_membership(&Change::default().adding(gone, ""), PATIENCE);
    assert_eq!(error, Err(ChangeError::Retired { id: gone }));
}

#[test]
fn a_leader_that_removes_itself_leads_until_that_is_committed() {
    let mut cluster = Cluster::new(3, None);
    cluster.add(1);
    let leader = cluster.leader();
    let left = change(&cluster, &Change::default().removing(leader));
    assert!(!left.is_member(leader) && left.voters().len() == 2);
    cluster.kill(leader);
    assert_eq!(cluster.add(1), 2);
    assert_ne!(cluster.leader(), leader);
}

#[test]
fn a_new_member_that_never_answers_is_dropped_again() {
    let cluster = Cluster::new(3, None);
    cluster.add(1);
    let leader = &cluster.peers[&cluster.leader()];
    let before = leader.raft().configuration();
    let nobody = Change::default().adding(PeerId(9), "nowhere");
    let error = leader.change_membership(&nobody, Duration::from_millis(700));
    let Err(ChangeError::TimedOut { state, undone: true }) = error else {
        panic!("{error:?}");
    };
    let ChangeState::CatchingUp(behind) = *state else { panic!("{state}") };
    assert_eq!((behind.len(), behind[0].id, behind[0].match_index), (1, PeerId(9), 0));
    assert_eq!(leader.raft().configuration(), before);
    assert_eq!(cluster.add(1), 2);
}

#[test]
fn a_change_that_would_leave_no_majority_is_refused() {
    let mut cluster = Cluster::new(3, None);
    cluster.add(1);
    let leader = cluster.leader();
    let others: Vec<_> = cluster.peers.keys().copied().filter(|&id| id != leader).collect();
    cluster.kill(others[0]);
    let deadline = Instant::now() + PATIENCE;
    let without = Change::default().removing(others[1]);
    // Until the silence of the dead one is noticed, nothing is wrong with a vote of it.
    while cluster.peers[&leader].status().peers.iter().all(|p| p.last_contact.as_millis() < 600) {
        assert!(Instant::now() < deadline, "the dead peer is silent");
        std::thread::yield_now();
    }
    let error = cluster.peers[&leader].change_membership(&without, PATIENCE);
    assert_eq!(error, Err(ChangeError::Unreachable { voters: 2, reachable: 1 }));
    let everyone = Change { remove: set(&[1, 2, 3]), ..Change::default() };
    let error = cluster.peers[&leader].change_membership(&everyone, PATIENCE);
    assert_eq!(error, Err(ChangeError::NoVoters));
    // The dead one may go.
    change(&cluster, &Change::default().removing(others[0]));
    assert_eq!(cluster.add(1), 2);
}

#[test]
fn a_replaced_member_needs_no_more_than_its_successor_and_the_others() {
    let mut cluster = Cluster::new(3, None);
    cluster.add(1);
    let broken = cluster.leader();
    cluster.kill(broken);
    cluster.start_new(PeerId(4));
    let replaced = change(&cluster, &Change::default().adding(PeerId(4), "").removing(broken));
    assert!(replaced.is_voter(PeerId(4)) && replaced.is_retired(broken));
    cluster.settle();
    let second = cluster.leader();
    cluster.kill(second);
    assert_eq!(cluster.add(1), 2, "the new one and one of the old ones are a majority");
    // All of it survives restarts.
    cluster.kill(PeerId(4));
    cluster.start(PeerId(4));
    cluster.start(second);
    assert_eq!(cluster.add(1), 3);
    assert_eq!(cluster.peers[&PeerId(4)].raft().configuration(), replaced);
}
