//! Lab 3A: a key-value service on Raft, in which every call takes effect exactly once.

use std::thread;
use std::time::Duration;

use crossbeam_channel::bounded;

use crate::harness::{KvCluster, KvSetup};
use crate::kv_scenario::{Scenario, check_appends, speed, token};
use crate::{ELECTION_TIMEOUT, sleep};

const FIVE: usize = 5;
const SEVEN: usize = 7;
const MANY_CLIENTS: usize = 5;
const RANDOM_KEY_CLIENTS: usize = 15;

const ONE_KEY_SERVERS: usize = 3;
const ONE_KEY_CLIENTS: usize = 5;
const ONE_KEY_APPENDS: usize = 10;

/// How long nothing may come of a call to a minority,
const NO_PROGRESS: Duration = Duration::from_secs(1);
/// and how long it may take once there is a majority again.
const COMPLETION_MAX: Duration = Duration::from_secs(3);

/// `TestBasic3A`
///
/// Goal: one client's calls are answered, and answered right.
/// Method: [`Scenario::run`].
#[test]
fn basic_3a() {
    Scenario::new("(3A): one client", 1, FIVE).run();
}

/// `TestSpeed3A`
///
/// Goal: a call takes no longer than consensus does.
/// Method: [`speed`].
#[test]
fn speed_3a() {
    speed("(3A): ops complete fast enough", None);
}

/// `TestConcurrent3A`
///
/// Goal: as `basic_3a`, for several clients at once.
/// Method: [`Scenario::run`].
#[test]
fn concurrent_3a() {
    Scenario::new("(3A): many clients", MANY_CLIENTS, FIVE).run();
}

/// `TestUnreliable3A`
///
/// Goal: calls that are repeated because messages were lost take effect once.
/// Method: [`Scenario::run`] on an unreliable network.
#[test]
fn unreliable_3a() {
    Scenario::new("(3A): unreliable net, many clients", MANY_CLIENTS, FIVE).unreliable().run();
}

/// `TestUnreliableOneKey3A`
///
/// Goal: appends of several clients to one key all arrive, once each.
/// Method: append at the same time on an unreliable network, and look at the value.
#[test]
fn unreliable_one_key_3a() {
    let cluster = KvCluster::new(KvSetup {
        name: "(3A): concurrent append to same key, unreliable",
        servers: ONE_KEY_SERVERS,
        reliable: false,
        maxraftstate: None,
    });
    let mut clerk = cluster.make_client(0, 0..ONE_KEY_SERVERS);
    clerk.put("k", "");
    thread::scope(|scope| {
        for client in 0..ONE_KEY_CLIENTS {
            let mut clerk = cluster.make_client(client, 0..ONE_KEY_SERVERS);
            scope.spawn(move || {
                (0..ONE_KEY_APPENDS).for_each(|i| clerk.append("k", &token(client, i)));
            });
        }
    });
    let expected: Vec<_> = (0..ONE_KEY_CLIENTS).map(|i| (i, ONE_KEY_APPENDS)).collect();
    check_appends(&clerk.get("k"), &expected);
    drop(clerk);
    cluster.end();
}

/// `TestOnePartition3A`
///
/// Goal: a majority serves its clients, a minority serves nobody, and calls that wait there are
/// answered when it is over.
/// Method: cut the leader off with one follower; a put and a get there must not end before all
/// servers are connected again, and then soon.
#[test]
fn one_partition_3a() {
    let cluster = KvCluster::new(KvSetup {
        name: "(3A): progress in majority",
        servers: FIVE,
        reliable: true,
        maxraftstate: None,
    });
    let mut clerk = cluster.make_client(0, 0..FIVE);
    clerk.put("1", "13");
    let (p1, p2) = cluster.make_partition();
    cluster.partition(&p1, &p2);
    let mut in_majority = cluster.make_client(1, p1);
    let mut putter = cluster.make_client(2, p2.clone());
    let mut getter = cluster.make_client(3, p2);
    in_majority.put("1", "14");
    in_majority.check("1", "14");

    cluster.next_part("(3A): no progress in minority");
    let (put_done, put_is_done) = bounded(1);
    let (got_done, get_is_done) = bounded(1);
    thread::scope(|scope| {
        let waiting = [putter.ends(), getter.ends()];
        scope.spawn(move || {
            putter.put("1", "15");
            put_done.send(()).expect("the test holds the other end");
        });
        scope.spawn(move || {
            getter.get("1");
            got_done.send(()).expect("the test holds the other end");
        });
        sleep(NO_PROGRESS);
        assert!(put_is_done.is_empty(), "a put in the minority is done");
        assert!(get_is_done.is_empty(), "a get in the minority is done");
        in_majority.check("1", "14");
        in_majority.put("1", "16");
        in_majority.check("1", "16");

        cluster.next_part("(3A): completion after heal");
        cluster.connect_all();
        for ends in &waiting {
            cluster.connect_client(ends, 0..FIVE);
        }
        sleep(ELECTION_TIMEOUT);
        put_is_done.recv_timeout(COMPLETION_MAX).expect("the put did not complete");
        get_is_done.recv_timeout(COMPLETION_MAX).expect("the get did not complete");
    });
    clerk.check("1", "15");
    drop((clerk, in_majority));
    cluster.end();
}

/// `TestManyPartitionsOneClient3A`
///
/// Goal: one client is served right while servers are cut off from each other.
/// Method: [`Scenario::run`] with partitions.
#[test]
fn many_partitions_one_client_3a() {
    Scenario::new("(3A): partitions, one client", 1, FIVE).partitions().run();
}

/// `TestManyPartitionsManyClients3A`
///
/// Goal: as `many_partitions_one_client_3a`, for several clients.
/// Method: [`Scenario::run`] with partitions.
#[test]
fn many_partitions_many_clients_3a() {
    Scenario::new("(3A): partitions, many clients", MANY_CLIENTS, FIVE).partitions().run();
}

/// `TestPersistOneClient3A`
///
/// Goal: what was answered survives the crash of all servers.
/// Method: [`Scenario::run`] with crashes.
#[test]
fn persist_one_client_3a() {
    Scenario::new("(3A): restarts, one client", 1, FIVE).crash().run();
}

/// `TestPersistConcurrent3A`
///
/// Goal: as `persist_one_client_3a`, for several clients.
/// Method: [`Scenario::run`] with crashes.
#[test]
fn persist_concurrent_3a() {
    Scenario::new("(3A): restarts, many clients", MANY_CLIENTS, FIVE).crash().run();
}

/// `TestPersistConcurrentUnreliable3A`
///
/// Goal: calls that are repeated after a crash take effect once.
/// Method: [`Scenario::run`] with crashes on an unreliable network.
#[test]
fn persist_concurrent_unreliable_3a() {
    Scenario::new("(3A): unreliable net, restarts, many clients", MANY_CLIENTS, FIVE)
        .unreliable()
        .crash()
        .run();
}

/// `TestPersistPartition3A`
///
/// Goal: crashes after partitions lose nothing.
/// Method: [`Scenario::run`] with both.
#[test]
fn persist_partition_3a() {
    Scenario::new("(3A): restarts, partitions, many clients", MANY_CLIENTS, FIVE)
        .crash()
        .partitions()
        .run();
}

/// `TestPersistPartitionUnreliable3A`
///
/// Goal: all failures together change nothing.
/// Method: [`Scenario::run`] with all of them.
#[test]
fn persist_partition_unreliable_3a() {
    Scenario::new("(3A): unreliable net, restarts, partitions, many clients", MANY_CLIENTS, FIVE)
        .unreliable()
        .crash()
        .partitions()
        .run();
}

/// `TestPersistPartitionUnreliableLinearizable3A`
///
/// Goal: all failures together, with clients on the same keys: everything is linearizable.
/// Method: [`Scenario::run`] with all of them, more clients and more servers.
#[test]
fn persist_partition_unreliable_linearizable_3a() {
    let name = "(3A): unreliable net, restarts, partitions, random keys, many clients";
    Scenario::new(name, RANDOM_KEY_CLIENTS, SEVEN)
        .unreliable()
        .crash()
        .partitions()
        .random_keys()
        .run();
}
