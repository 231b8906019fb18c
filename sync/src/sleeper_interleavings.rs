//! Sleepers under every order in which threads may run: whoever is called wakes.

use super::*;
use crate::model::{explore, find};
use crate::thread;

const SCHEDULES: usize = 2000;

/// Something that one thread waits for, which sleeps in a row with others.
#[derive(Default)]
struct Event(Mutex<(bool, Option<Arc<Sleeper>>)>);

impl Event {
    /// `me` is this thread.
    fn wait(&self, me: &Arc<Sleeper>) {
        loop {
            let mut state = self.0.lock();
            if state.0 {
                return;
            }
            state.1 = Some(Arc::clone(me));
            drop(state);
            me.park();
        }
    }

    fn happen(&self) {
        let mut state = self.0.lock();
        state.0 = true;
        let waiter = state.1.take();
        drop(state);
        waiter.inspect(|waiter| waiter.unpark());
    }
}

/// So many wait for two events each, all in one row; the last one's happen on another thread.
fn in_a_row(count: usize, happens_together: bool) {
    let rows = Rows::default();
    let events: Vec<[Event; 2]> = (0..count).map(|_| Default::default()).collect();
    let events = Arc::new(events);
    let mut threads = Vec::new();
    for nth in 0..count {
        let (me, events) = (rows.sleeper(), Arc::clone(&events));
        threads.push(thread::spawn(move || {
            events[nth].iter().for_each(|event| event.wait(&me));
        }));
    }
    let happen = move |events: &[[Event; 2]]| {
        for round in 0..2 {
            let happen = || events.iter().for_each(|events| events[round].happen());
            if happens_together { Together::new().gather(happen) } else { happen() }
        }
    };
    threads.push(thread::spawn({
        let events = Arc::clone(&events);
        move || happen(&events[count - 1..])
    }));
    happen(&events[..count - 1]);
    for thread in threads {
        thread.join().expect("one that was woken");
    }
}

/// Two talk by turns, each from within calls that wake together.
fn talk() {
    let rows = Rows::default();
    let events = Arc::new([const { [(); 2] }; 2].map(|pair| pair.map(|()| Event::default())));
    let threads = [0, 1].map(|nth| {
        let (me, events) = (rows.sleeper(), Arc::clone(&events));
        thread::spawn(move || {
            Together::new().gather(|| {
                for round in 0..2 {
                    events[nth][round].happen();
                    events[1 - nth][round].wait(&me);
                }
            });
        })
    });
    for thread in threads {
        thread.join().expect("one that was answered");
    }
}

/// One is called by two. The first, who would wake it later, does not get to that before it wakes.
fn called_twice() {
    let rows = Rows::default();
    let (me, event) = (rows.sleeper(), Arc::new(Event::default()));
    let sleeper = thread::spawn({
        let (me, event) = (Arc::clone(&me), Arc::clone(&event));
        move || event.wait(&me)
    });
    let mut together = Together::new();
    together.gather(|| event.happen());
    thread::spawn(move || me.unpark()).join().expect("one that only calls");
    sleeper.join().expect("one that was called by two");
    drop(together);
}

#[test]
fn whoever_is_called_wakes() {
    explore(SCHEDULES, || in_a_row(2, false));
    explore(SCHEDULES, || in_a_row(3, true));
    explore(SCHEDULES, || in_a_row(4, true));
    explore(SCHEDULES, talk);
    explore(SCHEDULES, called_twice);
}

#[test]
fn mistakes_of_sleepers_are_found() {
    let in_a_row: fn() = || in_a_row(4, true);
    for (mistake, scene) in [
        ("a wake-up begins no epoch", in_a_row),
        ("a wake-up comes ahead of its epoch", in_a_row),
        ("a sleeper looks whether it is called too early", in_a_row),
        ("those who were called are forgotten", in_a_row),
        ("those who are enough are forgotten", in_a_row),
        ("whoever sleeps leaves others asleep whom it has called", talk),
        ("a call that finds another wakes nobody", called_twice),
    ] {
        let found = find(mistake, SCHEDULES, scene).expect(mistake);
        assert!(found.message.contains("deadlock"), "{found:?}");
        eprintln!("{mistake}: {} schedules", found.schedules);
    }
}
