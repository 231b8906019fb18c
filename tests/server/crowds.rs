//! Many clients at once: those who are idle cost next to nothing, and those who are busy are served.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use redis::Commands as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::processes::{Nodes, wait_for};

const IDLE: usize = 5000;
const BUSY: usize = 64;
const INCREMENTS: usize = 20;
/// What this process has open besides.
const OWN: usize = 200;
/// Connections to the other nodes have threads, and come and go.
const OWN_THREADS_MAX: u64 = 16;
/// An idle client may cost a node so much: a socket's handle, and a place in two tables.
const KIB_EACH_MAX: u64 = 4;

/// How many of the idle ones this process may have open.
fn idle_possible() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let wanted = (IDLE + BUSY + OWN) as u64;
    let maximum = limit.maximum.unwrap_or(wanted).max(limit.current.unwrap_or(wanted));
    let raised = Rlimit { current: Some(maximum), maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised).expect("up to the maximum it is ours to raise");
    let possible = IDLE.min((maximum as usize).saturating_sub(BUSY + OWN));
    if possible < IDLE {
        eprintln!("only {maximum} files may be open: {possible} idle clients instead of {IDLE}");
    }
    possible
}

fn ping(stream: &mut TcpStream) {
    stream.write_all(b"PING\r\n").expect("the connection is open");
    let mut pong = [0; 7];
    stream.read_exact(&mut pong).expect("an answer");
    assert_eq!(&pong, b"+PONG\r\n");
}

#[test]
fn thousands_of_idle_clients_do_not_disturb_busy_ones() {
    let count = idle_possible();
    let nodes = Nodes::start();
    let node = nodes.leader();
    let () = nodes.redis(node).set("n", 0).unwrap();
    let (threads_before, kib_before) = (nodes.threads(node), nodes.resident_kib(node));
    let connect = |_| {
        let stream = wait_for("a connection", || TcpStream::connect(nodes.client_addr(node)).ok());
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream
    };
    let mut idle: Vec<TcpStream> = (0..count).map(connect).collect();
    idle.iter_mut().for_each(ping);
    let kib_each = nodes.resident_kib(node).saturating_sub(kib_before) / count as u64;
    assert!(kib_each <= KIB_EACH_MAX, "an idle client costs {kib_each} KiB");
    std::thread::scope(|scope| {
        for _ in 0..BUSY {
            let mut client = nodes.redis(node);
            scope.spawn(move || {
                for _ in 0..INCREMENTS {
                    let _: i64 = client.incr("n", 1).unwrap();
                }
            });
        }
    });
    let n: usize = nodes.redis(node).get("n").unwrap();
    assert_eq!(n, BUSY * INCREMENTS);
    let more_threads = nodes.threads(node).saturating_sub(threads_before);
    assert!(more_threads <= OWN_THREADS_MAX, "{more_threads} threads for {count} clients");
    idle.iter_mut().for_each(ping);
}
