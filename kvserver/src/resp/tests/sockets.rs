//! Real sockets, and a client library nobody here wrote.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use redis::Commands;

use super::*;
use crate::op::ANSWER_BYTES_MAX;

struct Port {
    store: Arc<TestStore>,
    listener: RespListener,
}

impl Port {
    fn open(options: RespOptions, other: Option<OtherProtocol>) -> Self {
        let store = Arc::new(TestStore::default());
        let front = FrontEnd::new(Arc::clone(&store) as Arc<dyn Store>, options);
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let listener = RespListener::start(socket, front, other).unwrap();
        Self { store, listener }
    }

    fn dial(&self) -> TcpStream {
        let stream = TcpStream::connect(self.listener.local_addr()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    }

    /// Waits until so many bytes have come in all.
    fn wait_for_bytes(&self, bytes: u64) {
        let started = Instant::now();
        while self.listener.bytes_in() < bytes {
            assert!(started.elapsed() < Duration::from_secs(5), "the command never came");
            thread::yield_now();
        }
    }

    fn redis(&self, parameters: &str) -> redis::Connection {
        let url = format!("redis://{}/{parameters}", self.listener.local_addr());
        redis::Client::open(url).unwrap().get_connection().unwrap()
    }
}

fn ask(stream: &mut TcpStream, command: &str, reply: &str) {
    stream.write_all(command.as_bytes()).unwrap();
    let mut found = vec![0; reply.len()];
    stream.read_exact(&mut found).unwrap();
    assert_eq!(String::from_utf8(found).unwrap(), reply, "{command}");
}

fn read_all(mut stream: TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn whoever_brings_an_answer_passes_it_on_and_asks_what_comes_next() {
    let options = RespOptions { threads: 1, ..RespOptions::default() };
    let port = Port::open(options, None);
    port.store.state.lock().delay = Some(Duration::from_millis(20));
    let mut client = port.dial();
    // A transaction is a request of its own, so three of them follow each other.
    let transaction = "MULTI\r\nINCR k\r\nEXEC\r\n";
    let reply = |n| format!("+OK\r\n+QUEUED\r\n*1\r\n:{n}\r\n");
    ask(&mut client, &transaction.repeat(3), &[reply(1), reply(2), reply(3)].concat());
    assert_eq!(port.store.state.lock().callers, ["resp-0", "bringer", "bringer"]);
    // Many at once are the thread's.
    let mut clients: Vec<TcpStream> = (0..8).map(|_| port.dial()).collect();
    for _ in 0..3 {
        for client in &mut clients {
            client.write_all(b"SET n 1\r\n").unwrap();
        }
        for client in &mut clients {
            ask(client, "", "+OK\r\n");
        }
    }
    port.listener.shutdown();
}

#[test]
fn the_redis_crate_is_at_home() {
    let port = Port::open(RespOptions::default(), None);
    for parameters in ["", "?protocol=resp3"] {
        let mut client = port.redis(parameters);
        let _: () = client.set("k", "v").unwrap();
        let value: String = client.get("k").unwrap();
        assert_eq!(value, "v");
        let none: Option<String> = client.get("none").unwrap();
        assert_eq!(none, None);
        let n: i64 = client.incr("n", 2).unwrap();
        assert_eq!(n % 2, 0);
        let _: () = client.mset(&[("a", "1"), ("b", "2")]).unwrap();
        let values: Vec<Option<String>> = client.mget(&["a", "x", "b"]).unwrap();
        assert_eq!(values, [Some("1".to_owned()), None, Some("2".to_owned())]);
        let (x, y): (i64, String) =
            redis::pipe().atomic().incr("m", 1).get("k").query(&mut client).unwrap();
        assert!(x > 0 && y == "v");
        let mut keys: Vec<String> =
            client.scan::<String>().unwrap().map(|key| key.unwrap()).collect();
        keys.sort();
        assert_eq!(keys, ["a", "b", "k", "m", "n"]);
        let error = client.incr::<_, _, i64>("k", 1).unwrap_err();
        assert!(error.to_string().contains("not an integer"), "{error}");
        let deleted: i64 = client.del(&["a", "b", "none"]).unwrap();
        assert_eq!(deleted, 2);
    }
}

#[test]
fn many_clients_at_once_increment_without_losing_any() {
    let port = Port::open(RespOptions { threads: 3, ..RespOptions::default() }, None);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut client = port.redis("");
                for _ in 0..50 {
                    let _: i64 = client.incr("n", 1).unwrap();
                }
            });
        }
    });
    let n: i64 = port.redis("").get("n").unwrap();
    assert_eq!(n, 400);
}

#[test]
fn one_client_too_many_is_told_so() {
    let port = Port::open(RespOptions { clients_max: 1, ..RespOptions::default() }, None);
    let mut first = port.dial();
    ask(&mut first, "PING\r\n", "+PONG\r\n");
    let mut second = port.dial();
    second.write_all(b"PING\r\n").unwrap();
    assert_eq!(read_all(second), "-ERR max number of clients reached\r\n");
    let silent = port.dial();
    assert_eq!(read_all(silent), "-ERR max number of clients reached\r\n");
    drop(first);
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let mut third = port.dial();
        third.write_all(b"QUIT\r\n").unwrap();
        if read_all(third) == "+OK\r\n" {
            break;
        }
        assert!(Instant::now() < deadline, "the first one's place is never free");
    }
}

#[test]
fn another_protocol_shares_the_port() {
    let handed = Arc::new(Mutex::new(Vec::new()));
    let serve = Arc::clone(&handed);
    let other = OtherProtocol {
        first_byte: 0xa7,
        serve: Arc::new(move |mut stream: TcpStream| {
            let mut bytes = [0; 3];
            stream.read_exact(&mut bytes).unwrap();
            serve.lock().push(bytes);
            stream.write_all(b"other").unwrap();
        }),
    };
    let port = Port::open(RespOptions { clients_max: 1, ..RespOptions::default() }, Some(other));
    let mut client = port.dial();
    ask(&mut client, "PING\r\n", "+PONG\r\n");
    let mut stranger = port.dial();
    stranger.write_all(&[0xa7, 1, 2]).unwrap();
    assert_eq!(read_all(stranger), "other", "though no client could be taken");
    assert_eq!(*handed.lock(), [[0xa7, 1, 2]]);
    ask(&mut client, "PING\r\n", "+PONG\r\n");
}

#[test]
fn a_shutdown_answers_what_has_come_and_joins_everything() {
    let port = Port::open(RespOptions::default(), None);
    let mut idle = port.dial();
    ask(&mut idle, "PING\r\n", "+PONG\r\n");
    let mut busy = port.dial();
    ask(&mut busy, "PING\r\n", "+PONG\r\n");
    port.store.state.lock().delay = Some(Duration::from_millis(300));
    busy.write_all(b"SET k v\r\n").unwrap();
    port.wait_for_bytes(6 + 6 + 9);
    port.listener.shutdown();
    assert_eq!(read_all(busy), "+OK\r\n");
    assert_eq!(read_all(idle), "");
    assert!(TcpStream::connect(port.listener.local_addr()).is_err(), "the port is closed");
    port.listener.shutdown();
}

#[test]
fn a_client_that_reads_nothing_costs_nobody_else_anything() {
    let options = RespOptions {
        write_timeout: Duration::from_millis(200),
        shutdown_grace: Duration::from_millis(200),
        ..RespOptions::default()
    };
    let port = Port::open(options, None);
    let mut slow = port.dial();
    ask(&mut slow, &format!("SET k {}\r\n", "x".repeat(60_000)), "+OK\r\n");
    // Far more than sockets hold.
    slow.write_all("GET k\r\n".repeat(1000).as_bytes()).unwrap();
    let mut quick = port.dial();
    ask(&mut quick, "PING\r\n", "+PONG\r\n");
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        ask(&mut quick, "CLIENT ID\r\n", ":2\r\n");
        quick.write_all(b"INFO clients\r\n").unwrap();
        let mut buffer = [0; 1024];
        let len = quick.read(&mut buffer).unwrap();
        if String::from_utf8_lossy(&buffer[..len]).contains("connected_clients:1\r\n") {
            break;
        }
        assert!(Instant::now() < deadline, "the slow one is never disconnected");
        thread::yield_now();
    }
    drop(slow);
}

#[test]
fn a_client_can_disconnect_another() {
    let port = Port::open(RespOptions::default(), None);
    let (mut first, mut second) = (port.dial(), port.dial());
    ask(&mut first, "CLIENT ID\r\n", ":1\r\n");
    ask(&mut second, "CLIENT KILL ID 1\r\n", ":1\r\n");
    assert_eq!(read_all(first), "");
    ask(&mut second, "CLIENT KILL ID 1\r\n", ":0\r\n");
}

#[test]
fn one_who_is_disconnected_by_another_gets_the_answers_first() {
    let port = Port::open(RespOptions::default(), None);
    let (mut first, mut second) = (port.dial(), port.dial());
    ask(&mut first, "CLIENT ID\r\n", ":1\r\n");
    ask(&mut second, "CLIENT ID\r\n", ":2\r\n");
    port.store.state.lock().delay = Some(Duration::from_millis(200));
    let before = port.listener.bytes_in();
    first.write_all(b"SET k v\r\n").unwrap();
    port.wait_for_bytes(before + 9);
    ask(&mut second, "CLIENT KILL ID 1\r\n", ":1\r\n");
    assert_eq!(read_all(first), "+OK\r\n");
}

#[test]
fn what_many_ask_at_a_time_is_few_requests() {
    let port = Port::open(RespOptions { threads: 1, ..RespOptions::default() }, None);
    let mut streams: Vec<TcpStream> = (0..60).map(|_| port.dial()).collect();
    for stream in &mut streams {
        ask(stream, "PING\r\n", "+PONG\r\n");
    }
    port.store.state.lock().delay = Some(Duration::from_millis(200));
    for (n, stream) in streams.iter_mut().enumerate() {
        stream
            .write_all(format!("MULTI\r\nINCR n\r\nSET k{n} {n}\r\nEXEC\r\n").as_bytes())
            .unwrap();
    }
    let mut counts = Vec::new();
    for stream in &mut streams {
        let expected = "+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n:";
        ask(stream, "", expected);
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            line.extend(byte);
        }
        ask(stream, "", "+OK\r\n");
        counts.push(String::from_utf8(line).unwrap().trim().parse::<usize>().unwrap());
    }
    counts.sort_unstable();
    assert_eq!(counts, (1..=60).collect::<Vec<_>>(), "each was executed once");
    let requests = port.store.state.lock().requests.clone();
    assert_eq!(requests.iter().sum::<usize>(), 120);
    assert!(requests.len() < 30, "{requests:?}");
}

#[test]
fn the_limit_of_answers_does_not_show_through_company() {
    const CLIENTS: usize = 20;
    let port = Port::open(RespOptions { threads: 1, ..RespOptions::default() }, None);
    let mut streams: Vec<TcpStream> = (0..CLIENTS).map(|_| port.dial()).collect();
    let len = crate::VALUE_BYTES_MAX;
    let value = "x".repeat(len);
    let set = format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${len}\r\n{value}\r\n");
    ask(&mut streams[0], &set, "+OK\r\n");
    // The thread is held in the store until all have asked: so it finds all but the first together.
    let gate = Arc::new(Barrier::new(2));
    port.store.state.lock().gate = Some(Arc::clone(&gate));
    let (asks, replies) = ("GET k\r\nGET none\r\n", format!("${len}\r\n{value}\r\n$-1\r\n"));
    for (nth, stream) in streams.iter_mut().enumerate() {
        stream.write_all(asks.as_bytes()).unwrap();
        if nth == 0 {
            gate.wait();
        }
    }
    gate.wait();
    for stream in &mut streams {
        ask(stream, "", &replies);
    }
    let state = port.store.state.lock();
    let largest = state.requests.iter().max().copied();
    assert!(largest > Some(2 * ANSWER_BYTES_MAX / len), "none was too large: {:?}", state.requests);
}

#[test]
fn a_transaction_that_reads_sees_one_state_and_travels_alone() {
    let port = Port::open(RespOptions { threads: 1, ..RespOptions::default() }, None);
    let mut streams: Vec<TcpStream> = (0..10).map(|_| port.dial()).collect();
    port.store.state.lock().delay = Some(Duration::from_millis(100));
    for stream in &mut streams {
        stream.write_all(b"MULTI\r\nGET a\r\nSTRLEN a\r\nGET b\r\nEXEC\r\n").unwrap();
    }
    let queued = "+QUEUED\r\n".repeat(3);
    for stream in &mut streams {
        ask(stream, "", &format!("+OK\r\n{queued}*3\r\n$-1\r\n:0\r\n$-1\r\n"));
    }
    assert_eq!(port.store.state.lock().requests, [3; 10]);
}

#[test]
fn a_request_that_takes_long_keeps_no_others() {
    let port = Port::open(RespOptions { threads: 1, ..RespOptions::default() }, None);
    port.store.state.lock().delay = Some(Duration::from_secs(5));
    let mut stuck: Vec<TcpStream> = (0..4).map(|_| port.dial()).collect();
    for stream in &mut stuck {
        let before = port.store.state.lock().requests.len();
        stream.write_all(b"SET k v\r\n").unwrap();
        let deadline = Instant::now() + Duration::from_secs(5);
        while port.store.state.lock().requests.len() == before {
            assert!(Instant::now() < deadline, "it is held back for ever");
            thread::yield_now();
        }
    }
    port.store.state.lock().delay = None;
    let mut other = port.dial();
    let began = Instant::now();
    ask(&mut other, "SET k w\r\nGET k\r\n", "+OK\r\n$1\r\nw\r\n");
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

#[test]
fn a_client_that_sends_faster_than_it_is_served_is_held_back() {
    let port = Port::open(RespOptions::default(), None);
    port.store.state.lock().delay = Some(Duration::from_secs(2));
    let mut eager = port.dial();
    eager.write_all(b"GET k\r\n").unwrap();
    port.wait_for_bytes(7);
    eager.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    let commands = "SET k 0123456789\r\n".repeat(1 << 20);
    eager.write_all(commands.as_bytes()).unwrap_err();
    let read = port.listener.bytes_in();
    assert!(read < 256 << 10, "{read} bytes were read ahead");
    ask(&mut eager, "", "$-1\r\n+OK\r\n");
}

#[test]
fn a_half_closed_connection_gets_its_answers() {
    let port = Port::open(RespOptions::default(), None);
    let mut stream = port.dial();
    stream.write_all(b"SET k v\r\nGET k\r\n").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(stream), "+OK\r\n$1\r\nv\r\n");
}

#[test]
fn a_value_too_large_is_refused_in_words() {
    let port = Port::open(RespOptions::default(), None);
    let mut stream = port.dial();
    let len = crate::VALUE_BYTES_MAX + 1;
    let set = format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${len}\r\n{}\r\n", "x".repeat(len));
    stream.write_all(set.as_bytes()).unwrap();
    assert_eq!(read_all(stream), "-ERR Protocol error: invalid bulk length\r\n");
}
