//! The exploration itself, on scenes so small that everything is known of them.

use std::sync::Arc;
use std::time::Duration;

use super::{deadlines_come_early, elapsed, explore, find, planted};
use crate::{Condvar, Mutex, now, thread};

const SCHEDULES: usize = 400;

type Flag = Arc<(Mutex<bool>, Condvar)>;

/// One sets a flag and tells; another waits for it.
fn flag() {
    let flag = Flag::default();
    let setter = thread::spawn({
        let flag = Arc::clone(&flag);
        move || {
            *flag.0.lock() = true;
            flag.1.notify_all();
        }
    });
    let mut is_set = flag.0.lock();
    while !*is_set {
        if planted("lets go before it falls asleep") {
            drop(is_set);
            is_set = flag.0.lock();
        }
        flag.1.wait(&mut is_set);
    }
    drop(is_set);
    setter.join().expect("a setter");
}

#[test]
fn a_lost_wake_up_is_a_deadlock() {
    explore(SCHEDULES, flag);
    let found = find("lets go before it falls asleep", SCHEDULES, flag).expect("it is found");
    assert!(found.message.contains("deadlock"), "{found:?}");
}

#[test]
fn time_stands_still_while_anybody_runs() {
    explore(SCHEDULES, || {
        let flag = Flag::default();
        let setter = thread::spawn({
            let flag = Arc::clone(&flag);
            move || {
                *flag.0.lock() = true;
                flag.1.notify_all();
            }
        });
        let deadline = now() + Duration::from_secs(1);
        let mut is_set = flag.0.lock();
        let mut timed_out = false;
        while !*is_set && !timed_out {
            timed_out = flag.1.wait_until(&mut is_set, deadline).timed_out();
        }
        assert!(*is_set || deadlines_come_early(), "a deadline came though somebody could run");
        assert!(!timed_out || elapsed() == Duration::from_secs(1), "after {:?}", elapsed());
        drop(is_set);
        setter.join().expect("a setter");
    });
}

#[test]
fn a_deadline_that_nobody_is_before_comes() {
    explore(SCHEDULES, || {
        let flag = Flag::default();
        let mut is_set = flag.0.lock();
        for seconds in 1..4 {
            let deadline = now() + Duration::from_secs(1);
            assert!(flag.1.wait_until(&mut is_set, deadline).timed_out());
            assert_eq!(elapsed(), Duration::from_secs(seconds));
        }
    });
}

#[test]
fn both_orders_of_two_threads_come_up() {
    let seen = Arc::new(std::sync::Mutex::new(std::collections::BTreeSet::new()));
    let scene = Arc::clone(&seen);
    explore(SCHEDULES, move || {
        let order = Arc::new(Mutex::new(Vec::new()));
        let threads = [1, 2].map(|id| {
            let order = Arc::clone(&order);
            thread::spawn(move || order.lock().push(id))
        });
        for thread in threads {
            thread.join().expect("a thread");
        }
        scene.lock().unwrap().insert(order.lock().clone());
    });
    assert_eq!(seen.lock().unwrap().len(), 2);
}
