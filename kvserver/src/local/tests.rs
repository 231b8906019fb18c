//! Requests without a thread of their own, on whole nodes: those that go well, and each way in which
//! they do not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, unbounded};

use super::*;
use crate::numbering::WINDOW;
use crate::op::Answer;
use crate::server::KvOptions;
use crate::server::tests::{Cluster, append, disturbed_client, get, text};

type Results = Receiver<Result<Answers, ExecuteError>>;

/// Begins `count` appends at once.
fn begin(client: &LocalClient, count: usize) -> Results {
    let (sender, results) = unbounded();
    for _ in 0..count {
        let sender = sender.clone();
        client.execute_with(append("k", "x"), move |result| sender.send(result).unwrap());
    }
    results
}

/// The results, each of which must come in time; and no more than `count`.
#[track_caller]
fn results(results: &Results, count: usize) -> Vec<Result<Answers, ExecuteError>> {
    let deadline = Instant::now() + Duration::from_secs(20);
    let found = (0..count).map(|n| {
        results.recv_deadline(deadline).unwrap_or_else(|error| panic!("result {n}: {error}"))
    });
    let found = found.collect();
    assert!(results.recv().is_err(), "a callback is called once, and dropped");
    found
}

/// The lengths that appending one byte answered with, in order.
fn lengths(found: Vec<Result<Answers, ExecuteError>>) -> Vec<i64> {
    let length = |result: Result<Answers, _>| match result.unwrap()[0] {
        Answer::Integer(length) => length,
        ref other => panic!("{other:?}"),
    };
    let mut lengths: Vec<i64> = found.into_iter().map(length).collect();
    lengths.sort_unstable();
    lengths
}

#[test]
fn more_requests_than_numbers_are_each_executed_once() {
    let cluster = Cluster::new(3, KvOptions::default());
    let count = usize::try_from(WINDOW).unwrap() + 200;
    let mut before = 0;
    for node in [cluster.leader(), cluster.a_follower()] {
        let found = results(&begin(&cluster.servers[node].client(), count), count);
        let expected: Vec<i64> = (1..=i64::try_from(count).unwrap()).map(|n| before + n).collect();
        assert_eq!(lengths(found), expected);
        before = *expected.last().unwrap();
    }
}

#[test]
fn before_there_is_a_leader_requests_wait_for_one() {
    let cluster = Cluster::new(3, KvOptions::default());
    let begun: Vec<Results> =
        cluster.servers.iter().map(|server| begin(&server.client(), 10)).collect();
    let found = begun.iter().flat_map(|begun| results(begun, 10)).collect();
    assert_eq!(lengths(found), (1..=30).collect::<Vec<i64>>());
}

#[test]
fn a_leader_that_comes_back_is_a_new_one_to_those_who_found_none() {
    let cluster = Cluster::new(3, KvOptions::default());
    let follower = cluster.a_follower();
    let replicated = cluster.servers[follower].replicated();
    let client = cluster.servers[follower].client();
    client.execute(append("k", "a")).unwrap();
    cluster.connect(follower, false);
    let deadline = Instant::now() + Duration::from_secs(10);
    let before = replicated.leader();
    while replicated.leader().1.is_some() {
        assert!(Instant::now() < deadline, "it never notices that it is alone");
        std::thread::yield_now();
    }
    let begun = begin(&client, 3);
    cluster.connect(follower, true);
    assert_eq!(lengths(results(&begun, 3)), [2, 3, 4]);
    assert_eq!(replicated.leader(), before, "which is the case this is about");
}

#[test]
fn at_the_deadline_each_hears_what_may_have_become_of_it() {
    let options = KvOptions { request_timeout: Duration::from_millis(700), ..KvOptions::default() };
    let cluster = Cluster::new(3, options);
    let leader = cluster.leader();
    let client = cluster.servers[leader].client();
    client.execute(append("k", "a")).unwrap();
    (0..3).for_each(|node| cluster.connect(node, false));
    let begun = Instant::now();
    let writes = begin(&client, 5);
    let (sender, reads) = unbounded();
    client.execute_with(get("k"), move |result| sender.send(result).unwrap());
    for result in results(&writes, 5) {
        assert!(result.unwrap_err().may_have_taken_effect(), "it was appended");
    }
    let read = results(&reads, 1).pop().unwrap();
    assert!(matches!(read, Err(ExecuteError::NoLeader { .. })), "{read:?}");
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(700), "given up after {took:?}");
}

#[test]
fn one_request_too_many_is_refused_at_once() {
    let cluster = Cluster::new(3, KvOptions::default());
    let leader = cluster.leader();
    let client = cluster.servers[leader].client();
    client.execute(append("k", "a")).unwrap();
    (0..3).for_each(|node| cluster.connect(node, false));
    let begun = begin(&client, desk::REQUESTS_MAX + 3);
    for _ in 0..3 {
        assert_eq!(begun.try_recv().unwrap(), Err(ExecuteError::Busy));
    }
    cluster.servers[leader].kill();
    let found = results(&begun, desk::REQUESTS_MAX);
    let unknown = found.iter().filter(|f| matches!(f, Err(e) if e.may_have_taken_effect()));
    let count = unknown.count();
    assert!(count >= usize::try_from(WINDOW).unwrap(), "only {count} have had a number");
    let stopped = found.iter().filter(|f| **f == Err(ExecuteError::Stopped)).count();
    assert_eq!(count + stopped, desk::REQUESTS_MAX, "the others were never sent");
}

#[test]
fn a_lost_reply_is_asked_for_again() {
    let cluster = Cluster::new(3, KvOptions::default());
    let client = disturbed_client(&cluster, |_, leader, args, done| {
        // Executed, and the reply lost.
        let lost = oarlock_rpc::Completion::new(move |_| drop(done));
        leader.start(crate::request::KV_REQUEST, args, lost);
    });
    assert_eq!(lengths(results(&begin(&client, 3), 3)), [1, 2, 3]);
    assert_eq!(text(&client.execute(get("k")).unwrap()[0]), "xxx");
}

#[test]
fn the_end_of_a_node_ends_its_requests() {
    let cluster = Cluster::new(3, KvOptions::default());
    let leader = cluster.leader();
    let client = cluster.servers[leader].client();
    client.execute(append("k", "a")).unwrap();
    (0..3).for_each(|node| cluster.connect(node, false));
    let begun = begin(&client, 10);
    cluster.servers[leader].kill();
    for result in results(&begun, 10) {
        assert!(result.unwrap_err().may_have_taken_effect());
    }
    assert_eq!(results(&begin(&client, 1), 1), [Err(ExecuteError::Stopped)]);
}

#[test]
fn a_client_may_be_dropped_by_the_last_one_it_calls_back() {
    let cluster = Cluster::new(3, KvOptions::default());
    let client = Arc::new(disturbed_client(&cluster, |_, _, _, done| std::mem::forget(done)));
    let (sender, results) = unbounded();
    let last = Arc::clone(&client);
    client.execute_with(append("k", "x"), move |result| {
        drop(last);
        sender.send(result).unwrap();
    });
    drop(client);
    let result = results.recv_timeout(Duration::from_secs(20)).unwrap();
    assert!(result.unwrap_err().may_have_taken_effect(), "the reply was lost for good");
}
