//! Ends and servers that go: every call ends, every thread is joined, promptly, from anywhere.

use super::*;
use crate::Call;

#[test]
fn dropping_an_end_ends_its_calls() {
    let fixture = Fixture::new();
    let end = fixture.end();
    let outcomes = Outcomes::default();
    for i in 0..1000 {
        let method = if i % 2 == 0 { KEEP } else { Method::bulk(KEEP.name) };
        end.start(method, vec![1; 100], outcomes.completion());
    }
    let started = Instant::now();
    drop(end);
    assert!(started.elapsed() < PATIENCE);
    assert_eq!(outcomes.count(), 1000, "on return, every completion has run once");
    assert!(outcomes.all_none());
}

/// A completion owns the last reference to the end it runs on: the drop joins all but itself.
#[test]
fn the_last_owner_may_be_a_completion() {
    let fixture = Fixture::new();
    let end = Arc::new(fixture.end());
    let (call, done) = Call::pair();
    let owner = Arc::clone(&end);
    let completion = Completion::new(move |outcome| {
        eventually("the test has let go", || Arc::strong_count(&owner) == 1);
        drop(owner);
        done.complete(outcome);
    });
    end.start(ECHO, vec![5], completion);
    drop(end);
    assert_eq!(call.wait(), Some(vec![5]));
}

/// The same on the timer's thread.
#[test]
fn the_last_owner_may_be_a_completion_whose_time_is_up() {
    let fixture = Fixture::new();
    let mut options = fixture.peer_options();
    options.call_timeout = Duration::from_millis(50);
    let end = Arc::new(TcpEnd::connect(options).unwrap());
    let (call, done) = Call::pair();
    let owner = Arc::clone(&end);
    let completion = Completion::new(move |outcome| {
        eventually("the test has let go", || Arc::strong_count(&owner) == 1);
        drop(owner);
        done.complete(Some(vec![u8::from(outcome.is_none())]));
    });
    end.start(KEEP, vec![], completion);
    drop(end);
    assert_eq!(call.wait(), Some(vec![1]));
}

/// A handler shuts its own server down: it joins all but itself.
#[test]
fn a_handler_may_shut_its_server_down() {
    struct Suicidal(Mutex<Option<TcpServer>>);
    impl Service for Suicidal {
        fn handle(&self, _: &str, _: &[u8], _: ReplySlot) -> Result<(), UnknownMethod> {
            drop(self.0.lock().take());
            Ok(())
        }
    }
    let me = node(fresh_id());
    let service = Arc::new(Suicidal(Mutex::new(None)));
    let options = ServerOptions::new(me).serve_peers(service.clone());
    let server = TcpServer::bind("127.0.0.1:0", options).unwrap();
    let address = server.local_addr().unwrap().to_string();
    *service.0.lock() = Some(server);
    let end = patient(EndOptions::peer(address, node(fresh_id()), me.node_id));
    assert_eq!(end.call(ECHO, vec![]).wait(), None);
    assert!(service.0.lock().is_none());
}

#[test]
fn an_idle_server_shuts_down_promptly_and_its_port_is_free() {
    let started = Instant::now();
    let mut address: SocketAddr = "127.0.0.1:0".parse().unwrap();
    for _ in 0..20 {
        let options = ServerOptions::new(node(fresh_id()));
        let Ok(server) = TcpServer::bind(address, options) else {
            // Some other socket of this machine was given the port.
            address.set_port(0);
            continue;
        };
        address = server.local_addr().unwrap();
        server.shutdown();
        server.shutdown();
        assert!(TcpStream::connect(address).is_err(), "the listener is closed");
    }
    assert!(started.elapsed() < PATIENCE);
}

#[test]
fn a_server_that_is_stopped_closes_the_streams_it_is_given() {
    use std::io::Read;
    let fixture = Fixture::new();
    fixture.server.shutdown();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    fixture.server.serve_stream(listener.accept().unwrap().0);
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
}

/// Connections come and go, with calls in flight on both sides; then nothing is left.
#[cfg(target_os = "linux")]
#[test]
fn no_thread_is_left_behind() {
    let dialer = node(fresh_id());
    let fixture = Fixture::new();
    let names = [dialer, fixture.me].map(|who| format!("rpc{}-", who.node_id));
    for round in 0..20 {
        let options = EndOptions::peer(fixture.addr().to_string(), dialer, fixture.me.node_id);
        let end = patient(options);
        if round % 4 != 0 {
            assert_eq!(end.call(ECHO, vec![1]).wait(), Some(vec![1]));
            assert_eq!(end.call(BULK_ECHO, vec![1]).wait(), Some(vec![1]));
        }
        end.start(KEEP, vec![], Outcomes::default().completion());
        eventually("the end's threads have their names", || threads_named(&names[0]) >= 3);
        drop(end);
        eventually("the end's threads are gone", || threads_named(&names[0]) == 0);
    }
    let ends: Vec<TcpEnd> = (0..5).map(|_| fixture.end()).collect();
    for end in &ends {
        assert_eq!(end.call(ECHO, vec![1]).wait(), Some(vec![1]));
    }
    eventually("there is an acceptor, and two threads a connection", || {
        threads_named(&names[1]) >= 11
    });
    fixture.server.shutdown();
    eventually("the server's threads are gone", || threads_named(&names[1]) == 0);
}

/// A listener whose queue of connections is full answers no dial: the drop interrupts the dial.
#[cfg(target_os = "linux")]
#[test]
fn a_drop_interrupts_a_dial() {
    use socket2::{Domain, Socket, Type};
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    listener.bind(&any.into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let short = Duration::from_millis(100);
    let mut fillers = Vec::new();
    while let Ok(filler) = TcpStream::connect_timeout(&address, short) {
        fillers.push(filler);
        assert!(fillers.len() < 50, "the queue does not fill up");
    }
    let mut options = EndOptions::client(address.to_string());
    options.connect_timeout = 10 * PATIENCE;
    let end = TcpEnd::connect(options).unwrap();
    let outcomes = Outcomes::default();
    end.start(ECHO, vec![1], outcomes.completion());
    std::thread::sleep(short);
    assert_eq!(outcomes.count(), 0, "the call waits for the dial");
    let started = Instant::now();
    drop(end);
    assert!(started.elapsed() < PATIENCE);
    assert_eq!(outcomes.count(), 1);
}
