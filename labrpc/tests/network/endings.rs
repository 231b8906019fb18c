//! How a network ends, and what misuse does.

use std::panic::{self, AssertUnwindSafe};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{bounded, unbounded};
use oarlock_labrpc::Network;
use oarlock_rpc::{Completion, End, Method, ReplySlot, Service, UnknownMethod};

use crate::fixture::*;

const METHOD: Method = Method::urgent("Any.Method");
const SOON: Duration = Duration::from_secs(5);

/// The threads of this process that belong to a network.
#[cfg(target_os = "linux")]
fn network_threads() -> Vec<String> {
    std::fs::read_dir("/proc/self/task")
        .unwrap()
        // A thread may be gone by the time its name is read.
        .filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).ok())
        .filter(|name| name.starts_with("labrpc-"))
        .collect()
}

#[track_caller]
fn panic_message(f: impl FnOnce()) -> String {
    let panic = panic::catch_unwind(AssertUnwindSafe(f)).expect_err("a panic");
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned())).expect("a message")
}

/// Calls in flight fail, and so do later ones, at once; everything else has no effect.
#[test]
fn a_torn_down_network_fails_all_calls_at_once() {
    let (release, released) = bounded::<()>(0);
    let (tx, slots) = unbounded();
    let fixture = Fixture::with_handler(move |args, reply| {
        if args.is_empty() {
            assert!(released.recv().is_err());
        }
        tx.send(reply).unwrap();
    });
    let network = fixture.network.clone();
    network.set_long_delays(true);
    let end = fixture.client("end");
    let answered_later = end.call(METHOD, vec![1]);
    let slot = slots.recv().unwrap();
    let blocked = end.call(METHOD, Vec::new());
    network.enable("end", false);
    let unreachable = end.call(METHOD, Vec::new());

    std::thread::scope(|scope| {
        scope.spawn(|| network.shutdown());
        for call in [answered_later, blocked, unreachable] {
            assert_eq!(outcome_within(call, SOON), None);
        }
        let call = end.call(METHOD, Vec::new());
        assert!(call.is_done(), "fails before it returns");
        assert_eq!(call.wait(), None);
        drop(release);
    });
    slot.reply(b"too late".to_vec());
    network.shutdown();
    network.enable("end", true);
    network.connect("end", "server");
    network.delete_end("end");
    network.delete_server("server");
    network.add_server("server", Arc::new(Junk::default()));
    assert!(network.count("server").is_err());
    assert_eq!(network.total_count(), 3);
    assert_eq!(network.make_end("later").call(METHOD, Vec::new()).wait(), None);
}

/// The last handle's drop is a shutdown; ends keep neither the network nor its servers alive.
#[test]
fn the_last_handle_ends_the_network_and_frees_the_servers() {
    let (fixture, junk) = Fixture::with_junk();
    let end = fixture.client("end");
    let weak = Arc::downgrade(&junk);
    drop(junk);
    let clone = fixture.network.clone();
    drop(fixture);
    assert!(call::<_, Text>(&end, NUMBER_TO_TEXT, &Number(1)).is_some());
    drop(clone);
    assert!(weak.upgrade().is_none(), "the server outlives its network");
    assert!(end.call(NUMBER_TO_TEXT, Vec::new()).is_done());
}

/// No thread is left after a shutdown, however busy the network was.
#[cfg(target_os = "linux")]
#[test]
fn all_threads_are_joined() {
    let (fixture, _) = Fixture::with_junk();
    fixture.network.set_reliable(false);
    let end = fixture.client("end");
    let calls: Vec<_> = (0..200).map(|i| end.call(NUMBER_TO_TEXT, bytes(&Number(i)))).collect();
    let replies = calls.into_iter().take(100).filter_map(oarlock_rpc::Call::wait).count();
    assert!(replies > 50);
    let threads = network_threads();
    assert!(threads.len() > 1 && threads.contains(&"labrpc-delivery\n".to_owned()), "{threads:?}");
    fixture.network.shutdown();
    // A joined thread may be listed for a moment longer.
    let deadline = Instant::now() + LATE;
    while !network_threads().is_empty() {
        assert!(Instant::now() < deadline, "left behind: {:?}", network_threads());
    }
}

/// A completion may drop the last handle: the thread it runs on is not joined, all others are.
#[test]
fn a_completion_may_end_its_own_network() {
    for reachable in [true, false] {
        let (fixture, _) = Fixture::with_junk();
        let end = fixture.client("end");
        fixture.network.enable("end", reachable);
        let (tx, rx) = bounded(1);
        let handle = fixture.network.clone();
        let (go, gone) = bounded::<()>(0);
        let done = Completion::new(move |reply| {
            assert!(gone.recv().is_err());
            drop(handle);
            tx.send(reply.is_some()).unwrap();
        });
        end.start(NUMBER_TO_TEXT, bytes(&Number(1)), done);
        drop(fixture);
        drop(go);
        assert_eq!(rx.recv_timeout(SOON), Ok(reachable));
        assert!(end.call(NUMBER_TO_TEXT, Vec::new()).is_done());
    }
}

/// A server is dropped when it is deleted or replaced, without the network's lock: its drop may use
/// the network.
#[test]
fn a_server_may_use_the_network_while_it_is_dropped() {
    struct Caller(Network, Arc<AtomicBool>);
    impl Service for Caller {
        fn handle(&self, _: &str, _: &[u8], reply: ReplySlot) -> Result<(), UnknownMethod> {
            reply.reply(Vec::new());
            Ok(())
        }
    }
    impl Drop for Caller {
        fn drop(&mut self) {
            self.1.store(self.0.count("server").is_err(), Ordering::SeqCst);
        }
    }
    let fixture = Fixture::new();
    let dropped = Arc::new(AtomicBool::new(false));
    let network = fixture.network.clone();
    network.add_server("server", Arc::new(Caller(network.clone(), Arc::clone(&dropped))));
    network.delete_server("server");
    assert!(dropped.load(Ordering::SeqCst));
    dropped.store(false, Ordering::SeqCst);
    network.add_server("other", Arc::new(Caller(network.clone(), Arc::clone(&dropped))));
    network.add_server("other", Arc::new(Junk::default()));
    assert!(dropped.load(Ordering::SeqCst));
}

/// A panic in a handler fails its call, and the shutdown panics with it.
#[test]
fn a_handlers_panic_comes_up_in_the_shutdown() {
    let fixture = Fixture::with_handler(|args, reply| {
        assert!(!args.is_empty(), "no arguments for the handler");
        reply.reply(Vec::new());
    });
    let end = fixture.client("end");
    assert_eq!(outcome_within(end.call(METHOD, Vec::new()), SOON), None);
    assert!(end.call(METHOD, vec![1]).wait().is_some(), "the network goes on");
    let message = panic_message(|| fixture.network.shutdown());
    assert!(message.contains("no arguments for the handler"), "{message}");
}

/// A panic in a completion that time runs stops the network: nothing waits for ever.
#[test]
fn a_completions_panic_stops_the_network_and_comes_up_in_the_shutdown() {
    let fixture = Fixture::with_handler(|_, reply| drop(reply));
    let end = fixture.network.make_end("end");
    fixture.network.set_long_delays(true);
    let waiting: Vec<_> = (0..20).map(|_| end.call(METHOD, Vec::new())).collect();
    fixture.network.set_long_delays(false);
    end.start(METHOD, Vec::new(), Completion::new(|_| panic!("a bad completion")));
    for call in waiting {
        assert_eq!(outcome_within(call, Duration::from_secs(1)), None);
    }
    let message = panic_message(|| fixture.network.shutdown());
    assert!(message.contains("a bad completion"), "{message}");
}

/// A second end of the same name, a second connection, and an unknown end panic loudly.
#[test]
fn misuse_of_names_panics() {
    let (fixture, _) = Fixture::with_junk();
    let network = &fixture.network;
    let _end = fixture.client("end");
    let message = panic_message(|| drop(network.make_end("end")));
    assert_eq!(message, "a second client end is named \"end\"");
    let message = panic_message(|| network.connect("end", "other"));
    assert_eq!(message, "client end \"end\" is connected to \"server\" already");
    let message = panic_message(|| network.enable(7, true));
    assert_eq!(message, "no client end is named \"7\"");
    assert_eq!(network.count("server"), Ok(0), "the network goes on");
}

/// An unknown method, and an unknown service of a router, end the process with a line on stderr.
#[test]
fn an_unknown_method_ends_the_process() {
    const CHILD: &str = "LABRPC_UNKNOWN_METHOD";
    if let Ok(method) = std::env::var(CHILD) {
        let (fixture, junk) = Fixture::with_junk();
        let router = oarlock_rpc::Router::new().with("Junk", junk);
        fixture.network.add_server("server", Arc::new(router));
        let method = Method::urgent(method.leak());
        let outcome = fixture.client("end").call(method, Vec::new()).wait();
        panic!("still alive, with {outcome:?}");
    }
    for method in ["Junk.NoSuchMethod", "NoSuchService.Get"] {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "endings::an_unknown_method_ends_the_process"])
            .env(CHILD, method)
            .output()
            .unwrap();
        assert_eq!(child.status.code(), None, "killed by its own signal: {child:?}");
        let stderr = String::from_utf8_lossy(&child.stderr);
        let line = format!(
            "labrpc: server \"server\": no service here has a method named {method:?}; aborting"
        );
        assert!(stderr.contains(&line), "{stderr}");
    }
}
