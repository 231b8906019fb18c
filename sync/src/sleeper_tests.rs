//! Sleepers on a real futex: who wakes, and when.

use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use super::*;

const SOON: Duration = Duration::from_millis(20);
const LONG: Duration = Duration::from_secs(20);

/// A thread that sleeps until it is called, and says so.
fn asleep(me: &Arc<Sleeper>, woken: &mpsc::Sender<Arc<Sleeper>>) {
    let (its, woken) = (Arc::clone(me), woken.clone());
    thread::spawn(move || {
        its.park();
        woken.send(its).unwrap();
    });
    wait_until_it_sleeps(me);
}

/// It is in the system's hands then, or next to.
fn wait_until_it_sleeps(sleeper: &Sleeper) {
    while sleeper.state.load(Ordering::SeqCst) != ASLEEP {
        thread::yield_now();
    }
    thread::sleep(SOON);
}

/// So many that sleep, and what they say when they wake.
fn sleepers(count: usize) -> (Vec<Arc<Sleeper>>, mpsc::Receiver<Arc<Sleeper>>) {
    let (rows, (tell, woken)) = (Rows::default(), mpsc::channel());
    let sleepers: Vec<_> = (0..count).map(|_| rows.sleeper()).collect();
    for sleeper in &sleepers {
        asleep(sleeper, &tell);
    }
    (sleepers, woken)
}

fn call(sleepers: &[Arc<Sleeper>]) {
    for sleeper in sleepers {
        sleeper.unpark();
    }
}

/// So many wake.
fn wake(count: u32, woken: &mpsc::Receiver<Arc<Sleeper>>) {
    for _ in 0..count {
        woken.recv_timeout(LONG).expect("whoever is called wakes");
    }
}

#[test]
fn those_who_are_called_wake_and_nobody_else() {
    let (mut sleepers, woken) = sleepers(40);
    while !sleepers.is_empty() {
        let rest = sleepers.split_off(sleepers.len().min(15));
        Together::new().gather(|| call(&sleepers));
        for _ in 0..sleepers.len() {
            let one = woken.recv_timeout(LONG).expect("all who were called wake");
            assert!(sleepers.iter().any(|sleeper| Arc::ptr_eq(sleeper, &one)), "nobody else");
        }
        assert!(woken.recv_timeout(SOON).is_err(), "nobody else");
        sleepers = rest;
    }
}

#[test]
fn the_system_wakes_those_who_are_meant_and_nobody_else() {
    let (sleepers, woken) = sleepers(3);
    let row = &sleepers[0].row;
    let two = sleepers[0].bit | sleepers[2].bit;
    // They sleep on: nobody called them.
    assert_eq!(row.futex.wake(two), 2);
    for sleeper in &sleepers {
        wait_until_it_sleeps(sleeper);
    }
    assert_eq!(row.futex.wake(sleepers[1].bit), 1);
    assert!(woken.recv_timeout(SOON).is_err());
    call(&sleepers);
    wake(3, &woken);
}

#[test]
fn those_who_are_called_together_wake_when_it_is_over() {
    let (sleepers, woken) = sleepers(3);
    let mut together = Together::new();
    together.gather(|| call(&sleepers[..2]));
    assert!(woken.recv_timeout(SOON).is_err(), "not yet");
    call(&sleepers[2..]);
    let third = woken.recv_timeout(LONG).expect("one that is called otherwise wakes at once");
    assert!(Arc::ptr_eq(&third, &sleepers[2]));
    assert!(woken.recv_timeout(SOON).is_err(), "not yet");
    drop(together);
    wake(2, &woken);
}

#[test]
fn when_enough_are_called_together_they_wake() {
    let (sleepers, woken) = sleepers(20);
    let mut together = Together::new();
    together.gather(|| call(&sleepers));
    wake(AT_ONCE_MAX, &woken);
    assert!(woken.recv_timeout(SOON).is_err(), "not enough yet");
    drop(together);
    wake(4, &woken);
}

#[test]
fn whoever_was_called_long_ago_wakes() {
    let (sleepers, woken) = sleepers(2);
    let mut together = Together::new();
    together.gather(|| call(&sleepers[..1]));
    together.wake_after(LONG);
    assert!(woken.recv_timeout(SOON).is_err(), "not yet");
    together.wake_after(SOON);
    woken.recv_timeout(LONG).expect("it is time");
    together.gather(|| call(&sleepers[1..]));
    together.wake_after(LONG);
    assert!(woken.recv_timeout(SOON).is_err(), "the time of this one has begun later");
}

#[test]
fn a_call_of_somebody_else_wakes_one_that_was_to_wake_later() {
    let (sleepers, woken) = sleepers(1);
    let mut together = Together::new();
    together.gather(|| call(&sleepers));
    assert!(woken.recv_timeout(SOON).is_err(), "not yet");
    thread::scope(|scope| drop(scope.spawn(|| call(&sleepers))));
    woken.recv_timeout(LONG).expect("it is called again");
    drop(together);
}

#[test]
fn a_call_ahead_of_the_sleep_ends_it_once() {
    let me = Sleeper::current();
    me.unpark();
    me.unpark();
    me.park();
    let start = Instant::now();
    me.park_for(SOON);
    assert!(start.elapsed() >= SOON, "nobody called again");
}

#[test]
fn the_longest_of_times_never_comes() {
    for longest in [Duration::MAX, Duration::from_secs(1 << 62)] {
        let me = Rows::default().sleeper();
        let its = Arc::clone(&me);
        let sleeper = thread::spawn(move || its.park_for(longest));
        wait_until_it_sleeps(&me);
        assert!(!sleeper.is_finished());
        assert_eq!(me.row.futex.wake(me.bit), 1, "it sleeps, and does not only look again");
        me.unpark();
        sleeper.join().unwrap();
    }
}

#[test]
fn places_are_taken_again_when_nobody_has_them() {
    let rows = Rows::default();
    let mut sleepers: Vec<_> = (0..70).map(|_| rows.sleeper()).collect();
    assert_eq!(rows.0.lock().len(), 3);
    let bits = |sleepers: &[Arc<Sleeper>]| sleepers.iter().map(|s| s.bit.get()).sum::<u32>();
    assert_eq!(bits(&sleepers[..32]), u32::MAX, "each has a bit of its own");
    let gone = sleepers.remove(7);
    let bit = gone.bit;
    drop(gone);
    let next = rows.sleeper();
    assert!(Arc::ptr_eq(&next.row, &sleepers[0].row));
    assert_eq!(next.bit, bit);
    (0..1000).for_each(|_| drop(rows.sleeper()));
    assert_eq!(rows.0.lock().len(), 3);
}
