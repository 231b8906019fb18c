//! What follows from the network's rules, in real time. The same rules are tested case by case, with
//! stated time, beside the code.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use oarlock_labrpc::NoSuchServer;
use oarlock_rpc::{Completion, End, Method, ReplySlot, Router, Service, UnknownMethod};

use crate::fixture::*;

const METHOD: Method = Method::urgent("Any.Method");

/// A server that hands its reply slots out instead of filling them.
fn with_slots() -> (Fixture, Receiver<ReplySlot>) {
    let (tx, slots) = unbounded();
    (Fixture::with_handler(move |_, reply| tx.send(reply).unwrap()), slots)
}

/// A server whose handler says that it runs, then blocks until it is told to go on.
fn with_gate() -> (Fixture, Receiver<()>, Sender<()>) {
    let (running, runs) = unbounded();
    let (go, gone) = unbounded();
    let fixture = Fixture::with_handler(move |_, reply| {
        running.send(()).unwrap();
        gone.recv().unwrap();
        reply.reply(b"done".to_vec());
    });
    (fixture, runs, go)
}

/// Unreliable and alive: 81 % succeed, 10 % are not executed, 9 % are executed and reported failed;
/// whatever happens happens within 26 ms.
#[test]
fn an_unreliable_network_loses_a_fifth_and_is_quick_about_it() {
    const CALLS: u64 = 2000;
    let (fixture, junk) = Fixture::with_junk();
    fixture.network.set_reliable(false);
    let end = fixture.client("end");
    let (tx, outcomes) = unbounded();
    for i in 0..CALLS {
        let (tx, start) = (tx.clone(), Instant::now());
        let done =
            Completion::new(move |reply| tx.send((start.elapsed(), reply.is_some())).unwrap());
        end.start(NUMBER_TO_TEXT, bytes(&Number(i.try_into().unwrap())), done);
    }
    drop(tx);
    let outcomes: Vec<_> = outcomes.iter().collect();
    assert_eq!(outcomes.len() as u64, CALLS, "every call has one outcome");
    let succeeded = outcomes.iter().filter(|(_, success)| *success).count() as u64;
    let executed = junk.handled.load(Ordering::SeqCst);
    assert!((1560..1680).contains(&succeeded), "{succeeded} succeeded");
    assert!((1740..1860).contains(&executed), "{executed} executed");
    assert!((140..220).contains(&(executed - succeeded)), "executed, and reported failed");
    assert_eq!(fixture.network.count("server"), Ok(executed));
    let slowest = outcomes.iter().map(|(took, _)| *took).max().unwrap();
    assert!(slowest < Duration::from_millis(26) + LATE, "slowest outcome {slowest:?}");
}

/// While a handler blocks its caller waits, and fails within about 100 ms of the cut; the handler
/// goes on.
#[test]
fn a_caller_waits_for_a_blocked_handler_until_it_is_cut_off() {
    let cuts: [fn(&Fixture); 4] = [
        |f| f.network.enable("end", false),
        |f| f.network.delete_end("end"),
        |f| f.network.delete_server("server"),
        |f| f.network.add_server("server", Arc::new(Junk::default())),
    ];
    for cut in cuts {
        let (fixture, runs, go) = with_gate();
        let end = fixture.client("end");
        let call = end.call(METHOD, Vec::new());
        runs.recv().unwrap();
        let call =
            call.wait_until(Instant::now() + Duration::from_millis(120)).expect_err("blocked");
        cut(&fixture);
        assert_eq!(outcome_within(call, Duration::from_millis(100) + LATE), None);
        go.send(()).unwrap();
    }
}

/// An end that is disabled and enabled between two checks of a call does not hurt that call.
#[test]
fn a_short_cut_is_not_seen() {
    let (fixture, runs, go) = with_gate();
    let end = fixture.client("end");
    let call = end.call(METHOD, Vec::new());
    runs.recv().unwrap();
    fixture.network.enable("end", false);
    fixture.network.enable("end", true);
    let later = Instant::now() + Duration::from_millis(150);
    let call = call.wait_until(later).expect_err("the handler still runs");
    go.send(()).unwrap();
    assert_eq!(call.wait(), Some(b"done".to_vec()));
}

/// Requests already on their way execute although their sender is disconnected and their server
/// deleted; only the replies are lost.
#[test]
fn requests_on_their_way_execute_after_the_cut() {
    // On a stalled machine all requests may arrive before the cut: try again then.
    let late = (0..10).map(|_| executed_after_the_cut()).find(|late| *late > 0);
    assert!(late.is_some(), "no request executes after the cut");
}

fn executed_after_the_cut() -> u64 {
    let (fixture, junk) = Fixture::with_junk();
    fixture.network.set_reliable(false);
    let end = fixture.client("end");
    let calls: Vec<_> = (0..100).map(|i| end.call(NUMBER_TO_TEXT, bytes(&Number(i)))).collect();
    fixture.network.enable("end", false);
    fixture.network.delete_server("server");
    let at_the_cut = junk.handled.load(Ordering::SeqCst);
    let replies = calls.into_iter().filter_map(oarlock_rpc::Call::wait).count() as u64;
    assert!(replies <= at_the_cut, "{replies} replies, {at_the_cut} executed at the cut");
    // Handlers start within 26 ms, but a call whose handler is late may fail before it.
    drop(fixture);
    junk.handled.load(Ordering::SeqCst) - at_the_cut
}

/// A long-reordered reply is delivered though its server was deleted while it was held; held replies
/// are overtaken by later ones.
#[test]
fn a_held_reply_is_delivered_after_its_server_is_deleted() {
    let (fixture, junk) = Fixture::with_junk();
    fixture.network.set_long_reordering(true);
    let end = fixture.client("end");
    let (tx, order) = unbounded();
    for i in 0..30 {
        let (tx, start) = (tx.clone(), Instant::now());
        let done = Completion::new(move |reply| {
            assert_eq!(value::<Text>(&reply.unwrap()), Text(format!("handler2-{i}")));
            tx.send((i, start.elapsed())).unwrap();
        });
        end.start(NUMBER_TO_TEXT, bytes(&Number(i)), done);
    }
    drop(tx);
    thread::sleep(Duration::from_millis(100));
    assert_eq!(junk.handled.load(Ordering::SeqCst), 30, "requests are not held");
    fixture.network.delete_server("server");
    let order: Vec<_> = order.iter().collect();
    assert_eq!(order.len(), 30, "every reply arrives");
    assert!(!order.is_sorted_by_key(|(i, _)| *i), "no reply was overtaken");
    let held: Vec<_> =
        order.iter().map(|(_, took)| *took).filter(|t| t.as_millis() > 100).collect();
    assert!((12..28).contains(&held.len()), "{} of 30 held", held.len());
    let hold_max = Duration::from_millis(2199) + LATE;
    assert!(held.iter().all(|t| (Duration::from_millis(200)..hold_max).contains(t)), "{held:?}");
}

/// A handler that blocks delays neither other calls of the same end nor timers.
#[test]
fn a_blocked_handler_delays_nobody() {
    let (fixture, runs, go) = with_gate();
    let end = fixture.client("end");
    let blocked: Vec<_> = (0..50).map(|_| end.call(METHOD, Vec::new())).collect();
    for _ in 0..50 {
        runs.recv_timeout(Duration::from_secs(1)).expect("all handlers run at once");
    }
    fixture.network.add_server("junk", Arc::new(Junk::default()));
    let other = fixture.network.make_end("other");
    fixture.network.connect("other", "junk");
    fixture.network.enable("other", true);
    let quick = other.call(NUMBER_TO_TEXT, bytes(&Number(1)));
    assert!(outcome_within(quick, LATE).is_some());
    fixture.network.enable("other", false);
    let unreachable = other.call(NUMBER_TO_TEXT, bytes(&Number(1)));
    assert_eq!(outcome_within(unreachable, Duration::from_millis(99) + LATE), None);
    for _ in &blocked {
        go.send(()).unwrap();
    }
    for call in blocked {
        assert_eq!(call.wait(), Some(b"done".to_vec()));
    }
}

/// A slot may be filled after the handler has returned, by any thread, in any order, and under a lock
/// that the completion takes: it runs on a thread of the network.
#[test]
fn a_reply_slot_may_be_filled_later_by_any_thread() {
    let (fixture, slots) = with_slots();
    let end = fixture.client("end");
    let first = end.call(METHOD, Vec::new());
    let slot = slots.recv().unwrap();
    let second = end.call(METHOD, Vec::new());
    slots.recv().unwrap().reply(b"second".to_vec());
    assert_eq!(second.wait(), Some(b"second".to_vec()));
    assert!(!first.is_done());
    thread::scope(|scope| scope.spawn(|| slot.reply(b"first".to_vec())).join().unwrap());
    assert_eq!(first.wait(), Some(b"first".to_vec()));

    let lock = Arc::new(parking_lot::Mutex::new(()));
    let (tx, done) = bounded(1);
    let completion = Completion::new({
        let lock = Arc::clone(&lock);
        move |_| {
            let _guard = lock.lock();
            tx.send(thread::current().name().map(str::to_owned)).unwrap();
        }
    });
    end.start(METHOD, Vec::new(), completion);
    let slot = slots.recv().unwrap();
    let guard = lock.lock();
    slot.reply(Vec::new());
    drop(guard);
    let thread = done.recv().unwrap().unwrap();
    assert!(thread.starts_with("labrpc-"), "the completion ran on {thread}");

    let unanswered = end.call(METHOD, Vec::new());
    drop(slots.recv().unwrap());
    assert_eq!(outcome_within(unanswered, LATE), None);
}

/// A restarted server starts at a count of 0; asking for a deleted one is an error. Every call counts
/// in the total, and so do its arguments.
#[test]
fn counters_follow_the_server_object() {
    let (fixture, _) = Fixture::with_junk();
    let end = fixture.client("end");
    let args = bytes(&Number(1));
    let call = || end.call(NUMBER_TO_TEXT, args.clone()).wait();
    assert!(call().is_some() && call().is_some());
    assert_eq!(fixture.network.count("server"), Ok(2));
    fixture.network.add_server("server", Arc::new(Junk::default()));
    assert_eq!(fixture.network.count("server"), Ok(0));
    assert!(call().is_some());
    assert_eq!(fixture.network.count("server"), Ok(1));
    fixture.network.delete_server("server");
    assert_eq!(fixture.network.count("server"), Err(NoSuchServer("server".to_owned())));
    assert_eq!(call(), None);
    fixture.network.enable("end", false);
    assert_eq!(call(), None);
    assert_eq!(fixture.network.total_count(), 5);
    let reply_len = bytes(&Text("handler2-1".to_owned())).len();
    assert_eq!(fixture.network.total_bytes(), (5 * args.len() + 3 * reply_len) as u64);
}

/// Two services behind one name share its fate and its count.
#[test]
fn a_router_is_one_server() {
    struct Named(&'static str, AtomicU64);
    impl Service for Named {
        fn handle(&self, _: &str, _: &[u8], reply: ReplySlot) -> Result<(), UnknownMethod> {
            self.1.fetch_add(1, Ordering::SeqCst);
            reply.reply(self.0.as_bytes().to_vec());
            Ok(())
        }
    }
    let fixture = Fixture::new();
    let router = Router::new()
        .with("Raft", Arc::new(Named("raft", AtomicU64::default())))
        .with("Kv", Arc::new(Named("kv", AtomicU64::default())));
    fixture.network.add_server("server", Arc::new(router));
    let end = fixture.client("end");
    let call = |name| end.call(Method::urgent(name), Vec::new()).wait();
    assert_eq!(call("Raft.Vote"), Some(b"raft".to_vec()));
    assert_eq!(call("Kv.Get"), Some(b"kv".to_vec()));
    assert_eq!(fixture.network.count("server"), Ok(2));
}

/// What a caller sends is the server's own: it gets the memory that the caller filled.
#[test]
fn arguments_are_given_to_the_server() {
    struct Keeps(Sender<Vec<u8>>);
    impl Service for Keeps {
        fn handle(&self, _: &str, _: &[u8], _: ReplySlot) -> Result<(), UnknownMethod> {
            panic!("they are given")
        }

        fn handle_owned(
            &self,
            _: &str,
            args: Vec<u8>,
            reply: ReplySlot,
        ) -> Result<(), UnknownMethod> {
            self.0.send(args).expect("somebody looks");
            reply.reply(Vec::new());
            Ok(())
        }
    }
    let fixture = Fixture::new();
    let (keep, kept) = unbounded();
    fixture.network.add_server("server", Arc::new(Keeps(keep)));
    let args = vec![7; 1000];
    let place = args.as_ptr();
    assert_eq!(fixture.client("end").call(METHOD, args).wait(), Some(Vec::new()));
    let kept = kept.recv().expect("it was called");
    assert_eq!(kept.as_ptr(), place);
}

/// A deleted end's name may be used for another end; the deleted one stays dead.
#[test]
fn a_deleted_end_stays_dead_though_its_name_lives_again() {
    let (fixture, junk) = Fixture::with_junk();
    let old = fixture.client("end");
    fixture.network.delete_end("end");
    let new = fixture.client("end");
    assert_eq!(call::<_, Text>(&old, NUMBER_TO_TEXT, &Number(1)), None);
    assert_eq!(junk.handled.load(Ordering::SeqCst), 0);
    assert!(call::<_, Text>(&new, NUMBER_TO_TEXT, &Number(1)).is_some());
}
