//! The fate of one call: a pure function of the network's knobs and its random draws.
//!
//! A fate is drawn whole when the call starts (the knobs are sampled once, together), so turning a
//! knob never touches a call on its way. Every probability and delay of the network is a constant
//! of this file. No clock, no lock, no thread.

use std::time::Duration;

use crate::rng::Rng;

/// On an unreliable network a request is delayed by 0 to this many milliseconds.
const REQUEST_DELAY_MS_MAX: u64 = 26;
/// On an unreliable network a request, and a reply, is lost this often …
const DROPS: u64 = 100;
/// … in this many.
const DROPS_OF: u64 = 1000;
/// With long reordering a reply is held back this often …
const HOLDS: u64 = 600;
/// … in this many,
const HOLDS_OF: u64 = 900;
/// for at least this many milliseconds,
const HOLD_MS_MIN: u64 = 200;
/// and at most this many more, small values being more frequent.
const HOLD_MS_EXTRA_MAX: u64 = 1999;
/// A call that has no target fails after 0 to this many milliseconds,
const UNREACHABLE_MS_MAX: u64 = 99;
/// or, with long delays, 0 to this many.
const UNREACHABLE_LONG_MS_MAX: u64 = 6999;

/// How the network behaves at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Knobs {
    /// Messages are neither delayed nor lost.
    pub(crate) reliable: bool,
    /// A call without a target takes seconds to fail, not tenths.
    pub(crate) long_delays: bool,
    /// Two replies in three are held back, and so overtaken.
    pub(crate) long_reordering: bool,
}

impl Default for Knobs {
    fn default() -> Self {
        Self { reliable: true, long_delays: false, long_reordering: false }
    }
}

/// What will happen to the messages of one call whose target exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fate {
    /// How long the request travels.
    pub(crate) request_delay: Duration,
    /// The request is lost at the end of its delay: the handler never runs.
    pub(crate) drop_request: bool,
    /// The reply is lost: the handler has run, and the caller learns nothing.
    pub(crate) drop_reply: bool,
    /// How long the reply is held back, if it is.
    pub(crate) hold_reply: Option<Duration>,
}

/// Draws the fate of a call whose target exists.
pub(crate) fn fate(knobs: Knobs, rng: &mut Rng) -> Fate {
    let unreliable = !knobs.reliable;
    let delay_ms = if unreliable { rng.up_to(REQUEST_DELAY_MS_MAX) } else { 0 };
    Fate {
        request_delay: Duration::from_millis(delay_ms),
        drop_request: unreliable && rng.chance(DROPS, DROPS_OF),
        drop_reply: unreliable && rng.chance(DROPS, DROPS_OF),
        hold_reply: (knobs.long_reordering && rng.chance(HOLDS, HOLDS_OF)).then(|| {
            let extra_max = rng.up_to(HOLD_MS_EXTRA_MAX);
            Duration::from_millis(HOLD_MS_MIN + rng.up_to(extra_max))
        }),
    }
}

/// Draws the time after which a call without a target fails.
pub(crate) fn unreachable_delay(knobs: Knobs, rng: &mut Rng) -> Duration {
    let ms_max = if knobs.long_delays { UNREACHABLE_LONG_MS_MAX } else { UNREACHABLE_MS_MAX };
    Duration::from_millis(rng.up_to(ms_max))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAWS: usize = 30_000;

    fn fates(knobs: Knobs) -> Vec<Fate> {
        let mut rng = Rng::new(7);
        (0..DRAWS).map(|_| fate(knobs, &mut rng)).collect()
    }

    fn share(fates: &[Fate], which: impl Fn(&Fate) -> bool) -> f64 {
        let count = |n: usize| f64::from(u32::try_from(n).unwrap());
        count(fates.iter().filter(|f| which(f)).count()) / count(fates.len())
    }

    /// Smallest, mean and largest, in milliseconds.
    fn range_ms(delays: impl Iterator<Item = Duration>) -> (u128, u128, u128) {
        let ms: Vec<u128> = delays.map(|d| d.as_millis()).collect();
        let mean = ms.iter().sum::<u128>() / ms.len() as u128;
        (*ms.iter().min().unwrap(), mean, *ms.iter().max().unwrap())
    }

    #[track_caller]
    fn assert_near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 0.01, "{found}, expected about {expected}");
    }

    #[test]
    fn a_reliable_network_neither_delays_nor_drops_nor_holds() {
        let nothing = Fate {
            request_delay: Duration::ZERO,
            drop_request: false,
            drop_reply: false,
            hold_reply: None,
        };
        assert!(fates(Knobs::default()).iter().all(|f| *f == nothing));
        let long = Knobs { long_delays: true, ..Knobs::default() };
        assert!(fates(long).iter().all(|f| *f == nothing), "long delays are for dead targets only");
    }

    #[test]
    fn an_unreliable_network_delays_0_to_26_ms_and_drops_a_tenth_each_way() {
        let fates = fates(Knobs { reliable: false, ..Knobs::default() });
        assert_near(share(&fates, |f| f.drop_request), 0.10);
        assert_near(share(&fates, |f| f.drop_reply), 0.10);
        assert_near(share(&fates, |f| !f.drop_request && !f.drop_reply), 0.81);
        assert_near(share(&fates, |f| !f.drop_request && f.drop_reply), 0.09);
        assert_eq!(range_ms(fates.iter().map(|f| f.request_delay)), (0, 13, 26));
        for ms in 0..=26 {
            let delay = Duration::from_millis(ms);
            assert_near(share(&fates, |f| f.request_delay == delay), 1.0 / 27.0);
        }
        assert!(fates.iter().all(|f| f.hold_reply.is_none()));
    }

    #[test]
    fn long_reordering_holds_two_thirds_for_200_to_2199_ms_about_700_on_average() {
        for reliable in [true, false] {
            let fates = fates(Knobs { reliable, long_reordering: true, long_delays: false });
            assert_near(share(&fates, |f| f.hold_reply.is_some()), 2.0 / 3.0);
            let (min, mean, max) = range_ms(fates.iter().filter_map(|f| f.hold_reply));
            assert_eq!(min, 200);
            assert!((690..=710).contains(&mean), "mean {mean} ms");
            assert!((2100..=2199).contains(&max), "longest {max} ms");
            assert_eq!(reliable, fates.iter().all(|f| !f.drop_request && !f.drop_reply));
        }
    }

    #[test]
    fn a_call_without_a_target_waits_up_to_99_ms_or_6999_with_long_delays() {
        let draw = |long_delays| {
            let knobs = Knobs { long_delays, ..Knobs::default() };
            let mut rng = Rng::new(3);
            range_ms((0..DRAWS).map(|_| unreachable_delay(knobs, &mut rng)))
        };
        assert_eq!(draw(false), (0, 49, 99));
        let (min, mean, max) = draw(true);
        assert!(min <= 5 && (3450..=3550).contains(&mean) && (6990..=6999).contains(&max));
    }

    #[test]
    fn the_same_seed_draws_the_same_fates() {
        let knobs = Knobs { reliable: false, long_delays: true, long_reordering: true };
        assert_eq!(fates(knobs), fates(knobs));
    }
}
