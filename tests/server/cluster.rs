//! `oarlock cluster`, from its first line to its last.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

use redis::Commands as _;

use crate::processes::{free_ports, oarlock, run_err, wait_for};

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

fn start(dir: &std::path::Path, clients: u16, peers: u16) -> (Child, Vec<String>) {
    let args = ["cluster", "--dir", &dir.display().to_string()].map(str::to_owned);
    let ports = ["--client-port", &clients.to_string(), "--peer-port", &peers.to_string()]
        .map(str::to_owned);
    let mut child = oarlock(args.iter().chain(&ports))
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut seen = Vec::new();
    while !seen.last().is_some_and(|line: &String| line.starts_with("Ctrl-C")) {
        seen.push(lines.next().expect("it says how to stop").expect("text"));
    }
    // Somebody must go on reading, or its next line breaks the pipe.
    std::thread::spawn(move || lines.for_each(drop));
    (child, seen)
}

fn stop(mut child: Child) {
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
    let connect = |id: u16| {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}/", clients + id - 1));
        let client = client.expect("a good address");
        wait_for("a connection", || client.get_connection().ok())
    };

    let (child, introduction) = start(&data, clients, peers);
    let text = introduction.join("\n");
    for id in 1..=3 {
        assert!(text.contains(&format!("127.0.0.1:{}", clients + id - 1)), "{text}");
        assert!(text.contains(&format!("node-{id}")), "{text}");
    }
    assert!(text.contains("leads term") && text.contains("redis-cli"), "{text}");
    let () = connect(2).set("greeting", "hello").unwrap();
    stop(child);
    wait_for("the nodes are gone", || {
        redis::Client::open(format!("redis://127.0.0.1:{clients}/")).ok()?.get_connection().err()
    });

    let (child, _) = start(&data, clients, peers);
    let greeting: String = connect(3).get("greeting").unwrap();
    assert_eq!(greeting, "hello");
    stop(child);

    let error = run_err(&["cluster", "--nodes", "5", "--dir", &data.display().to_string()]);
    assert!(error.contains("--nodes 3"), "{error}");
}
