//! What runs next: in rounds, so that every test has run once before one runs twice; within a round
//! the longest first, so that none is left running alone.

use std::time::Duration;

use parking_lot::Mutex;

/// Runs still to be started.
pub(crate) struct Schedule(Mutex<State>);

struct State {
    /// How long each case is expected to take.
    expected: Vec<Duration>,
    /// The round under way, from 1.
    round: u32,
    rounds: u32,
    /// The cases that the round has still to start, the longest last.
    left: Vec<usize>,
    closed: bool,
}

/// One run to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Next {
    /// The number of its case, from 0.
    pub(crate) case: usize,
    /// The number of its round, from 1.
    pub(crate) round: u32,
}

impl Schedule {
    /// `rounds` runs of each case, of which `expected` says how long it takes, as far as is known.
    pub(crate) fn new(expected: Vec<Duration>, rounds: u32) -> Self {
        Self(Mutex::new(State { expected, round: 0, rounds, left: Vec::new(), closed: false }))
    }

    /// Takes the next run; none if all are taken, or no more are wanted.
    pub(crate) fn next(&self) -> Option<Next> {
        let mut state = self.0.lock();
        if state.closed {
            return None;
        }
        if state.left.is_empty() {
            if state.round == state.rounds {
                return None;
            }
            state.round += 1;
            let mut cases: Vec<usize> = (0..state.expected.len()).collect();
            cases.sort_by_key(|&case| state.expected[case]);
            state.left = cases;
        }
        let case = state.left.pop()?;
        Some(Next { case, round: state.round })
    }

    /// A run of `case` took so long: so will the next.
    pub(crate) fn took(&self, case: usize, time: Duration) {
        self.0.lock().expected[case] = time;
    }

    /// No more runs are wanted.
    pub(crate) fn close(&self) {
        self.0.lock().closed = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(all: &[u64]) -> Vec<Duration> {
        all.iter().copied().map(Duration::from_secs).collect()
    }

    fn next(schedule: &Schedule) -> Option<(usize, u32)> {
        schedule.next().map(|next| (next.case, next.round))
    }

    #[test]
    fn rounds_interleave_and_the_longest_goes_first() {
        let schedule = Schedule::new(seconds(&[2, 30, 5]), 2);
        let order: Vec<_> = std::iter::from_fn(|| next(&schedule)).collect();
        assert_eq!(order, [(1, 1), (2, 1), (0, 1), (1, 2), (2, 2), (0, 2)]);
    }

    #[test]
    fn what_was_measured_counts_from_the_next_round_on() {
        let schedule = Schedule::new(seconds(&[1, 2]), 2);
        assert_eq!(next(&schedule), Some((1, 1)));
        schedule.took(0, Duration::from_secs(9));
        assert_eq!(next(&schedule), Some((0, 1)));
        assert_eq!(next(&schedule), Some((0, 2)));
    }

    #[test]
    fn a_closed_schedule_has_nothing() {
        let schedule = Schedule::new(seconds(&[1]), 2);
        assert!(schedule.next().is_some());
        schedule.close();
        assert_eq!(schedule.next(), None);
    }

    #[test]
    fn without_cases_there_is_nothing() {
        assert_eq!(Schedule::new(Vec::new(), 3).next(), None);
    }
}
