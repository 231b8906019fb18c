//! One write, from `submit` to its answer, through three peers in one process: on memory and on
//! disk, over the simulated network without faults, so that what is measured is ours.
//!
//! `cargo bench --bench raft`

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use oarlock::storage::{DiskOptions, DiskPersister, MemoryPersister, Persister};
use oarlock::{EntryId, PeerId, Replicated, ReplicatedOptions, RestoreError, StateMachine, Wire};
use oarlock_labrpc::Network;

/// What a small value of a key-value store looks like.
const COMMAND_BYTES: usize = 256;
const CALLERS: [u64; 3] = [1, 16, 64];

#[derive(serde::Serialize, serde::Deserialize)]
struct Put(Vec<u8>);
impl Wire for Put {}

/// Keeps the last command only: the bench is about what is before it.
#[derive(Default)]
struct Last(Vec<u8>);

impl StateMachine for Last {
    type Command = Put;
    type Output = usize;

    fn apply(&mut self, _id: EntryId, Put(value): Put) -> usize {
        self.0 = value;
        self.0.len()
    }

    fn snapshot(&self) -> Vec<u8> {
        self.0.clone()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        self.0 = snapshot.to_vec();
        Ok(())
    }
}

#[derive(Clone, Copy, Debug)]
enum Medium {
    Memory,
    Disk,
}

/// Three peers and whatever they stand on.
struct Cluster {
    peers: Vec<Replicated<Last>>,
    _network: Network,
    _dirs: Vec<tempfile::TempDir>,
}

impl Cluster {
    fn start(medium: Medium) -> Self {
        let network = Network::new(1);
        let ids = [1, 2, 3].map(PeerId);
        let mut dirs = Vec::new();
        let mut peers = Vec::new();
        for id in ids {
            let ends: BTreeMap<_, _> = ids
                .into_iter()
                .filter(|&to| to != id)
                .map(|to| {
                    let name = format!("{id}-{to}");
                    let end = network.make_end(&name);
                    network.connect(&name, to);
                    network.enable(&name, true);
                    (to, end as Arc<dyn oarlock::rpc::End>)
                })
                .collect();
            let persister: Box<dyn Persister> = match medium {
                Medium::Memory => Box::new(MemoryPersister::new()),
                Medium::Disk => {
                    let dir = tempfile::tempdir().expect("a temporary directory");
                    let options = DiskOptions { cluster_id: Some(1), ..DiskOptions::new(id.0) };
                    let persister = DiskPersister::open(dir.path(), options).expect("an empty one");
                    dirs.push(dir);
                    Box::new(persister)
                }
            };
            let options = ReplicatedOptions::default();
            let peer = Replicated::open(id, ends, persister, Last::default(), options)
                .expect("an empty peer starts");
            let service = oarlock::rpc::Router::new().with("Raft", peer.service());
            network.add_server(id, Arc::new(service));
            peers.push(peer);
        }
        Self { peers, _network: network, _dirs: dirs }
    }

    fn leader(&self) -> &Replicated<Last> {
        let deadline = Instant::now() + Duration::from_secs(10);
        let (_, leader) = self.peers[0].wait_for_leader((0, None), deadline);
        let leader = leader.expect("a leader within 10 s");
        &self.peers[leader.0 as usize - 1]
    }
}

/// The time `count` writes take from `callers` threads that each wait for their answers.
fn closed_loop(leader: &Replicated<Last>, callers: u64, count: u64) -> Duration {
    let left = AtomicU64::new(count);
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..callers {
            scope.spawn(|| {
                let put = Put(vec![7; COMMAND_BYTES]);
                while left
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1))
                    .is_ok()
                {
                    assert_eq!(leader.submit(&put).expect("a leader commits"), COMMAND_BYTES);
                }
            });
        }
    });
    start.elapsed()
}

fn writes(criterion: &mut Criterion) {
    for medium in [Medium::Memory, Medium::Disk] {
        let cluster = Cluster::start(medium);
        let leader = cluster.leader();
        let name = format!("write/{medium:?}").to_lowercase();
        let mut group = criterion.benchmark_group(name);
        group.measurement_time(Duration::from_secs(3)).warm_up_time(Duration::from_secs(1));
        group.sample_size(20).throughput(Throughput::Elements(1));
        let put = Put(vec![7; COMMAND_BYTES]);
        group.bench_function("latency", |bencher| {
            bencher.iter(|| leader.submit(&put).expect("a leader commits"));
        });
        for callers in CALLERS {
            let id = BenchmarkId::new("throughput", callers);
            group.bench_function(id, |bencher| {
                bencher.iter_custom(|count| closed_loop(leader, callers, count));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, writes);
criterion_main!(benches);
