//! Where some of the records of a snapshot begin, so that any of them is found in a few steps.
//!
//! So many bytes of records share a mark. A mark is 16 bytes, `u64` the hash of a record's key and
//! `u64` how far the record is behind the first one, and they are looked at as bytes, wherever those
//! lie: in memory, or behind the records of a mapped snapshot. Hashes are as good as random, so a mark
//! is looked for about where it must be, and not by halves: of a large state that touches a few lines
//! of memory instead of some twenty. Keys that were chosen with bad intent make it a search by halves.

use std::ops::Range;

/// So many bytes of records share a mark; a longer record has one of its own.
const STEP_BYTES: usize = 4096;

/// A mark, in bytes.
pub(crate) const MARK_BYTES: usize = 16;

/// Makes the marks of records that are written, or looked at, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Marker {
    marks: Vec<u8>,
    last: usize,
    /// The end of the records so far.
    end: usize,
}

impl Marker {
    /// The next record has this hash and so many bytes.
    pub(crate) fn push(&mut self, hash: u64, len: usize) {
        let at = self.end;
        if at - self.last >= STEP_BYTES {
            self.marks.extend_from_slice(&hash.to_le_bytes());
            self.marks.extend_from_slice(&(at as u64).to_le_bytes());
            self.last = at;
        }
        self.end += len;
    }

    /// The marks, as bytes.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.marks
    }
}

/// The marks of records that have `end` bytes together.
///
/// Invariants: hashes never fall, and offsets rise, by a step at least, to the last one below the end.
/// The first record, for which there is no mark, counts as the one before the first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Marks<'a> {
    bytes: &'a [u8],
    end: usize,
}

impl<'a> Marks<'a> {
    /// Marks that were checked, or made here.
    pub(crate) fn new(bytes: &'a [u8], end: usize) -> Self {
        Self { bytes, end }
    }

    /// Marks that somebody claims, for `end` bytes of records; an error says what is wrong.
    pub(crate) fn checked(bytes: &'a [u8], end: usize) -> Result<Self, String> {
        let marks = Self { bytes, end };
        let (mut before, mut last) = (0, 0_usize);
        for n in 0..marks.len() {
            let (hash, at) = (marks.hash(n), marks.at(n));
            if hash < before || at < last.saturating_add(STEP_BYTES) || at >= end {
                return Err(format!("mark {n} of the index is out of order"));
            }
            (before, last) = (hash, at);
        }
        Ok(marks)
    }

    /// A stretch of records that has all those of `hash`, and some before and behind.
    pub(crate) fn around(&self, hash: u64) -> Range<usize> {
        let not_below = self.below(hash);
        let behind = (not_below..self.len()).find(|&n| self.hash(n) > hash);
        let start = not_below.checked_sub(1).map_or(0, |n| self.at(n));
        start..behind.map_or(self.end, |n| self.at(n))
    }

    /// The hash of the mark where this one would be, if all were spread evenly; 0 if there are none.
    pub(crate) fn near(&self, hash: u64) -> u64 {
        if self.len() == 0 { 0 } else { self.hash(self.guess(hash)) }
    }

    /// Where the mark of this hash should be. There are some marks.
    fn guess(&self, hash: u64) -> usize {
        let first = self.shifted(0, 0, hash);
        self.shifted(first, self.hash(first), hash)
    }

    fn len(&self) -> usize {
        self.bytes.len() / MARK_BYTES
    }

    fn number(&self, offset: usize) -> u64 {
        let bytes = self.bytes[offset..].first_chunk().expect("a mark has two numbers");
        u64::from_le_bytes(*bytes)
    }

    fn hash(&self, n: usize) -> u64 {
        self.number(n * MARK_BYTES)
    }

    fn at(&self, n: usize) -> usize {
        usize::try_from(self.number(n * MARK_BYTES + 8)).unwrap_or(usize::MAX)
    }

    /// How many marks have a lower hash than this.
    fn below(&self, hash: u64) -> usize {
        let (mut low, mut high) = self.bracket(hash);
        while low < high {
            let middle = low.midpoint(high);
            if self.hash(middle) < hash {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Bounds of that number, close to each other where hashes are spread evenly.
    fn bracket(&self, hash: u64) -> (usize, usize) {
        let n = self.len();
        if n == 0 {
            return (0, 0);
        }
        let guess = self.guess(hash);
        let (mut low, mut high, mut step) = (0, n, 1);
        if self.hash(guess) < hash {
            low = guess + 1;
            while low + step <= high {
                if self.hash(low + step - 1) >= hash {
                    high = low + step - 1;
                    break;
                }
                low += step;
                step *= 2;
            }
        } else {
            high = guess;
            while high >= low + step {
                if self.hash(high - step) < hash {
                    low = high - step + 1;
                    break;
                }
                high -= step;
                step *= 2;
            }
        }
        (low, high)
    }

    /// Where `hash` should be, if the mark at `from` has the hash `there`. There are some marks.
    fn shifted(&self, from: usize, there: u64, hash: u64) -> usize {
        let n = self.len();
        let distance = (u128::from(hash.abs_diff(there)) * n as u128) >> u64::BITS;
        let distance = usize::try_from(distance).expect("less than there are marks");
        if hash >= there { (from + distance).min(n - 1) } else { from.saturating_sub(distance) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(hashes: &[u64], len: usize) {
        let mut marker = Marker::default();
        for &hash in hashes {
            marker.push(hash, len);
        }
        let (bytes, end) = (marker.into_bytes(), hashes.len() * len);
        let marks = Marks::checked(&bytes, end).unwrap();
        for &wanted in hashes.iter().chain(&[0, 5, 1 << 40, u64::MAX]) {
            let found = marks.around(wanted);
            let first = hashes.partition_point(|&hash| hash < wanted) * len;
            let behind = hashes.partition_point(|&hash| hash <= wanted) * len;
            assert!(found.start <= first && found.end >= behind, "{wanted}: {found:?}");
            let slack = 2 * (STEP_BYTES + len);
            assert!(found.len() <= behind - first + slack, "{wanted}: {found:?}");
        }
    }

    #[test]
    fn every_record_is_found_however_the_hashes_lie() {
        // As if all hashes were one of three: each has more records than a step.
        check(&(0..3000).map(|n| n / 1000 * 10).collect::<Vec<_>>(), 100);
        check(&[], 1);
        check(&[7], 5000);
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..200 {
            let count = random.usize(1..300);
            let shift = random.u32(0..64);
            let mut hashes: Vec<u64> = (0..count).map(|_| random.u64(..) >> shift).collect();
            // Some pile up at the top.
            for hash in &mut hashes[..count / 3] {
                *hash = u64::MAX - random.u64(..3);
            }
            hashes.sort_unstable();
            check(&hashes, random.usize(8..6000));
        }
    }

    #[test]
    fn even_hashes_are_found_without_many_looks() {
        let mut random = fastrand::Rng::with_seed(2);
        let mut hashes: Vec<u64> = (0..100_000).map(|_| random.u64(..)).collect();
        hashes.sort_unstable();
        let mut marker = Marker::default();
        for &hash in &hashes {
            marker.push(hash, STEP_BYTES);
        }
        let bytes = marker.into_bytes();
        let marks = Marks::new(&bytes, hashes.len() * STEP_BYTES);
        let widths = hashes.iter().map(|&hash| {
            let (low, high) = marks.bracket(hash);
            high - low
        });
        assert!(widths.sum::<usize>() / hashes.len() < 32, "a few lines of memory");
    }

    #[test]
    fn marks_that_cannot_be_are_refused() {
        let of = |marks: &[(u64, u64)]| {
            let bytes: Vec<u8> = marks
                .iter()
                .flat_map(|(hash, at)| [hash.to_le_bytes(), at.to_le_bytes()].concat())
                .collect();
            Marks::checked(&bytes, 10_000).map(drop)
        };
        assert_eq!(of(&[(3, 4096), (3, 8192)]), Ok(()));
        assert!(of(&[(3, 4095)]).is_err(), "too close to the first record");
        assert!(of(&[(3, 4096), (2, 8192)]).is_err(), "hashes fall");
        assert!(of(&[(3, 4096), (4, 8191)]).is_err(), "too close");
        assert!(of(&[(3, 4096), (4, 10_000)]).is_err(), "behind the end");
        assert!(of(&[(3, 4096), (4, u64::MAX)]).is_err(), "far behind the end");
    }
}
