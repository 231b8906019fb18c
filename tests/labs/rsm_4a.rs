//! Lab 4A of the 2025 edition: a state machine on Raft that is submitted to. Three servers, a
//! reliable network, and a counter.

use std::time::{Duration, Instant};
use std::{iter, thread};

use crossbeam_channel::{Receiver, unbounded};
use oarlock_raft::SubmitError;

use crate::harness::{Op, RsmCluster};
use crate::sleep;

const SERVERS: usize = 3;
const MAJORITY: usize = 2;

const BASIC_INCS: u64 = 10;
const CONCURRENT_INCS: u64 = 50;
const REPLAYED_INCS: u64 = 100;
/// How many submit at once to servers that are cut off or shut down.
const SUBMITS: usize = 100;

/// For them to have submitted before the majority goes on,
const SUBMITTED: Duration = Duration::from_millis(10);
/// or before the servers are shut down.
const UNDER_WAY: Duration = Duration::from_millis(20);
/// How long nothing may come of what was submitted to a minority,
const NO_PROGRESS: Duration = Duration::from_secs(1);
/// and how soon it must be answered once there is a majority again.
const ANSWERED_MAX: Duration = Duration::from_secs(1);
/// All servers are down for so long; and nothing happens for so long after the replay.
const PAUSE: Duration = Duration::from_secs(1);
/// Once all servers are down, everybody who submits has given up after so long: the 10 s for which
/// they try, and one more.
const GIVEN_UP_MAX: Duration = Duration::from_secs(11);

/// The size of the Raft state at which a snapshot is due, in bytes,
const MAXRAFTSTATE: u64 = 1000;
/// and the size it must never be found beyond.
const RAFT_STATE_BYTES_MAX: u64 = 2 * MAXRAFTSTATE;
const SNAPSHOT_INCS: u64 = 100;

/// `TestBasic4A` (2025)
///
/// Goal: what is submitted is answered by the state machine, and executed by all of them.
/// Method: count, and look at every server's count.
#[test]
fn basic_4a() {
    let cluster = RsmCluster::new("(4A): Submit() returns correct value", SERVERS, None);
    for i in 0..BASIC_INCS {
        assert_eq!(cluster.inc(), i + 1);
        cluster.check_counter(i + 1, SERVERS);
    }
    cluster.end();
}

/// `TestConcurrent4A` (2025)
///
/// Goal: each of many who submit at once gets an answer, and each operation is executed once.
/// Method: count from many threads, and look at every server's count.
#[test]
fn concurrent_4a() {
    let cluster = RsmCluster::new("(4A): concurrent submit", SERVERS, None);
    thread::scope(|scope| {
        for _ in 0..CONCURRENT_INCS {
            scope.spawn(|| cluster.inc());
        }
    });
    cluster.check_counter(CONCURRENT_INCS, SERVERS);
    cluster.end();
}

/// `TestLeaderFailure4A` (2025)
///
/// Goal: a majority goes on without its leader, which catches up when it comes back.
/// Method: disconnect the leader and count.
#[test]
fn leader_failure_4a() {
    let cluster = RsmCluster::new("(4A): submit after leader failure", SERVERS, None);
    cluster.inc();
    let leader = cluster.last_leader();
    cluster.disconnect(leader);
    let count = cluster.inc();
    cluster.check_counter(count, MAJORITY);
    cluster.connect(leader);
    cluster.check_counter(count, SERVERS);
    cluster.end();
}

/// `TestLeaderPartition4A` (2025)
///
/// Goal: a leader that is cut off answers nobody who submits to it; when it is back it tells them
/// all that nothing came of it, though the log never again grows as far as theirs had.
/// Method: submit many operations to it that must not be executed, and one to the majority.
#[test]
fn leader_partition_4a() {
    let cluster = RsmCluster::new("(4A): submit on a leader in a minority", SERVERS, None);
    cluster.inc();
    let leader = cluster.last_leader();
    cluster.disconnect(leader);
    let (answered, answers) = unbounded();
    thread::scope(|scope| {
        for _ in 0..SUBMITS {
            let answered = answered.clone();
            let cluster = &cluster;
            scope.spawn(move || {
                let answer = cluster.submit(leader, Op::Dec);
                answered.send(answer).expect("the test holds the other end");
            });
        }
        sleep(SUBMITTED);
        let count = cluster.inc();
        let early = refusals(&answers, SUBMITS, NO_PROGRESS);
        assert!(early < SUBMITS, "all who submitted to the minority were answered");

        cluster.connect(leader);
        let late = refusals(&answers, SUBMITS - early, ANSWERED_MAX);
        assert_eq!(early + late, SUBMITS, "how many were answered {ANSWERED_MAX:?} later");
        cluster.check_counter(count, SERVERS);
    });
    cluster.end();
}

/// How many of the next `most` answers come within `patience`; none of them may be a count.
fn refusals(
    answers: &Receiver<Result<u64, SubmitError>>,
    most: usize,
    patience: Duration,
) -> usize {
    let deadline = Instant::now() + patience;
    let next = || answers.recv_deadline(deadline).ok();
    let came: Vec<_> = iter::from_fn(next).take(most).collect();
    assert!(came.iter().all(Result::is_err), "a Dec in the minority was answered: {came:?}");
    came.len()
}

/// `TestRestartReplay4A` (2025)
///
/// Goal: after a restart the operations in the log are executed again, each once.
/// Method: see [`count_and_restart`].
#[test]
fn restart_replay_4a() {
    let cluster = RsmCluster::new("(4A): restart of all servers", SERVERS, None);
    count_and_restart(&cluster);
    cluster.end();
}

/// `TestShutdown4A` (2025)
///
/// Goal: a server that is shut down leaves nobody waiting.
/// Method: see [`shut_down_under_way`].
#[test]
fn shutdown_4a() {
    let cluster = RsmCluster::new("(4A): shutdown while submits are under way", SERVERS, None);
    // Without a leader nobody would wait for an answer.
    cluster.inc();
    shut_down_under_way(&cluster);
    cluster.end();
}

/// `TestRestartSubmit4A` (2025)
///
/// Goal: servers that were shut down in the middle of much work start and go on.
/// Method: see [`count_and_restart`] and [`shut_down_under_way`]; then count once more.
#[test]
fn restart_submit_4a() {
    let cluster = RsmCluster::new("(4A): restart of servers with much to do", SERVERS, None);
    count_and_restart(&cluster);
    shut_down_under_way(&cluster);
    cluster.start_all();
    let count = cluster.inc();
    cluster.check_counter(count, SERVERS);
    cluster.end();
}

/// `TestSnapshot4C` (2025)
///
/// Goal: snapshots keep the Raft state small, and stand for the operations they cover.
/// Method: count, look at the size, restart all servers, and count on.
#[test]
fn snapshot_4c() {
    let cluster = RsmCluster::new("(4C): rsm with snapshots", SERVERS, Some(MAXRAFTSTATE));
    for _ in 0..SNAPSHOT_INCS {
        cluster.inc();
    }
    cluster.check_counter(SNAPSHOT_INCS, SERVERS);
    let bytes = cluster.log_size();
    assert!(bytes <= RAFT_STATE_BYTES_MAX, "{bytes} bytes of Raft state");
    assert!(cluster.snapshot_size() > 0, "nobody has persisted a snapshot");
    cluster.shutdown_all();
    cluster.start_all();
    assert_eq!(cluster.inc(), SNAPSHOT_INCS + 1);
    cluster.check_counter(SNAPSHOT_INCS + 1, SERVERS);
    cluster.end();
}

/// Counts to a hundred, shuts all servers down, starts them, and counts on.
fn count_and_restart(cluster: &RsmCluster) {
    for _ in 0..REPLAYED_INCS {
        let count = cluster.inc();
        cluster.check_counter(count, SERVERS);
    }
    cluster.shutdown_all();
    sleep(PAUSE);
    cluster.start_all();
    assert_eq!(cluster.inc(), REPLAYED_INCS + 1);
    sleep(PAUSE);
    cluster.check_counter(REPLAYED_INCS + 1, SERVERS);
}

/// Shuts all servers down while many submit; all of them must give up in time.
fn shut_down_under_way(cluster: &RsmCluster) {
    let (gone, others) = unbounded::<()>();
    thread::scope(|scope| {
        for _ in 0..SUBMITS {
            let gone = gone.clone();
            scope.spawn(move || {
                // Again and again, so that the shutdown finds them all at it.
                while cluster.try_submit(Op::Null).is_some() {}
                drop(gone);
            });
        }
        drop(gone);
        sleep(UNDER_WAY);
        cluster.shutdown_all();
        assert!(all_gone(&others, GIVEN_UP_MAX), "somebody still waits after {GIVEN_UP_MAX:?}");
    });
}

/// Waits until everybody who holds the other end is gone.
fn all_gone(others: &Receiver<()>, patience: Duration) -> bool {
    others.recv_timeout(patience).is_err_and(|error| error.is_disconnected())
}
