//! What most key-value tests are: clients that call, write down what they did, and are checked,
//! while the network and the servers do their worst.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{KvClient, KvCluster, KvSetup};
use crate::{ELECTION_TIMEOUT, StopOnDrop, sleep};

const ITERATIONS: usize = 3;
/// How long the clients call in each,
const CALLING: Duration = Duration::from_secs(5);
/// after the partitions have begun, if there are any.
const BEFORE_PARTITIONS: Duration = Duration::from_secs(1);
/// A partition lasts an election time-out, and up to this much longer.
const PARTITION_MS_MORE_MAX: u64 = 199;

/// Of a hundred calls, so many append,
const APPEND_PERCENT: u64 = 50;
/// and with random keys, so many of the others put.
const PUT_PERCENT: u64 = 10;

/// The Raft state may be this many times as large as the size at which a snapshot is due.
const RAFT_STATE_FACTOR: u64 = 8;

const SPEED_SERVERS: usize = 3;
const SPEED_CALLS: usize = 1000;
/// Three calls in the time of a heartbeat.
const SPEED_CALL_MAX: Duration = Duration::from_micros(100_000 / 3);

/// A generic test.
#[expect(clippy::struct_excessive_bools, reason = "independent troubles, not a state")]
#[derive(Clone, Copy)]
pub(crate) struct Scenario {
    name: &'static str,
    clients: usize,
    servers: usize,
    reliable: bool,
    crash: bool,
    partitions: bool,
    maxraftstate: Option<u64>,
    random_keys: bool,
}

impl Scenario {
    /// Clients and servers of which none fails, on a reliable network, without snapshots.
    pub(crate) const fn new(name: &'static str, clients: usize, servers: usize) -> Self {
        Self {
            name,
            clients,
            servers,
            reliable: true,
            crash: false,
            partitions: false,
            maxraftstate: None,
            random_keys: false,
        }
    }

    /// Messages are delayed and lost.
    pub(crate) const fn unreliable(self) -> Self {
        Self { reliable: false, ..self }
    }

    /// All servers crash at the end of each iteration, while clients may still be waiting.
    pub(crate) const fn crash(self) -> Self {
        Self { crash: true, ..self }
    }

    /// The servers are divided in two at random, again and again.
    pub(crate) const fn partitions(self) -> Self {
        Self { partitions: true, ..self }
    }

    /// Servers take snapshots when their Raft state has so many bytes.
    pub(crate) const fn snapshots_at(self, maxraftstate: u64) -> Self {
        Self { maxraftstate: Some(maxraftstate), ..self }
    }

    /// Clients use each other's keys.
    pub(crate) const fn random_keys(self) -> Self {
        Self { random_keys: true, ..self }
    }

    /// Runs the test: three times five seconds, and then the check of the whole history.
    pub(crate) fn run(self) {
        let Self { name, servers, reliable, maxraftstate, .. } = self;
        let cluster = KvCluster::new(KvSetup { name, servers, reliable, maxraftstate });
        let mut checker = cluster.make_client(0, 0..servers);
        for _ in 0..ITERATIONS {
            self.iterate(&cluster, &mut checker);
        }
        cluster.check_linearizable();
        drop(checker);
        cluster.end();
    }

    fn iterate(&self, cluster: &KvCluster, checker: &mut KvClient<'_>) {
        let done = &AtomicBool::new(false);
        thread::scope(|scope| {
            let _stop = StopOnDrop(done);
            let client = |client| scope.spawn(move || self.client(cluster, client, done));
            let clients: Vec<_> = (0..self.clients).map(client).collect();
            let partitioner = self.partitions.then(|| {
                sleep(BEFORE_PARTITIONS);
                scope.spawn(|| partition_at_random(cluster, self.servers, done))
            });
            sleep(CALLING);
            done.store(true, Ordering::SeqCst);
            if let Some(partitioner) = partitioner {
                partitioner.join().expect("the partitioner does not panic");
                // A client may wait for a server in a minority, which answers once it learns of a
                // new term.
                cluster.connect_all();
                sleep(ELECTION_TIMEOUT);
            }
            if self.crash {
                restart_all(cluster, self.servers);
            }
            for (i, client) in clients.into_iter().enumerate() {
                let writes = client.join().expect("a client that saw nothing wrong");
                let value = checker.get(&i.to_string());
                if !self.random_keys {
                    check_appends(&value, &[(i, writes)]);
                }
            }
        });
        self.check_sizes(cluster);
    }

    /// One client's calls; returns how many of them wrote.
    fn client(&self, cluster: &KvCluster, client: usize, done: &AtomicBool) -> usize {
        let random = &cluster.random;
        let mut clerk = cluster.make_client(client, 0..self.servers);
        let own_key = client.to_string();
        // What the own key holds, if nobody else uses it.
        let mut expected = String::new();
        if !self.random_keys {
            clerk.put(&own_key, &expected);
        }
        let mut writes = 0;
        while !done.load(Ordering::SeqCst) {
            let random_key = self.random_keys.then(|| random.below(self.clients).to_string());
            let key = random_key.as_ref().unwrap_or(&own_key);
            let value = token(client, writes);
            if random.percent(APPEND_PERCENT) {
                clerk.append(key, &value);
                expected.push_str(&value);
                writes += 1;
            } else if self.random_keys && random.percent(PUT_PERCENT) {
                clerk.put(key, &value);
                writes += 1;
            } else {
                let found = clerk.get(key);
                assert!(self.random_keys || found == expected, "{key}: {found}, not {expected}");
            }
        }
        writes
    }

    fn check_sizes(&self, cluster: &KvCluster) {
        if let Some(maxraftstate) = self.maxraftstate {
            let (bytes, bytes_max) = (cluster.log_size(), RAFT_STATE_FACTOR * maxraftstate);
            assert!(bytes <= bytes_max, "{bytes} bytes of Raft state, more than {bytes_max}");
        } else {
            let bytes = cluster.snapshot_size();
            assert_eq!(bytes, 0, "a snapshot of {bytes} bytes, though they are forbidden");
        }
    }
}

fn partition_at_random(cluster: &KvCluster, servers: usize, done: &AtomicBool) {
    while !done.load(Ordering::SeqCst) {
        let (p1, p2): (Vec<usize>, Vec<usize>) =
            (0..servers).partition(|_| cluster.random.percent(50));
        cluster.partition(&p1, &p2);
        let more = Duration::from_millis(cluster.random.range(0..=PARTITION_MS_MORE_MAX));
        sleep(ELECTION_TIMEOUT + more);
    }
}

fn restart_all(cluster: &KvCluster, servers: usize) {
    (0..servers).for_each(|i| cluster.crash1(i));
    sleep(ELECTION_TIMEOUT);
    (0..servers).for_each(|i| cluster.start_server(i));
    cluster.connect_all();
}

/// One thousand calls, one after the other, must not take longer than three to a heartbeat: a
/// server may not sit on a command until the next one is due.
pub(crate) fn speed(name: &'static str, maxraftstate: Option<u64>) {
    let servers = SPEED_SERVERS;
    let cluster = KvCluster::new(KvSetup { name, servers, reliable: true, maxraftstate });
    let mut clerk = cluster.make_client(0, 0..servers);
    // Once it is answered there is a leader.
    clerk.get("x");
    let began = Instant::now();
    for i in 0..SPEED_CALLS {
        clerk.append("x", &token(0, i));
    }
    let took = began.elapsed();
    check_appends(&clerk.get("x"), &[(0, SPEED_CALLS)]);
    let took_max = SPEED_CALL_MAX * SPEED_CALLS as u32;
    assert!(took <= took_max, "{SPEED_CALLS} calls took {took:?}, more than {took_max:?}");
    drop(clerk);
    cluster.end();
}

/// What a client's write number `write` writes.
pub(crate) fn token(client: usize, write: usize) -> String {
    format!("x {client} {write} y")
}

/// Checks that `value` is made of nothing but the appends of these clients: all of each, each once,
/// in order.
#[track_caller]
pub(crate) fn check_appends(value: &str, clients: &[(usize, usize)]) {
    let mut next = vec![0; clients.iter().map(|&(client, _)| client + 1).max().unwrap_or(0)];
    let mut rest = value;
    while !rest.is_empty() {
        let end = rest.find('y').map_or(rest.len(), |y| y + 1);
        let found = &rest[..end];
        let expected = |&&(client, _): &&(usize, usize)| found == token(client, next[client]);
        let Some(&(client, _)) = clients.iter().find(expected) else {
            panic!(
                "{found:?} at {} of {} is none of those due",
                value.len() - rest.len(),
                value.len()
            );
        };
        next[client] += 1;
        rest = &rest[end..];
    }
    for &(client, count) in clients {
        assert_eq!(next[client], count, "appends of client {client} in the value");
    }
}
