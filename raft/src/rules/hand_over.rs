//! A leader that passes its leadership on before it stops (dissertation 3.10).
//!
//! It takes no more commands, brings the successor's log level with its own, and tells it to
//! campaign at once: `TimeoutNow`. That candidacy asks for no pre-votes, and voters listen to it
//! though they hear a leader: it is that leader's own wish. For all else it is an election like any
//! other, so nothing here bears on safety, but that the leader has no lease any more
//! ([`lease`](super::lease)). Should it come to nothing, the leader goes on leading
//! when its patience ends; commands that were refused meanwhile are tried again by who sent them.

use std::time::{Duration, Instant};

use super::{Due, Role, Rules};
use crate::message::{TimeoutNowArgs, TimeoutNowReply};
use crate::mutation::AfterDurable;
use crate::types::{PeerId, Term};

/// How soon a successor that did not hear is told again.
const ASK_AGAIN: Duration = Duration::from_millis(10);

/// A hand-over under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct HandOver {
    to: PeerId,
    /// When the leader goes on leading.
    until: Instant,
    /// Not to be told to campaign before this moment; `None` while it is being told.
    ask_at: Option<Instant>,
}

impl Rules {
    /// Begins to pass leadership on, until `until`, to the voter whose log is most up-to-date
    /// of those that were heard lately and have room. `None` if this peer does not lead, or there is
    /// no such voter. A hand-over that is under way goes on.
    pub(crate) fn begin_hand_over(&mut self, until: Instant, now: Instant) -> Option<PeerId> {
        if let Some(under_way) = self.hand_over {
            return Some(under_way.to);
        }
        let Role::Leader { progress } = &self.role else { return None };
        let is_there = |contact: Instant| now < contact + self.election_timeout_min();
        let (&to, _) = progress
            .iter()
            .filter(|(peer, _)| self.configuration().is_voter(**peer))
            .filter(|(_, p)| is_there(p.last_contact()) && p.room() != Some(false))
            .max_by_key(|(_, p)| p.match_index())?;
        self.hand_over = Some(HandOver { to, until, ask_at: Some(now) });
        self.wake.entries_to_send = true;
        self.wake.election = true;
        crate::trace!(self, "LEAD", "hands over to S{to}");
        Some(to)
    }

    /// Whether this leader is passing its leadership on.
    pub(crate) fn hands_over(&self) -> bool {
        self.hand_over.is_some()
    }

    /// When this leader goes on leading, if it is handing over.
    pub(super) fn hand_over_until(&self) -> Option<Instant> {
        self.hand_over.map(|hand_over| hand_over.until)
    }

    /// Goes on leading once patience has ended.
    pub(crate) fn end_hand_over(&mut self, now: Instant) {
        if self.hand_over_until().is_some_and(|until| now >= until) {
            crate::trace!(self, "LEAD", "goes on leading: the hand-over came to nothing");
            self.hand_over = None;
            self.wake.leader = true;
        }
    }

    /// Whether `peer` is to be told to campaign.
    pub(super) fn timeout_now_due(&mut self, peer: PeerId, now: Instant) -> Due<TimeoutNowArgs> {
        let Role::Leader { progress } = &self.role else { return Due::WhenWoken };
        let Some(hand_over) = &mut self.hand_over else { return Due::WhenWoken };
        let is_level = progress.get(&peer).is_some_and(|p| {
            // What is behind its log's end would be lost with this leader.
            p.match_index() == self.log.last().index
        });
        match hand_over.ask_at {
            Some(at) if hand_over.to == peer && is_level => {
                if now < at {
                    return Due::At(at);
                }
                hand_over.ask_at = None;
                self.give_up_lease();
                Due::Now(TimeoutNowArgs { term: self.current_term, leader_id: self.me })
            }
            _ => Due::WhenWoken,
        }
    }

    /// The successor answered, or nothing came back.
    pub(crate) fn on_timeout_now_reply(
        &mut self,
        term: Term,
        reply: Option<&TimeoutNowReply>,
        now: Instant,
    ) {
        match reply {
            Some(reply) if reply.term > self.current_term => self.step_up_to(reply.term, now),
            None if term == self.current_term => {
                if let Some(hand_over) = &mut self.hand_over {
                    hand_over.ask_at = Some(now + ASK_AGAIN);
                    self.wake.entries_to_send = true;
                }
            }
            // It heard: its campaign, or our patience, ends this. Or it was long ago.
            Some(_) | None => {}
        }
    }

    /// The leader wants this peer to succeed it: campaigns at once, unless the message is of an
    /// earlier term. A later one counts like any other message of its leader: where a log is empty,
    /// this may be the first that is heard of it.
    pub(crate) fn handle_timeout_now(
        &mut self,
        args: &TimeoutNowArgs,
        now: Instant,
    ) -> AfterDurable<TimeoutNowReply> {
        if args.term >= self.current_term {
            self.follow(args.term, args.leader_id, now);
            if self.may_campaign() {
                self.become_follower(None, now);
                self.become_candidate(true, now);
            }
        }
        self.mutations.after_hard_state(TimeoutNowReply { term: self.current_term })
    }
}

#[cfg(test)]
mod tests {
    use oarlock_storage::Recovered;

    use super::*;
    use crate::configuration::Configuration;
    use crate::options::Options;

    #[test]
    fn a_wish_of_an_earlier_term_is_nothing_and_one_of_a_later_term_is_heeded() {
        let now = crate::shared::Shared::now();
        let voters = Configuration::of_voters([0, 1, 2].map(PeerId));
        let options = Options { seed: 1, ..Options::lab() };
        let mut rules =
            Rules::recovered(PeerId(0), voters, Recovered::default(), options, now).unwrap();
        rules.follow(2, PeerId(1), now);
        let wish = |term, leader| TimeoutNowArgs { term, leader_id: PeerId(leader) };
        assert_eq!(rules.handle_timeout_now(&wish(1, 2), now).value.term, 2);
        assert_eq!(rules.leader(), Some(PeerId(1)));
        assert_eq!(rules.handle_timeout_now(&wish(5, 2), now).value.term, 6);
        assert!(matches!(rules.role(), Role::Candidate { handed_over: true, .. }));
        assert_eq!(rules.handle_timeout_now(&wish(5, 2), now).value.term, 6, "it came twice");
        assert!(matches!(rules.role(), Role::Candidate { handed_over: true, .. }));
    }
}
