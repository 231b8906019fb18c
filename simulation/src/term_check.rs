//! Who led and who voted, over a whole run: invariants 1, 8, 26 and 39.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use oarlock_raft::{Configuration, PeerId, Term};

use crate::invariant::{Checks, Invariant};
use crate::majority::is_agreed;

/// So many time-outs in a row are not the same by chance.
const TIMEOUTS: usize = 8;

/// What is known of all terms.
#[derive(Debug, Default)]
pub(crate) struct TermBook {
    leaders: BTreeMap<Term, PeerId>,
    votes: BTreeMap<(PeerId, Term), PeerId>,
    timeouts: VecDeque<Duration>,
}

impl TermBook {
    /// A peer begins to lead by the votes of `configuration`, in force before.
    pub(crate) fn leads(
        &mut self,
        peer: PeerId,
        term: Term,
        configuration: &Configuration,
        checks: &mut Checks,
    ) {
        let known = *self.leaders.entry(term).or_insert(peer);
        checks.require(Invariant::ElectionSafety, known == peer, || {
            format!("S{known} and S{peer} both lead T{term}")
        });
        // Its own vote is spoken to others, if there are any.
        let voted = |voter| voter == peer || self.votes.get(&(voter, term)) == Some(&peer);
        checks.require(Invariant::ElectedByMajority, is_agreed(configuration, voted), || {
            format!("S{peer} leads T{term} without the votes of a majority of {configuration}")
        });
    }

    /// A vote is spoken.
    pub(crate) fn votes(
        &mut self,
        voter: PeerId,
        term: Term,
        candidate: PeerId,
        checks: &mut Checks,
    ) {
        let known = *self.votes.entry((voter, term)).or_insert(candidate);
        checks.require(Invariant::OneVoteATerm, known == candidate, || {
            format!("S{voter} votes for S{known} and for S{candidate} in T{term}")
        });
    }

    /// A peer drew an election time-out.
    pub(crate) fn draws(&mut self, timeout: Duration) {
        self.timeouts.push_back(timeout);
        if self.timeouts.len() > TIMEOUTS {
            self.timeouts.pop_front();
        }
    }

    pub(crate) fn check_draws(&self, checks: &mut Checks) {
        let first = self.timeouts.front();
        let differ = self.timeouts.iter().any(|timeout| Some(timeout) != first);
        if self.timeouts.len() == TIMEOUTS {
            checks.require(Invariant::TimeoutsDiffer, differ, || {
                format!("{TIMEOUTS} times in a row {first:?}")
            });
        }
    }
}
