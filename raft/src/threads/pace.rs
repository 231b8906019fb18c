//! How fast a large snapshot is written: as slowly as the log allows, and evenly.
//!
//! Whoever writes snapshots takes processors and the disk from those who wait for answers. The log
//! behind the last snapshot grows meanwhile, and is read again by a restart. So the writer rests
//! between two bursts, and rests the longer the further it is ahead: of the content as much is to be
//! written as the log has used up of what it may grow by. In haste at the end it would cost clients
//! more than it spared them at the beginning.
//!
//! A log that is too long already, after a restart perhaps, gets no rests.

use std::time::{Duration, Instant};

use crate::rules::Why;
use crate::shared::Shared;

/// So many times as long as it has worked the writer rests, if it is neither ahead nor behind.
const REST_PER_WORK: u32 = 5;
/// The longest rest.
const REST_MAX: Duration = Duration::from_millis(500);

/// How fast one snapshot is written.
pub(super) struct Pace {
    why: Why,
    index: u64,
    /// About how many bytes it will have.
    total: u64,
    /// How long the log was when it began.
    began_at: u64,
    rested: Instant,
}

impl Pace {
    /// Of a snapshot at `index` that begins now, and has about `total` bytes; if that is not known, as
    /// many as the last one, or as the log that it replaces.
    pub(super) fn begin(shared: &Shared, index: u64, why: Why, total: Option<u64>) -> Self {
        let rested = Shared::now();
        shared.look(|rules, _| {
            let began_at = rules.log().entries_bytes();
            let total = total.unwrap_or_else(|| rules.snapshot_bytes().max(began_at));
            Self { why, index, total, began_at, rested }
        })
    }

    /// Rests, unless the snapshot is urgent; whether to go on. So many bytes are `written`.
    pub(super) fn go_on(&mut self, shared: &Shared, written: u64) -> bool {
        let worked = Shared::now().saturating_duration_since(self.rested);
        let (is_wanted, log_bytes, has_room) = shared.look(|rules, _| {
            (rules.wants_snapshot(self.index), rules.log().entries_bytes(), rules.has_room())
        });
        let is_running = shared.rest(self.rest_after(worked, written, log_bytes, has_room));
        self.rested = Shared::now();
        is_wanted && is_running
    }

    fn rest_after(
        &self,
        worked: Duration,
        written: u64,
        log_bytes: u64,
        has_room: bool,
    ) -> Duration {
        match self.why {
            Why::LogIsLong { limit } if has_room => {
                let used = permille_used(self.began_at, log_bytes, longest(limit));
                let percent = percent_of_rest(permille(written, self.total), used);
                (worked * REST_PER_WORK * percent / 100).min(REST_MAX)
            }
            Why::LogIsLong { .. } | Why::DiskIsFull => Duration::ZERO,
        }
    }
}

/// A log of less than this is short: who writes hardly notices how fast the snapshot is written that
/// replaces it, and more of it would be a large part of the memory that a small state takes.
const SHORT_BYTES: u64 = 64 << 20;

/// How long the log is to be at most when a snapshot is written that was due at `limit`. Somewhat less
/// than twice as long, so that this snapshot ends before the next is due; if it is short, a quarter more.
fn longest(limit: u64) -> u64 {
    limit.saturating_add(if limit < SHORT_BYTES { limit / 4 } else { limit / 10 * 9 })
}

/// How much of what it may grow by the log has used up, which was `began_at` and is `now` bytes long.
fn permille_used(began_at: u64, now: u64, longest: u64) -> u32 {
    match longest.checked_sub(began_at) {
        None | Some(0) => u32::MAX,
        Some(margin) => permille(now.saturating_sub(began_at), margin),
    }
}

fn permille(part: u64, whole: u64) -> u32 {
    let permille = u128::from(part) * 1000 / u128::from(whole.max(1));
    u32::try_from(permille).unwrap_or(u32::MAX)
}

/// From 200, if a tenth of all, or more, is written ahead of time, to 0, if as much is late.
fn percent_of_rest(permille_written: u32, permille_used: u32) -> u32 {
    (permille_written.min(1000) + 100).saturating_sub(permille_used).min(200)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const LIMIT: u64 = 256 * MIB;
    const TOTAL: u64 = 1024 * MIB;
    const WORK: Duration = Duration::from_millis(2);

    fn pace(began_at: u64) -> Pace {
        let why = Why::LogIsLong { limit: LIMIT };
        #[expect(clippy::disallowed_methods, reason = "it is not looked at")]
        let rested = Instant::now();
        Pace { why, index: 1, total: TOTAL, began_at, rested }
    }

    /// Writes 1 GiB in bursts of 2 MiB, while a log that was so long grows by so many bytes a second:
    /// how long it is then, how long that takes, and the shortest and the longest rest but for the
    /// first and the last tenth.
    fn written_while(began_at: u64, log_grows: u64) -> (u64, Duration, Duration, Duration) {
        const BURST: u64 = 2 * MIB;
        let pace = pace(began_at);
        let grown = |now: Duration| u128::from(log_grows) * now.as_micros() / 1_000_000;
        let log = |now| began_at + u64::try_from(grown(now)).expect("it is not written for years");
        let (mut now, mut rests) = (Duration::ZERO, Vec::new());
        for written in (1..=TOTAL / BURST).map(|bursts| bursts * BURST) {
            now += WORK;
            let rest = pace.rest_after(WORK, written, log(now), true);
            rests.push(rest);
            now += rest;
        }
        let middle = || rests[rests.len() / 10..rests.len() * 9 / 10].iter().copied();
        let (least, most) = (middle().min(), middle().max());
        (log(now), now, least.expect("there are some"), most.expect("there are some"))
    }

    #[test]
    fn a_snapshot_takes_evenly_as_long_as_the_log_has_room_for_it() {
        for began_at in [LIMIT, LIMIT * 5 / 4] {
            for mib_a_second in [30, 60, 100] {
                let (log, _, least, most) = written_while(began_at, mib_a_second * MIB);
                let meant = longest(LIMIT);
                let margin = meant - began_at;
                assert!(
                    (meant - margin / 5..=meant + margin / 10).contains(&log),
                    "{log} of {meant}"
                );
                let spread = most.saturating_sub(least);
                assert!(spread <= Duration::from_millis(4), "from {least:?} to {most:?}");
            }
        }
    }

    #[test]
    fn without_writes_the_writer_rests_at_length_and_comes_to_an_end() {
        let (_, took, least, most) = written_while(LIMIT, 0);
        assert_eq!((least, most), (WORK * 10, WORK * 10));
        assert!(took < WORK * 512 * 11, "{took:?}");
        let long = pace(LIMIT).rest_after(Duration::from_secs(1), TOTAL / 2, LIMIT, true);
        assert_eq!(long, REST_MAX);
    }

    #[test]
    fn who_is_late_does_not_rest() {
        let (_, took, ..) = written_while(LIMIT, 1 << 40);
        assert_eq!(took, WORK * 512);
        // However quiet it is now.
        let (_, took, ..) = written_while(LIMIT * 2, 0);
        assert_eq!(took, WORK * 512);
    }

    #[test]
    fn who_wants_room_does_not_rest() {
        let rest = |pace: &Pace, has_room| pace.rest_after(WORK, TOTAL / 2, LIMIT, has_room);
        let of_log = pace(LIMIT);
        assert_eq!((rest(&of_log, true), rest(&of_log, false)), (WORK * 10, Duration::ZERO));
        let of_disk = Pace { why: Why::DiskIsFull, ..of_log };
        assert_eq!(rest(&of_disk, true), Duration::ZERO);
    }

    #[test]
    fn no_figures_are_too_strange() {
        assert_eq!(percent_of_rest(permille(2 * MIB, 0), 0), 200, "more than was thought");
        assert_eq!(percent_of_rest(permille(u64::MAX, 1), permille_used(0, u64::MAX, 1)), 0);
        assert_eq!(permille_used(0, 5, longest(0)), u32::MAX);
        assert_eq!(longest(u64::MAX), u64::MAX);
    }

    #[test]
    fn a_short_log_stays_short() {
        assert_eq!(longest(8 * MIB), 10 * MIB);
        assert!((longest(LIMIT) - LIMIT).abs_diff(LIMIT * 9 / 10) < 10);
    }
}
