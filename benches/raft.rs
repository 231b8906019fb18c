//! One write, from `submit` to its answer, and one read, through three peers in one process: on memory and on
//! disk, over the simulated network without faults, so that what is measured is ours. Further what a
//! call over that network takes by itself, and how several groups in one process share the machine.
//!
//! `cargo bench --bench raft`

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use oarlock::rpc::{End, Method, ReplySlot, Router, Service, UnknownMethod};
use oarlock::storage::{DiskOptions, DiskPersister, MemoryPersister, Persister};
use oarlock::{EntryId, PeerId, Replicated, ReplicatedOptions, RestoreError, StateMachine, Wire};
use oarlock_labrpc::Network;

/// What a small value of a key-value store looks like.
const COMMAND_BYTES: usize = 256;
const CALLERS: [u64; 3] = [1, 16, 64];
/// How many groups of three peers share the process, and how many callers each of them has.
const GROUPS: [usize; 3] = [1, 2, 4];
const CALLERS_OF_A_GROUP: u64 = 16;

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
                    (to, end as Arc<dyn End>)
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
            let service = Router::new().with("Raft", peer.service());
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

fn reads(criterion: &mut Criterion) {
    let cluster = Cluster::start(Medium::Memory);
    let leader = cluster.leader();
    leader.submit(&Put(vec![7; COMMAND_BYTES])).expect("a leader commits");
    let mut group = criterion.benchmark_group("read");
    group.throughput(Throughput::Elements(1));
    group.bench_function("latency", |bencher| {
        bencher.iter(|| leader.read(|last| last.0.len()).expect("a leader reads"));
    });
    group.finish();
}

/// Answers with what it was asked.
struct Echo;

impl Service for Echo {
    fn handle(&self, _method: &str, args: &[u8], reply: ReplySlot) -> Result<(), UnknownMethod> {
        reply.reply(args.to_vec());
        Ok(())
    }
}

fn calls(criterion: &mut Criterion) {
    let network = Network::new(1);
    let end = network.make_end("end");
    network.connect("end", 1);
    network.enable("end", true);
    network.add_server(1, Arc::new(Router::new().with("Echo", Arc::new(Echo))));
    let mut group = criterion.benchmark_group("labrpc");
    group.throughput(Throughput::Elements(1));
    group.bench_function("call", |bencher| {
        let echo = Method::urgent("Echo.Echo");
        bencher.iter(|| end.call(echo, vec![7; COMMAND_BYTES]).wait().expect("no faults"));
    });
    group.finish();
}

/// Groups that know nothing of each other: whatever they share limits them together.
fn groups(criterion: &mut Criterion) {
    for medium in [Medium::Memory, Medium::Disk] {
        let name = format!("groups/{medium:?}").to_lowercase();
        let mut group = criterion.benchmark_group(name);
        group.measurement_time(Duration::from_secs(3)).warm_up_time(Duration::from_secs(1));
        group.sample_size(20);
        for count in GROUPS {
            let clusters: Vec<Cluster> = (0..count).map(|_| Cluster::start(medium)).collect();
            let leaders: Vec<_> = clusters.iter().map(Cluster::leader).collect();
            // Of each of them: the rate is that of all together.
            group.throughput(Throughput::Elements(count as u64));
            group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
                bencher.iter_custom(|writes| {
                    let start = Instant::now();
                    std::thread::scope(|scope| {
                        for leader in &leaders {
                            scope.spawn(|| closed_loop(leader, CALLERS_OF_A_GROUP, writes));
                        }
                    });
                    start.elapsed()
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, writes, reads, calls, groups);
criterion_main!(benches);
