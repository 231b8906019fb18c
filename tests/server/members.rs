//! A broken node is replaced by a new one, by the commands of docs/operations.md; and a node that
//! must not come back is turned away.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use redis::Commands as _;

use crate::processes::{Nodes, free_ports, run, run_err, run_ok, wait_for};

/// Flips a bit in the middle of what was written to the log in `dir`.
fn damage(dir: &std::path::Path) {
    let mut files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let marked = |bytes: &[u8]| {
        let found: Vec<usize> =
            (0..bytes.len() - 100).filter(|&at| bytes[at..at + 100] == [b'x'; 100]).collect();
        found.get(found.len() / 2).copied()
    };
    let found = files.find_map(|path| {
        let bytes = fs::read(&path).ok().filter(|bytes| bytes.len() > 100)?;
        let at = marked(&bytes)?;
        Some((path, bytes, at))
    });
    let (path, mut bytes, at) = found.expect("the writes are in some segment");
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn members(addr: &str) -> String {
    run_ok(&["member", "list", "--addr", addr])
}

fn args(nodes: &Nodes, id: usize) -> Vec<String> {
    nodes.serve_args(id)
}

fn strs(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}

#[test]
fn a_broken_node_is_replaced_by_a_new_one_and_nothing_acknowledged_is_lost() {
    let mut nodes = Nodes::start();
    let value = "x".repeat(120);
    let mut connection = nodes.redis(1);
    for number in 0..50 {
        let () = connection.set(format!("before-{number}"), &value).unwrap();
    }
    wait_for("node 2 has it all", || {
        let status = nodes.status(2)?;
        let applied = |id: usize| status["members"][id]["status"]["last_applied"].as_u64();
        (applied(0)? == applied(1)?).then_some(())
    });
    nodes.kill(2);
    damage(&nodes.dir_of(2));
    let refused = run_err(&strs(&args(&nodes, 2)));
    assert!(refused.contains("damaged") && refused.contains("offset"), "{refused}");

    // A writer goes on all the while.
    let over = AtomicBool::new(false);
    let (four, written) = std::thread::scope(|scope| {
        let mut connection = nodes.redis(1);
        let (over, value) = (&over, &value);
        let writer = scope.spawn(move || {
            let mut written = 0;
            while !over.load(Ordering::SeqCst) {
                let set: redis::RedisResult<()> =
                    connection.set(format!("during-{written}"), value);
                written += u32::from(set.is_ok());
            }
            written
        });
        let four = nodes.start_joining();
        let (new, addr) = (nodes.member(four), nodes.client_addr(3));
        let said = run_ok(&["member", "replace", "2", &new, "--addr", &addr]);
        assert!(said.contains("{1,3,4}"), "{said}");
        over.store(true, Ordering::SeqCst);
        (four, writer.join().unwrap())
    });
    assert!(written > 0, "nothing was written meanwhile");
    let list = members(&nodes.client_addr(four));
    assert_eq!(list.lines().count(), 4, "{list}");
    assert_eq!(list.matches("voter").count(), 3, "{list}");
    assert!(list.contains(&nodes.client_addr(four)), "{list}");
    // Again: it is done already.
    let again = ["member", "replace", "2", &nodes.member(four), "--addr", &nodes.client_addr(1)];
    assert!(run_ok(&again).contains("{1,3,4}"));

    // The new one carries its share: without node 1, it and node 3 are a majority.
    nodes.kill(1);
    let mut connection = nodes.redis(four);
    wait_for("writes go on", || connection.set::<_, _, ()>("after", "1").ok());
    for (what, count) in [("before", 50), ("during", written)] {
        for number in 0..count {
            let found: String = connection.get(format!("{what}-{number}")).unwrap();
            assert_eq!(found, value, "{what}-{number}");
        }
    }
    // The same command line starts it again, and needs nobody else for that.
    nodes.kill(four);
    nodes.start_node(four);
    let mut connection = nodes.redis(four);
    wait_for("writes go on", || connection.set::<_, _, ()>("after", "2").ok());
    // So does the one of a founder, which names node 2 still.
    nodes.start_node(1);
    let mut connection = nodes.redis(1);
    let after: String = wait_for("reads go on", || connection.get("after").ok());
    assert_eq!(after, "2");
}

#[test]
fn what_must_not_come_back_is_turned_away() {
    let mut nodes = Nodes::start();
    let addr = nodes.client_addr(1);
    let mut connection = nodes.redis(1);
    wait_for("a leader", || connection.set::<_, _, ()>("k", "v").ok());

    // A member whose directory is lost.
    let empty = nodes.path().join("empty");
    let ports = free_ports(2).iter().map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>();
    let serve = |id: &str| {
        let dir = empty.display().to_string();
        let given = ["--client-addr", &ports[0], "--peer-addr", &ports[1], "--join", &addr];
        run_err(&[&["serve", "--id", id, "--dir", &dir][..], &given].concat())
    };
    let error = serve("3");
    assert!(error.contains("must not come back") && error.contains("replace 3 4="), "{error}");
    assert!(!empty.exists(), "nothing was made");

    // A member that was removed hears of it and ends; it ends again if it is started again, with its
    // directory or without.
    let unknown = run_err(&["member", "remove", "9", "--addr", &addr]);
    assert!(unknown.contains("node 9 is no member; the members are 1, 2, 3"), "{unknown}");
    run_ok(&["member", "remove", "3", "--addr", &addr]);
    assert!(nodes.last_words(3).contains("removed from its cluster"));
    nodes.start_node(3);
    assert!(nodes.last_words(3).contains("removed from its cluster"));
    fs::remove_dir_all(nodes.dir_of(3)).unwrap();
    fs::remove_file(nodes.path().join("3.log")).unwrap();
    nodes.start_node(3);
    assert!(nodes.last_words(3).contains("removed from its cluster"));
    let error = serve("3");
    assert!(error.contains("never used again"), "{error}");
    let error = run_err(&["member", "add", "3=127.0.0.1:1", "--addr", &addr]);
    assert!(error.contains("never used again"), "{error}");

    // A new member that is not there; and one that would leave no majority.
    let wrong = ["member", "add", "4=127.0.0.1:1", "--addr", &addr, "--timeout", "2"];
    let error = run_err(&wrong);
    assert!(error.contains("peer 4 has not answered") && error.contains("nothing was"), "{error}");
    assert_eq!(members(&addr).lines().count(), 3);
    let leader = nodes.leader();
    nodes.kill(3 - leader);
    let addr = nodes.client_addr(leader);
    wait_for("it is refused, or nobody leads any more", || {
        let (leader, other) = (leader.to_string(), (3 - leader).to_string());
        let add = ["member", "remove", &leader, "--addr", &addr, "--timeout", "1"];
        let output = run(&add);
        assert!(!output.status.success(), "{other} alone is not there");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        (error.contains("only 0 answer") || error.contains("no leader")).then_some(())
    });
}
