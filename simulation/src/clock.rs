//! The clocks of nodes. Where leases rest on them, each goes at a rate of its own, within what the
//! leases assume; elsewhere they all show the world's time.

use std::time::{Duration, Instant};

use crate::random::Random;

const MILLION: u128 = 1_000_000;

/// A clock that showed the world's time at the start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
    /// While the world counts a million, it counts this.
    rate_ppm: u128,
}

impl Clock {
    /// One that drifts by at most so many parts per million from any other drawn like this.
    pub(crate) fn drawn(start: Instant, drift_ppm_max: u32, random: &mut Random) -> Self {
        let most = u64::from(drift_ppm_max);
        // The extremes are where a lease and a promise come closest to each other.
        let within = random.below(most + 1);
        let slow_ppm = random.pick(&[0, within, most]);
        Self { start, rate_ppm: MILLION - u128::from(slow_ppm) }
    }

    /// What it shows at a moment of the world.
    pub(crate) fn at(&self, moment: Instant) -> Instant {
        self.start + nanos((moment - self.start).as_nanos() * self.rate_ppm / MILLION)
    }

    /// The first moment of the world when it shows `shown`, or later.
    pub(crate) fn when(&self, shown: Instant) -> Instant {
        self.start + nanos(((shown - self.start).as_nanos() * MILLION).div_ceil(self.rate_ppm))
    }
}

fn nanos(nanos: u128) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).expect("a run lasts less than centuries"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_found_again() {
        let start = Instant::now();
        let mut random = Random::new(1);
        for drift in [0, 1, 10_000, 300_000] {
            for _ in 0..1000 {
                let clock = Clock::drawn(start, drift, &mut random);
                let shown = start + random.micros(0, 1 << 40);
                let moment = clock.when(shown);
                assert!(clock.at(moment) >= shown);
                let before = moment.checked_sub(Duration::from_nanos(1)).unwrap();
                assert!(moment == start || before < start || clock.at(before) < shown);
                assert!(drift > 0 || moment == shown);
            }
        }
    }
}
