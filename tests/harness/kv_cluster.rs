//! A cluster of key-value servers, and the clerks that talk to it.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use oarlock_kvserver::{Clerk, ClerkError, KvOptions, KvServer};
use oarlock_linearizability::{Action, History, Operation};
use oarlock_raft::PeerId;
use oarlock_rpc::Service;
use parking_lot::Mutex;

use super::linearizable;
use super::report::{Counters, Report};
use super::servers::{Origin, Peer, Servers};

/// The labs' clerks try for ever. Ours give up shortly before the watchdog bites, so that a test
/// whose servers do not answer fails with a word on what it asked.
const PATIENCE: Duration = Duration::from_secs(100);

/// What a test asks for.
#[derive(Clone, Copy)]
pub(crate) struct KvSetup {
    pub(crate) name: &'static str,
    pub(crate) servers: usize,
    pub(crate) reliable: bool,
    /// The size of the Raft state, in bytes, at which servers take a snapshot; `None` forbids them.
    pub(crate) maxraftstate: Option<u64>,
}

/// The cluster of one test. Ends with [`KvCluster::end`].
pub(crate) struct KvCluster {
    name: &'static str,
    began: Instant,
    maxraftstate: Option<u64>,
    operations: AtomicU64,
    history: Mutex<History>,
    /// What is to be said of a check that ran out of time, once the test has passed.
    undecided: Mutex<Option<String>>,
    ends_made: AtomicU64,
    part: Mutex<Report>,
    servers: Servers<KvServer>,
}

impl KvCluster {
    /// Starts and connects all servers.
    pub(crate) fn new(setup: KvSetup) -> Self {
        let n = setup.servers;
        let servers = Servers::new(setup.name, n, setup.reliable);
        let cluster = Self {
            name: setup.name,
            began: Instant::now(),
            maxraftstate: setup.maxraftstate,
            operations: AtomicU64::new(0),
            history: Mutex::new(History::default()),
            undecided: Mutex::new(None),
            ends_made: AtomicU64::new(0),
            part: Mutex::new(Report::begin(setup.name, n, servers.seed, Counters::default())),
            servers,
        };
        (0..n).for_each(|i| cluster.start_server(i));
        cluster.connect_all();
        cluster
    }

    /// One part of the test has passed, and the next begins.
    pub(crate) fn next_part(&self, name: &str) {
        let mut part = self.part.lock();
        part.kv_passed(self.counters());
        *part = Report::begin(name, self.n, self.seed, self.counters());
    }

    /// The test has passed, if what it leaves is in order: no thread that lives on.
    pub(crate) fn end(self) {
        let counters = self.counters();
        self.servers.end();
        self.part.lock().kv_passed(counters);
        if let Some(line) = self.undecided.into_inner() {
            println!("{line}");
        }
    }

    /// Starts server `i` from what it had persisted. It is not connected yet.
    pub(crate) fn start_server(&self, i: usize) {
        self.servers.start_with(i, |Origin { ends, persister, seed, .. }| {
            let peers = (0u64..).map(PeerId).zip(ends).collect();
            let mut options = KvOptions::lab(self.maxraftstate);
            options.raft.seed = seed;
            let server = KvServer::open(PeerId(i as u64), peers, persister, options)
                .unwrap_or_else(|error| panic!("S{i} does not start: {error}"));
            let services = Arc::new(server.services()) as Arc<dyn Service>;
            (server, services)
        });
    }

    /// Connects every server with every other.
    pub(crate) fn connect_all(&self) {
        self.connect_each(0..self.n);
    }

    /// Connects servers within `p1` and within `p2`, and cuts the two off from each other. Clerks
    /// are not concerned.
    pub(crate) fn partition(&self, p1: &[usize], p2: &[usize]) {
        log::debug!(target: "TEST", "partition({p1:?}, {p2:?})");
        for (side, other_side) in [(p1, p2), (p2, p1)] {
            for &i in side {
                other_side.iter().copied().for_each(|j| self.link(i, j, false));
                side.iter().copied().for_each(|j| self.link(i, j, true));
            }
        }
    }

    /// Two sides for [`partition`](Self::partition): a majority, and a minority with the leader.
    pub(crate) fn make_partition(&self) -> (Vec<usize>, Vec<usize>) {
        let leader = self.leader().expect("a leader, since something was committed");
        let followers = (0..self.n).filter(|&i| i != leader);
        let (majority, minority): (Vec<_>, Vec<_>) =
            followers.enumerate().partition(|&(rank, _)| rank <= self.n / 2);
        let servers = |side: Vec<(usize, usize)>| side.into_iter().map(|(_, i)| i);
        (servers(majority).collect(), servers(minority).chain([leader]).collect())
    }

    /// A clerk that reaches the servers `to`, for client number `client`.
    pub(crate) fn make_client(
        &self,
        client: usize,
        to: impl IntoIterator<Item = usize>,
    ) -> KvClient<'_> {
        let number = self.ends_made.fetch_add(1, Ordering::SeqCst);
        let names: Vec<String> = (0..self.n).map(|i| format!("clerk {number} to S{i}")).collect();
        // Each clerk asks the servers in an order of its own.
        let mut unordered: Vec<usize> = (0..self.n).collect();
        let mut ends = Vec::new();
        while !unordered.is_empty() {
            let i = unordered.swap_remove(self.random.below(unordered.len()));
            ends.push(self.make_end(&names[i], i));
        }
        self.connect_client(&names, to);
        KvClient { cluster: self, client, names, clerk: Clerk::new(ends) }
    }

    /// Lets the clerk with these ends reach the servers `to`, too.
    pub(crate) fn connect_client(&self, ends: &[String], to: impl IntoIterator<Item = usize>) {
        for i in to {
            self.network.enable(&ends[i], true);
        }
    }

    /// Checks that everything the clerks did can have happened one call at a time.
    #[track_caller]
    pub(crate) fn check_linearizable(&self) {
        let undecided = linearizable::check(&self.history.lock(), self.name, self.seed);
        *self.undecided.lock() = undecided;
    }

    fn leader(&self) -> Option<usize> {
        let leads = |i: usize| {
            let (term, leads) = self.peer(i)?.replicated().raft().get_state();
            leads.then_some((term, i))
        };
        (0..self.n).filter_map(leads).max().map(|(_, i)| i)
    }

    fn counters(&self) -> Counters {
        Counters {
            rpcs: self.network.total_count(),
            ops: self.operations.load(Ordering::SeqCst),
            ..Counters::default()
        }
    }
}

impl Deref for KvCluster {
    type Target = Servers<KvServer>;

    fn deref(&self) -> &Self::Target {
        &self.servers
    }
}

impl Peer for KvServer {
    fn kill(&self) {
        KvServer::kill(self);
    }

    fn describe(&self) -> String {
        format!("{:?}", self.replicated().status())
    }
}

/// A clerk, whose calls are counted and recorded.
pub(crate) struct KvClient<'a> {
    cluster: &'a KvCluster,
    client: usize,
    /// Of its ends, by server.
    names: Vec<String>,
    clerk: Clerk,
}

impl KvClient<'_> {
    /// The names of its ends, to [connect](KvCluster::connect_client) it while it is at work.
    pub(crate) fn ends(&self) -> Vec<String> {
        self.names.clone()
    }

    /// The value of `key`; the empty string without one.
    pub(crate) fn get(&mut self, key: &str) -> String {
        let called = self.cluster.began.elapsed();
        let found = self.clerk.get_until(key.as_bytes(), self.deadline());
        let found = self.answered("Get", key, found).unwrap_or_default();
        let returned = self.cluster.began.elapsed();
        let found = String::from_utf8(found).expect("values of the suites are text");
        self.record(key, Action::Get { found: found.clone() }, called, returned);
        found
    }

    /// Sets the value of `key`.
    pub(crate) fn put(&mut self, key: &str, value: &str) {
        let called = self.cluster.began.elapsed();
        let put = self.clerk.put_until(key.as_bytes(), value.as_bytes(), self.deadline());
        self.answered("Put", key, put);
        let returned = self.cluster.began.elapsed();
        self.record(key, Action::Put(value.to_owned()), called, returned);
    }

    /// Appends to the value of `key`.
    pub(crate) fn append(&mut self, key: &str, value: &str) {
        let called = self.cluster.began.elapsed();
        let append = self.clerk.append_until(key.as_bytes(), value.as_bytes(), self.deadline());
        self.answered("Append", key, append);
        let returned = self.cluster.began.elapsed();
        self.record(key, Action::Append(value.to_owned()), called, returned);
    }

    /// Checks the value of `key`.
    #[track_caller]
    pub(crate) fn check(&mut self, key: &str, expected: &str) {
        assert_eq!(self.get(key), expected, "Get({key:?})");
    }

    fn deadline(&self) -> Instant {
        self.cluster.began + PATIENCE
    }

    fn answered<T>(&self, what: &str, key: &str, answer: Result<T, ClerkError>) -> T {
        let client = self.client;
        answer.unwrap_or_else(|error| panic!("{what}({key:?}) of client {client}: {error}"))
    }

    fn record(&self, key: &str, action: Action, called: Duration, returned: Duration) {
        let (client, key, returned) = (self.client, key.to_owned(), Some(returned));
        let operation = Operation { client, key, action, called, returned };
        self.cluster.operations.fetch_add(1, Ordering::SeqCst);
        self.cluster.history.lock().push(operation);
    }
}

impl Drop for KvClient<'_> {
    fn drop(&mut self) {
        for name in &self.names {
            self.cluster.network.delete_end(name);
        }
    }
}
