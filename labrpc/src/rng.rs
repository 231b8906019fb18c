//! The network's random numbers: one seed, one sequence.
//!
//! The generator is `SplitMix64` (Steele, Lea and Flood, 2014): a counter stepped by an odd constant,
//! and a mixing function over it. It is no cipher and need not be one.

/// A seeded source of uniform integers.
pub(crate) struct Rng(u64);

impl Rng {
    /// The sequence that belongs to `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A uniform integer in `0..=max`.
    pub(crate) fn up_to(&mut self, max: u64) -> u64 {
        // The high half of the product maps 2^64 values on max + 1: the bias is below max / 2^64.
        let range = u128::from(max) + 1;
        ((u128::from(self.next()) * range) >> 64) as u64
    }

    /// True `favourable` times in `of`, on average.
    pub(crate) fn chance(&mut self, favourable: u64, of: u64) -> bool {
        self.up_to(of - 1) < favourable
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_splitmix64() {
        // The published first outputs for seed 1234567.
        let mut rng = Rng::new(1_234_567);
        assert_eq!(rng.next(), 6_457_827_717_110_365_317);
        assert_eq!(rng.next(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn up_to_reaches_both_ends_and_nothing_beyond() {
        let mut rng = Rng::new(1);
        let mut seen = [0u32; 7];
        for _ in 0..7000 {
            seen[rng.up_to(6) as usize] += 1;
        }
        assert!(seen.iter().all(|&n| (850..1150).contains(&n)), "{seen:?}");
        assert_eq!(rng.up_to(0), 0);
    }
}
