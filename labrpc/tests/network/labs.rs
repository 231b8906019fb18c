//! The labs' own tests of their network, each named after the original.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;
use oarlock_rpc::End;

use crate::fixture::*;

/// `TestBasic`: two handlers give correct replies.
#[test]
fn basic() {
    let (fixture, _) = Fixture::with_junk();
    let end = fixture.client("end1-99");
    assert_eq!(call(&end, NUMBER_TO_TEXT, &Number(111)), Some(Text("handler2-111".to_owned())));
    assert_eq!(call(&end, TEXT_TO_NUMBER, &Text("9099".to_owned())), Some(Number(9099)));
}

/// `TestTypes`: arguments and replies by value and behind a pointer both work.
#[test]
fn types() {
    let (fixture, _) = Fixture::with_junk();
    let end = fixture.client("end1-99");
    assert_eq!(call(&end, BOXED, &Box::new(Number(5))), Some(Box::new(Number(5))));
    assert_eq!(call(&end, BOXED, &Number(6)), Some(Number(6)));
}

/// `TestDisconnect`: a never-enabled end yields no reply; enabled, it works.
#[test]
fn disconnect() {
    let (fixture, junk) = Fixture::with_junk();
    let end = fixture.network.make_end("end1-99");
    fixture.network.connect("end1-99", "server");
    assert_eq!(call::<_, Text>(&end, NUMBER_TO_TEXT, &Number(111)), None);
    assert_eq!(junk.handled.load(Ordering::SeqCst), 0);
    fixture.network.enable("end1-99", true);
    assert_eq!(call(&end, NUMBER_TO_TEXT, &Number(111)), Some(Text("handler2-111".to_owned())));
}

/// `TestCounts`: the server's count is exactly the number of calls.
#[test]
fn counts() {
    let (fixture, _) = Fixture::with_junk();
    let end = fixture.client(99);
    for i in 0..17 {
        assert_eq!(call(&end, NUMBER_TO_TEXT, &Number(i)), Some(Text(format!("handler2-{i}"))));
    }
    assert_eq!(fixture.network.count("server"), Ok(17));
    assert_eq!(fixture.network.total_count(), 17);
}

/// `TestBytes`: the bytes of arguments, then of replies, are counted.
#[test]
fn byte_counts() {
    let (fixture, _) = Fixture::with_junk();
    let end = fixture.client("end1-99");
    let text = "x".repeat(71 * 4);
    for _ in 0..17 {
        assert_eq!(call(&end, LENGTH, &Text(text.clone())), Some(Number(284)));
    }
    let before = fixture.network.total_bytes();
    assert!((4828..=6000).contains(&before), "{before} bytes for 17 x 284");
    for _ in 0..17 {
        assert_eq!(call(&end, LETTERS, &Number(107)), Some(Text("y".repeat(107))));
    }
    let growth = fixture.network.total_bytes() - before;
    assert!((1800..=2500).contains(&growth), "{growth} bytes for 17 replies of 107");
}

/// `TestConcurrentMany`: 20 ends with 10 calls each, in parallel.
#[test]
fn concurrent_many() {
    let (fixture, _) = Fixture::with_junk();
    thread::scope(|scope| {
        for i in 0..20 {
            let end = fixture.client(i);
            scope.spawn(move || {
                for j in 0..10 {
                    let number = i * 100 + j;
                    let expected = Text(format!("handler2-{number}"));
                    assert_eq!(call(&end, NUMBER_TO_TEXT, &Number(number)), Some(expected));
                }
            });
        }
    });
    assert_eq!(fixture.network.count("server"), Ok(200));
}

/// `TestUnreliable`: some of 300 calls come through, and some do not.
#[test]
fn unreliable() {
    let (fixture, _) = Fixture::with_junk();
    fixture.network.set_reliable(false);
    let calls: Vec<_> =
        (0..300).map(|i| (i, fixture.client(i).call(NUMBER_TO_TEXT, bytes(&Number(i))))).collect();
    let mut successes = 0;
    for (i, call) in calls {
        if let Some(reply) = call.wait() {
            assert_eq!(value::<Text>(&reply), Text(format!("handler2-{i}")));
            successes += 1;
        }
    }
    assert!((1..300).contains(&successes), "{successes} of 300 came through");
}

/// `TestConcurrentOne`: 20 parallel calls on one end are all delivered.
#[test]
fn concurrent_one() {
    let (fixture, _) = Fixture::with_junk();
    let end = fixture.client("end1-99");
    thread::scope(|scope| {
        for i in 0..20 {
            let end = Arc::clone(&end);
            scope.spawn(move || {
                let expected = Text(format!("handler2-{i}"));
                assert_eq!(call(&end, NUMBER_TO_TEXT, &Number(i)), Some(expected));
            });
        }
    });
    assert_eq!(fixture.network.count("server"), Ok(20));
}

/// `TestRegression1`: calls that wait for a disabled end delay no call made once it is enabled, and
/// never reach the server.
#[test]
fn waiting_calls_delay_nobody() {
    let (fixture, junk) = Fixture::with_junk();
    let end = fixture.network.make_end("end1-99");
    fixture.network.connect("end1-99", "server");
    let waiting: Vec<_> = (0..20).map(|i| end.call(NUMBER_TO_TEXT, bytes(&Number(i)))).collect();
    thread::sleep(Duration::from_millis(100));
    fixture.network.enable("end1-99", true);

    let start = Instant::now();
    assert_eq!(call(&end, NUMBER_TO_TEXT, &Number(99)), Some(Text("handler2-99".to_owned())));
    let took = start.elapsed();
    assert!(took < Duration::from_millis(30), "the call took {took:?}");
    for call in waiting {
        assert_eq!(call.wait(), None);
    }
    assert_eq!(junk.handled.load(Ordering::SeqCst), 1);
    assert_eq!(fixture.network.count("server"), Ok(1));
}

/// `TestKilled`: a call whose handler blocks (20 s in the original; here until released) is pending
/// after 1.1 s, and fails within 100 ms of its server's deletion.
#[test]
fn killed() {
    let (release, released) = bounded::<()>(0);
    let fixture = Fixture::with_handler(move |_, reply| {
        assert!(released.recv_timeout(Duration::from_secs(20)).is_err());
        reply.reply(Vec::new());
    });
    let end = fixture.client("end1-99");
    let call = end.call(NUMBER_TO_TEXT, Vec::new());
    thread::sleep(Duration::from_secs(1));
    let soon = Instant::now() + Duration::from_millis(100);
    let call = call.wait_until(soon).expect_err("the handler still runs");
    fixture.network.delete_server("server");
    // The next look at the server is up to 100 ms away: the original has nothing to spare.
    assert_eq!(outcome_within(call, Duration::from_millis(100) + LATE), None);
    drop(release);
}

/// `TestBenchmark`: 100,000 calls, one after the other; prints what one takes.
#[test]
fn benchmark() {
    const CALLS: u32 = 100_000;
    let (fixture, _) = Fixture::with_junk();
    let end = fixture.client("end1-99");
    let start = Instant::now();
    for i in 0..CALLS {
        let reply = call(&end, NUMBER_TO_TEXT, &Number(i));
        assert_eq!(reply, Some(Text(format!("handler2-{i}"))));
    }
    println!("{:?} for each of {CALLS} calls", start.elapsed() / CALLS);
    assert_eq!(fixture.network.count("server"), Ok(CALLS.into()));
}

/// `TestLongDelayRace`: long delays may be turned on and off while calls to a deleted server wait.
#[test]
fn long_delay_race() {
    let (fixture, junk) = Fixture::with_junk();
    let end = fixture.client("end1-99");
    fixture.network.delete_server("server");
    let stop = AtomicBool::new(false);
    let calls = thread::scope(|scope| {
        scope.spawn(|| {
            let mut on = false;
            while !stop.load(Ordering::Relaxed) {
                on = !on;
                fixture.network.set_long_delays(on);
                thread::sleep(Duration::from_micros(100));
            }
        });
        let mut calls = Vec::new();
        for i in 0..200 {
            calls.push(end.call(NUMBER_TO_TEXT, bytes(&Number(i))));
            thread::sleep(Duration::from_millis(1));
        }
        stop.store(true, Ordering::Relaxed);
        calls
    });
    thread::sleep(Duration::from_millis(200));
    let pending = calls.iter().filter(|call| !call.is_done()).count();
    assert!((1..200).contains(&pending), "{pending} of 200 have a long delay");
    // Their delay was theirs from the start, whatever the knob says now; only the end shortens it.
    fixture.network.shutdown();
    for call in calls {
        assert_eq!(outcome_within(call, Duration::ZERO), None);
    }
    assert_eq!(junk.handled.load(Ordering::SeqCst), 0);
}
