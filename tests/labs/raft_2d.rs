//! Lab 2D: the log is compacted, and who needs what is gone gets a snapshot.

use std::ops::RangeInclusive;

use crate::harness::{RaftCluster, Retry, Setup};
use crate::rafts::cluster;

const SERVERS: usize = 3;
const MAJORITY: usize = 2;

/// The most a peer may persist beside its snapshot.
const LOG_BYTES_MAX: u64 = 2000;

const ITERATIONS: usize = 30;
/// Of three rounds, in one the leader is the victim.
const ROUNDS: usize = 3;
const LEADER_ROUND: usize = 1;
/// Perhaps enough for a snapshot, which is taken every 10 entries.
const COMMANDS: RangeInclusive<u64> = 5..=14;

const CRASH_ALL_ROUNDS: usize = 5;
const INIT_COMMANDS: usize = 11;

/// How the victim of a round is taken away.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Away {
    Never,
    Disconnected,
    Crashed,
}

/// `TestSnapshotBasic2D`
///
/// Goal: with snapshots, agreement goes on and the log stays short.
/// Method: see [`take_snapshots`]; nobody fails.
#[test]
fn snapshot_basic_2d() {
    take_snapshots("(2D): snapshots basic", Away::Never, true);
}

/// `TestSnapshotInstall2D`
///
/// Goal: a server that was disconnected catches up by a snapshot.
/// Method: see [`take_snapshots`].
#[test]
fn snapshot_install_2d() {
    take_snapshots("(2D): install snapshots (disconnect)", Away::Disconnected, true);
}

/// `TestSnapshotInstallUnreliable2D`
///
/// Goal: as `snapshot_install_2d`, on a network that loses messages.
/// Method: see [`take_snapshots`].
#[test]
fn snapshot_install_unreliable_2d() {
    take_snapshots("(2D): install snapshots (disconnect+unreliable)", Away::Disconnected, false);
}

/// `TestSnapshotInstallCrash2D`
///
/// Goal: a server that crashed starts from its own snapshot, and catches up by another.
/// Method: see [`take_snapshots`].
#[test]
fn snapshot_install_crash_2d() {
    take_snapshots("(2D): install snapshots (crash)", Away::Crashed, true);
}

/// `TestSnapshotInstallUnCrash2D`
///
/// Goal: as `snapshot_install_crash_2d`, on a network that loses messages.
/// Method: see [`take_snapshots`].
#[test]
fn snapshot_install_un_crash_2d() {
    take_snapshots("(2D): install snapshots (unreliable+crash)", Away::Crashed, false);
}

/// Thirty rounds: a victim goes away, the others agree on enough for a snapshot or two, the victim
/// comes back and agrees with them. The logs stay short throughout.
fn take_snapshots(name: &'static str, away: Away, reliable: bool) {
    let cluster = cluster(Setup::new(name, SERVERS).reliable(reliable).with_snapshots());
    let random = &cluster.random;
    cluster.one(random.number(), SERVERS, Retry::Yes);
    let mut leader = cluster.check_one_leader();
    for iteration in 0..ITERATIONS {
        let follower = (leader + 1) % SERVERS;
        let (victim, sender) = if iteration % ROUNDS == LEADER_ROUND {
            (leader, follower)
        } else {
            (follower, leader)
        };
        match away {
            Away::Never => {}
            Away::Disconnected => cluster.disconnect(victim),
            Away::Crashed => cluster.crash1(victim),
        }
        if away != Away::Never {
            cluster.one(random.number(), MAJORITY, Retry::Yes);
        }
        for _ in 0..random.range(COMMANDS) {
            cluster.start(sender, random.number());
        }
        // If nobody is away everybody catches up here, and nobody needs another's snapshot.
        let present = if away == Away::Never { SERVERS } else { MAJORITY };
        cluster.one(random.number(), present, Retry::Yes);
        let log_bytes = cluster.log_size();
        assert!(log_bytes < LOG_BYTES_MAX, "{log_bytes} bytes of log in iteration {iteration}");
        if away == Away::Crashed {
            cluster.start1(victim);
        }
        if away != Away::Never {
            cluster.connect(victim);
            cluster.one(random.number(), SERVERS, Retry::Yes);
            leader = cluster.check_one_leader();
        }
    }
    // Who persists nothing has a short log, too.
    assert!(cluster.snapshot_size() > 0, "nobody has persisted a snapshot");
    cluster.end();
}

/// `TestSnapshotAllCrash2D`
///
/// Goal: nothing is lost when all servers crash, whether a snapshot was taken or not.
/// Method: agree on some commands, crash and start everybody, and look where the next one goes.
#[test]
fn snapshot_all_crash_2d() {
    let cluster =
        cluster(Setup::new("(2D): crash and restart all servers", SERVERS).with_snapshots());
    let agree = || cluster.one(cluster.random.number(), SERVERS, Retry::Yes);
    agree();
    for _ in 0..CRASH_ALL_ROUNDS {
        for _ in 0..cluster.random.range(COMMANDS) {
            agree();
        }
        let before = agree();
        restart_all(&cluster);
        let after = agree();
        assert!(after > before, "index {after} after a crash at {before}");
    }
    cluster.end();
}

/// `TestSnapshotInit2D` (2023)
///
/// Goal: a restarted server does not lose its snapshot when it first persists something.
/// Method: restart everybody, agree on one command, which is not enough for another snapshot, and
/// restart everybody again.
#[test]
fn snapshot_init_2d() {
    let setup = Setup::new("(2D): snapshot initialization after crash", SERVERS);
    let cluster = cluster(setup.with_snapshots());
    let agree = || cluster.one(cluster.random.number(), SERVERS, Retry::Yes);
    agree();
    for _ in 0..INIT_COMMANDS {
        agree();
    }
    restart_all(&cluster);
    agree();
    restart_all(&cluster);
    agree();
    cluster.end();
}

/// Crashes all servers, and then starts them.
fn restart_all(cluster: &RaftCluster) {
    (0..SERVERS).for_each(|i| cluster.crash1(i));
    cluster.revive();
}
