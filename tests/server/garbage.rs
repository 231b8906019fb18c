//! Whatever comes in on a node's two ports, the node lives, keeps its memory, and goes on serving.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use oarlock::rpc::codec::MAX_BYTES;
use oarlock::rpc::tcp::{EndOptions, Identity, TcpEnd};
use oarlock::storage::DiskPersister;
use redis::Commands as _;

use crate::processes::{Nodes, wait_for};

/// A fixed row of inputs; which node and which port they go to follows from the same numbers.
const SEED: u64 = 1;
const INPUTS: usize = 2000;
/// An idle node has about 10 MiB; one length believed without a bound would be gigabytes.
const RESIDENT_KIB_MAX: u64 = 300 << 10;

/// What a dialer says first, as a real one says it.
fn hello(options: impl FnOnce(String) -> EndOptions) -> Vec<u8> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let end = TcpEnd::connect(options(address)).unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut bytes = vec![0; 256];
    let len = stream.read(&mut bytes).unwrap();
    drop(stream);
    drop(end);
    bytes.truncate(len);
    assert!(len > 10, "a hello of {len} bytes");
    bytes
}

/// A frame as the nodes exchange them, its checksum right: length, CRC, kind, call, method, payload.
fn frame(rng: &mut fastrand::Rng) -> Vec<u8> {
    const METHODS: [&str; 7] = [
        "Raft.RequestVote",
        "Raft.AppendEntries",
        "Raft.InstallSnapshot",
        "Kv.Request",
        "Kv.Status",
        "Node.Status",
        "No.Such",
    ];
    let method = METHODS[rng.usize(..METHODS.len())];
    let mut body = vec![rng.u8(0..5)];
    body.extend(rng.u64(..).to_le_bytes());
    body.push(method.len() as u8);
    body.extend(method.as_bytes());
    // The schema of a real message, and then lengths and numbers of all sizes.
    body.push(1);
    for _ in 0..rng.usize(..12) {
        let number = rng.u64(..) >> rng.u32(..64);
        body.extend(&number.to_le_bytes()[..rng.usize(1..=8)]);
    }
    let mut crc = crc32fast::Hasher::new();
    crc.update(&body);
    let claimed = if rng.u8(..8) == 0 { rng.u32(..) } else { body.len() as u32 };
    let mut bytes = claimed.to_le_bytes().to_vec();
    bytes.extend(crc.finalize().to_le_bytes());
    bytes.extend(body);
    bytes
}

fn resp(rng: &mut fastrand::Rng) -> Vec<u8> {
    const TOKENS: [&str; 14] = [
        "*3\r\n",
        "$3\r\nSET\r\n",
        "$1\r\nk\r\n",
        "$-1\r\n",
        "*-1\r\n",
        "*1048576\r\n",
        "$536870912\r\n",
        "$99999999999\r\n",
        "GET k\r\n",
        "\r\n",
        "MULTI\r\n",
        "EXEC\r\n",
        "\"",
        "\0",
    ];
    (0..rng.usize(1..20)).flat_map(|_| TOKENS[rng.usize(..TOKENS.len())].bytes()).collect()
}

fn input(rng: &mut fastrand::Rng, hellos: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = match rng.u8(..6) {
        0 => (0..rng.usize(1..300)).map(|_| rng.u8(..)).collect(),
        1 => resp(rng),
        _ => {
            let mut bytes = hellos[rng.usize(..hellos.len())].clone();
            for _ in 0..rng.usize(..4) {
                bytes.extend(frame(rng));
            }
            bytes
        }
    };
    // Often one byte is another, or the end is missing.
    if rng.u8(..3) == 0 {
        let at = rng.usize(..bytes.len());
        bytes[at] = rng.u8(..);
    }
    if rng.u8(..4) == 0 {
        bytes.truncate(rng.usize(1..=bytes.len()));
    }
    bytes
}

#[test]
fn garbage_on_both_ports_harms_nobody() {
    let nodes = Nodes::start();
    let () = nodes.redis(1).set("before", "there").unwrap();
    let identity = DiskPersister::read_identity(&nodes.dir_of(1)).unwrap();
    let cluster_id = identity.expect("the node made it its own").cluster_id;
    let mut hellos = vec![hello(EndOptions::client)];
    for (from, to) in [(1, 2), (2, 3), (3, 1)] {
        let dialer = Identity { cluster_id, node_id: from };
        hellos.push(hello(|address| EndOptions::peer(address, dialer, to)));
    }
    let mut rng = fastrand::Rng::with_seed(SEED);
    for number in 0..INPUTS {
        let bytes = input(&mut rng, &hellos);
        let id = rng.usize(1..=3);
        let address = if rng.bool() { nodes.client_addr(id) } else { nodes.peer_addr(id) };
        let stream = TcpStream::connect(&address);
        let mut stream =
            stream.unwrap_or_else(|error| panic!("input {number}, node {id}: {error}"));
        // A node that has heard enough hangs up in the middle.
        drop(stream.write_all(&bytes));
        if rng.u8(..20) == 0 {
            stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            drop(stream.read(&mut [0; 512]));
        }
    }
    for id in 1..=3 {
        let kib = nodes.resident_kib(id);
        assert!(kib < RESIDENT_KIB_MAX, "node {id} has {kib} KiB of memory");
        let mut redis = nodes.redis(id);
        let found: String = wait_for("a read", || redis.get("before").ok());
        assert_eq!(found, "there");
        let () = redis.set(format!("after-{id}"), "too").unwrap();
    }
    assert!(
        MAX_BYTES as u64 / 1024 * 3 < RESIDENT_KIB_MAX,
        "the bound allows a few large messages"
    );
}
