//! Tests of both networks: that a fault does what it says and no more, and leaves nothing behind.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use super::namespaces::Namespaces;
use super::proxies::Proxies;
use super::trial::{Sockets, cut_one_way};
use super::{Links, Network, Start, Wanted, choose};

/// Runs the rest of a test on three nodes in namespaces, in a process of its own. On a machine that
/// refuses namespaces it says so; campaigns are on proxies there.
fn in_namespaces(test: &str, run: impl FnOnce(Namespaces, &Path)) {
    match choose(Wanted::Auto).unwrap() {
        Start::Here(Network::Namespaces) => {
            let dir = tempfile::tempdir().unwrap();
            run(Namespaces::start(3, dir.path()).unwrap(), dir.path());
        }
        Start::Here(network) => println!("{test} is not for this machine: {network}"),
        Start::Again(mut command) => {
            let name = format!("network::tests::{test}");
            let output = command.args(["--exact", &name, "--nocapture"]).output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            println!("{said}");
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{error}");
            assert!(said.contains("1 passed"), "{name} is not what it is called");
        }
    }
}

#[test]
fn frames_are_cut_off_in_one_direction_only() {
    in_namespaces("frames_are_cut_off_in_one_direction_only", |mut network, _| {
        let sockets = Sockets::open(&network).unwrap();
        for (from, to) in [(1, 2), (2, 1), (2, 3), (3, 1)] {
            cut_one_way(&mut network, &sockets, from, to).unwrap();
        }
    });
}

#[test]
fn a_connection_over_a_cut_link_comes_about_in_neither_direction() {
    let name = "a_connection_over_a_cut_link_comes_about_in_neither_direction";
    in_namespaces(name, |mut network, _| {
        network.cut(&[(1, 2)]).unwrap();
        for (from, to) in [(1, 2), (2, 1)] {
            let dialled = connect(&network, from, to).map_err(|error| error.kind());
            assert_eq!(dialled.err(), Some(std::io::ErrorKind::TimedOut), "{from} -> {to}");
        }
        connect(&network, 1, 3).unwrap();
        network.heal().unwrap();
        connect(&network, 1, 2).unwrap();
    });
}

/// A connection between two nodes, one of which listens for it.
fn connect(network: &Namespaces, from: usize, to: usize) -> std::io::Result<TcpStream> {
    let address = network.peer_addr(to);
    let listener = network.within(to, || TcpListener::bind(address)).unwrap();
    let limit = Duration::from_millis(500);
    let dialled = network.within(from, || TcpStream::connect_timeout(&address, limit));
    drop(listener);
    dialled
}

#[test]
fn what_is_launched_is_the_process_that_is_signalled() {
    in_namespaces("what_is_launched_is_the_process_that_is_signalled", |network, _| {
        let mut command = network.launch(2, Path::new("cat"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        stdin.write_all(b"?").unwrap();
        stdout.read_exact(&mut [0]).unwrap();
        let process = Path::new("/proc").join(child.id().to_string());
        let name = fs::read_to_string(process.join("comm")).unwrap();
        let namespace = fs::read_link(process.join("ns/net")).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(name, "cat\n");
        assert_ne!(namespace, fs::read_link("/proc/self/ns/net").unwrap());
    });
}

#[test]
fn a_network_leaves_nothing_behind() {
    in_namespaces("a_network_leaves_nothing_behind", |network, dir| {
        let mounted = || fs::read_to_string("/proc/self/mountinfo").unwrap();
        let dir = dir.canonicalize().unwrap().display().to_string();
        assert!(mounted().contains(&dir));
        drop(network);
        assert!(!mounted().contains(&dir));
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
        let links = Command::new("ip").args(["-oneline", "link"]).output().unwrap().stdout;
        let links = String::from_utf8(links).unwrap();
        assert!(!links.contains("node-") && !links.contains("switch"), "{links}");
    });
}

#[test]
fn a_proxy_holds_up_one_direction_only() {
    let mut network = Proxies::start(2).unwrap();
    let listener = TcpListener::bind(network.peer_addr(2)).unwrap();
    let mut dialled = TcpStream::connect(network.address(1, 2)).unwrap();
    let (mut accepted, _) = listener.accept().unwrap();
    let mut byte = [0];

    network.cut(&[(1, 2)]).unwrap();
    dialled.write_all(b"?").unwrap();
    accepted.write_all(b"!").unwrap();
    dialled.read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"!");
    thread::sleep(Duration::from_millis(50));
    accepted.set_nonblocking(true).unwrap();
    let came = accepted.read(&mut byte).map_err(|error| error.kind());
    assert_eq!(came, Err(std::io::ErrorKind::WouldBlock));

    accepted.set_nonblocking(false).unwrap();
    network.heal().unwrap();
    accepted.read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"?");
}
