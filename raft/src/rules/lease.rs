//! Reads by lease (dissertation 6.4.1): a leader that a majority has just listened to serves reads
//! without asking anybody. An option, off by default, for it rests on clocks.
//!
//! The promise. A peer that hears from a leader gives no vote, and asks for none, for the shortest
//! election time-out of its own clock: to nobody, in no term, whatever it learns meanwhile. After a
//! start it does not know what it promised before, so it begins with a promise to whoever that was.
//!
//! The lease. A message that a follower answered in the leader's term reached it after the message
//! left. So counted from when the messages left that a majority has answered, no other leader can be
//! elected for the shortest election time-out; less the drift, since the leader's clock may be slow and
//! the others' fast. Any message will do, heartbeats above all. Nobody else having been elected by then,
//! nothing is committed that this leader does not know of.
//!
//! Of those who vote for a later leader, one is in that majority, whatever the configurations: each is
//! of a peer and not of a configuration, and any two that may be in force have majorities that overlap
//! (section 6). A peer promises as a learner too, and counts for nothing before it has answered.
//!
//! The exception. Votes that a leader itself asks for with `TimeoutNow` are given in spite of the
//! promise. So before the first one leaves, it gives up its lease for the rest of its term. Leases of
//! earlier terms had run out when that leader was elected.

use std::time::Instant;

use super::{Role, Rules};
use crate::mistake;
use crate::options::Options;
use crate::types::Term;

/// What a peer has promised, and of its own lease what is not in [`super::Progress`].
#[derive(Debug, Default)]
pub(super) struct Lease {
    /// No vote before this moment.
    promised_until: Option<Instant>,
    /// The term in which this peer told another to campaign; 0 if in none.
    given_up_in: Term,
}

impl Lease {
    /// Of a peer that starts, and has forgotten what it promised before.
    pub(super) fn at_start(options: &Options, now: Instant) -> Self {
        let promises = options.lease_reads.is_some() && !mistake!(ForgetsPromiseAtStart);
        let promised_until = promises.then(|| now + *options.election_timeout.start());
        Self { promised_until, given_up_in: 0 }
    }

    /// The leader's connection has ended. It may live, and count on the promise.
    pub(super) fn on_hang_up(&mut self) {
        if mistake!(PromiseEndsWithConnection) {
            self.promised_until = None;
        }
    }
}

impl Rules {
    /// Whether no other leader can have been elected by `now`, since a majority has promised so.
    pub(crate) fn lease_holds(&self, now: Instant) -> bool {
        let Some(option) = &self.options.lease_reads else { return false };
        let Role::Leader { progress } = &self.role else { return false };
        if self.lease.given_up_in == self.current_term && !mistake!(LeaseOutlivesHandOver) {
            return false;
        }
        // A leader votes for nobody.
        let answered_from = self.configuration().majority_value(|peer| {
            if peer == self.me { Some(now) } else { progress.get(&peer)?.answered_from() }
        });
        let lasts = if mistake!(LeaseIgnoresDrift) {
            self.election_timeout_min()
        } else {
            option.lease_of(self.election_timeout_min())
        };
        answered_from.is_some_and(|from| now < from + lasts)
    }

    /// A leader was heard: no vote for a while.
    pub(super) fn promise(&mut self, now: Instant) {
        if self.options.lease_reads.is_some() {
            self.lease.promised_until = Some(now + self.election_timeout_min());
        }
    }

    /// Until when this peer votes for nobody.
    pub(super) fn promised_until(&self) -> Option<Instant> {
        self.lease.promised_until
    }

    /// Whether this peer votes for nobody.
    pub(super) fn has_promised(&self, now: Instant) -> bool {
        self.promised_until().is_some_and(|until| now < until)
    }

    /// Another is told to campaign: its voters need keep no promise, so this leader relies on none.
    pub(super) fn give_up_lease(&mut self) {
        self.lease.given_up_in = self.current_term;
    }
}

#[cfg(test)]
#[path = "lease_tests.rs"]
mod tests;
