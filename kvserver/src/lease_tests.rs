//! Reads by lease, on whole nodes and the simulated network.

use std::time::{Duration, Instant};

use oarlock_raft::{LeaseReads, Options};

use crate::KvOptions;
use crate::op::Answer;
use crate::server::tests::{Cluster, get};

const HEARTBEAT: Duration = Duration::from_millis(200);
/// The shortest election time-out: long, so that a busy machine does not cost a leader its lease.
const PROMISE: Duration = Duration::from_secs(2);

/// Three nodes with a leader that has committed something, and which of them leads.
fn cluster(lease_reads: Option<LeaseReads>) -> (Cluster, usize) {
    let raft = Options {
        heartbeat_interval: HEARTBEAT,
        election_timeout: PROMISE..=PROMISE * 3 / 2,
        lease_reads,
        ..Options::default()
    };
    let cluster = Cluster::new(3, KvOptions { raft, ..KvOptions::default() });
    let leader = cluster.leader();
    cluster.clerk("first").append("k", "v");
    (cluster, leader)
}

/// How many messages are sent while the leader serves a thousand reads, one after the other.
fn messages_of_a_thousand_reads(lease_reads: Option<LeaseReads>) -> u64 {
    let (cluster, leader) = cluster(lease_reads);
    let replicated = cluster.servers[leader].replicated();
    let before = cluster.messages();
    for _ in 0..1000 {
        let answers = replicated.read(|store| store.read(&get("k"))).unwrap();
        assert!(matches!(&answers[..], [Answer::Bytes(found)] if **found == *b"v"), "{answers:?}");
    }
    cluster.messages() - before
}

#[test]
fn a_leader_with_a_lease_asks_nobody_for_the_sake_of_a_read() {
    let by_lease = messages_of_a_thousand_reads(Some(LeaseReads::default()));
    assert!(by_lease < 500, "{by_lease} messages: more than heartbeats");
    let by_round = messages_of_a_thousand_reads(None);
    assert!(by_round >= 1000, "{by_round} messages: a round for each read");
}

/// What happens to a leader that is cut off: it reads until its lease runs out, which is before any
/// other can lead, and not a moment longer.
#[test]
fn a_leader_that_is_cut_off_reads_until_its_lease_runs_out_and_nobody_else_leads_before() {
    let (cluster, leader) = cluster(Some(LeaseReads::default()));
    let old = cluster.servers[leader].replicated().clone();
    let other = cluster.servers[(leader + 1) % 3].replicated().clone();
    let known = other.leader();
    cluster.connect(leader, false);
    let cut = Instant::now();
    let elected = std::thread::spawn(move || {
        let found = other.wait_for_leader(known, cut + PROMISE * 20);
        (found, Instant::now())
    });
    let mut last_read = None;
    while !elected.is_finished() {
        let began = Instant::now();
        if old.read_until(|_| (), began + HEARTBEAT / 4).is_ok() {
            last_read = Some(began);
        }
    }
    let ((_, found), elected_by) = elected.join().unwrap();
    assert!(found.is_some() && found != known.1, "nobody was elected: {found:?}");
    let last_read = last_read.expect("its lease holds for a while");
    assert!(last_read < cut + PROMISE, "{:?} after it was cut off", last_read - cut);
    assert!(last_read < elected_by, "it read though another led");
    assert!(old.read_until(|_| (), Instant::now() + HEARTBEAT).is_err());
}
