//! Durable before spoken, with real threads: disks that only finish when they are told to.
//!
//! Goal: an answer comes after the sync of a majority, and never before. Method: three peers whose
//! persisters wait at a gate; commands are submitted while gates are closed, and the gates are
//! opened one by one.
#![expect(clippy::disallowed_methods, reason = "these tests wait in real time, and have a gate")]

use std::sync::Arc;
use std::time::Duration;

use oarlock_storage::{
    Batch, MemoryPersister, Persister, Recovered, Snapshot, SnapshotStage, StagedSnapshot,
    StorageError,
};
use parking_lot::{Condvar, Mutex};

use crate::PeerId;
use crate::tests::{Add, Cluster};

/// Long enough for a wrong answer to arrive; a right one is waited for without a limit of its own.
const A_WHILE: Duration = Duration::from_millis(150);

/// What a disk does with a sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    Open,
    /// It takes as long as the gate is closed.
    Closed,
    /// It fails.
    Broken,
}

/// A persister whose syncs wait at a gate.
#[derive(Clone)]
pub(crate) struct Gated {
    pub(crate) disk: MemoryPersister,
    gate: Arc<(Mutex<Gate>, Condvar)>,
}

impl Gated {
    pub(crate) fn new() -> Self {
        Self {
            disk: MemoryPersister::new(),
            gate: Arc::new((Mutex::new(Gate::Open), Condvar::new())),
        }
    }

    /// What a restarted peer finds: what was durable, behind a gate of its own.
    pub(crate) fn restarted(&self) -> Self {
        Self { disk: self.disk.copy(), ..Self::new() }
    }

    pub(crate) fn set(&self, gate: Gate) {
        *self.gate.0.lock() = gate;
        self.gate.1.notify_all();
    }

    fn pass(&self) -> Result<(), StorageError> {
        let mut gate = self.gate.0.lock();
        while *gate == Gate::Closed {
            self.gate.1.wait(&mut gate);
        }
        match *gate {
            Gate::Broken => Err(StorageError::Latched("the disk is broken".to_owned())),
            Gate::Open | Gate::Closed => Ok(()),
        }
    }
}

impl Persister for Gated {
    fn load(&mut self) -> Recovered {
        self.disk.load()
    }

    fn persist(&mut self, batch: &Batch) -> Result<(), StorageError> {
        self.pass()?;
        self.disk.persist(batch)
    }

    fn snapshot_stage(&self) -> Arc<dyn SnapshotStage> {
        self.disk.snapshot_stage()
    }

    fn save_state_and_snapshot(
        &mut self,
        batch: &Batch,
        staged: StagedSnapshot,
    ) -> Result<Snapshot, StorageError> {
        self.pass()?;
        self.disk.save_state_and_snapshot(batch, staged)
    }

    fn make_room(&mut self, batch: &Batch) -> Result<(), StorageError> {
        self.disk.make_room(batch)
    }

    fn has_room(&self) -> bool {
        self.disk.has_room()
    }

    fn raft_state_bytes(&self) -> u64 {
        self.disk.raft_state_bytes()
    }
}

fn followers(cluster: &Cluster, leader: PeerId) -> Vec<PeerId> {
    cluster.peers.keys().copied().filter(|&id| id != leader).collect()
}

#[test]
fn an_answer_waits_for_the_disks_of_a_majority() {
    let cluster = Cluster::new(3, None);
    cluster.add(1);
    let leader = cluster.leader();
    let others = followers(&cluster, leader);
    // Every choice of the one disk beside which a second makes a majority.
    for [first, second] in [[leader, others[0]], [others[0], others[1]], [others[1], leader]] {
        cluster.settle();
        let before = cluster.peers[&leader].status().last_index;
        cluster.disks.values().for_each(|disk| disk.set(Gate::Closed));
        let (tx, rx) = crossbeam_channel::bounded(1);
        cluster.peers[&leader].submit_with(&Add(1), move |answer| drop(tx.send(answer)));
        assert!(rx.recv_timeout(A_WHILE).is_err(), "answered, and no disk has it");
        cluster.disks[&first].set(Gate::Open);
        assert!(rx.recv_timeout(A_WHILE).is_err(), "answered, and only S{first} has it on disk");
        cluster.disks[&second].set(Gate::Open);
        let answer = rx.recv_timeout(Duration::from_secs(10)).expect("a majority has it");
        assert!(answer.is_ok(), "{answer:?}");
        let on_disk = |id: &PeerId| cluster.disks[id].disk.copy().load().entries.len() as u64;
        assert!([first, second].iter().all(|id| on_disk(id) > before), "both have it on disk");
        cluster.disks.values().for_each(|disk| disk.set(Gate::Open));
    }
}

#[test]
fn a_leader_with_a_slow_follower_disk_goes_on_leading() {
    let cluster = Cluster::new(3, None);
    cluster.add(1);
    let leader = cluster.leader();
    let (term, _) = cluster.peers[&leader].leader();
    for id in followers(&cluster, leader) {
        cluster.disks[&id].set(Gate::Closed);
    }
    let (tx, rx) = crossbeam_channel::bounded(1);
    cluster.peers[&leader].submit_with(&Add(1), move |answer| drop(tx.send(answer)));
    // Several election time-outs.
    assert!(rx.recv_timeout(Duration::from_secs(2)).is_err(), "no majority has it on disk");
    assert_eq!(cluster.peers[&leader].leader(), (term, Some(leader)), "heartbeats were answered");
    // Reads need no disk.
    assert_eq!(cluster.peers[&leader].read(|counter| counter.0), Ok(1));
    cluster.disks.values().for_each(|disk| disk.set(Gate::Open));
    assert_eq!(rx.recv_timeout(Duration::from_secs(10)).expect("an answer"), Ok(2));
}

#[test]
fn a_leader_whose_disk_stalls_gives_way() {
    let cluster = Cluster::new(3, None);
    cluster.add(1);
    let stalled = cluster.leader();
    cluster.disks[&stalled].set(Gate::Closed);
    assert_eq!(cluster.add(1), 2, "the others have it on disk");
    let other = &cluster.peers[&followers(&cluster, stalled)[0]];
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    let mut known = other.leader();
    while known.1.is_none_or(|id| id == stalled) {
        known = other.wait_for_leader(known, deadline);
        assert!(std::time::Instant::now() < deadline, "no other leader in 10 s");
    }
    assert_eq!(cluster.add(1), 3, "and its disk still stalls");
    cluster.disks[&stalled].set(Gate::Open);
    assert_eq!(cluster.add(1), 4);
}

#[test]
fn the_first_disk_error_stops_the_peer_and_tells_whoever_waits() {
    let cluster = Cluster::new(3, None);
    cluster.add(1);
    let leader = cluster.leader();
    for disk in cluster.disks.values() {
        disk.set(Gate::Closed);
    }
    let (tx, rx) = crossbeam_channel::bounded(1);
    cluster.peers[&leader].submit_with(&Add(1), move |answer| drop(tx.send(answer)));
    cluster.disks[&leader].set(Gate::Broken);
    let answer = rx.recv_timeout(Duration::from_secs(10)).expect("an answer");
    let error = answer.expect_err("it is on no disk");
    assert!(error.may_have_taken_effect() && error.to_string().contains("broken"), "{error}");
    assert!(cluster.peers[&leader].raft().stopped().is_some());
    // The others go on without it.
    cluster.disks.values().for_each(|disk| disk.set(Gate::Open));
    let rest = cluster.peers[&followers(&cluster, leader)[0]].clone();
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    let mut known = rest.leader();
    while known.1.is_none_or(|id| id == leader) {
        known = rest.wait_for_leader(known, deadline);
        assert!(std::time::Instant::now() < deadline, "no other leader in 10 s");
    }
}
