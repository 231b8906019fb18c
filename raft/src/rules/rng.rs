//! The random source of election time-outs: a few lines of our own, so that a seed means the same
//! run for ever.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use crate::types::PeerId;

/// A SplitMix64 generator (Steele, Lea and Flood, 2014).
#[derive(Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    /// A generator from `seed`, different for each peer; seed 0 takes one from the system.
    pub(crate) fn new(seed: u64, peer: PeerId) -> Self {
        let seed = if seed == 0 { RandomState::new().build_hasher().finish() } else { seed };
        Self(seed ^ peer.0.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// The next 64 bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A uniform duration up to `limit`, both ends included, in nanoseconds.
    pub(crate) fn below(&mut self, limit: Duration) -> Duration {
        let limit_ns = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX - 1);
        Duration::from_nanos(self.next() % (limit_ns + 1))
    }
}
