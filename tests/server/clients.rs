//! What clients see, at any node.

use redis::Commands as _;

use crate::processes::{Nodes, run_err, run_ok, wait_for};

#[test]
fn every_node_takes_every_command() {
    let nodes = Nodes::start();
    let [mut one, mut two, mut three] = [1, 2, 3].map(|id| nodes.redis(id));
    let () = two.set("greeting", "hello").unwrap();
    let length: usize = three.append("greeting", " world").unwrap();
    assert_eq!(length, 11);
    let greeting: String = one.get("greeting").unwrap();
    assert_eq!(greeting, "hello world");
    let missing: Option<String> = two.get("nothing").unwrap();
    assert_eq!(missing, None);
}

#[test]
fn increments_through_all_nodes_at_once_are_each_counted_once() {
    let nodes = Nodes::start();
    std::thread::scope(|scope| {
        for id in 1..=3 {
            let mut connection = nodes.redis(id);
            scope.spawn(move || {
                for _ in 0..50 {
                    let _: i64 = connection.incr("counter", 1).unwrap();
                }
            });
        }
    });
    let total: i64 = nodes.redis(1).get("counter").unwrap();
    assert_eq!(total, 150);
}

#[test]
fn a_transaction_is_one_step_for_everybody() {
    let nodes = Nodes::start();
    let mut writer = nodes.redis(2);
    let () = writer.mset(&[("a", 0), ("b", 0)]).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..50 {
                let sums: (i64, i64) =
                    redis::pipe().atomic().incr("a", 1).incr("b", 1).query(&mut writer).unwrap();
                assert_eq!(sums.0, sums.1);
            }
        });
        let mut reader = nodes.redis(3);
        for _ in 0..50 {
            let (a, b): (i64, i64) = reader.mget(&["a", "b"]).unwrap();
            assert_eq!(a, b, "half a transaction is seen");
        }
    });
}

#[test]
fn the_clerk_works_at_any_node_and_status_shows_all() {
    let nodes = Nodes::start();
    let [one, two, three] = [1, 2, 3].map(|id| nodes.client_addr(id));
    run_ok(&["put", "greeting", "hello", "--addr", &one]);
    run_ok(&["append", "greeting", " world", "--addr", &two]);
    assert_eq!(run_ok(&["get", "greeting", "--addr", &three]), "hello world\n");
    let all = [one.as_str(), &two, &three].join(",");
    assert_eq!(run_ok(&["get", "greeting", "--addr", &all]), "hello world\n");
    assert!(run_err(&["get", "nothing", "--addr", &all]).contains("\"nothing\""));

    wait_for("all nodes level", || {
        let status = nodes.status(2)?;
        let members = status["members"].as_array()?.clone();
        let applied = |m: &serde_json::Value| m["status"]["last_applied"].as_u64();
        let first = applied(&members[0])?;
        members.iter().all(|member| applied(member) == Some(first)).then_some(())
    });
    let table = run_ok(&["status", "--addr", &one]);
    assert_eq!(table.lines().count(), 4, "a head and three nodes:\n{table}");
    assert_eq!(table.matches(" yes ").count(), 3, "all reachable:\n{table}");
    assert_eq!(table.matches(" leader ").count(), 1, "one leads:\n{table}");
}
