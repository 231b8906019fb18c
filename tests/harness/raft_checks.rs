//! What the Raft suites ask of a cluster, in the labs' words and with the labs' patience.

use std::time::{Duration, Instant};
use std::{iter, thread};

use oarlock_raft::{Index, Term};

use super::command::Command;
use super::raft_cluster::RaftCluster;

/// How often `check_one_leader` looks,
const LEADER_ROUNDS: usize = 10;
/// and the least and the most it sleeps before each look.
const LEADER_ROUND_MS: (u64, u64) = (450, 549);

/// How long `one` tries,
const ONE_MAX: Duration = Duration::from_secs(10);
/// how long it waits for one try to be committed,
const ONE_TRY_MAX: Duration = Duration::from_secs(2);
/// how often it looks,
const ONE_POLL: Duration = Duration::from_millis(20);
/// and how long it sleeps when nobody takes the command.
const ONE_PAUSE: Duration = Duration::from_millis(50);

/// How often `wait` looks,
const WAIT_POLLS: usize = 30;
/// how long it sleeps at first, then twice as long each time,
const WAIT_FIRST: Duration = Duration::from_millis(10);
/// until it sleeps this long or longer.
const WAIT_ENOUGH: Duration = Duration::from_secs(1);

/// Whether [`RaftCluster::one`] gives the command again when it is not committed in time.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retry {
    Yes,
    No,
}

/// How long `wait` sleeps after each look.
pub(super) fn wait_pauses() -> impl Iterator<Item = Duration> {
    let longer = |pause: &Duration| Some(if *pause < WAIT_ENOUGH { *pause * 2 } else { *pause });
    iter::successors(Some(WAIT_FIRST), longer).take(WAIT_POLLS)
}

impl RaftCluster {
    /// Waits for one leader among the connected servers, for about 5 s, and returns it. Two of the
    /// same term fail the test; of several terms the highest counts.
    #[track_caller]
    pub(crate) fn check_one_leader(&self) -> usize {
        for _ in 0..LEADER_ROUNDS {
            let (least, most) = LEADER_ROUND_MS;
            thread::sleep(Duration::from_millis(self.random.range(least..=most)));
            let mut leaders = self.leaders();
            leaders.sort_unstable();
            for pair in leaders.windows(2) {
                assert_ne!(pair[0].0, pair[1].0, "two leaders of one term: {leaders:?}");
            }
            if let Some(&(_, leader)) = leaders.last() {
                return leader;
            }
        }
        panic!("expected one leader, found none");
    }

    /// Checks that the connected servers agree on the term, and returns it.
    #[track_caller]
    pub(crate) fn check_terms(&self) -> Term {
        let terms: Vec<Term> = self.connected_states().map(|(_, term, _)| term).collect();
        let first = *terms.first().expect("a server is connected");
        assert!(terms.iter().all(|&term| term == first), "servers disagree on term: {terms:?}");
        first
    }

    /// Checks that at this moment no connected server claims to lead.
    #[track_caller]
    pub(crate) fn check_no_leader(&self) {
        let leaders = self.leaders();
        assert!(leaders.is_empty(), "expected no leader, found {leaders:?}");
    }

    /// How many servers have applied something at `index`, and what.
    #[track_caller]
    pub(crate) fn n_committed(&self, index: Index) -> (usize, Option<Command>) {
        self.applied.n_committed(index)
    }

    /// Has `command` committed and applied by at least `expected` servers, within 10 s; returns
    /// its index. It tries any server that is connected, for it may be the leader. With
    /// [`Retry::Yes`] the command may be committed more than once; with [`Retry::No`] the first
    /// leader that takes it must get it committed within 2 s.
    #[track_caller]
    pub(crate) fn one(&self, command: impl Into<Command>, expected: usize, retry: Retry) -> Index {
        let command = command.into();
        log::debug!(target: "TEST", "one({command:?}, {expected})");
        let began = Instant::now();
        let mut server = 0;
        while began.elapsed() < ONE_MAX {
            let index = (0..self.n).find_map(|_| {
                server = (server + 1) % self.n;
                let connected = self.is_connected(server);
                connected.then(|| self.start(server, command.clone()))?.map(|start| start.index)
            });
            let Some(index) = index else {
                thread::sleep(ONE_PAUSE);
                continue;
            };
            let tried = Instant::now();
            while tried.elapsed() < ONE_TRY_MAX {
                let (count, found) = self.n_committed(index);
                if count >= expected && found.as_ref() == Some(&command) {
                    return index;
                }
                thread::sleep(ONE_POLL);
            }
            assert!(retry == Retry::Yes, "one({command:?}): no agreement at {index} in 2 s");
        }
        panic!("one({command:?}): no agreement in 10 s");
    }

    /// Waits until `expected` servers have applied `index`, for about 30 s, and returns what they
    /// applied. With a `start_term`, gives up with `None` once any server is beyond that term.
    #[track_caller]
    pub(crate) fn wait(
        &self,
        index: Index,
        expected: usize,
        start_term: Option<Term>,
    ) -> Option<Command> {
        for pause in wait_pauses() {
            if self.n_committed(index).0 >= expected {
                break;
            }
            thread::sleep(pause);
            if start_term.is_some_and(|start_term| self.has_passed(start_term)) {
                return None;
            }
        }
        let (count, command) = self.n_committed(index);
        assert!(count >= expected, "only {count} of {expected} servers applied index {index}");
        command
    }

    /// Whether every server still is in `term`.
    pub(crate) fn all_in_term(&self, term: Term) -> bool {
        (0..self.n).all(|i| self.get_state(i).is_some_and(|(current, _)| current == term))
    }

    fn has_passed(&self, term: Term) -> bool {
        (0..self.n).any(|i| self.get_state(i).is_some_and(|(current, _)| current > term))
    }

    /// Who of the connected servers claims to lead, with the term first.
    fn leaders(&self) -> Vec<(Term, usize)> {
        let states = self.connected_states();
        states.filter_map(|(i, term, leads)| leads.then_some((term, i))).collect()
    }

    fn connected_states(&self) -> impl Iterator<Item = (usize, Term, bool)> {
        (0..self.n).filter(|&i| self.is_connected(i)).filter_map(|i| {
            let (term, leads) = self.get_state(i)?;
            Some((i, term, leads))
        })
    }
}
