//! The rules by themselves: commands through three peers that take turns in one thread, in virtual time, with
//! logs in memory and messages that are passed by hand. What is left is what the protocol costs.
//! And the codec, with the longest of these messages.
//!
//! `cargo bench -p oarlock-simulation --bench rules`

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use oarlock_raft::simulation::{Output, Peer, PeerOptions, Request};
use oarlock_raft::{Configuration, EntryId, Options, PeerId, RestoreError, StateMachine};
use oarlock_rpc::codec::{self, Wire};
use oarlock_storage::MemoryPersister;

/// What a small value of a key-value store looks like.
const COMMAND_BYTES: usize = 256;
/// How many commands come together.
const TOGETHER: [u64; 3] = [1, 16, 64];
/// How much later the next ones come.
const PAUSE: Duration = Duration::from_micros(100);
/// The log is compacted when it is as long.
const LOG_BYTES: u64 = 1 << 20;

#[derive(serde::Serialize, serde::Deserialize)]
struct Put(Vec<u8>);
impl Wire for Put {}

/// Counts the commands.
struct Count(u64);

impl StateMachine for Count {
    type Command = Put;
    type Output = u64;

    fn apply(&mut self, _id: EntryId, _put: Put) -> u64 {
        self.0 += 1;
        self.0
    }

    fn snapshot(&self) -> Vec<u8> {
        self.0.to_le_bytes().to_vec()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        let bytes = snapshot.try_into().map_err(|_| RestoreError("no count".to_owned()))?;
        self.0 = u64::from_le_bytes(bytes);
        Ok(())
    }
}

/// Three peers, of which the first leads.
struct Trio {
    peers: Vec<Peer<Count>>,
    now: Instant,
    /// Who asked, and under which number, by the number the asked one was given.
    calls: BTreeMap<u64, (usize, u64)>,
    last_call: u64,
    answered: Arc<AtomicU64>,
    /// The longest request seen.
    longest: Option<Request>,
}

impl Trio {
    fn start() -> Self {
        let now = Instant::now();
        let ids = [1, 2, 3].map(PeerId);
        let open = |id: PeerId| {
            let options = PeerOptions {
                raft: Options::default(),
                snapshot_log_bytes: Some(LOG_BYTES),
                order_seed: id.0,
            };
            let persister = Box::new(MemoryPersister::new());
            Peer::open(id, Configuration::of_voters(ids), persister, Count(0), options, now)
        };
        let peers = ids.into_iter().map(|id| open(id).expect("an empty peer starts")).collect();
        let (calls, answered) = (BTreeMap::new(), Arc::default());
        let mut trio = Self { peers, now, calls, last_call: 0, answered, longest: None };
        // Only the first looks at the clock, so nobody else campaigns.
        let command = encoded();
        while trio.answered.load(Ordering::Relaxed) == 0 {
            trio.now = trio.peers[0].wakes_at().expect("a timer runs");
            trio.peers[0].wake(trio.now);
            trio.run();
            trio.submit(&command);
            trio.run();
        }
        trio
    }

    fn submit(&mut self, command: &Arc<[u8]>) {
        let answered = Arc::clone(&self.answered);
        self.peers[0].submit_with(Arc::clone(command), self.now, move |answer| {
            if answer.is_ok() {
                answered.fetch_add(1, Ordering::Relaxed);
            }
        });
    }

    /// Submits `count` commands and goes on until all are answered.
    fn commit(&mut self, command: &Arc<[u8]>, count: u64) {
        self.now += PAUSE;
        let wanted = self.answered.load(Ordering::Relaxed) + count;
        for _ in 0..count {
            self.submit(command);
        }
        self.run();
        while self.answered.load(Ordering::Relaxed) < wanted {
            self.now = self.peers[0].wakes_at().expect("it gathers, or sends again").max(self.now);
            self.peers[0].wake(self.now);
            self.run();
        }
    }

    /// Does what the peers want done, until they want nothing.
    fn run(&mut self) {
        loop {
            let mut is_quiet = true;
            for at in 0..self.peers.len() {
                for output in self.peers[at].take_outputs() {
                    is_quiet = false;
                    self.perform(at, output);
                }
            }
            if is_quiet {
                return;
            }
        }
    }

    fn perform(&mut self, at: usize, output: Output) {
        let now = self.now;
        match output {
            Output::Call { to, call, request } => {
                self.last_call += 1;
                self.calls.insert(self.last_call, (at, call));
                let to = usize::try_from(to.0).expect("a small number") - 1;
                self.peers[to].handle(self.last_call, &request, now);
                if self.longest.as_ref().is_none_or(|longest| entries(longest) < entries(&request))
                {
                    self.longest = Some(request);
                }
            }
            Output::Answer { reply_to, reply } => {
                if let Some((caller, call)) = self.calls.remove(&reply_to) {
                    self.peers[caller].on_outcome(call, Some(&reply), now);
                }
            }
            Output::Write => self.peers[at].finish_write(now).expect("memory takes everything"),
            Output::WriteState => self.peers[at].finish_snapshot(now),
            Output::Silence { .. } | Output::Changed { .. } | Output::Removed => {}
        }
    }
}

/// How many entries a request brings.
fn entries(request: &Request) -> u64 {
    match request.asked() {
        oarlock_raft::simulation::Asked::Append { count, .. } => count,
        _ => 0,
    }
}

fn encoded() -> Arc<[u8]> {
    codec::encode(&Put(vec![7; COMMAND_BYTES])).expect("it is short").into()
}

fn rules(criterion: &mut Criterion) {
    let command = encoded();
    let mut group = criterion.benchmark_group("rules");
    for count in TOGETHER {
        let mut trio = Trio::start();
        group.throughput(Throughput::Elements(count));
        group.bench_function(BenchmarkId::new("commit", count), |bencher| {
            bencher.iter(|| trio.commit(&command, count));
        });
    }
    group.finish();
}

fn messages(criterion: &mut Criterion) {
    let mut trio = Trio::start();
    trio.commit(&encoded(), 64);
    let request = trio.longest.take().expect("something was sent");
    assert!(entries(&request) >= 16, "commands that come together are sent together");
    let mut group = criterion.benchmark_group("codec");
    group.throughput(Throughput::Elements(entries(&request)));
    group.bench_function("append, there and back", |bencher| {
        bencher.iter(|| black_box(&request).through_codec());
    });
    group.finish();
}

criterion_group!(benches, rules, messages);
criterion_main!(benches);
