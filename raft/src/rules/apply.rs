//! What the applier comes for (`lastApplied` of Figure 2).
//!
//! Callers wait for a leader's applier, but nobody waits for entries that a follower's has yet to apply:
//! a leader leaves a read only to one that has applied enough. To wake it for every message would cost
//! as much as all else a follower does with one. So where entries come in numbers, it rests a moment
//! after each visit, while they gather. Looks at what is there are taken all the same.

use std::time::{Duration, Instant};

use super::read::Proof;
use super::{Due, ReadId, Rules};
use crate::mistake;
use crate::types::{Entry, Index, Snapshot};

/// The most one visit of the applier takes along.
const ENTRIES_MAX: usize = 1024;
const BYTES_MAX: usize = 4 << 20;

/// How long a follower's applier rests after it took entries.
const REST: Duration = Duration::from_millis(5);
/// For so long after several entries came together, others are expected.
const COMPANY: Duration = Duration::from_millis(10);
/// So many entries, committed meanwhile, end its rest.
const REST_ENTRIES_MAX: Index = 1024;

/// The rest of a follower's applier.
#[derive(Debug, Default)]
pub(super) struct Rest {
    /// Until when entries are likely to come in numbers.
    company_until: Option<Instant>,
    /// When it ends; it may be over.
    until: Option<Instant>,
    /// The applier sleeps, and wakes by itself at its end: what is committed need not wake it.
    asleep: bool,
}

impl Rest {
    /// So many new entries came in one message.
    pub(super) fn came(&mut self, entries: usize, now: Instant) {
        if entries > 1 {
            self.company_until = Some(now + COMPANY);
        }
    }

    /// Entries are taken: whether others are left to gather.
    fn begin(&mut self, now: Instant) {
        self.until = self.company_until.filter(|until| now < *until).map(|_| now + REST);
    }
}

/// One piece of work for the applier, in the order it must be done.
#[derive(Debug)]
pub(crate) enum ApplyWork {
    /// The reads of its kind up to this one are lost.
    FailReads { through: ReadId },
    /// The reads of its kind up to this one may be served now.
    ServeReads { through: ReadId },
    /// The state is replaced by a snapshot, which is durable.
    Restore(Snapshot),
    /// What the state machine last froze is the current snapshot; everything up to this index has been
    /// applied meanwhile.
    Published(Snapshot, Index),
    /// The next committed entries.
    Entries(Vec<Entry>),
    /// The disk is full: a snapshot of everything up to this index would give space back.
    MakeRoom(Index),
}

impl Rules {
    /// The applier's work; it has done everything up to `applied`.
    pub(crate) fn apply_due(&mut self, applied: Index, now: Instant) -> Due<ApplyWork> {
        assert!(applied >= self.last_applied, "last_applied {} → {applied}", self.last_applied);
        self.last_applied = applied;
        self.rest.asleep = false;
        if let Some(through) = self.take_failed_reads() {
            return Due::Now(ApplyWork::FailReads { through });
        }
        // By turns, reads of either kind and then changes: looks need nothing applied, so there might be
        // some each time.
        let behind = self.served_reads.take();
        if let Some(reads) = self.reads_due(behind) {
            return reads;
        }
        match self.change_due(applied, now) {
            Due::Now(work) => Due::Now(work),
            due => self.reads_due(None).unwrap_or(due),
        }
    }

    fn reads_due(&mut self, behind: Option<Proof>) -> Option<Due<ApplyWork>> {
        let through = self.take_ready_reads(behind)?;
        self.served_reads = Some(through.proof);
        Some(Due::Now(ApplyWork::ServeReads { through }))
    }

    /// What changes the state, or has it written.
    fn change_due(&mut self, applied: Index, now: Instant) -> Due<ApplyWork> {
        if let Some(snapshot) = self.take_published() {
            return Due::Now(ApplyWork::Published(snapshot, applied));
        }
        let base = self.log.base();
        if applied < base.index {
            // The entries are gone; the snapshot that covers them is there once it is durable.
            let current = self.snapshot.clone().filter(|s| s.meta.last_included == base);
            return current.map_or(Due::WhenWoken, |s| Due::Now(ApplyWork::Restore(s)));
        }
        let rests = self.rests(now);
        if applied < self.commit_index && (rests.is_none() || self.ends_rest()) {
            self.rest.begin(now);
            let count_max = usize::try_from(self.commit_index - applied).unwrap_or(usize::MAX);
            let mut entries = self.log.slice(applied + 1, count_max.min(ENTRIES_MAX), BYTES_MAX);
            if mistake!(AppliesOutOfOrder) && entries.len() > 1 {
                entries.swap(0, 1);
            }
            return Due::Now(ApplyWork::Entries(entries));
        }
        // With nothing behind it, a snapshot can replace the whole log.
        let is_level = applied > base.index && applied == self.log.last().index;
        let compaction =
            if is_level { self.space.compaction_due(now, applied) } else { Due::WhenWoken };
        let Some(until) = rests else { return compaction };
        match compaction {
            Due::Now(work) => return Due::Now(work),
            Due::At(at) if at <= until => return Due::At(at),
            Due::At(_) | Due::WhenWoken => {}
        }
        self.rest.asleep = true;
        Due::At(until)
    }

    /// Until when a follower's applier takes no entries.
    fn rests(&self, now: Instant) -> Option<Instant> {
        self.rest.until.filter(|until| now < *until && !self.is_leader())
    }

    /// Whether what is committed is not to wait for the end of a rest.
    fn ends_rest(&self) -> bool {
        self.commit_index - self.last_applied >= REST_ENTRIES_MAX
    }

    /// Something was committed: whether the applier must be told.
    pub(super) fn wakes_applier(&self) -> bool {
        !self.rest.asleep || self.is_leader() || self.ends_rest()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use oarlock_storage::Recovered;

    use super::*;
    use crate::configuration::Configuration;
    use crate::message::{AppendEntriesArgs, RequestVoteReply, TimeoutNowArgs};
    use crate::options::Options;
    use crate::types::{EntryId, EntryKind, PeerId};

    const LAST_OF_REST: Duration = Duration::from_micros(4_999);

    fn follower() -> (Rules, Instant) {
        let now = crate::shared::Shared::now();
        let voters = Configuration::of_voters([0, 1, 2].map(PeerId));
        let options = Options { seed: 1, ..Options::default() };
        let rules = Rules::recovered(PeerId(0), voters, Recovered::default(), options, now);
        (rules.unwrap(), now)
    }

    /// So many entries come in one message, which commits them. Whether the applier is woken.
    fn come(rules: &mut Rules, count: Index, now: Instant) -> bool {
        let last = rules.log().last();
        let entry = |index| Entry {
            id: EntryId::new(index, 1),
            tag: EntryKind::Command.tag(),
            data: Arc::<[u8]>::from([]).into(),
        };
        let args = AppendEntriesArgs {
            term: 1,
            leader_id: PeerId(1),
            prev_log: last,
            leader_commit: last.index + count,
            entries: (last.index + 1..=last.index + count).map(entry).collect(),
        };
        drop(rules.handle_append_entries(args, now));
        rules.take_wake().committed
    }

    /// The applier, which has done everything up to `applied`, takes so many.
    #[track_caller]
    fn takes(rules: &mut Rules, applied: Index, count: usize, now: Instant) {
        let due = rules.apply_due(applied, now);
        let Due::Now(ApplyWork::Entries(entries)) = due else { panic!("nothing to take: {due:?}") };
        assert_eq!(entries.len(), count);
    }

    /// The applier, which has done everything up to `applied`, sleeps until this moment.
    #[track_caller]
    fn sleeps(rules: &mut Rules, applied: Index, now: Instant) -> Option<Instant> {
        match rules.apply_due(applied, now) {
            Due::Now(work) => panic!("it has work: {work:?}"),
            Due::At(until) => Some(until),
            Due::WhenWoken => None,
        }
    }

    #[test]
    fn entries_that_come_one_by_one_wake_the_applier_each() {
        let (mut rules, now) = follower();
        for applied in 0..5 {
            assert!(come(&mut rules, 1, now), "the applier sleeps on");
            takes(&mut rules, applied, 1, now);
            assert_eq!(sleeps(&mut rules, applied + 1, now), None);
        }
    }

    #[test]
    fn where_entries_come_in_numbers_the_applier_of_a_follower_rests() {
        let (mut rules, now) = follower();
        assert!(come(&mut rules, 2, now));
        takes(&mut rules, 0, 2, now);
        assert_eq!(sleeps(&mut rules, 2, now), Some(now + REST));
        let later = now + LAST_OF_REST;
        assert!(!come(&mut rules, 1, later) && !come(&mut rules, 3, later), "it is let be");
        // Somebody else's wake-up ends no rest.
        assert_eq!(sleeps(&mut rules, 2, later), Some(now + REST));
        takes(&mut rules, 2, 4, now + REST);
        // Nobody comes any more.
        let end = now + REST * 2;
        assert_eq!(sleeps(&mut rules, 6, now + REST), Some(end));
        assert_eq!(sleeps(&mut rules, 6, end), None);
        assert!(come(&mut rules, 1, end), "it sleeps for good, so it must be woken");
        takes(&mut rules, 6, 1, end);
        // They come one by one now, and have for a while.
        let end = end + COMPANY;
        assert_eq!(sleeps(&mut rules, 7, end), None);
        assert!(come(&mut rules, 1, end));
        takes(&mut rules, 7, 1, end);
        assert_eq!(sleeps(&mut rules, 8, end), None);
    }

    #[test]
    fn a_rest_ends_when_much_has_come_or_at_an_election() {
        let (mut rules, now) = follower();
        come(&mut rules, 2, now);
        takes(&mut rules, 0, 2, now);
        assert_eq!(sleeps(&mut rules, 2, now), Some(now + REST));
        assert!(!come(&mut rules, REST_ENTRIES_MAX - 1, now) && come(&mut rules, 1, now));
        takes(&mut rules, 2, ENTRIES_MAX, now);
        assert_eq!(sleeps(&mut rules, 2 + REST_ENTRIES_MAX, now), Some(now + REST));
        assert!(!come(&mut rules, 1, now));
        let wish = TimeoutNowArgs { term: 1, leader_id: PeerId(1) };
        drop(rules.handle_timeout_now(&wish, now));
        let Due::Now(round) = rules.election_due(now) else { panic!("it does not campaign") };
        let args = round.value.args;
        rules.on_own_vote(&args, now);
        let reply =
            RequestVoteReply { term: args.term, vote_granted: true, candidate_retired: false };
        rules.on_vote_reply(PeerId(2), &args, &reply, now);
        assert!(rules.is_leader());
        takes(&mut rules, 2 + REST_ENTRIES_MAX, 1, now);
    }
}
