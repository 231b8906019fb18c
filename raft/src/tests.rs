//! Whole peers with their threads, in one process: three counters over a network that delivers at
//! once, or not at all.
#![expect(clippy::disallowed_methods, reason = "these tests wait in real time")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use oarlock_rpc::codec::Wire;
use oarlock_rpc::{Completion, End, Method, Service};
use oarlock_storage::Persister;
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};

use crate::durability_tests::{Gate, Gated};
use crate::{
    Configuration, Connect, EntryId, Options, PeerId, ReadError, Replicated, ReplicatedOptions,
    RestoreError, StateMachine, SubmitError,
};

#[derive(Serialize, Deserialize)]
pub(crate) struct Add(pub(crate) u64);

impl Wire for Add {}

#[derive(Default)]
pub(crate) struct Counter(pub(crate) u64);

impl StateMachine for Counter {
    type Command = Add;
    type Output = u64;

    fn apply(&mut self, _id: EntryId, Add(n): Add) -> u64 {
        self.0 += n;
        self.0
    }

    fn snapshot(&self) -> Vec<u8> {
        self.0.to_le_bytes().to_vec()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        let bytes = snapshot.try_into().map_err(|_| RestoreError("not 8 bytes".to_owned()))?;
        self.0 = u64::from_le_bytes(bytes);
        Ok(())
    }
}

/// Where each peer's service is; none while it is down.
type Wires = Arc<RwLock<BTreeMap<PeerId, Arc<dyn Service>>>>;

/// Calls the other side's service on the caller's own thread.
struct DirectEnd {
    wires: Wires,
    to: PeerId,
    cut: Arc<AtomicBool>,
}

impl End for DirectEnd {
    fn start(&self, method: Method, args: Vec<u8>, done: Completion) {
        let service = self.wires.read().get(&self.to).cloned();
        if let Some(service) = service.filter(|_| !self.cut.load(Ordering::SeqCst)) {
            service.handle(method.name, &args, done).expect("a known method");
        }
    }
}

/// Reaches whoever there is, now or later.
struct Wired {
    wires: Wires,
    cut: Arc<AtomicBool>,
}

impl Connect for Wired {
    fn connect(&self, to: PeerId, _address: &str) -> Option<Arc<dyn End>> {
        let (wires, cut) = (Arc::clone(&self.wires), Arc::clone(&self.cut));
        Some(Arc::new(DirectEnd { wires, to, cut }))
    }
}

pub(crate) struct Cluster {
    wires: Wires,
    founders: Configuration,
    pub(crate) disks: BTreeMap<PeerId, Gated>,
    cuts: BTreeMap<PeerId, Arc<AtomicBool>>,
    pub(crate) peers: BTreeMap<PeerId, Replicated<Counter>>,
    snapshot_log_bytes: Option<u64>,
    options: fn(PeerId) -> Options,
}

impl Cluster {
    pub(crate) fn new(size: u64, snapshot_log_bytes: Option<u64>) -> Self {
        Self::with_options(size, snapshot_log_bytes, |_| Options::default())
    }

    pub(crate) fn with_options(
        size: u64,
        snapshot_log_bytes: Option<u64>,
        options: fn(PeerId) -> Options,
    ) -> Self {
        let ids = (1..=size).map(PeerId);
        let mut cluster = Self {
            wires: Wires::default(),
            founders: Configuration::of_voters(ids.clone()),
            disks: ids.clone().map(|id| (id, Gated::new())).collect(),
            cuts: ids.clone().map(|id| (id, Arc::default())).collect(),
            peers: BTreeMap::new(),
            snapshot_log_bytes,
            options,
        };
        for id in ids {
            cluster.start(id);
        }
        cluster
    }

    /// A new peer, which knows nobody until a leader contacts it.
    pub(crate) fn start_new(&mut self, id: PeerId) {
        self.disks.insert(id, Gated::new());
        self.cuts.insert(id, Arc::default());
        self.start(id);
    }

    pub(crate) fn start(&mut self, id: PeerId) {
        let is_founder = self.founders.is_voter(id);
        let cluster = crate::Cluster {
            initial: if is_founder { self.founders.clone() } else { Configuration::default() },
            connect: Arc::new(Wired {
                wires: Arc::clone(&self.wires),
                cut: Arc::clone(&self.cuts[&id]),
            }),
        };
        // A restart finds what was durable, and what the old peer still writes does not reach it.
        let disk = self.disks[&id].restarted();
        let options = ReplicatedOptions {
            raft: (self.options)(id),
            snapshot_log_bytes: self.snapshot_log_bytes,
            snapshot_log_bytes_max: 0,
            timeout: Duration::from_secs(10),
        };
        let peer =
            Replicated::open_in(id, cluster, Box::new(disk.clone()), Counter::default(), options)
                .expect("a memory persister opens");
        self.wires.write().insert(id, peer.service());
        self.disks.insert(id, disk);
        self.peers.insert(id, peer);
    }

    /// Nothing reaches it any more until what this returns is given to [`listen`](Self::listen).
    pub(crate) fn deafen(&self, id: PeerId) -> Arc<dyn Service> {
        self.wires.write().remove(&id).expect("it runs")
    }

    pub(crate) fn listen(&self, id: PeerId, service: Arc<dyn Service>) {
        self.wires.write().insert(id, service);
    }

    pub(crate) fn kill(&mut self, id: PeerId) {
        self.wires.write().remove(&id);
        if let Some(peer) = self.peers.remove(&id) {
            peer.kill();
        }
    }

    /// Submits at whoever leads, until it is answered.
    pub(crate) fn add(&self, n: u64) -> u64 {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            for peer in self.peers.values() {
                match peer.submit(&Add(n)) {
                    Ok(value) => return value,
                    Err(error) => assert!(!error.may_have_taken_effect(), "{error}"),
                }
            }
            assert!(Instant::now() < deadline, "no leader in 10 s");
            std::thread::yield_now();
        }
    }

    pub(crate) fn leader(&self) -> PeerId {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let running = self.peers.values().filter(|peer| peer.raft().stopped().is_none());
            // Somebody leads if it says so itself: who left may not have heard of it.
            let leads = |peer: &&Replicated<Counter>| peer.raft().get_state().1;
            let latest = running.filter(leads).max_by_key(|peer| peer.raft().get_state().0);
            if let Some(peer) = latest {
                return peer.status().id;
            }
            assert!(Instant::now() < deadline, "no leader within 10 s");
            std::thread::yield_now();
        }
    }

    /// Waits until every running peer has applied what the leader has committed.
    pub(crate) fn settle(&self) {
        let deadline = Instant::now() + Duration::from_secs(10);
        let commit = self.peers.values().map(|p| p.status().commit_index).max().expect("peers");
        while self.peers.values().any(|peer| peer.status().last_applied < commit) {
            assert!(Instant::now() < deadline, "peers are not level after 10 s");
            std::thread::yield_now();
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // A log writer that waits at a gate could not be joined.
        self.disks.values().for_each(|disk| disk.set(Gate::Open));
    }
}

#[test]
fn one_peer_alone_is_a_cluster() {
    let cluster = Cluster::new(1, None);
    assert_eq!((1..=100).map(|_| cluster.add(1)).max(), Some(100));
    assert_eq!(cluster.peers[&PeerId(1)].read(|counter| counter.0), Ok(100));
}

#[test]
fn commands_from_many_threads_are_each_applied_once_everywhere() {
    let cluster = Cluster::new(3, None);
    cluster.add(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..100).map(|_| cluster.add(1)).max());
        }
    });
    assert_eq!(cluster.peers[&cluster.leader()].read(|counter| counter.0), Ok(800));
    assert_eq!(cluster.add(0), 800);
}

#[test]
fn a_new_leader_has_everything_that_was_answered() {
    let mut cluster = Cluster::new(3, None);
    for round in 1..=5 {
        assert_eq!(cluster.add(1), round);
        let leader = cluster.leader();
        cluster.kill(leader);
        assert_eq!(cluster.add(0), round);
        cluster.start(leader);
    }
}

#[test]
fn all_peers_killed_at_once_come_back_with_everything_that_was_answered() {
    let mut cluster = Cluster::new(3, Some(2000));
    for round in 1..=3 {
        assert_eq!((0..100).map(|_| cluster.add(1)).max(), Some(round * 100));
        let ids: Vec<_> = cluster.peers.keys().copied().collect();
        for &id in &ids {
            cluster.kill(id);
        }
        for &id in &ids {
            cluster.start(id);
        }
    }
    assert_eq!(cluster.add(0), 300);
}

#[test]
fn a_peer_that_slept_through_the_log_gets_a_snapshot() {
    let mut cluster = Cluster::new(3, Some(2000));
    cluster.add(1);
    let leader = cluster.leader();
    let sleeper = *cluster.peers.keys().find(|&&id| id != leader).expect("three peers");
    cluster.kill(sleeper);
    let before = cluster.disks[&sleeper].raft_state_bytes();
    assert_eq!((0..500).map(|_| cluster.add(1)).max(), Some(501));
    cluster.start(sleeper);
    cluster.settle();
    let status = cluster.peers[&sleeper].status();
    assert!(status.first_index > 400, "caught up by log, not by snapshot: {status:?}");
    assert!(cluster.disks[&sleeper].raft_state_bytes() < before + 4000);
    assert_eq!(cluster.add(0), 501);
}

#[test]
fn a_leader_that_is_cut_off_serves_no_reads_and_its_commands_have_no_effect() {
    let cluster = Cluster::new(3, None);
    cluster.add(7);
    let old = cluster.leader();
    let (other, _) = cluster.peers.iter().find(|(id, _)| **id != old).expect("three peers");
    // Neither its calls nor those to it arrive.
    let service = cluster.deafen(old);
    cluster.cuts[&old].store(true, Ordering::SeqCst);
    // More than the log of the new leader ever gets: none must wait for it to grow as long.
    let (tx, rx) = crossbeam_channel::bounded(10);
    for _ in 0..10 {
        let tx = tx.clone();
        cluster.peers[&old].submit_with(&Add(1000), move |answer| drop(tx.send(answer)));
    }
    let read = cluster.peers[&old].read(|counter| counter.0);
    assert!(matches!(read, Err(ReadError::NotLeader { .. })), "{read:?}");

    let deadline = Instant::now() + Duration::from_secs(10);
    let mut known = (0, None);
    while known.1.is_none_or(|leader| leader == old) {
        known = cluster.peers[other].wait_for_leader(known, deadline);
        assert!(Instant::now() < deadline, "no other leader in 10 s");
    }
    assert_eq!(cluster.add(1), 8);
    assert!(rx.try_recv().is_err(), "its fate cannot be known yet");
    cluster.listen(old, service);
    cluster.cuts[&old].store(false, Ordering::SeqCst);
    for _ in 0..10 {
        assert_eq!(rx.recv_timeout(Duration::from_secs(10)), Ok(Err(SubmitError::Superseded)));
    }
}

#[test]
fn a_killed_peer_answers_whoever_waits() {
    let mut cluster = Cluster::new(3, None);
    cluster.add(1);
    let leader = cluster.leader();
    let ids: Vec<_> = cluster.peers.keys().copied().filter(|&id| id != leader).collect();
    for &id in &ids {
        cluster.kill(id);
    }
    let peer = cluster.peers[&leader].clone();
    let waiter = std::thread::spawn(move || peer.submit(&Add(1)));
    while cluster.peers[&leader].status().last_index == cluster.peers[&leader].status().commit_index
    {
        std::thread::yield_now();
    }
    cluster.kill(leader);
    let answer = waiter.join().expect("no panic");
    assert!(matches!(answer, Err(SubmitError::Stopped { id: Some(_), .. })), "{answer:?}");
}

#[test]
fn commands_submitted_together_are_appended_together_and_answered_in_order() {
    let cluster = Cluster::new(3, None);
    cluster.add(0);
    let leader = cluster.leader();
    let (tx, rx) = crossbeam_channel::unbounded();
    // Longer than what any thread that comes by sends, so that the replication threads have a part.
    let commands: Vec<Add> = (0..1000).map(|_| Add(1)).collect();
    for _ in 0..5 {
        let tx = tx.clone();
        let peer = &cluster.peers[&leader];
        peer.submit_all_with(&commands, move |nth, answer| drop(tx.send((nth, answer))));
    }
    for count in 0..5000 {
        let answer = rx.recv_timeout(Duration::from_secs(10));
        assert_eq!(answer, Ok((count % 1000, Ok(count as u64 + 1))));
    }
    let follower = cluster.peers.iter().find(|(id, _)| **id != leader).expect("three peers").1;
    follower.submit_all_with(&commands[..2], move |nth, answer| drop(tx.send((nth, answer))));
    for nth in 0..2 {
        let (refused, answer) = rx.recv_timeout(Duration::from_secs(10)).expect("an answer");
        assert!(matches!((refused, &answer), (n, Err(SubmitError::NotLeader { .. })) if n == nth));
    }
    let (tx, rx) = crossbeam_channel::unbounded();
    cluster.peers[&leader].kill();
    let peer = &cluster.peers[&leader];
    peer.submit_all_with(&commands[..2], move |nth, answer| drop(tx.send((nth, answer))));
    for nth in 0..2 {
        let (refused, answer) = rx.recv_timeout(Duration::from_secs(10)).expect("an answer");
        let is_told = matches!(answer, Err(SubmitError::Stopped { id: None, .. }));
        assert!(is_told && refused == nth, "{refused}: {answer:?}");
    }
}
