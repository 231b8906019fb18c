//! Calls that go well: what is asked is answered, in any order, from any thread, once.

use super::*;
use crate::Call;

#[test]
fn a_call_comes_back_with_its_reply() {
    let fixture = Fixture::new();
    let end = fixture.end();
    for len in [0usize, 1, 100, 16 << 10, (16 << 10) + 1, 64 << 10, 3 << 20] {
        let args: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
        let reply = end.call(ECHO, args.clone()).wait();
        assert!(reply == Some(args), "{len} bytes");
    }
}

#[test]
fn the_largest_message_passes_and_a_larger_one_fails_at_once() {
    let fixture = Fixture::new();
    let end = fixture.end();
    let max = crate::codec::MAX_BYTES;
    let reply = end.call(BULK_ECHO, vec![5; max]).wait();
    assert!(reply == Some(vec![5; max]));
    assert_eq!(end.call(BULK_ECHO, vec![5; max + 1]).wait(), None);
    assert_eq!(end.call(BULK_ECHO, vec![6]).wait(), Some(vec![6]), "the connection lives");
}

#[test]
fn a_name_that_is_too_long_and_a_method_nobody_has_fail_at_once() {
    let fixture = Fixture::new();
    let end = fixture.end();
    let name: &'static str = "m".repeat(256).leak();
    assert_eq!(end.call(Method::urgent(name), vec![]).wait(), None);
    assert_eq!(end.call(Method::urgent(&name[..255]), vec![]).wait(), None);
    let started = Instant::now();
    assert_eq!(end.call(UNKNOWN, vec![1]).wait(), None);
    assert!(started.elapsed() < PATIENCE, "it was answered, not timed out");
    assert_eq!(end.call(ECHO, vec![2]).wait(), Some(vec![2]), "the connection lives");
}

/// Ten thousand calls in flight on one connection, started by four threads and all held at the
/// server until the last has come, each get their own reply.
#[test]
fn ten_thousand_calls_share_a_connection() {
    const CALLS: u64 = 10_000;
    let fixture = Fixture::new();
    let end = fixture.end();
    std::thread::scope(|scope| {
        for first in 0..4 {
            let end = &end;
            scope.spawn(move || {
                let start = |i: u64| (i, end.call(KEEP, i.to_le_bytes().to_vec()));
                let calls: Vec<(u64, Call)> = (first..CALLS).step_by(4).map(start).collect();
                for (i, call) in calls {
                    assert_eq!(call.wait(), Some((i * i).to_le_bytes().to_vec()));
                }
            });
        }
        let mut kept = fixture.service.take_kept(CALLS as usize);
        assert_eq!(kept.len(), CALLS as usize);
        fastrand::Rng::with_seed(1).shuffle(&mut kept);
        for (args, slot) in kept {
            let i = u64::from_le_bytes(args.try_into().unwrap());
            slot.reply((i * i).to_le_bytes().to_vec());
        }
    });
}

#[test]
fn replies_may_come_later_from_another_thread_and_in_another_order() {
    let fixture = Fixture::new();
    let end = fixture.end();
    let calls: Vec<Call> = (0..3).map(|i| end.call(KEEP, vec![i])).collect();
    let mut kept = fixture.service.take_kept(3);
    let (first_args, first_slot) = kept.remove(0);
    assert_eq!(first_args, [0], "requests arrive in the order they were started");
    std::thread::spawn(move || {
        for (args, slot) in kept.into_iter().rev() {
            slot.reply(args);
        }
    });
    let mut calls = calls.into_iter();
    let first = calls.next().unwrap();
    for (i, call) in (1..).zip(calls) {
        assert_eq!(call.wait(), Some(vec![i]));
    }
    assert!(!first.is_done(), "the first is still in flight");
    first_slot.reply(vec![9]);
    assert_eq!(first.wait(), Some(vec![9]));
}

#[test]
fn a_slot_that_is_dropped_means_that_nothing_comes_back() {
    let fixture = Fixture::new();
    let end = fixture.end();
    let call = end.call(KEEP, vec![]);
    let started = Instant::now();
    drop(fixture.service.take_kept(1));
    assert_eq!(call.wait(), None);
    assert!(started.elapsed() < PATIENCE, "it was told, not timed out");
}

/// A completion on the reader's thread starts the next call on the same end, a thousand deep.
#[test]
fn a_completion_may_start_the_next_call() {
    fn next(end: &Arc<TcpEnd>, left: u32, done: Completion) {
        if left == 0 {
            return done.reply(vec![]);
        }
        let again = Arc::clone(end);
        let completion = Completion::new(move |outcome| match outcome {
            Some(_) => next(&again, left - 1, done),
            None => drop(done),
        });
        end.start(ECHO, left.to_le_bytes().to_vec(), completion);
    }
    let fixture = Fixture::new();
    let end = Arc::new(fixture.end());
    let (call, done) = Call::pair();
    next(&end, 1000, done);
    assert_eq!(call.wait(), Some(vec![]));
}

/// A service that calls a second server from within its handler, and answers when that answers.
#[test]
fn a_handler_may_start_calls_of_its_own() {
    struct Forward(TcpEnd);
    impl Service for Forward {
        fn handle(&self, _: &str, args: &[u8], reply: ReplySlot) -> Result<(), UnknownMethod> {
            self.0.start(ECHO, args.to_vec(), reply);
            Ok(())
        }
    }
    let last = Fixture::new();
    let forward: Arc<dyn Service> = Arc::new(Forward(last.end()));
    let first = Fixture::with(|mut options| {
        options.peer_service = Some(forward);
        options
    });
    let end = first.end();
    let calls: Vec<Call> = (0..100).map(|i| end.call(ECHO, vec![i])).collect();
    for (i, call) in (0..).zip(calls) {
        assert_eq!(call.wait(), Some(vec![i]));
    }
}

#[test]
fn a_client_needs_no_identity() {
    let fixture = Fixture::new();
    let end = patient(EndOptions::client(fixture.addr().to_string()));
    assert_eq!(end.call(ECHO, vec![1]).wait(), Some(vec![1]));
    let insisting = EndOptions::client(fixture.addr().to_string()).insist_on(fixture.me);
    assert_eq!(patient(insisting).call(ECHO, vec![2]).wait(), Some(vec![2]));
}

/// Another listener peeks at the first byte and hands the connection over.
#[test]
fn a_stream_that_was_accepted_elsewhere_is_served() {
    let service: Arc<dyn Service> = Arc::new(TestService::default());
    let server = TcpServer::unbound(ServerOptions::new(node(fresh_id())).serve_clients(service));
    assert_eq!(server.local_addr(), None);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let end = patient(EndOptions::client(listener.local_addr().unwrap().to_string()));
    let call = end.call(ECHO, vec![3]);
    let (stream, _) = listener.accept().unwrap();
    let mut first = [0];
    assert_eq!(stream.peek(&mut first).unwrap(), 1);
    assert_eq!(first[0], crate::tcp::FIRST_BYTE);
    // As an event loop would hand it over.
    stream.set_nonblocking(true).unwrap();
    server.serve_stream(stream);
    assert_eq!(call.wait(), Some(vec![3]));
}
