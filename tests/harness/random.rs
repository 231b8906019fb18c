//! The tests' own random draws, from the seed of the test.

use std::ops::RangeInclusive;

use parking_lot::Mutex;

/// The 64 characters of URL-safe base64, which the labs draw their random strings from.
const TEXT_CHARACTERS: &[u8; 64] =
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// A source that threads may share; which of them draws what then depends on their order.
///
/// The generator is `SplitMix64` (Steele, Lea and Flood, 2014).
pub(crate) struct Random(Mutex<u64>);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Mutex::new(seed))
    }

    /// A uniform integer of the range.
    pub(crate) fn range(&self, range: RangeInclusive<u64>) -> u64 {
        let (first, last) = range.into_inner();
        let count = u128::from(last - first) + 1;
        // The high half of the product maps 2^64 values on `count` of them, almost evenly.
        first + ((u128::from(self.next()) * count) >> 64) as u64
    }

    /// A uniform index below `count`.
    pub(crate) fn below(&self, count: usize) -> usize {
        assert!(count > 0, "nothing to draw from");
        self.range(0..=count as u64 - 1) as usize
    }

    /// True so many times in a hundred.
    pub(crate) fn percent(&self, percent: u64) -> bool {
        self.range(0..=99) < percent
    }

    /// A command's value: any number from 0 up.
    pub(crate) fn number(&self) -> i64 {
        i64::try_from(self.next() >> 1).expect("63 bits")
    }

    /// A text of `len` random characters.
    pub(crate) fn text(&self, len: usize) -> String {
        (0..len).map(|_| char::from(TEXT_CHARACTERS[self.below(TEXT_CHARACTERS.len())])).collect()
    }

    fn next(&self) -> u64 {
        let mut state = self.0.lock();
        *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(*state)
    }
}

/// Spreads `seed` over all bits.
pub(crate) fn mix(seed: u64) -> u64 {
    let mut z = seed;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
