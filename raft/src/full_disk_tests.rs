//! Disks without room, with real threads: who leads, what is refused, and that all of it ends by
//! itself.
#![expect(clippy::disallowed_methods, reason = "these tests wait in real time")]

use std::time::{Duration, Instant};

use oarlock_storage::{MemoryRoom, Persister};

use crate::tests::{Add, Cluster};
use crate::{PeerId, SubmitError};

/// Far beyond what any of this takes.
const PATIENCE: Duration = Duration::from_secs(20);

#[track_caller]
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        std::thread::yield_now();
    }
}

fn set_all(cluster: &Cluster, room: MemoryRoom) {
    cluster.disks.values().for_each(|disk| disk.disk.set_room(room));
}

/// The value, read at whoever leads.
fn read(cluster: &Cluster) -> u64 {
    let mut value = None;
    wait_until("a read", || {
        value = cluster.peers.values().find_map(|peer| peer.read(|counter| counter.0).ok());
        value.is_some()
    });
    value.expect("it was just read")
}

/// Submits at every peer until one says that there is no room; adds up what was accepted before.
fn refused(cluster: &Cluster) -> u64 {
    let mut accepted = 0;
    wait_until("a refusal", || {
        cluster.peers.values().any(|peer| match peer.submit(&Add(1)) {
            Ok(_) => {
                accepted += 1;
                false
            }
            Err(error) => {
                assert!(!error.may_have_taken_effect(), "{error}");
                error == SubmitError::NoSpace
            }
        })
    });
    accepted
}

#[test]
fn when_all_disks_are_full_writes_are_refused_and_reads_go_on() {
    let mut cluster = Cluster::new(3, None);
    let mut expected = cluster.add(1);
    for room in [MemoryRoom::Reserve, MemoryRoom::Reserve] {
        set_all(&cluster, room);
        expected += refused(&cluster);
        assert_eq!(read(&cluster), expected);
        // Somebody else is elected, and serves reads, from the reserve.
        let leader = cluster.leader();
        cluster.kill(leader);
        assert_eq!(read(&cluster), expected);
        expected += refused(&cluster);
        cluster.start(leader);
        set_all(&cluster, MemoryRoom::Enough);
        expected += 1;
        assert_eq!(cluster.add(1), expected);
        assert_eq!(read(&cluster), expected);
    }
}

#[test]
fn a_leader_without_room_gives_way_to_a_peer_that_has_some() {
    let cluster = Cluster::new(3, None);
    let mut expected = cluster.add(1);
    for room in [MemoryRoom::Reserve, MemoryRoom::NoEntries] {
        let leader = cluster.leader();
        cluster.disks[&leader].disk.set_room(room);
        let mut writes = 0;
        wait_until("another leader", || {
            if let Some(Ok(_)) =
                cluster.peers.values().map(|p| p.submit(&Add(1))).find(Result::is_ok)
            {
                writes += 1;
            }
            let others = cluster.peers.iter().filter(|(id, _)| **id != leader);
            others.map(|(_, peer)| peer.leader().1).all(|now| now.is_some_and(|id| id != leader))
        });
        expected += writes + 1;
        assert_eq!(cluster.add(1), expected);
        let new = cluster.leader();
        assert_ne!(new, leader);
        // It does not come back to lead as long as it is full.
        std::thread::sleep(Duration::from_secs(2));
        assert_ne!(cluster.leader(), leader);
        cluster.disks[&leader].disk.set_room(MemoryRoom::Enough);
        expected += 1;
        assert_eq!(cluster.add(1), expected);
        cluster.settle();
    }
}

#[test]
fn a_follower_without_room_gets_nothing_more_and_catches_up_later() {
    let cluster = Cluster::new(3, None);
    cluster.add(1);
    cluster.settle();
    let leader = cluster.leader();
    let full = *cluster.peers.keys().find(|&&id| id != leader).expect("three peers");
    cluster.disks[&full].disk.set_room(MemoryRoom::Reserve);
    let has_room = |id: PeerId| cluster.peers[&id].status().has_room;
    // It is looked at with the next write.
    let mut written = 1;
    wait_until("it is noticed", || {
        written = cluster.add(1);
        !has_room(full)
    });
    let before = cluster.peers[&full].status().last_index;
    let last = (0..500).map(|_| cluster.add(1)).max();
    assert_eq!(last, Some(written + 500));
    let grown = cluster.peers[&full].status().last_index - before;
    assert!(grown < 100, "its log grew by {grown} entries");
    assert!(cluster.peers[&full].leader().1.is_some(), "it goes on following");
    cluster.disks[&full].disk.set_room(MemoryRoom::Enough);
    wait_until("it has all", || {
        let [its, leaders] = [full, cluster.leader()].map(|id| cluster.peers[&id].status());
        its.last_applied == leaders.commit_index
    });
}

#[test]
fn what_has_no_room_is_not_acknowledged_before_it_has() {
    let cluster = Cluster::new(3, None);
    cluster.add(1);
    cluster.settle();
    let leader = cluster.leader();
    // Not noticed before the next write, which so comes too late to be refused.
    set_all(&cluster, MemoryRoom::NoEntries);
    let (tx, rx) = crossbeam_channel::bounded(1);
    cluster.peers[&leader].submit_with(&Add(1), move |answer| drop(tx.send(answer)));
    wait_until("it is noticed", || !cluster.peers[&leader].status().has_room);
    assert!(rx.recv_timeout(Duration::from_secs(1)).is_err(), "it is on no disk");
    assert_eq!(read(&cluster), 1);
    assert_eq!(refused(&cluster), 0);
    set_all(&cluster, MemoryRoom::Enough);
    assert_eq!(rx.recv_timeout(PATIENCE), Ok(Ok(2)));
    assert_eq!(cluster.add(1), 3);
}

#[test]
fn votes_are_cast_while_entries_wait() {
    let mut cluster = Cluster::new(3, None);
    cluster.add(1);
    cluster.settle();
    let leader = cluster.leader();
    let term = cluster.peers[&leader].leader().0;
    let voters: Vec<PeerId> = cluster.peers.keys().copied().filter(|&id| id != leader).collect();
    for id in &voters {
        cluster.disks[id].disk.set_room(MemoryRoom::NoEntries);
    }
    cluster.peers[&leader].submit_with(&Add(1), drop);
    wait_until("both have an entry that waits", || {
        voters.iter().all(|id| !cluster.peers[id].status().has_room)
    });
    cluster.kill(leader);
    wait_until("one of them is elected", || {
        cluster.peers[&voters[0]].leader().1.is_some_and(|id| voters.contains(&id))
    });
    let on_disk = |id: &PeerId| cluster.disks[id].disk.copy().load().hard_state.current_term;
    assert!(voters.iter().all(|id| on_disk(id) > term), "the vote is on disk");
    for id in &voters {
        cluster.disks[id].disk.set_room(MemoryRoom::Enough);
    }
    // The entry was on both of their logs.
    assert_eq!(cluster.add(1), 3);
}

#[test]
fn a_full_disk_is_emptied_by_a_snapshot() {
    // The limit alone would never take one.
    let cluster = Cluster::new(3, Some(1 << 30));
    let last = (0..300).map(|_| cluster.add(1)).max();
    cluster.settle();
    set_all(&cluster, MemoryRoom::Reserve);
    let accepted = refused(&cluster);
    wait_until("snapshots", || cluster.peers.values().all(|peer| peer.status().first_index > 300));
    set_all(&cluster, MemoryRoom::Enough);
    assert_eq!(Some(cluster.add(1)), last.map(|last| last + accepted + 1));
}
