//! Everything a person can get wrong has one clear message, and changes nothing.

use std::fs;
use std::net::TcpListener;

use crate::processes::{Nodes, free_ports, run, run_err, wait_for};

fn serve(id: &str, dir: &std::path::Path, ports: &[u16]) -> Vec<String> {
    let address = |port: u16| format!("127.0.0.1:{port}");
    let dir = dir.display().to_string();
    ["serve", "--id", id, "--dir", &dir, "--client-addr", &address(ports[0]), "--peer-addr"]
        .map(str::to_owned)
        .into_iter()
        .chain([address(ports[1])])
        .collect()
}

fn fails(args: &[String]) -> String {
    run_err(&args.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn wrong_flags_are_named() {
    for (args, named) in [
        (&["cluster", "--nodes", "0"][..], "--nodes"),
        (&["cluster", "--client-port", "7001", "--peer-port", "7002"], "overlap"),
        (&["cluster", "--peer-port", "65535"], "65537"),
        (&["serve", "--id", "1"], "--dir"),
        (&["status", "--addr", "nonsense"], "nonsense"),
        (&["put", "key"], "VALUE"),
        (&["fly"], "fly"),
    ] {
        let error = run_err(args);
        assert!(error.contains(named), "{args:?}: {error}");
    }
}

#[test]
fn nobody_at_the_address_is_said_so() {
    let address = format!("127.0.0.1:{}", free_ports(1)[0]);
    let error = run_err(&["status", "--addr", &address]);
    assert!(error.contains(&address) && error.contains("--addr"), "{error}");
}

#[test]
fn a_taken_port_is_named_and_no_directory_is_made() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let free = free_ports(1)[0];
    let dir = tempfile::tempdir().unwrap();
    for ports in [[port, free], [free, port]] {
        let node = dir.path().join("node");
        let error = fails(&serve("1", &node, &ports));
        assert!(error.contains(&port.to_string()) && error.contains("choose another"), "{error}");
        assert!(!node.exists(), "nothing is made");
    }
}

#[test]
fn a_directory_in_use_or_of_another_node_is_refused() {
    let mut nodes = Nodes::start();
    drop(nodes.redis(1));
    let dir = nodes.dir_of(1);
    let error = fails(&serve("1", &dir, &free_ports(2)));
    assert!(error.contains("in use") && error.contains("process"), "{error}");

    nodes.kill(1);
    let error = fails(&serve("2", &dir, &free_ports(2)));
    assert!(error.contains("node") && error.contains(&dir.display().to_string()), "{error}");
    let mut other_cluster = serve("1", &dir, &free_ports(2));
    other_cluster.extend(["--cluster-id".to_owned(), "7".to_owned()]);
    let error = fails(&other_cluster);
    assert!(error.contains("cluster"), "{error}");
}

#[test]
fn a_damaged_log_is_named_and_left_as_it_is() {
    let mut nodes = Nodes::start();
    let mut connection = nodes.redis(1);
    for number in 0..20 {
        let () = redis::Commands::set(&mut connection, format!("key-{number}"), "x".repeat(200))
            .unwrap();
    }
    wait_for("node 2 has it all", || {
        let status = nodes.status(2)?;
        let applied = |id: usize| status["members"][id]["status"]["last_applied"].as_u64();
        (applied(0)? == applied(1)?).then_some(())
    });
    nodes.kill(2);
    let dir = nodes.dir_of(2);
    let mut files: Vec<_> =
        fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let contains = |path: &std::path::PathBuf| {
        fs::read(path).is_ok_and(|bytes| bytes.windows(200).any(|w| w == [b'x'; 200]))
    };
    let segment = files.into_iter().find(contains).expect("the writes are in some segment");
    let mut bytes = fs::read(&segment).unwrap();
    let first = bytes.windows(200).position(|w| w == [b'x'; 200]).unwrap();
    bytes[first] ^= 1;
    fs::write(&segment, &bytes).unwrap();

    let args = nodes.serve_args(2);
    let output = run(&args.iter().map(String::as_str).collect::<Vec<_>>());
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "it must not start");
    let name = segment.file_name().unwrap().to_string_lossy().into_owned();
    assert!(error.contains(&name) && error.contains("offset"), "{error}");
    assert_eq!(fs::read(&segment).unwrap(), bytes, "the evidence is left as it is");
}
