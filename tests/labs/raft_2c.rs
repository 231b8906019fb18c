//! Lab 2C: what a peer has acknowledged survives its crash, on good networks and bad ones.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::harness::{RaftCluster, Retry, Setup};
use crate::rafts::cluster;
use crate::{ELECTION_TIMEOUT, StopOnDrop, sleep};

const SERVERS: usize = 3;
const MAJORITY: usize = 2;
const FIVE: usize = 5;
const FIVE_MAJORITY: usize = 3;

const PERSIST_ROUNDS: usize = 5;

/// Figure 8: crashes at random moments of an agreement, so often,
const FIGURE_8_ITERATIONS: usize = 1000;
/// mostly soon after a command is given,
const SHORT_PAUSE_MS: RangeInclusive<u64> = 0..=12;
/// and so many times in a hundred
const LONG_PAUSE_PERCENT: u64 = 10;
/// after there was time to commit it.
const LONG_PAUSE_MS: RangeInclusive<u64> = 0..=499;

/// On the unreliable network, replies are held back from this iteration on,
const REORDERING_FROM: usize = 200;
/// the leader is disconnected so many times in a hundred,
const CUT_OFF_PERCENT: u64 = 50;
/// and commands are below this.
const SMALL_NUMBERS: i64 = 10_000;

const UNRELIABLE_ROUNDS: i64 = 49;
const UNRELIABLE_THREADS: i64 = 4;

const CHURN_ITERATIONS: usize = 20;
const CHURN_DISCONNECT_PERCENT: u64 = 20;
const CHURN_START_PERCENT: u64 = 50;
const CHURN_CRASH_PERCENT: u64 = 20;
const CHURN_PAUSE: Duration = Duration::from_millis(700);
const CHURN_CLIENTS: u64 = 3;
/// A client looks whether its command is committed, with these pauses in between.
const CHURN_LOOKS_MS: [u64; 5] = [10, 20, 50, 100, 200];
/// A client that finds no leader pauses this long, and
const CHURN_NO_LEADER_MS: u64 = 79;
/// this much longer for each client before it.
const CHURN_NO_LEADER_STEP_MS: u64 = 17;

/// `TestPersist12C`
///
/// Goal: the log survives the crash of everybody, of the leader, of a follower.
/// Method: restart them and agree on one more command each time.
#[test]
fn persist1_2c() {
    let cluster = cluster(Setup::new("(2C): basic persistence", SERVERS));
    cluster.one(11, SERVERS, Retry::Yes);
    (0..SERVERS).for_each(|i| cluster.start1(i));
    for i in 0..SERVERS {
        cluster.disconnect(i);
        cluster.connect(i);
    }
    cluster.one(12, SERVERS, Retry::Yes);

    let first = cluster.check_one_leader();
    cluster.disconnect(first);
    cluster.start1(first);
    cluster.connect(first);
    cluster.one(13, SERVERS, Retry::Yes);

    let second = cluster.check_one_leader();
    cluster.disconnect(second);
    cluster.one(14, MAJORITY, Retry::Yes);
    cluster.start1(second);
    cluster.connect(second);
    // It must have caught up before the next one goes.
    cluster.wait(4, SERVERS, None);

    let third = (cluster.check_one_leader() + 1) % SERVERS;
    cluster.disconnect(third);
    cluster.one(15, MAJORITY, Retry::Yes);
    cluster.start1(third);
    cluster.connect(third);
    cluster.one(16, SERVERS, Retry::Yes);
    cluster.end();
}

/// `TestPersist22C`
///
/// Goal: a majority that restarts goes on from what it has agreed on.
/// Method: in each round three servers agree, fail, and two of them come back with a third that
/// was away.
#[test]
fn persist2_2c() {
    let cluster = cluster(Setup::new("(2C): more persistence", FIVE));
    let mut commands = 11..;
    let mut next = || commands.next().expect("numbers do not end");
    for _ in 0..PERSIST_ROUNDS {
        cluster.one(next(), FIVE, Retry::Yes);
        let leader = cluster.check_one_leader();
        let [first, second, third, fourth] = [1, 2, 3, 4].map(|step| (leader + step) % FIVE);
        cluster.disconnect(first);
        cluster.disconnect(second);
        cluster.one(next(), FIVE_MAJORITY, Retry::Yes);

        cluster.disconnect_each([leader, third, fourth]);
        for i in [first, second] {
            cluster.start1(i);
            cluster.connect(i);
        }
        sleep(ELECTION_TIMEOUT);
        cluster.start1(third);
        cluster.connect(third);
        cluster.one(next(), FIVE_MAJORITY, Retry::Yes);

        cluster.connect(fourth);
        cluster.connect(leader);
    }
    cluster.one(1000, FIVE, Retry::Yes);
    cluster.end();
}

/// `TestPersist32C`
///
/// Goal: a leader that restarts beside a follower that was away brings it up to date.
/// Method: two agree and crash, one of them comes back with the third.
#[test]
fn persist3_2c() {
    let cluster = cluster(Setup::new(
        "(2C): partitioned leader and one follower crash, leader restarts",
        SERVERS,
    ));
    cluster.one(101, SERVERS, Retry::Yes);
    let leader = cluster.check_one_leader();
    let [first, second] = [1, 2].map(|step| (leader + step) % SERVERS);
    cluster.disconnect(second);
    cluster.one(102, MAJORITY, Retry::Yes);

    cluster.crash1(leader);
    cluster.crash1(first);
    cluster.connect(second);
    cluster.start1(leader);
    cluster.connect(leader);
    cluster.one(103, MAJORITY, Retry::Yes);

    cluster.start1(first);
    cluster.connect(first);
    cluster.one(104, SERVERS, Retry::Yes);
    cluster.end();
}

/// `TestFigure82C`
///
/// Goal: an entry of an earlier term is not committed for being at a majority (the paper's Figure
/// 8, section 5.4.2).
/// Method: crash each leader soon after it got a command, mostly before it can commit it, and let
/// another server come back when fewer than three are up.
#[test]
fn figure_8_2c() {
    let cluster = cluster(Setup::new("(2C): Figure 8", FIVE));
    let random = &cluster.random;
    cluster.one(random.number(), 1, Retry::Yes);
    for _ in 0..FIGURE_8_ITERATIONS {
        let started = |&i: &usize| cluster.start(i, random.number()).is_some();
        let leader = (0..FIVE).filter(started).last();
        figure_8_pause(&cluster);
        if let Some(leader) = leader {
            cluster.crash1(leader);
        }
        let up = (0..FIVE).filter(|&i| cluster.is_up(i)).count();
        let i = random.below(FIVE);
        if up < FIVE_MAJORITY && !cluster.is_up(i) {
            cluster.start1(i);
            cluster.connect(i);
        }
    }
    cluster.revive();
    cluster.one(random.number(), FIVE, Retry::Yes);
    cluster.end();
}

fn figure_8_pause(cluster: &RaftCluster) {
    let long = cluster.random.percent(LONG_PAUSE_PERCENT);
    let pause_ms = if long { LONG_PAUSE_MS } else { SHORT_PAUSE_MS };
    sleep(Duration::from_millis(cluster.random.range(pause_ms)));
}

/// `TestUnreliableAgree2C`
///
/// Goal: agreement goes on, and fast enough, while messages are delayed and lost.
/// Method: five threads agree on commands at once, many times.
#[test]
fn unreliable_agree_2c() {
    let setup = Setup::new("(2C): unreliable agreement", FIVE).reliable(false);
    let cluster = cluster(setup);
    thread::scope(|scope| {
        for round in 1..=UNRELIABLE_ROUNDS {
            for thread in 0..UNRELIABLE_THREADS {
                let cluster = &cluster;
                scope.spawn(move || cluster.one(100 * round + thread, 1, Retry::Yes));
            }
            cluster.one(round, 1, Retry::Yes);
        }
        cluster.set_reliable(true);
    });
    cluster.one(100, FIVE, Retry::Yes);
    cluster.end();
}

/// `TestFigure8Unreliable2C`
///
/// Goal: logs that differ in many terms come together again, fast enough on a network that loses,
/// delays and reorders messages.
/// Method: as in Figure 8, but leaders are disconnected, and get commands all the while.
#[test]
fn figure_8_unreliable_2c() {
    let setup = Setup::new("(2C): Figure 8 (unreliable)", FIVE).reliable(false);
    let cluster = cluster(setup);
    let random = &cluster.random;
    let small_number = || random.number() % SMALL_NUMBERS;
    cluster.one(small_number(), 1, Retry::Yes);
    for iteration in 0..FIGURE_8_ITERATIONS {
        if iteration == REORDERING_FROM {
            cluster.set_long_reordering(true);
        }
        let started = |&i: &usize| cluster.start(i, small_number()).is_some();
        let leaders: Vec<usize> = (0..FIVE).filter(started).collect();
        let leader = leaders.into_iter().rfind(|&i| cluster.is_connected(i));
        figure_8_pause(&cluster);
        if let Some(leader) = leader.filter(|_| random.percent(CUT_OFF_PERCENT)) {
            cluster.disconnect(leader);
        }
        let connected = (0..FIVE).filter(|&i| cluster.is_connected(i)).count();
        let i = random.below(FIVE);
        if connected < FIVE_MAJORITY && !cluster.is_connected(i) {
            cluster.connect(i);
        }
    }
    cluster.connect_each(0..FIVE);
    cluster.one(small_number(), FIVE, Retry::Yes);
    cluster.end();
}

/// `TestReliableChurn2C`
///
/// Goal: what clients saw committed stays, while servers come and go.
/// Method: see [`churn`].
#[test]
fn reliable_churn_2c() {
    churn(Setup::new("(2C): churn", FIVE));
}

/// `TestUnreliableChurn2C`
///
/// Goal: as `reliable_churn_2c`, on a network that loses messages.
/// Method: see [`churn`].
#[test]
fn unreliable_churn_2c() {
    churn(Setup::new("(2C): unreliable churn", FIVE).reliable(false));
}

/// Three clients give commands to whoever takes them, and note those they see committed, while
/// servers are disconnected, crashed and restarted. In the end everything they noted must be there.
fn churn(setup: Setup) {
    let cluster = cluster(setup);
    let random = &cluster.random;
    let stop = &AtomicBool::new(false);
    let mut seen = Vec::new();
    thread::scope(|scope| {
        let _stop = StopOnDrop(stop);
        let client = |client| {
            let cluster = &cluster;
            scope.spawn(move || churn_client(cluster, client, stop))
        };
        let clients: Vec<_> = (0..CHURN_CLIENTS).map(client).collect();
        for _ in 0..CHURN_ITERATIONS {
            if random.percent(CHURN_DISCONNECT_PERCENT) {
                cluster.disconnect(random.below(FIVE));
            }
            if random.percent(CHURN_START_PERCENT) {
                let i = random.below(FIVE);
                if !cluster.is_up(i) {
                    cluster.start1(i);
                }
                cluster.connect(i);
            }
            if random.percent(CHURN_CRASH_PERCENT) {
                let i = random.below(FIVE);
                if cluster.is_up(i) {
                    cluster.crash1(i);
                }
            }
            sleep(CHURN_PAUSE);
        }
        sleep(ELECTION_TIMEOUT);
        cluster.set_reliable(true);
        cluster.revive();
        cluster.connect_each(0..FIVE);
        stop.store(true, Ordering::SeqCst);
        seen = clients.into_iter().flat_map(|client| client.join().expect("a client")).collect();
    });
    sleep(ELECTION_TIMEOUT);
    let last = cluster.one(random.number(), FIVE, Retry::Yes);
    let committed: Vec<i64> = (1..=last)
        .map(|index| {
            let command = cluster.wait(index, FIVE, None);
            command.and_then(|command| command.number()).expect("a number at every index")
        })
        .collect();
    for number in seen {
        assert!(committed.contains(&number), "{number} was committed, and is lost");
    }
    cluster.end();
}

/// Returns what it saw committed.
fn churn_client(cluster: &RaftCluster, client: u64, stop: &AtomicBool) -> Vec<i64> {
    let mut seen = Vec::new();
    while !stop.load(Ordering::SeqCst) {
        let number = cluster.random.number();
        let starts = (0..FIVE).filter_map(|i| cluster.start(i, number));
        let Some(start) = starts.last() else {
            sleep(Duration::from_millis(CHURN_NO_LEADER_MS + CHURN_NO_LEADER_STEP_MS * client));
            continue;
        };
        // It may never be committed, if the leader fails: then this gives up.
        for look_ms in CHURN_LOOKS_MS {
            if let (1.., Some(command)) = cluster.n_committed(start.index) {
                if command.number().expect("only numbers are given") == number {
                    seen.push(number);
                }
                break;
            }
            sleep(Duration::from_millis(look_ms));
        }
    }
    seen
}
