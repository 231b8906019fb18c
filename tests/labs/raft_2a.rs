//! Lab 2A: leaders are elected, and replaced.

use std::time::Duration;

use crate::harness::Setup;
use crate::rafts::cluster;
use crate::{ELECTION_TIMEOUT, sleep};

const SERVERS: usize = 3;
/// For followers to learn of the election.
const SETTLE: Duration = Duration::from_millis(50);
const QUIET: Duration = ELECTION_TIMEOUT.saturating_mul(2);

const MANY_SERVERS: usize = 7;
const MANY_ROUNDS: usize = 9;
const MANY_CUT_OFF: usize = 3;

/// `TestInitialElection2A`
///
/// Goal: a cluster elects a leader, and keeps it while nothing fails.
/// Method: ask for the leader and the term, now and two seconds later.
#[test]
fn initial_election_2a() {
    let cluster = cluster(Setup::new("(2A): initial election", SERVERS));
    cluster.check_one_leader();
    sleep(SETTLE);
    let before = cluster.check_terms();
    assert!(before >= 1, "term {before} after an election");
    sleep(QUIET);
    let after = cluster.check_terms();
    if after != before {
        println!("warning: term {before} → {after}, though nothing failed");
    }
    cluster.check_one_leader();
    cluster.end();
}

/// `TestReElection2A`
///
/// Goal: a majority that loses its leader elects another; without a majority nobody leads; an old
/// leader that comes back does no harm.
/// Method: disconnect the leader, then two servers of three, and connect them again.
#[test]
fn re_election_2a() {
    let cluster = cluster(Setup::new("(2A): election after network failure", SERVERS));
    let first = cluster.check_one_leader();
    cluster.disconnect(first);
    cluster.check_one_leader();
    cluster.connect(first);
    let second = cluster.check_one_leader();

    let other = (second + 1) % SERVERS;
    cluster.disconnect(second);
    cluster.disconnect(other);
    sleep(QUIET);
    cluster.check_no_leader();

    cluster.connect(other);
    cluster.check_one_leader();
    cluster.connect(second);
    cluster.check_one_leader();
    cluster.end();
}

/// `TestManyElections2A`
///
/// Goal: four of seven servers have a leader, whichever they are.
/// Method: nine times, disconnect three servers drawn at random and ask for the leader.
#[test]
fn many_elections_2a() {
    let cluster = cluster(Setup::new("(2A): multiple elections", MANY_SERVERS));
    cluster.check_one_leader();
    for _ in 0..MANY_ROUNDS {
        // The same server may be drawn twice.
        let cut_off = [(); MANY_CUT_OFF].map(|()| cluster.random.below(MANY_SERVERS));
        cluster.disconnect_each(cut_off);
        cluster.check_one_leader();
        cluster.connect_each(cut_off);
    }
    cluster.check_one_leader();
    cluster.end();
}
