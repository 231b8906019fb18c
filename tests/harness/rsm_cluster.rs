//! A cluster of replicated counters, on the interface that most people want: `StateMachine` and
//! `submit`.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use oarlock_raft::{
    EntryId, Options, PeerId, Replicated, ReplicatedOptions, RestoreError, StateMachine,
    SubmitError,
};
use oarlock_rpc::codec::Wire;
use oarlock_rpc::{Router, Service};
use serde::{Deserialize, Serialize};

use super::raft_checks::wait_pauses;
use super::report::{Counters, Report};
use super::servers::{Origin, Peer, Servers};

/// How long one `submit` waits: beyond every bound of the tests, so that none of them passes because
/// a call gave up.
const SUBMIT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long [`RsmCluster::try_submit`] tries,
const TRY_MAX: Duration = Duration::from_secs(10);
/// and how long it sleeps when it has asked every server.
const TRY_PAUSE: Duration = Duration::from_millis(50);

/// What the tests submit. The answer is the count afterwards.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Op {
    /// Counts one up.
    Inc,
    /// Must never be executed: it stands for what no majority has agreed on.
    Dec,
    /// Changes nothing.
    Null,
}

impl Wire for Op {
    const MAX_BYTES: usize = 16;
}

/// The state machine of server `server`.
struct Counter {
    server: usize,
    /// Shared with the test, which looks at each server's own.
    count: Arc<AtomicU64>,
}

impl StateMachine for Counter {
    type Command = Op;
    type Output = u64;

    fn apply(&mut self, id: EntryId, op: Op) -> u64 {
        match op {
            Op::Inc => self.count.fetch_add(1, Ordering::SeqCst) + 1,
            Op::Dec => panic!("S{} executed a Dec, at {id}", self.server),
            Op::Null => self.count.load(Ordering::SeqCst),
        }
    }

    fn snapshot(&self) -> Vec<u8> {
        self.count.load(Ordering::SeqCst).to_le_bytes().to_vec()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        let bytes = snapshot.try_into().map_err(|_| RestoreError("not 8 bytes".to_owned()))?;
        self.count.store(u64::from_le_bytes(bytes), Ordering::SeqCst);
        Ok(())
    }
}

/// The cluster of one test. Ends with [`RsmCluster::end`].
pub(crate) struct RsmCluster {
    maxraftstate: Option<u64>,
    /// Who answered last.
    last_leader: AtomicUsize,
    operations: AtomicU64,
    report: Report,
    servers: Servers<RsmPeer>,
}

impl RsmCluster {
    /// Starts and connects `n` servers on a reliable network. They take a snapshot when their Raft
    /// state has more than `maxraftstate` bytes; `None` forbids it.
    pub(crate) fn new(name: &'static str, n: usize, maxraftstate: Option<u64>) -> Self {
        let servers = Servers::new(name, n, true);
        let cluster = Self {
            maxraftstate,
            last_leader: AtomicUsize::new(0),
            operations: AtomicU64::new(0),
            report: Report::begin(name, n, servers.seed, Counters::default()),
            servers,
        };
        cluster.start_all();
        cluster
    }

    /// The test has passed, if what it leaves is in order: no `Dec` was executed, no thread lives
    /// on.
    pub(crate) fn end(self) {
        let rpcs = self.network.total_count();
        let ops = self.operations.load(Ordering::SeqCst);
        self.servers.end();
        self.report.kv_passed(Counters { rpcs, ops, ..Counters::default() });
    }

    /// Starts all servers from what they had persisted, and connects them.
    pub(crate) fn start_all(&self) {
        (0..self.n).for_each(|i| self.start_server(i));
        self.connect_each(0..self.n);
    }

    /// Shuts all servers down.
    pub(crate) fn shutdown_all(&self) {
        (0..self.n).for_each(|i| self.crash1(i));
    }

    /// Who executed the last operation that was answered.
    pub(crate) fn last_leader(&self) -> usize {
        self.last_leader.load(Ordering::SeqCst)
    }

    /// Submits `op` to server `i`, and waits for the answer.
    pub(crate) fn submit(&self, i: usize, op: Op) -> Result<u64, SubmitError> {
        let peer = self.peer(i).expect("the tests submit to servers that are up");
        peer.replicated.submit(&op)
    }

    /// Submits `op` to one connected server after the other, the last leader first, until it is
    /// answered or 10 s have gone. An operation whose fate is not known is submitted again.
    pub(crate) fn try_submit(&self, op: Op) -> Option<u64> {
        let began = Instant::now();
        while began.elapsed() < TRY_MAX {
            let first = self.last_leader();
            for i in (0..self.n).map(|step| (first + step) % self.n) {
                let Some(peer) = self.peer(i).filter(|_| self.is_connected(i)) else { continue };
                match peer.replicated.submit(&op) {
                    Ok(count) => {
                        self.last_leader.store(i, Ordering::SeqCst);
                        self.operations.fetch_add(1, Ordering::SeqCst);
                        return Some(count);
                    }
                    Err(error) => log::debug!(target: "TEST", "S{i} {op:?}: {error}"),
                }
            }
            thread::sleep(TRY_PAUSE);
        }
        None
    }

    /// Counts one up; returns the new count.
    #[track_caller]
    pub(crate) fn inc(&self) -> u64 {
        self.try_submit(Op::Inc).expect("Inc: no answer in 10 s")
    }

    /// Waits until at least `expected` servers have counted to `count`, for about 30 s.
    #[track_caller]
    pub(crate) fn check_counter(&self, count: u64, expected: usize) {
        let counts = || -> Vec<Option<u64>> { (0..self.n).map(|i| self.count(i)).collect() };
        let there = || counts().iter().filter(|&&found| found == Some(count)).count() >= expected;
        for pause in wait_pauses() {
            if there() {
                return;
            }
            thread::sleep(pause);
        }
        assert!(there(), "{expected} servers should have counted to {count}: {:?}", counts());
    }

    /// How far server `i` has counted, if it is up.
    fn count(&self, i: usize) -> Option<u64> {
        Some(self.peer(i)?.count.load(Ordering::SeqCst))
    }

    fn start_server(&self, i: usize) {
        self.servers.start_with(i, |Origin { ends, persister, seed, .. }| {
            let peers = (0u64..).map(PeerId).zip(ends).collect();
            let options = ReplicatedOptions {
                raft: Options { seed, no_op_on_election: true, ..Options::lab() },
                snapshot_log_bytes: self.maxraftstate,
                snapshot_log_bytes_max: 0,
                timeout: SUBMIT_TIMEOUT,
            };
            let count = Arc::new(AtomicU64::new(0));
            let machine = Counter { server: i, count: Arc::clone(&count) };
            let replicated = Replicated::open(PeerId(i as u64), peers, persister, machine, options)
                .unwrap_or_else(|error| panic!("S{i} does not start: {error}"));
            let service = Router::new().with("Raft", replicated.service());
            (RsmPeer { replicated, count }, Arc::new(service) as Arc<dyn Service>)
        });
    }
}

impl Deref for RsmCluster {
    type Target = Servers<RsmPeer>;

    fn deref(&self) -> &Self::Target {
        &self.servers
    }
}

/// One incarnation, and its counter.
#[derive(Clone)]
pub(crate) struct RsmPeer {
    replicated: Replicated<Counter>,
    count: Arc<AtomicU64>,
}

impl Peer for RsmPeer {
    fn kill(&self) {
        self.replicated.kill();
    }

    fn describe(&self) -> String {
        format!("{:?}", self.replicated.status())
    }
}
