//! Strangers: whoever is not meant to connect is refused with a reason in the log of both sides,
//! and costs the listener nothing.

use std::io::{ErrorKind, Read, Write};

use super::*;
use crate::tcp::MAGIC;

/// A hello as raw bytes: versions, then the words of the body, then lane and role.
fn hello(versions: [u16; 2], words: [u64; 3], role: u8) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(versions.iter().flat_map(|version| version.to_le_bytes()));
    bytes.extend(26u16.to_le_bytes());
    bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    bytes.extend([0, role]);
    bytes
}

/// Says `bytes`, and returns the answer up to the end of the connection.
fn say(fixture: &Fixture, bytes: &[u8]) -> (SocketAddr, Vec<u8>) {
    let mut stream = fixture.stream();
    let local = stream.local_addr().unwrap();
    stream.write_all(bytes).unwrap();
    (local, read_to_close(&mut stream))
}

fn read_to_close(stream: &mut TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => {}
        // The listener closed before it had read everything.
        Err(e) if e.kind() == ErrorKind::ConnectionReset => {}
        Err(e) => panic!("the connection was not closed: {e}"),
    }
    answer
}

#[track_caller]
fn check_still_serves(fixture: &Fixture) {
    assert_eq!(fixture.end().call(ECHO, vec![1]).wait(), Some(vec![1]));
}

/// Makes a bad hello out of the words of a good one.
type BadHello = fn([u64; 3]) -> Vec<u8>;

#[test]
fn another_version_another_cluster_and_another_node_are_refused_with_a_reason() {
    keep_log();
    let me = |fixture: &Fixture| [CLUSTER, 1, fixture.me.node_id];
    let cases: [(u8, &str, BadHello); 5] = [
        (2, "expected a version from 1 to 1, found one from 2 to 9", |me| hello([2, 9], me, 0)),
        (3, "expected cluster 7, found cluster 8", |me| hello([1, 1], [8, me[1], me[2]], 0)),
        (4, "found one for node 5", |me| hello([1, 1], [me[0], me[1], 5], 0)),
        (6, "an unknown role", |me| hello([1, 1], me, 7)),
        (6, "it is too short", |me| {
            let mut bytes = hello([1, 1], me, 0);
            bytes.truncate(30);
            bytes[8] = 20;
            bytes
        }),
    ];
    for (code, reason, bytes) in cases {
        let fixture = Fixture::new();
        let (remote, answer) = say(&fixture, &bytes(me(&fixture)));
        assert_eq!(answer[..5], [&MAGIC[..], &[code]].concat(), "{reason}");
        let told = String::from_utf8_lossy(&answer[8..]).into_owned();
        assert!(told.contains(reason), "{told:?} but not {reason:?}");
        wait_for_log(log::Level::Warn, &remote.to_string(), reason);
        check_still_serves(&fixture);
    }
}

#[test]
fn garbage_is_refused_without_an_answer() {
    keep_log();
    let long = vec![0xFFu8; 100_000];
    for garbage in [b"GET / HTTP/1.1\r\n\r\n".as_slice(), &[0xA7, 0x4F, 0x41, 0x53], &long] {
        let fixture = Fixture::new();
        let mut stream = fixture.stream();
        let remote = stream.local_addr().unwrap();
        // The listener may close before it was told everything.
        let _ = stream.write_all(garbage);
        assert_eq!(read_to_close(&mut stream), b"");
        wait_for_log(log::Level::Warn, &remote.to_string(), "expected the magic [a7, 4f, 41, 52]");
        check_still_serves(&fixture);
    }
}

#[test]
fn a_hello_that_claims_a_long_body_is_refused_at_once() {
    let fixture = Fixture::new();
    let mut bytes = hello([1, 1], [CLUSTER, 1, fixture.me.node_id], 0);
    bytes[8..10].copy_from_slice(&u16::MAX.to_le_bytes());
    let (_, answer) = say(&fixture, &bytes[..10]);
    assert_eq!(answer[4], 6);
}

#[test]
fn a_role_that_is_not_served_is_refused() {
    let fixture = Fixture::with(|mut options| {
        options.peer_service = None;
        options
    });
    let me = fixture.me.node_id;
    let (_, answer) = say(&fixture, &hello([1, 1], [CLUSTER, 1, me], 0));
    assert_eq!(answer[4], 5);
    let client = patient(EndOptions::client(fixture.addr().to_string()));
    assert_eq!(client.call(ECHO, vec![1]).wait(), Some(vec![1]));
}

/// The dialer's side: its calls fail, and its log names the reason once, not once a retry.
#[test]
fn a_dialer_that_is_refused_logs_the_reason_once() {
    keep_log();
    let fixture = Fixture::new();
    let other = Identity { cluster_id: 99, node_id: fresh_id() };
    let mut options = EndOptions::peer(fixture.addr().to_string(), other, fixture.me.node_id);
    options.backoff_max = Duration::from_millis(20);
    let end = TcpEnd::connect(options).unwrap();
    assert_eq!(end.call(ECHO, vec![1]).wait(), None);
    let address = fixture.addr().to_string();
    let refused_again = || {
        let lines = LOG.0.lock();
        let count = |level, what: &str| {
            let about = |line: &str| line.contains("found cluster 99") && line.contains(what);
            lines.iter().filter(|(at, line)| *at == level && about(line)).count()
        };
        let again = count(log::Level::Debug, "again");
        (again, count(log::Level::Warn, &format!("no connection to {address}")))
    };
    eventually("it has been refused some more times", || refused_again().0 >= 3);
    assert_eq!(refused_again().1, 1);
}

#[test]
fn a_dialer_that_finds_no_listener_of_ours_fails_its_calls() {
    keep_log();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let end = patient(EndOptions::client(address.clone()));
    let call = end.call(ECHO, vec![1]);
    let (mut stream, _) = listener.accept().unwrap();
    stream.write_all(b"-ERR unknown command\r\n").unwrap();
    assert_eq!(call.wait(), None);
    wait_for_log(log::Level::Warn, &address, "expected the magic");
}

#[test]
fn a_handshake_that_stops_half_way_is_cut_off() {
    keep_log();
    let fixture = Fixture::with(|mut options| {
        options.handshake_timeout = Duration::from_millis(100);
        options
    });
    let whole = hello([1, 1], [CLUSTER, 1, fixture.me.node_id], 0);
    for len in [0, 3, 12] {
        let (remote, answer) = say(&fixture, &whole[..len]);
        assert_eq!(answer, b"");
        if len == 0 {
            wait_for_log(log::Level::Warn, &remote.to_string(), "timed out");
        }
    }
}

/// Who opens many connections and says nothing neither keeps others out nor takes more threads.
#[test]
fn the_silent_make_room_for_those_who_speak() {
    let fixture = Fixture::with(|mut options| {
        options.handshake_timeout = 10 * PATIENCE;
        options.handshaking_max = 3;
        options
    });
    let mut silent: Vec<TcpStream> = (0..20).map(|_| fixture.stream()).collect();
    check_still_serves(&fixture);
    for stream in &mut silent[..17] {
        assert_eq!(read_to_close(stream), b"");
    }
}

#[test]
fn there_is_a_limit_to_connections() {
    let fixture = Fixture::with(|mut options| {
        options.connections_max = 1;
        options.handshake_timeout = 10 * PATIENCE;
        options
    });
    let first = fixture.end();
    assert_eq!(first.call(ECHO, vec![1]).wait(), Some(vec![1]));
    assert_eq!(read_to_close(&mut fixture.stream()), b"");
    drop(first);
    eventually("there is room again", || fixture.end().call(ECHO, vec![2]).wait() == Some(vec![2]));
}

/// After a good handshake: lengths, checksums, kinds and directions that no honest peer sends.
#[test]
fn a_frame_that_makes_no_sense_closes_the_connection() {
    keep_log();
    let with_crc = |body: &[u8]| {
        let len = u32::try_from(body.len()).unwrap();
        [&len.to_le_bytes()[..], &crc32fast::hash(body).to_le_bytes(), body].concat()
    };
    let cases = [
        ([0xFF; 16].to_vec(), "a frame of 4294967295 bytes"),
        ([&20u32.to_le_bytes()[..], &[1; 24]].concat(), "a frame with checksum"),
        (with_crc(&[7; 9]), "a frame of kind 7"),
        (with_crc(&[2; 9]), "a frame of the wrong direction"),
        (with_crc(&[1, 0, 0, 0, 0, 0, 0, 0, 0, 200, b'X']), "name is cut off"),
    ];
    for (bytes, reason) in cases {
        let fixture = Fixture::new();
        let mut stream = fixture.stream();
        let remote = stream.local_addr().unwrap();
        stream.write_all(&hello([1, 1], [CLUSTER, 1, fixture.me.node_id], 0)).unwrap();
        let mut answer = [0; 8];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer, [0xA7, 0x4F, 0x41, 0x52, 0, 1, 0, 0]);
        stream.write_all(&bytes).unwrap();
        assert_eq!(read_to_close(&mut stream), b"");
        wait_for_log(log::Level::Warn, &remote.to_string(), reason);
        check_still_serves(&fixture);
    }
}
