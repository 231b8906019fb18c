//! Lab 2B: commands are agreed on, by a majority and by it alone.

use std::thread;
use std::time::Duration;

use crate::harness::{Command, RaftCluster, Retry, Setup};
use crate::rafts::cluster;
use crate::{ELECTION_TIMEOUT, sleep};

const SERVERS: usize = 3;
const MAJORITY: usize = 2;

/// In a cluster of five.
const FIVE: usize = 5;
const FIVE_MAJORITY: usize = 3;

const QUIET: Duration = ELECTION_TIMEOUT.saturating_mul(2);

/// Tests that need a term without an election in it try this often,
const ATTEMPTS: usize = 5;
/// this far apart.
const ATTEMPT_PAUSE: Duration = Duration::from_secs(3);

const AGREEMENTS: [i64; 3] = [100, 200, 300];

const LARGE_COMMANDS: u64 = 10;
const LARGE_BYTES: usize = 5000;
/// What the messages may weigh beyond the commands themselves.
const OVERHEAD_BYTES_MAX: u64 = 50_000;

const CONCURRENT_STARTS: i64 = 5;

const BURST: usize = 50;

const ELECTION_RPCS_MAX: u64 = 30;
const COUNTED_COMMANDS: u64 = 10;
const COUNTED_RPCS_MAX: u64 = (COUNTED_COMMANDS + 1 + 3) * 3;
const IDLE_RPCS_MAX: u64 = 3 * 20;

/// `TestBasicAgree2B`
///
/// Goal: commands are committed, at indexes from 1 on.
/// Method: nothing is at an index before its command is given, and all servers have it afterwards.
#[test]
fn basic_agree_2b() {
    let cluster = cluster(Setup::new("(2B): basic agreement", SERVERS));
    for (index, command) in (1..).zip(AGREEMENTS) {
        let (count, _) = cluster.n_committed(index);
        assert_eq!(count, 0, "something is committed at {index} before any start");
        let found = cluster.one(command, SERVERS, Retry::No);
        assert_eq!(found, index, "a command went to another index");
    }
    cluster.end();
}

/// `TestRPCBytes2B`
///
/// Goal: each command is sent to each peer just once.
/// Method: agree on large commands, and weigh the messages.
#[test]
fn rpc_bytes_2b() {
    let cluster = cluster(Setup::new("(2B): RPC byte count", SERVERS));
    cluster.one(99, SERVERS, Retry::No);
    let before = cluster.bytes_total();
    let mut sent = 0;
    for index in 2..2 + LARGE_COMMANDS {
        let command = cluster.random.text(LARGE_BYTES);
        sent += command.len() as u64;
        let found = cluster.one(command, SERVERS, Retry::No);
        assert_eq!(found, index, "a command went to another index");
    }
    let bytes = cluster.bytes_total() - before;
    let bytes_max = SERVERS as u64 * sent + OVERHEAD_BYTES_MAX;
    assert!(bytes <= bytes_max, "{bytes} bytes of messages, more than {bytes_max}");
    cluster.end();
}

/// `TestFollowerFailure2B` (2023)
///
/// Goal: agreement goes on while a majority is connected, and stops with it.
/// Method: disconnect one follower, then the other too.
#[test]
fn follower_failure_2b() {
    let cluster = cluster(Setup::new("(2B): test progressive failure of followers", SERVERS));
    cluster.one(101, SERVERS, Retry::No);
    let first = cluster.check_one_leader();
    cluster.disconnect((first + 1) % SERVERS);
    cluster.one(102, MAJORITY, Retry::No);
    sleep(ELECTION_TIMEOUT);
    cluster.one(103, MAJORITY, Retry::No);

    let second = cluster.check_one_leader();
    cluster.disconnect((second + 1) % SERVERS);
    cluster.disconnect((second + 2) % SERVERS);
    let start = cluster.start(second, 104).expect("the leader refuses a command");
    assert_eq!(start.index, 4);
    sleep(QUIET);
    let (count, _) = cluster.n_committed(start.index);
    assert_eq!(count, 0, "committed without a majority");
    cluster.end();
}

/// `TestLeaderFailure2B` (2023)
///
/// Goal: agreement goes on after the leader fails, and stops with the second failure.
/// Method: disconnect one leader after the other.
#[test]
fn leader_failure_2b() {
    let cluster = cluster(Setup::new("(2B): test failure of leaders", SERVERS));
    cluster.one(101, SERVERS, Retry::No);
    let first = cluster.check_one_leader();
    cluster.disconnect(first);
    cluster.one(102, MAJORITY, Retry::No);
    sleep(ELECTION_TIMEOUT);
    cluster.one(103, MAJORITY, Retry::No);

    let second = cluster.check_one_leader();
    cluster.disconnect(second);
    for i in 0..SERVERS {
        cluster.start(i, 104);
    }
    sleep(QUIET);
    let (count, _) = cluster.n_committed(4);
    assert_eq!(count, 0, "committed without a majority");
    cluster.end();
}

/// `TestFailAgree2B`
///
/// Goal: a follower that comes back gets what it missed.
/// Method: disconnect a follower, agree without it, and connect it again.
#[test]
fn fail_agree_2b() {
    let cluster = cluster(Setup::new("(2B): agreement after follower reconnects", SERVERS));
    cluster.one(101, SERVERS, Retry::No);
    let leader = cluster.check_one_leader();
    let follower = (leader + 1) % SERVERS;
    cluster.disconnect(follower);
    cluster.one(102, MAJORITY, Retry::No);
    cluster.one(103, MAJORITY, Retry::No);
    sleep(ELECTION_TIMEOUT);
    cluster.one(104, MAJORITY, Retry::No);
    cluster.one(105, MAJORITY, Retry::No);

    cluster.connect(follower);
    cluster.one(106, SERVERS, Retry::Yes);
    sleep(ELECTION_TIMEOUT);
    cluster.one(107, SERVERS, Retry::Yes);
    cluster.end();
}

/// `TestFailNoAgree2B`
///
/// Goal: nothing is agreed on by a minority, and it goes on once there is a majority again.
/// Method: disconnect three of five, and connect them again.
#[test]
fn fail_no_agree_2b() {
    let cluster = cluster(Setup::new("(2B): no agreement if too many disconnect", FIVE));
    cluster.one(10, FIVE, Retry::No);
    let first = cluster.check_one_leader();
    let followers = [1, 2, 3].map(|step| (first + step) % FIVE);
    cluster.disconnect_each(followers);
    let start = cluster.start(first, 20).expect("the leader refuses a command");
    assert_eq!(start.index, 2);
    sleep(QUIET);
    let (count, _) = cluster.n_committed(start.index);
    assert_eq!(count, 0, "committed without a majority");

    cluster.connect_each(followers);
    // The majority may have elected one of its own, who has forgotten 20.
    let second = cluster.check_one_leader();
    let start = cluster.start(second, 30).expect("the leader refuses a command");
    assert!((2..=3).contains(&start.index), "index {}", start.index);
    cluster.one(1000, FIVE, Retry::Yes);
    cluster.end();
}

/// `TestConcurrentStarts2B`
///
/// Goal: commands that are given at the same time all find their place.
/// Method: five threads give the leader a command each; if nobody's term changes, all five must be
/// committed. If it does, try again.
#[test]
fn concurrent_starts_2b() {
    let cluster = cluster(Setup::new("(2B): concurrent Start()s", SERVERS));
    let done = (0..ATTEMPTS).any(|attempt| {
        if attempt > 0 {
            sleep(ATTEMPT_PAUSE);
        }
        start_concurrently(&cluster).is_some()
    });
    assert!(done, "the term changed too often");
    cluster.end();
}

/// `None` if the term changed meanwhile.
fn start_concurrently(cluster: &RaftCluster) -> Option<()> {
    let leader = cluster.check_one_leader();
    let term = cluster.start(leader, 1)?.term;
    let commands: Vec<i64> = (100..100 + CONCURRENT_STARTS).collect();
    let starts: Vec<_> = thread::scope(|scope| {
        let give = |&command: &i64| scope.spawn(move || cluster.start(leader, command));
        let givers: Vec<_> = commands.iter().map(give).collect();
        givers.into_iter().map(|giver| giver.join().expect("start does not panic")).collect()
    });
    let indexes = starts.iter().flatten().filter(|start| start.term == term).map(|s| s.index);
    if !cluster.all_in_term(term) {
        return None;
    }
    let committed: Option<Vec<Command>> =
        indexes.map(|index| cluster.wait(index, SERVERS, Some(term))).collect();
    let committed = committed?;
    for command in commands {
        let command = Command::from(command);
        assert!(committed.contains(&command), "{command:?} is missing in {committed:?}");
    }
    Some(())
}

/// `TestRejoin2B`
///
/// Goal: a leader that was cut off gives up what only it has.
/// Method: give it commands while it is disconnected, agree on others, and connect it again when
/// its successor is disconnected.
#[test]
fn rejoin_2b() {
    let cluster = cluster(Setup::new("(2B): rejoin of partitioned leader", SERVERS));
    cluster.one(101, SERVERS, Retry::Yes);
    let first = cluster.check_one_leader();
    cluster.disconnect(first);
    for command in [102, 103, 104] {
        cluster.start(first, command);
    }
    cluster.one(103, MAJORITY, Retry::Yes);

    let second = cluster.check_one_leader();
    cluster.disconnect(second);
    cluster.connect(first);
    cluster.one(104, MAJORITY, Retry::Yes);
    cluster.connect(second);
    cluster.one(105, SERVERS, Retry::Yes);
    cluster.end();
}

/// `TestBackup2B`
///
/// Goal: a leader finds quickly where a follower's log parts from its own.
/// Method: two groups of servers get fifty commands each that they cannot commit, in different
/// terms, and must then follow each other.
#[test]
fn backup_2b() {
    let cluster =
        cluster(Setup::new("(2B): leader backs up quickly over incorrect follower logs", FIVE));
    let number = || cluster.random.number();
    let agree_on_a_burst = || {
        for _ in 0..BURST {
            cluster.one(number(), FIVE_MAJORITY, Retry::Yes);
        }
    };
    cluster.one(number(), FIVE, Retry::Yes);

    // A leader and one follower, with commands that cannot be committed.
    let first = cluster.check_one_leader();
    let ours = [first, (first + 1) % FIVE];
    let theirs = [2, 3, 4].map(|step| (first + step) % FIVE);
    cluster.disconnect_each(theirs);
    give_a_burst(&cluster, first);
    cluster.disconnect_each(ours);

    // The others agree, and then one of them leads two into the same.
    cluster.connect_each(theirs);
    agree_on_a_burst();
    let second = cluster.check_one_leader();
    let other = if second == theirs[0] { (second + 1) % FIVE } else { theirs[0] };
    cluster.disconnect(other);
    give_a_burst(&cluster, second);

    // The first leader and its follower come back, with the one that can teach them.
    cluster.disconnect_each(0..FIVE);
    cluster.connect_each(ours);
    cluster.connect(other);
    agree_on_a_burst();

    cluster.connect_each(0..FIVE);
    cluster.one(number(), FIVE, Retry::Yes);
    cluster.end();
}

fn give_a_burst(cluster: &RaftCluster, leader: usize) {
    for _ in 0..BURST {
        cluster.start(leader, cluster.random.number());
    }
    sleep(ELECTION_TIMEOUT / 2);
}

/// `TestCount2B`
///
/// Goal: messages are not too many: for an election, for commands, for doing nothing.
/// Method: count them. A change of term spoils the count: then try again.
#[test]
fn count_2b() {
    let cluster = cluster(Setup::new("(2B): RPC counts aren't too high", SERVERS));
    cluster.check_one_leader();
    let for_election = rpcs(&cluster);
    assert!(
        (1..=ELECTION_RPCS_MAX).contains(&for_election),
        "{for_election} RPCs to elect the first leader"
    );
    let after_commands = (0..ATTEMPTS).find_map(|attempt| {
        if attempt > 0 {
            sleep(ATTEMPT_PAUSE);
        }
        count_commands(&cluster)
    });
    let after_commands = after_commands.expect("the term changed too often");
    sleep(ELECTION_TIMEOUT);
    let idle = rpcs(&cluster) - after_commands;
    assert!(idle <= IDLE_RPCS_MAX, "{idle} RPCs for a second of idleness");
    cluster.end();
}

/// The count of RPCs at the end; `None` if the term changed meanwhile.
fn count_commands(cluster: &RaftCluster) -> Option<u64> {
    let leader = cluster.check_one_leader();
    let before = rpcs(cluster);
    let first = cluster.start(leader, 1)?;
    let mut commands = Vec::new();
    for step in 1..COUNTED_COMMANDS + 2 {
        let command = cluster.random.number();
        let start = cluster.start(leader, command)?;
        if start.term != first.term {
            return None;
        }
        assert_eq!(start.index, first.index + step, "a command went to another index");
        commands.push((start.index, Command::from(command)));
    }
    for (index, command) in commands.into_iter().take(COUNTED_COMMANDS as usize) {
        let found = cluster.wait(index, SERVERS, Some(first.term))?;
        assert_eq!(found, command, "another command at index {index}");
    }
    let after = rpcs(cluster);
    if !cluster.all_in_term(first.term) {
        return None;
    }
    let count = after - before;
    assert!(count <= COUNTED_RPCS_MAX, "{count} RPCs for {COUNTED_COMMANDS} commands");
    Some(after)
}

fn rpcs(cluster: &RaftCluster) -> u64 {
    (0..SERVERS).map(|i| cluster.rpc_count(i)).sum()
}
