//! Lab 3B: the service takes snapshots, so that its Raft state stays small.

use crate::harness::{KvCluster, KvSetup};
use crate::kv_scenario::{Scenario, speed};
use crate::{ELECTION_TIMEOUT, sleep};

/// The size of the Raft state at which a snapshot is due, in bytes,
const MAXRAFTSTATE: u64 = 1000;
/// and the size it must never be found beyond.
const RAFT_STATE_BYTES_MAX: u64 = 8 * MAXRAFTSTATE;
/// The most a snapshot of next to nothing may have.
const SNAPSHOT_BYTES_MAX: u64 = 500;

const SERVERS: usize = 3;
const FIVE: usize = 5;
const SEVEN: usize = 7;
const SOME_CLIENTS: usize = 5;
const RANDOM_KEY_CLIENTS: usize = 15;
const MANY_CLIENTS: usize = 20;

/// Enough to throw the log away several times.
const PUTS: usize = 50;
const SIZE_ROUNDS: usize = 200;

/// `TestSnapshotRPC3B`
///
/// Goal: a server that was away catches up by a snapshot.
/// Method: two of three take many puts; then the third must make a majority with one of them.
#[test]
fn snapshot_rpc_3b() {
    let cluster = cluster("(3B): InstallSnapshot RPC");
    let mut clerk = cluster.make_client(0, 0..SERVERS);
    clerk.put("a", "A");
    clerk.check("a", "A");

    cluster.partition(&[0, 1], &[2]);
    let mut first = cluster.make_client(1, [0, 1]);
    for i in 0..PUTS {
        first.put(&i.to_string(), &i.to_string());
    }
    sleep(ELECTION_TIMEOUT);
    first.put("b", "B");
    let bytes = cluster.log_size();
    assert!(bytes <= RAFT_STATE_BYTES_MAX, "{bytes} bytes of Raft state");

    cluster.partition(&[0, 2], &[1]);
    let mut second = cluster.make_client(2, [0, 2]);
    second.put("c", "C");
    second.put("d", "D");
    for (key, value) in [("a", "A"), ("b", "B"), ("1", "1"), ("49", "49")] {
        second.check(key, value);
    }

    cluster.partition(&[0, 1, 2], &[]);
    clerk.put("e", "E");
    for (key, value) in [("c", "C"), ("e", "E"), ("1", "1")] {
        clerk.check(key, value);
    }
    drop((clerk, first, second));
    cluster.end();
}

/// `TestSnapshotSize3B`
///
/// Goal: a snapshot holds the state and not the history.
/// Method: put and get one key many times, and look at the sizes.
#[test]
fn snapshot_size_3b() {
    let cluster = cluster("(3B): snapshot size is reasonable");
    let mut clerk = cluster.make_client(0, 0..SERVERS);
    for _ in 0..SIZE_ROUNDS {
        for value in ["0", "1"] {
            clerk.put("x", value);
            clerk.check("x", value);
        }
    }
    let bytes = cluster.log_size();
    assert!(bytes <= RAFT_STATE_BYTES_MAX, "{bytes} bytes of Raft state");
    let bytes = cluster.snapshot_size();
    assert!(bytes <= SNAPSHOT_BYTES_MAX, "a snapshot of {bytes} bytes");
    drop(clerk);
    cluster.end();
}

fn cluster(name: &'static str) -> KvCluster {
    let maxraftstate = Some(MAXRAFTSTATE);
    KvCluster::new(KvSetup { name, servers: SERVERS, reliable: true, maxraftstate })
}

/// `TestSpeed3B`
///
/// Goal: taking snapshots does not make calls slow.
/// Method: [`speed`].
#[test]
fn speed_3b() {
    speed("(3B): ops complete fast enough", Some(MAXRAFTSTATE));
}

/// `TestSnapshotRecover3B`
///
/// Goal: what was answered survives the crash of all servers, in snapshots.
/// Method: [`Scenario::run`] with crashes and snapshots.
#[test]
fn snapshot_recover_3b() {
    Scenario::new("(3B): restarts, snapshots, one client", 1, FIVE)
        .crash()
        .snapshots_at(MAXRAFTSTATE)
        .run();
}

/// `TestSnapshotRecoverManyClients3B`
///
/// Goal: as `snapshot_recover_3b`, for many clients.
/// Method: [`Scenario::run`] with crashes and snapshots.
#[test]
fn snapshot_recover_many_clients_3b() {
    Scenario::new("(3B): restarts, snapshots, many clients", MANY_CLIENTS, FIVE)
        .crash()
        .snapshots_at(MAXRAFTSTATE)
        .run();
}

/// `TestSnapshotUnreliable3B`
///
/// Goal: snapshots and lost messages together.
/// Method: [`Scenario::run`] with snapshots on an unreliable network.
#[test]
fn snapshot_unreliable_3b() {
    Scenario::new("(3B): unreliable net, snapshots, many clients", SOME_CLIENTS, FIVE)
        .unreliable()
        .snapshots_at(MAXRAFTSTATE)
        .run();
}

/// `TestSnapshotUnreliableRecover3B`
///
/// Goal: snapshots, crashes and lost messages together.
/// Method: [`Scenario::run`] with all of them.
#[test]
fn snapshot_unreliable_recover_3b() {
    Scenario::new("(3B): unreliable net, restarts, snapshots, many clients", SOME_CLIENTS, FIVE)
        .unreliable()
        .crash()
        .snapshots_at(MAXRAFTSTATE)
        .run();
}

/// `TestSnapshotUnreliableRecoverConcurrentPartition3B`
///
/// Goal: all failures together, with snapshots.
/// Method: [`Scenario::run`] with all of them.
#[test]
fn snapshot_unreliable_recover_concurrent_partition_3b() {
    let name = "(3B): unreliable net, restarts, partitions, snapshots, many clients";
    Scenario::new(name, SOME_CLIENTS, FIVE)
        .unreliable()
        .crash()
        .partitions()
        .snapshots_at(MAXRAFTSTATE)
        .run();
}

/// `TestSnapshotUnreliableRecoverConcurrentPartitionLinearizable3B`
///
/// Goal: as above, with clients on the same keys: everything is linearizable.
/// Method: [`Scenario::run`] with all of them, more clients and more servers.
#[test]
fn snapshot_unreliable_recover_concurrent_partition_linearizable_3b() {
    let name = "(3B): unreliable net, restarts, partitions, snapshots, random keys, many clients";
    Scenario::new(name, RANDOM_KEY_CLIENTS, SEVEN)
        .unreliable()
        .crash()
        .partitions()
        .snapshots_at(MAXRAFTSTATE)
        .random_keys()
        .run();
}
