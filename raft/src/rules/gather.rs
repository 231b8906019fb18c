//! When a leader's entries go to its disk and to its followers: at once if they come one by one,
//! together if they come in bursts.
//!
//! Callers that wait for one batch are answered together, and come back together, one upon the
//! other. If the first of them set off a sync alone, the others would wait for it, and every sync
//! would serve a part of them. So while commands follow each other closely they gather, until
//! none has come for a moment or the first has waited long enough. The moment is a small part of what a
//! write takes: where a disk is quick, others lose more by waiting than the first, alone, costs them.
//! A caller alone never waits, unless the options say that commands linger.
//!
//! Where writes cost nothing there is no sync to share, but a write and its messages still cost more
//! than a command. There a command in company, whose caller is not the only one to wait for an
//! answer, may be left to the applier, which answers the others (`shared/applying.rs`).

use std::time::{Duration, Instant};

use super::Rules;
use crate::types::Index;

/// A burst is over when no command has come for this part of what a write takes, at most so long.
const QUIET_PART: u32 = 8;
const QUIET_MAX: Duration = Duration::from_micros(300);
/// A moment shorter than this is none: no sleep ends in time.
const QUIET_MIN: Duration = Duration::from_micros(50);
/// A write counts for one part in so many of what writes are thought to take.
const WRITES_REMEMBERED: u32 = 8;
/// The longest any entry waits for others.
const GATHER_MAX: Duration = Duration::from_millis(4);

/// What has arrived since the log writer last took entries.
#[expect(clippy::struct_excessive_bools, reason = "independent facts, not a state")]
#[derive(Debug)]
pub(super) struct Gather {
    /// How long every command waits for others, alone or not.
    linger: Duration,
    /// Whether there are syncs to share: else nothing is won by waiting for the end of a burst.
    bursts: bool,
    /// What writes take, of late.
    write_takes: Duration,
    /// Whether the next command comes while others wait for their answers, and `bursts` is not set.
    in_company: bool,
    /// Whether the last command came so.
    is_left: bool,
    last_arrival: Instant,
    /// Whether the last command came right behind the one before it.
    in_burst: bool,
    /// Whether the log writer last took several entries: so there are several callers. One alone
    /// may be as quick as a burst.
    shared: bool,
    /// When the first entry came that the log writer has not taken.
    since: Option<Instant>,
    taken_index: Index,
}

impl Gather {
    pub(super) fn new(linger: Duration, now: Instant) -> Self {
        Self {
            linger,
            bursts: true,
            write_takes: Duration::ZERO,
            in_company: false,
            is_left: false,
            last_arrival: now,
            in_burst: false,
            shared: false,
            since: None,
            taken_index: 0,
        }
    }

    /// Writes cost nothing: commands need not wait for each other.
    pub(super) fn writes_are_instant(&mut self) {
        self.bursts = false;
    }

    /// Whether writes cost so much that commands had better share them.
    pub(super) fn shares_syncs(&self) -> bool {
        self.bursts
    }

    /// The next command comes while others wait for their answers, or alone.
    pub(super) fn in_company(&mut self, in_company: bool) {
        self.in_company = in_company && !self.bursts && self.linger.is_zero();
    }

    /// Whether what has arrived may be left to whoever answers the others.
    pub(super) fn is_left(&self) -> bool {
        self.is_left && self.since.is_some()
    }

    /// An entry arrived. Returns whether the threads must be told: they look at later ones by
    /// themselves while these gather.
    pub(super) fn arrived(&mut self, now: Instant) -> bool {
        // Closer to each other than the quiet at a burst's end, and a little.
        let gap = self.quiet() * 7 / 6;
        self.in_burst = self.bursts && self.shared && now < self.last_arrival + gap;
        self.last_arrival = now;
        self.is_left = std::mem::take(&mut self.in_company);
        let is_first = self.since.is_none();
        self.since.get_or_insert(now);
        is_first
    }

    /// When to look again, if what has arrived should wait for more.
    pub(super) fn until(&self, now: Instant) -> Option<Instant> {
        let since = self.since?;
        let lingers_until = since + self.linger;
        let burst_until = (self.last_arrival + self.quiet()).min(since + GATHER_MAX);
        let until = if self.in_burst { lingers_until.max(burst_until) } else { lingers_until };
        (now < until).then_some(until)
    }

    /// How long entries that the log writer has not taken may be held back from followers: well
    /// beyond the moment it takes them if it can, or they would go in two messages.
    pub(super) fn held_until(&self) -> Option<Instant> {
        self.since.map(|since| since + self.linger + GATHER_MAX * 2)
    }

    /// Whether what has arrived waits for more.
    pub(super) fn gathers(&self) -> bool {
        self.in_burst || self.is_left() || !self.linger.is_zero()
    }

    /// The log writer took everything up to `last_index`.
    pub(super) fn taken(&mut self, last_index: Index) {
        self.since = None;
        self.shared = last_index > self.taken_index + 1;
        self.taken_index = last_index;
    }

    /// The log writer has written what it took, and that took so long.
    pub(super) fn written(&mut self, took: Duration) {
        self.write_takes = (self.write_takes * (WRITES_REMEMBERED - 1) + took) / WRITES_REMEMBERED;
    }

    /// For how long nothing comes when a burst is over.
    fn quiet(&self) -> Duration {
        let quiet = (self.write_takes / QUIET_PART).min(QUIET_MAX);
        if quiet < QUIET_MIN { Duration::ZERO } else { quiet }
    }

    /// The last entry that the log writer has taken.
    pub(super) fn taken_index(&self) -> Index {
        self.taken_index
    }
}

impl Rules {
    /// Tells whether the next command's caller waits for the answer. It is in company if something is
    /// not applied yet, so that others wait too, and are about to be answered.
    pub(crate) fn in_company(&mut self, waits: bool) {
        let others_wait = self.last_applied < self.log.last().index;
        self.gather.in_company(waits && others_wait);
    }

    /// Whether what is queued may be left to the applier.
    pub(crate) fn leaves_writes(&self) -> bool {
        self.is_leader() && self.gather.is_left() && self.mutations.only_entries_queued()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lone_command_goes_at_once() {
        #[expect(clippy::disallowed_methods, reason = "an origin for stated times")]
        let start = Instant::now();
        let mut gather = Gather::new(Duration::ZERO, start);
        let mut now = start;
        // However quick it is.
        for index in 1..4 {
            now += Duration::from_micros(50);
            assert!(gather.arrived(now), "the log writer is told");
            assert_eq!(gather.until(now), None);
            gather.taken(index);
        }
    }

    #[test]
    fn a_burst_gathers_until_it_is_quiet_or_has_waited_long_enough() {
        #[expect(clippy::disallowed_methods, reason = "an origin for stated times")]
        let start = Instant::now();
        let mut gather = Gather::new(Duration::ZERO, start);
        let at = |micros: u64| start + Duration::from_micros(micros);
        gather.write_takes = Duration::from_micros(1200);
        let quiet = Duration::from_micros(150);
        gather.arrived(at(900));
        gather.arrived(at(1000));
        gather.taken(2);
        assert!(gather.arrived(at(1050)));
        assert!(!gather.arrived(at(1100)), "the log writer looks again by itself");
        assert_eq!(gather.until(at(1100)), Some(at(1100) + quiet));
        assert_eq!(gather.until(at(1100) + quiet), None, "quiet for long enough");
        for micros in (1200..5000).step_by(100) {
            gather.arrived(at(micros));
        }
        let first_waited_long_enough = at(1050) + GATHER_MAX;
        assert_eq!(gather.until(at(5000)), Some(first_waited_long_enough));
        assert_eq!(gather.until(first_waited_long_enough), None);
    }

    #[test]
    fn the_quicker_the_disk_the_shorter_the_wait() {
        #[expect(clippy::disallowed_methods, reason = "an origin for stated times")]
        let start = Instant::now();
        let waits = |write_takes| {
            let mut gather = Gather::new(Duration::ZERO, start);
            // It takes a few to believe that a disk has changed.
            (0..50).for_each(|_| gather.written(Duration::from_micros(write_takes)));
            gather.arrived(start);
            gather.arrived(start);
            gather.taken(2);
            gather.arrived(start);
            gather.until(start).map(|until| (until - start).as_micros())
        };
        assert_eq!(waits(150), None, "a burst is no reason to wait");
        assert!(waits(1000).is_some_and(|micros| (115..=125).contains(&micros)));
        assert_eq!(waits(30_000), Some(300));
    }

    #[test]
    fn without_syncs_to_share_a_command_in_company_may_be_left_to_others() {
        #[expect(clippy::disallowed_methods, reason = "an origin for stated times")]
        let now = Instant::now();
        let mut gather = Gather::new(Duration::ZERO, now);
        gather.in_company(true);
        gather.arrived(now);
        assert!(!gather.is_left(), "with syncs to share, the burst decides");
        gather.taken(1);
        gather.writes_are_instant();
        gather.in_company(true);
        assert!(!gather.is_left(), "nothing has come yet");
        gather.arrived(now);
        assert!(gather.is_left() && gather.gathers());
        gather.taken(2);
        assert!(!gather.is_left(), "it was taken");
        gather.arrived(now);
        assert!(!gather.is_left(), "alone, it goes at once");
    }

    #[test]
    fn where_commands_linger_a_lone_one_waits_too() {
        #[expect(clippy::disallowed_methods, reason = "an origin for stated times")]
        let start = Instant::now();
        let linger = Duration::from_millis(1);
        let mut gather = Gather::new(linger, start);
        let come = start + Duration::from_millis(70);
        gather.arrived(come);
        assert_eq!(gather.until(come), Some(come + linger));
        gather.arrived(come + linger / 2);
        assert_eq!(gather.until(come + linger / 2), Some(come + linger), "not longer for others");
        assert_eq!(gather.until(come + linger), None);
    }
}
