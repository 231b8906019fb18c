//! Promises and completions under every order in which threads may run (`oarlock_sync::model`): who
//! waits is woken, and every call ends exactly once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use oarlock_sync::model::{explore, find};
use oarlock_sync::{Mutex, thread};

use crate::{Call, promise};

const SCHEDULES: usize = 2000;

fn in_a_second() -> Instant {
    oarlock_sync::now() + Duration::from_secs(1)
}

/// One waits without limit, for a promise that is kept or broken.
fn kept_or_broken(is_kept: bool) {
    let (promise, awaited) = promise();
    let keeper = thread::spawn(move || if is_kept { promise.keep(7) } else { drop(promise) });
    assert_eq!(awaited.wait(), is_kept.then_some(7));
    keeper.join().expect("a keeper");
}

/// One waits until a deadline, which may come first, and then goes on waiting.
fn deadline() {
    let (promise, awaited) = promise();
    let keeper = thread::spawn(move || promise.keep(7));
    let value = match awaited.wait_until(in_a_second()) {
        Ok(value) => value,
        Err(awaited) => awaited.wait(),
    };
    assert_eq!(value, Some(7));
    keeper.join().expect("a keeper");
}

/// A call that one thread answers while another gives up everything that is under way.
fn answered_or_given_up() {
    let (call, done) = Call::pair();
    let slot = Arc::new(Mutex::new(Some(done)));
    let answers = thread::spawn({
        let slot = Arc::clone(&slot);
        move || {
            let done = slot.lock().take();
            done.is_some_and(|done| {
                done.reply(vec![1]);
                true
            })
        }
    });
    let gives_up = thread::spawn(move || drop(slot.lock().take()));
    let outcome = call.wait();
    gives_up.join().expect("a network");
    let answered = answers.join().expect("a service");
    assert_eq!(outcome, answered.then(|| vec![1]));
}

#[test]
fn a_promise_wakes_whoever_waits() {
    explore(SCHEDULES, || kept_or_broken(true));
    explore(SCHEDULES, || kept_or_broken(false));
}

#[test]
fn a_deadline_and_a_promise_may_come_together() {
    explore(SCHEDULES, deadline);
}

#[test]
fn a_call_ends_once() {
    explore(SCHEDULES, answered_or_given_up);
}

#[test]
fn mistakes_of_promises_are_found() {
    let scenes: [fn(); 2] = [|| kept_or_broken(true), answered_or_given_up];
    for mistake in ["a promise is kept without a word", "a promise speaks before it is kept"] {
        for scene in scenes {
            let found = find(mistake, SCHEDULES, scene).expect(mistake);
            assert!(found.message.contains("deadlock"), "{found:?}");
            eprintln!("{mistake}: {} schedules", found.schedules);
        }
    }
    let mistake = "whoever waits for a promise looks once";
    let found = find(mistake, SCHEDULES, || kept_or_broken(true)).expect(mistake);
    eprintln!("{mistake}: {} schedules", found.schedules);
}
