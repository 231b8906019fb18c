//! `kill -9` of one and of all: what was acknowledged is there, and writes go on.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use redis::Commands as _;

use crate::processes::{Nodes, PATIENCE, wait_for};

/// Writes `key-0`, `key-1`, … at whichever node answers, until told to stop; counts what was
/// acknowledged. A write without an acknowledgement is made again: it is the same write.
fn write_until(stop: &AtomicBool, acknowledged: &AtomicU64, addresses: &[String]) -> Duration {
    let clients: Vec<_> = addresses
        .iter()
        .map(|address| redis::Client::open(format!("redis://{address}/")).expect("an address"))
        .collect();
    let mut longest = Duration::ZERO;
    let mut at = 0;
    let mut connection: Option<redis::Connection> = None;
    while !stop.load(Ordering::SeqCst) {
        let number = acknowledged.load(Ordering::SeqCst);
        let began = Instant::now();
        loop {
            assert!(began.elapsed() < PATIENCE, "write {number} is not acknowledged");
            let Some(open) = &mut connection else {
                at += 1;
                connection = clients[at % clients.len()].get_connection().ok();
                continue;
            };
            match open.set::<_, _, ()>(format!("key-{number}"), number) {
                Ok(()) => break,
                Err(_) => connection = None,
            }
        }
        longest = longest.max(began.elapsed());
        acknowledged.store(number + 1, Ordering::SeqCst);
    }
    longest
}

fn assert_all_there(nodes: &Nodes, id: usize, acknowledged: u64) {
    let mut connection = nodes.redis(id);
    wait_for("an answer", || connection.get::<_, Option<u64>>("key-0").ok());
    for number in 0..acknowledged {
        let value: Option<u64> = connection.get(format!("key-{number}")).unwrap();
        assert_eq!(value, Some(number), "of {acknowledged} acknowledged writes");
    }
}

#[test]
fn writes_go_on_when_the_leader_is_killed_and_it_catches_up_afterwards() {
    let mut nodes = Nodes::start();
    let (stop, acknowledged) = (AtomicBool::new(false), AtomicU64::new(0));
    let addresses = [1, 2, 3].map(|id| nodes.client_addr(id));
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| write_until(&stop, &acknowledged, &addresses));
        let more = |than: u64| {
            wait_for("more writes", || (acknowledged.load(Ordering::SeqCst) > than).then_some(()));
        };
        more(50);
        let leader = nodes.leader();
        nodes.kill(leader);
        more(acknowledged.load(Ordering::SeqCst) + 50);
        nodes.start_node(leader);
        more(acknowledged.load(Ordering::SeqCst) + 50);
        stop.store(true, Ordering::SeqCst);
        let longest = writer.join().expect("the writer does not fail");
        eprintln!("the longest pause a client saw: {longest:?}");

        let last_applied = |id: usize| {
            let status = nodes.status(leader)?;
            status["members"][id - 1]["status"]["last_applied"].as_u64()
        };
        wait_for("the restarted node catches up", || {
            let other = leader % 3 + 1;
            let (its, others) = (last_applied(leader)?, last_applied(other)?);
            (its >= others && its > 100).then_some(())
        });
    });
    let acknowledged = acknowledged.load(Ordering::SeqCst);
    assert_all_there(&nodes, 1, acknowledged);
    eprintln!("{acknowledged} acknowledged writes, all there");
}

#[test]
fn a_leader_that_is_told_to_stop_passes_its_leadership_on_first() {
    let mut nodes = Nodes::start();
    let (stop, acknowledged) = (AtomicBool::new(false), AtomicU64::new(0));
    let leader = nodes.leader();
    // Whoever is connected to the leader itself has to connect again; the others only wait.
    let addresses: Vec<_> =
        (1..=3).filter(|&id| id != leader).map(|id| nodes.client_addr(id)).collect();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| write_until(&stop, &acknowledged, &addresses));
        let more = |than: u64| {
            wait_for("more writes", || (acknowledged.load(Ordering::SeqCst) > than).then_some(()));
        };
        more(50);
        nodes.terminate(leader);
        more(acknowledged.load(Ordering::SeqCst) + 50);
        stop.store(true, Ordering::SeqCst);
        let longest = writer.join().expect("the writer does not fail");
        eprintln!("the longest pause a client saw: {longest:?}");
    });
    let log = std::fs::read_to_string(nodes.log_of(leader)).expect("it has a log");
    assert!(log.contains("leads now"), "{log}");
    let successor = nodes.leader();
    assert_ne!(successor, leader);
    assert_all_there(&nodes, successor, acknowledged.load(Ordering::SeqCst));
}

#[test]
fn every_acknowledged_write_survives_the_kill_of_all() {
    let mut nodes = Nodes::start();
    let mut total = 0;
    for round in 1..=3 {
        let (stop, acknowledged) = (AtomicBool::new(false), AtomicU64::new(total));
        let addresses = [1, 2, 3].map(|id| nodes.client_addr(id));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // Once all are dead its last write finds nobody; what counts is what was answered.
                let run = || write_until(&stop, &acknowledged, &addresses);
                drop(std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)));
            });
            wait_for("some writes", || {
                (acknowledged.load(Ordering::SeqCst) > total + 100).then_some(())
            });
            (1..=3).for_each(|id| nodes.kill(id));
            stop.store(true, Ordering::SeqCst);
            (1..=3).for_each(|id| nodes.start_node(id));
        });
        total = acknowledged.load(Ordering::SeqCst);
        assert_all_there(&nodes, round, total);
    }
    eprintln!("{total} acknowledged writes, all there after 3 kills of all nodes");
}
