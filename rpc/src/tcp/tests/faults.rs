//! What breaks: the remote dies, hangs, does not read, comes back. Every call ends all the same.

use std::io::{Read, Write};
use std::net::TcpListener;

use super::*;
use crate::Call;

/// A listener that shakes hands with one connection and leaves the rest to the test.
fn shake_hands(listener: &TcpListener) -> TcpStream {
    let (mut stream, _) = listener.accept().unwrap();
    stream.read_exact(&mut [0; 36]).unwrap();
    stream.write_all(&[0xA7, 0x4F, 0x41, 0x52, 0, 1, 0, 0]).unwrap();
    stream
}

#[test]
fn calls_to_nobody_fail_at_once() {
    // Bound and dropped: nobody listens there.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let end = patient(EndOptions::client(address.to_string()));
    let started = Instant::now();
    for _ in 0..50 {
        assert_eq!(end.call(ECHO, vec![1]).wait(), None);
    }
    assert!(started.elapsed() < PATIENCE);
}

/// It has been away for long, and is wanted back at once: until it is dialled it hears of no leader.
#[test]
fn a_peer_that_is_away_is_dialled_often_however_long_it_stays_away() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let fixture = Fixture::new();
    let mut options = fixture.peer_options();
    options.address = listener.local_addr().unwrap().to_string();
    let _end = TcpEnd::connect(options).unwrap();
    let started = Instant::now();
    for _ in 0..25 {
        listener.accept().unwrap();
    }
    // They are due within 2.3 s. With pauses that grow to a second they would take 12 at the least.
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
}

#[test]
fn a_call_whose_time_is_up_gets_nothing_and_its_late_reply_is_ignored() {
    let fixture = Fixture::new();
    let mut options = fixture.peer_options();
    options.call_timeout = Duration::from_millis(300);
    let end = TcpEnd::connect(options).unwrap();
    let started = Instant::now();
    let outcomes = Outcomes::default();
    end.start(KEEP, vec![1], outcomes.completion());
    let call = end.call(KEEP, vec![2]);
    assert_eq!(call.wait(), None);
    assert!(started.elapsed() >= Duration::from_millis(300));
    for (_, slot) in fixture.service.take_kept(2) {
        slot.reply(vec![3]);
    }
    // A third call, behind the late replies: they have been read by now.
    eventually("a quick call succeeds", || end.call(ECHO, vec![4]).wait() == Some(vec![4]));
    assert_eq!(*outcomes.0.lock(), [None]);
}

/// Calls time out while a dial is under way, too: the remote accepts and then says nothing.
#[test]
fn a_call_that_waits_for_a_dial_times_out() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut options = EndOptions::client(listener.local_addr().unwrap().to_string());
    options.call_timeout = Duration::from_millis(100);
    options.handshake_timeout = 10 * PATIENCE;
    let end = TcpEnd::connect(options).unwrap();
    let started = Instant::now();
    assert_eq!(end.call(ECHO, vec![1]).wait(), None);
    assert!(started.elapsed() >= Duration::from_millis(100));
    // And the drop interrupts the handshake.
    drop(end);
    assert!(started.elapsed() < PATIENCE);
}

#[test]
fn a_break_ends_all_calls_in_flight_and_the_end_connects_again() {
    let mut fixture = Fixture::new();
    let end = fixture.end();
    assert_eq!(end.call(ECHO, vec![1]).wait(), Some(vec![1]));
    let outcomes = Outcomes::default();
    for _ in 0..100 {
        end.start(KEEP, vec![], outcomes.completion());
    }
    let kept = fixture.service.take_kept(100);
    let started = Instant::now();
    fixture.server.shutdown();
    eventually("every call has ended", || outcomes.count() == 100);
    assert!(outcomes.all_none());
    assert!(started.elapsed() < PATIENCE, "at once, not by time-out");
    assert_eq!(end.call(ECHO, vec![1]).wait(), None);
    // Answers after the end are dropped silently.
    for (_, slot) in kept {
        slot.reply(vec![1]);
    }

    let address = fixture.addr();
    let service: Arc<dyn Service> = fixture.service.clone();
    let options = ServerOptions::new(fixture.me).serve_peers(service);
    // Meanwhile some other socket of this machine may have been given the port for a moment.
    eventually("the server is up again", || match TcpServer::bind(address, options.clone()) {
        Ok(server) => {
            fixture.server = server;
            true
        }
        Err(_) => false,
    });
    eventually("a call succeeds", || end.call(ECHO, vec![2]).wait() == Some(vec![2]));
    assert_eq!(outcomes.count(), 100, "each completion ran once");
}

/// The remote shakes hands and then never reads again: `start` does not wait, memory is bounded,
/// and what does not fit fails at once.
#[test]
fn a_remote_that_does_not_read_does_not_block_its_callers() {
    const LEN: usize = 1 << 20;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut options = EndOptions::client(listener.local_addr().unwrap().to_string());
    options.unsent_bytes_max = 8 * LEN;
    let end = patient(options);
    let stuck = shake_hands(&listener);
    let outcomes = Outcomes::default();
    let started = Instant::now();
    for _ in 0..200 {
        end.start(ECHO, vec![1; LEN], outcomes.completion());
    }
    assert!(started.elapsed() < PATIENCE);
    eventually("most calls have failed", || outcomes.count() > 100);
    assert!(outcomes.all_none());
    let waiting = 200 - outcomes.count();
    assert!(waiting >= 8, "the queue takes its eight and the socket some more: {waiting}");
    drop(end);
    assert_eq!(outcomes.count(), 200, "the drop ended the others");
    drop(stuck);
}

/// A client that asks and asks and does not read its replies: the server takes no more requests of
/// it, serves others, and the client gets everything once it does read.
#[test]
fn a_client_that_does_not_read_its_replies_is_made_to_wait() {
    const LEN: usize = 256 << 10;
    const CALLS: u64 = 400;
    let fixture = Fixture::new();
    let mut greedy = fixture.stream();
    let mut hello = vec![0xA7, 0x4F, 0x41, 0x52, 1, 0, 1, 0, 26, 0];
    hello.extend([0; 25]);
    hello.push(1);
    greedy.write_all(&hello).unwrap();
    greedy.read_exact(&mut [0; 8]).unwrap();
    let mut writer = greedy.try_clone().unwrap();
    let asking = std::thread::spawn(move || {
        for call_id in 0..CALLS {
            let args = vec![call_id as u8; LEN];
            let header = crate::tcp::frame::Header::request(call_id, "Test.Echo", &args).unwrap();
            writer.write_all(header.bytes()).unwrap();
            writer.write_all(&args).unwrap();
        }
    });
    let end = fixture.end();
    for i in 0..100 {
        assert_eq!(end.call(ECHO, vec![i]).wait(), Some(vec![i]));
    }
    std::thread::sleep(Duration::from_millis(200));
    assert!(!asking.is_finished(), "100 MiB of requests were taken without a reply being read");
    for call_id in 0..CALLS {
        let mut frame = vec![0; 17 + LEN];
        greedy.read_exact(&mut frame).unwrap();
        assert_eq!(frame[9..17], call_id.to_le_bytes());
        assert!(frame[17..].iter().all(|&byte| byte == call_id as u8));
    }
    asking.join().unwrap();
}

/// Replies that come later than they can be taken in are dropped past the limit, and the caller is
/// told so when it reads on.
#[test]
fn replies_past_the_limit_are_dropped_and_the_caller_is_told() {
    const LEN: usize = 8 << 20;
    let fixture = Fixture::with(|mut options| {
        options.unsent_bytes_max = LEN;
        options
    });
    let mut slow = fixture.stream();
    slow.write_all(&[0xA7, 0x4F, 0x41, 0x52, 1, 0, 1, 0, 26, 0]).unwrap();
    slow.write_all(&[&[0; 25][..], &[1]].concat()).unwrap();
    slow.read_exact(&mut [0; 8]).unwrap();
    for call_id in 0..10 {
        let header = crate::tcp::frame::Header::request(call_id, "Test.Keep", &[]).unwrap();
        slow.write_all(header.bytes()).unwrap();
    }
    for (_, slot) in fixture.service.take_kept(10) {
        slot.reply(vec![9; LEN]);
    }
    let (mut replies, mut told) = (0, 0);
    for _ in 0..10 {
        let mut head = [0; 17];
        slow.read_exact(&mut head).unwrap();
        match head[8] {
            2 => {
                slow.read_exact(&mut vec![0; LEN]).unwrap();
                replies += 1;
            }
            3 => told += 1,
            kind => panic!("a frame of kind {kind}"),
        }
    }
    assert!(replies >= 1 && told >= 1, "{replies} replies, {told} no-replies");
}

/// An answer of nonsense from the server breaks the connection, and the calls on it end.
#[test]
fn garbage_from_the_server_ends_the_calls() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let end = patient(EndOptions::client(listener.local_addr().unwrap().to_string()));
    let mut stream = shake_hands(&listener);
    let calls: Vec<Call> = (0..10).map(|_| end.call(ECHO, vec![1])).collect();
    stream.write_all(&[0xFF; 64]).unwrap();
    for call in calls {
        assert_eq!(call.wait(), None);
    }
}

/// A handler that panics costs its connection, and nothing else.
#[test]
fn a_handler_that_panics_closes_its_connection_alone() {
    struct Panics(TestService);
    impl Service for Panics {
        fn handle(&self, method: &str, args: &[u8], reply: ReplySlot) -> Result<(), UnknownMethod> {
            assert!(args != b"panic", "as the test asked");
            self.0.handle(method, args, reply)
        }
    }
    let fixture =
        Fixture::with(|options| options.serve_peers(Arc::new(Panics(TestService::default()))));
    let (end, other) = (fixture.end(), fixture.end());
    assert_eq!(other.call(ECHO, vec![1]).wait(), Some(vec![1]));
    assert_eq!(end.call(ECHO, b"panic".to_vec()).wait(), None);
    assert_eq!(other.call(ECHO, vec![2]).wait(), Some(vec![2]));
    eventually("it connects again", || end.call(ECHO, vec![3]).wait() == Some(vec![3]));
}

#[test]
fn a_service_hears_of_nodes_that_hang_up_and_of_nobody_else() {
    let fixture = Fixture::new();
    let dialer = node(fresh_id());
    let peer = || EndOptions::peer(fixture.addr().to_string(), dialer, fixture.me.node_id);
    let (first, second) = (patient(peer()), patient(peer()));
    let client = patient(EndOptions::client(fixture.addr().to_string()));
    for end in [&first, &second, &client] {
        assert_eq!(end.call(ECHO, vec![1]).wait(), Some(vec![1]));
    }
    drop(client);
    drop(first);
    eventually("it is told", || !fixture.service.hung_up.lock().is_empty());
    assert_eq!(*fixture.service.hung_up.lock(), [dialer.node_id], "the client is nobody");
    let Fixture { service, server, .. } = fixture;
    drop(server);
    assert_eq!(*service.hung_up.lock(), [dialer.node_id], "this side ended it");
    drop(second);
}
