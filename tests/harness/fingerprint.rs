//! Long texts in a few bytes, in a form that texts can be appended to.

use std::fmt;

/// A text: its fingerprint, and its end for people to read.
#[derive(Clone, Debug)]
pub(crate) struct Text {
    pub(crate) fingerprint: Fingerprint,
    tail: String,
}

/// The characters of a text that are kept.
const TAIL_MAX: usize = 60;

impl Text {
    pub(crate) fn of(text: &str) -> Self {
        let tail_at = text.len().saturating_sub(TAIL_MAX);
        let tail = text.get(tail_at..).unwrap_or_default().to_owned();
        Self { fingerprint: Fingerprint::of(text.as_bytes()), tail }
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes, the last {:?}", self.fingerprint.len, self.tail)
    }
}

/// A text's length, and its bytes as a polynomial at a point, modulo the prime 2^61 - 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Fingerprint {
    len: usize,
    hash: u64,
}

const PRIME: u64 = (1 << 61) - 1;
const POINT: u64 = 0x0B5A_4C3D_2E1F_1235;
/// Bytes are taken so many at a time, for speed.
const BLOCK: usize = 8;
/// The powers of the point, highest first: what each byte of a block counts for.
const WEIGHTS: [u64; BLOCK] = {
    let mut weights = [1; BLOCK];
    let mut i = BLOCK - 1;
    while i > 0 {
        weights[i - 1] = times(weights[i], POINT);
        i -= 1;
    }
    weights
};
const BLOCK_SHIFT: u64 = times(WEIGHTS[0], POINT);

impl Fingerprint {
    fn of(bytes: &[u8]) -> Self {
        let (blocks, rest) = bytes.as_chunks::<BLOCK>();
        let mut hash = 0;
        for block in blocks {
            let terms = block.iter().zip(WEIGHTS).map(|(&byte, weight)| term(byte, weight));
            hash = reduce(u128::from(hash) * u128::from(BLOCK_SHIFT) + terms.sum::<u128>());
        }
        for &byte in rest {
            hash = reduce(u128::from(hash) * u128::from(POINT) + term(byte, 1));
        }
        Self { len: bytes.len(), hash }
    }

    /// Of this text with `other` behind it, whose [`shift`](Self::shift) is given.
    pub(crate) fn then(self, other: Self, shift: u64) -> Self {
        let hash = u128::from(self.hash) * u128::from(shift) + u128::from(other.hash);
        Self { len: self.len + other.len, hash: reduce(hash) }
    }

    /// What appending this text multiplies the one before it with.
    pub(crate) fn shift(self) -> u64 {
        (0..self.len).fold(1, |power, _| times(power, POINT))
    }
}

/// No byte counts nothing, so that texts of zeros differ.
fn term(byte: u8, weight: u64) -> u128 {
    (u128::from(byte) + 1) * u128::from(weight)
}

const fn times(a: u64, b: u64) -> u64 {
    reduce(a as u128 * b as u128)
}

/// `n` modulo the prime: 2^61 is 1 there, so the high bits count like the low ones.
const fn reduce(n: u128) -> u64 {
    let low = (n as u64) & PRIME;
    let middle = ((n >> 61) as u64) & PRIME;
    let high = (n >> 122) as u64;
    let sum = low + middle + high;
    let sum = (sum & PRIME) + (sum >> 61);
    if sum >= PRIME { sum - PRIME } else { sum }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn appending_fingerprints_is_appending_texts() {
        let text = "x 0 1 yx 0 2 yx 0 3 yx 0 4 y";
        for cut in 0..=text.len() {
            let [whole, before, behind] =
                [text, &text[..cut], &text[cut..]].map(|text| Fingerprint::of(text.as_bytes()));
            assert_eq!(before.then(behind, behind.shift()), whole, "cut at {cut}");
        }
    }

    #[test]
    fn reducing_is_the_remainder() {
        for n in [0, 1, PRIME.into(), u128::from(PRIME) * 3 + 5, u128::MAX, u128::MAX >> 5] {
            assert_eq!(u128::from(reduce(n)), n % u128::from(PRIME), "{n}");
        }
    }

    #[test]
    fn texts_that_differ_in_one_byte_or_in_length_differ() {
        let prints =
            ["", "\0", "\0\0", "a", "b", "ab", "ba"].map(|t| Fingerprint::of(t.as_bytes()));
        for (i, print) in prints.iter().enumerate() {
            assert_eq!(prints.iter().position(|other| other == print), Some(i));
        }
    }
}
