//! One thread with many commands on their way: how many more may leave, and whether the answers are
//! right.

use parking_lot::{Condvar, Mutex};

use super::command::Answer;

/// Room for commands on their way.
pub struct Window {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// How many more may leave now.
    room: u64,
    in_flight_max: u64,
    /// The number whose answer comes next: they come in order.
    next: u64,
    /// How many commands had been applied with the last one that was answered.
    count: u64,
    sleeps_below: Option<u64>,
}

impl Window {
    /// Room for so many, the first of which has the number `first`.
    pub fn new(in_flight_max: u64, first: u64) -> Self {
        let state =
            State { room: in_flight_max, in_flight_max, next: first, count: 0, sleeps_below: None };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Waits for room for at least `least`, and takes what there is.
    pub fn take(&self, least: u64) -> u64 {
        let mut state = self.state.lock();
        while state.room < least {
            state.sleeps_below = Some(least);
            self.changed.wait(&mut state);
        }
        state.sleeps_below = None;
        std::mem::take(&mut state.room)
    }

    /// Waits until everything is answered.
    pub fn drain(&self) {
        let all = self.state.lock().in_flight_max;
        self.take(all);
    }

    /// Commands were answered.
    ///
    /// # Panics
    /// If an answer is not the next one, or counts no more than the one before.
    pub fn answered(&self, answers: impl IntoIterator<Item = Answer>) {
        let mut state = self.state.lock();
        for answer in answers {
            assert_eq!(answer.number, state.next, "answers come in order");
            assert!(answer.count > state.count, "every command is applied once");
            state.next += 1;
            state.count = answer.count;
            state.room += 1;
        }
        if state.sleeps_below.is_some_and(|least| state.room >= least) {
            state.sleeps_below = None;
            self.changed.notify_all();
        }
    }
}
