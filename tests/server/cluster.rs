//! `oarlock cluster`, from its first line to its last.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;

use parking_lot::Mutex;
use redis::Commands as _;

use crate::directories::{contents, flip_bit_of};
use crate::processes::{free_ports, oarlock, run, run_err, wait_for};

/// Two runs of ports that lie side by side, as `oarlock cluster` wants them.
fn port_runs() -> (u16, u16) {
    let is_free = |port: u16| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
    let run = |from: u16| (from..from + 3).all(is_free);
    loop {
        let (clients, peers) = (free_ports(1)[0], free_ports(1)[0]);
        let apart = clients.abs_diff(peers) >= 3 && clients.max(peers) < u16::MAX - 3;
        if apart && run(clients) && run(peers) {
            return (clients, peers);
        }
    }
}

/// A cluster's process, and the lines it has printed so far.
struct Running {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Running {
    fn text(&self) -> String {
        self.lines.lock().join("\n")
    }
}

/// Starts a cluster and waits until it has introduced itself.
fn start(dir: &Path, clients: u16, peers: u16) -> Running {
    let args = ["cluster", "--dir", &dir.display().to_string()].map(str::to_owned);
    let ports = ["--client-port", &clients.to_string(), "--peer-port", &peers.to_string()]
        .map(str::to_owned);
    let mut child = oarlock(args.iter().chain(&ports))
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let output = BufReader::new(child.stdout.take().expect("piped")).lines();
    let lines = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&lines);
    std::thread::spawn(move || output.for_each(|line| seen.lock().push(line.expect("text"))));
    let running = Running { child, lines };
    wait_for("it says how to stop", || running.text().contains("Ctrl-C").then_some(()));
    running
}

/// A client of node `id`.
fn connect(clients: u16, id: u16) -> redis::Connection {
    let client = redis::Client::open(format!("redis://127.0.0.1:{}/", clients + id - 1));
    let client = client.expect("a good address");
    wait_for("a connection", || client.get_connection().ok())
}

fn stop(Running { mut child, .. }: Running) {
    let pid = child.id().to_string();
    let sent = std::process::Command::new("sh").args(["-c", "kill -TERM \"$0\"", &pid]).status();
    assert!(sent.expect("a shell").success());
    assert!(child.wait().expect("it is ours").success(), "a graceful end is a success");
}

#[test]
fn a_cluster_introduces_itself_stops_gracefully_and_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let (clients, peers) = port_runs();

    let cluster = start(&data, clients, peers);
    let text = cluster.text();
    for id in 1..=3 {
        assert!(text.contains(&format!("127.0.0.1:{}", clients + id - 1)), "{text}");
        assert!(text.contains(&format!("node-{id}")), "{text}");
    }
    assert!(text.contains("leads term") && text.contains("redis-cli"), "{text}");
    let () = connect(clients, 2).set("greeting", "hello").unwrap();
    stop(cluster);
    wait_for("the nodes are gone", || {
        redis::Client::open(format!("redis://127.0.0.1:{clients}/")).ok()?.get_connection().err()
    });

    let cluster = start(&data, clients, peers);
    let greeting: String = connect(clients, 3).get("greeting").unwrap();
    assert_eq!(greeting, "hello");
    stop(cluster);

    let error = run_err(&["cluster", "--nodes", "5", "--dir", &data.display().to_string()]);
    assert!(error.contains("--nodes 3"), "{error}");
}

#[test]
fn a_flipped_bit_in_one_nodes_log_stops_that_node_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let (clients, peers) = port_runs();
    let value = |nth: u32| format!("value {nth} ").repeat(20);
    let cluster = start(&data, clients, peers);
    let mut client = connect(clients, 1);
    for nth in 0..40 {
        let () = client.set(format!("key {nth}"), value(nth)).unwrap();
    }
    stop(cluster);
    let damaged = data.join("node-2");
    let file = flip_bit_of(&damaged, value(20).as_bytes());
    let before = contents(&damaged);

    let output = run(&["log", "verify", &damaged.display().to_string()]);
    assert_eq!(output.status.code(), Some(1));
    let why = String::from_utf8(output.stderr).unwrap();
    let why = why.trim_end();
    for part in [&file.display().to_string(), "damaged at offset ", "entries ", "behind entry "] {
        assert!(why.contains(part), "{part} is missing in {why}");
    }

    let cluster = start(&data, clients, peers);
    wait_for("node 2 says the same", || cluster.text().contains(why).then_some(()));
    assert!(contents(&damaged) == before, "neither changed anything");
    for id in [1, 3] {
        let mut client = connect(clients, id);
        for nth in [0, 20, 39] {
            let found: String = client.get(format!("key {nth}")).unwrap();
            assert_eq!(found, value(nth));
        }
        let () = client.set(format!("after {id}"), "and on").unwrap();
    }
    let found: String = connect(clients, 3).get("after 1").unwrap();
    assert_eq!(found, "and on");
    stop(cluster);
}
