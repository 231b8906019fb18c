//! A leader whose own disk stalls: neither full nor broken, it finishes nothing for a while.
//!
//! Its heartbeats need no disk, so followers see a leader that works; and as long as they can commit
//! without it, so it does. But then one copy fewer is made of everything, and should one of them fail
//! nothing is committed any more. So it gives way after more than one election time-out, and before
//! two: steps down, so that a peer whose disk works is elected. It cannot be elected itself meanwhile:
//! its own vote would have to be on its disk.
//!
//! Only if the others need it for nothing: what it has not on disk, a majority has without it. That
//! proves that theirs work. If those stall too, or are gone, another leader would do no better.
//!
//! None of this bears on safety: to step down is always allowed.

use std::time::Instant;

use super::Rules;

impl Rules {
    /// A leader whose disk has been busy with one visit of the log writer for one and a half of the
    /// longest election time-outs, while a majority has on disk what it has not. The election thread
    /// looks often enough to find out before there are two.
    pub(super) fn is_held_up_by_its_disk(&self, now: Instant) -> bool {
        let limit = self.election_timeout_max() * 3 / 2;
        let stalls = self.writing_since.is_some_and(|since| now >= since + limit);
        // What is committed and not on our disk, a majority without us has on theirs.
        stalls && self.commit_index > self.mutations.durable_index()
    }
}
