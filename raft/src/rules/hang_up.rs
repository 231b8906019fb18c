//! A leader whose connection ends.
//!
//! When a process dies, the system closes its connections, and those it spoke to hear of it at once.
//! To wait for a whole election time-out would gain nothing then. A leader that lives, and only lost a
//! connection, is back within a heartbeat or two; so long its followers wait. Should that be too
//! short, pre-votes are refused by whoever still hears it, and nobody is disturbed. Nothing here bears
//! on safety: it is an election like any other, only earlier. With leases it comes no earlier than the
//! shortest election time-out after the leader was heard, for so long followers have promised to wait.

use std::time::Instant;

use super::Rules;
use crate::types::PeerId;

impl Rules {
    /// The connection by which `peer` spoke to us has ended.
    pub(crate) fn on_hang_up(&mut self, peer: PeerId, now: Instant) {
        if self.leader() != Some(peer) || self.is_leader() {
            return;
        }
        crate::trace!(self, "VOTE", "S{peer}, who leads, has hung up");
        self.lease.on_hang_up();
        // We do not hear it any more, and may vote for another; unless we promised not to, since it may
        // live and count on that.
        if !self.has_promised(now) {
            self.heard_from_leader = None;
        }
        let interval = self.options.heartbeat_interval;
        let waits = (now + interval).max(self.promised_until().unwrap_or(now));
        let soon = waits + self.rng.below(interval);
        if soon < self.election_deadline {
            self.election_deadline = soon;
            self.wake.election = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use oarlock_storage::Recovered;

    use super::*;
    use crate::configuration::Configuration;
    use crate::message::RequestVoteArgs;
    use crate::options::Options;
    use crate::rules::Due;
    use crate::types::EntryId;

    const ME: PeerId = PeerId(0);
    const LEADER: PeerId = PeerId(1);
    const OTHER: PeerId = PeerId(2);

    fn follower() -> (Rules, Instant) {
        let now = crate::shared::Shared::now();
        let voters = Configuration::of_voters([ME, LEADER, OTHER]);
        let options = Options { seed: 1, ..Options::default() };
        let mut rules = Rules::recovered(ME, voters, Recovered::default(), options, now).unwrap();
        rules.follow(1, LEADER, now);
        (rules, now)
    }

    fn pre_vote_of_other() -> RequestVoteArgs {
        RequestVoteArgs {
            pre_vote: true,
            handed_over: false,
            term: 2,
            candidate_id: OTHER,
            last_log: EntryId::default(),
        }
    }

    #[test]
    fn a_leader_that_hangs_up_is_waited_for_a_heartbeat_or_two() {
        let (mut rules, now) = follower();
        let interval = rules.options.heartbeat_interval;
        rules.on_hang_up(LEADER, now);
        assert!(rules.take_wake().election, "the election thread sleeps longer");
        assert!(!matches!(rules.election_due(now + interval * 7 / 8), Due::Now(_)));
        let granted = rules.handle_request_vote(&pre_vote_of_other(), now).value.vote_granted;
        assert!(granted, "another may campaign");
        assert!(matches!(rules.election_due(now + interval * 2), Due::Now(_)));
    }

    #[test]
    fn a_leader_that_is_back_in_time_is_followed_as_before() {
        let (mut rules, now) = follower();
        rules.on_hang_up(LEADER, now);
        let back = now + rules.options.heartbeat_interval;
        rules.follow(1, LEADER, back);
        assert!(!matches!(
            rules.election_due(now + rules.options.heartbeat_interval * 2),
            Due::Now(_)
        ));
        assert!(!rules.handle_request_vote(&pre_vote_of_other(), back).value.vote_granted);
    }

    #[test]
    fn others_may_hang_up() {
        let (mut rules, now) = follower();
        let deadline = rules.election_deadline;
        rules.on_hang_up(OTHER, now);
        assert_eq!(rules.election_deadline, deadline);
        assert!(!rules.handle_request_vote(&pre_vote_of_other(), now).value.vote_granted);
    }
}
