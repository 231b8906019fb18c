//! Counts over a row of slots, with quick sums over a range (a Fenwick tree: P. M. Fenwick, "A new
//! data structure for cumulative frequency tables", 1994).

use std::ops::Range;

/// How many are in each slot.
pub(crate) struct Tally {
    sums: Vec<usize>,
    total: usize,
}

impl Tally {
    /// Nothing in any of `slots` slots.
    pub(crate) fn new(slots: usize) -> Self {
        Self { sums: vec![0; slots + 1], total: 0 }
    }

    /// How many there are.
    pub(crate) fn total(&self) -> usize {
        self.total
    }

    /// One more in `slot`.
    pub(crate) fn add(&mut self, slot: usize) {
        self.total += 1;
        self.each_sum_with(slot, |sum| sum + 1);
    }

    /// One less in `slot`, which has one.
    pub(crate) fn remove(&mut self, slot: usize) {
        self.total -= 1;
        self.each_sum_with(slot, |sum| sum - 1);
    }

    /// How many there are in `slots`.
    pub(crate) fn within(&self, slots: Range<usize>) -> usize {
        self.before(slots.end) - self.before(slots.start)
    }

    fn before(&self, slot: usize) -> usize {
        let (mut at, mut sum) = (slot, 0);
        while at > 0 {
            sum += self.sums[at];
            at &= at - 1;
        }
        sum
    }

    fn each_sum_with(&mut self, slot: usize, change: impl Fn(usize) -> usize) {
        let mut at = slot + 1;
        while let Some(sum) = self.sums.get_mut(at) {
            *sum = change(*sum);
            at += at & at.wrapping_neg();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_a_plain_row() {
        let (mut tally, mut row) = (Tally::new(11), [0usize; 11]);
        for slot in [3, 0, 10, 3, 7, 7, 7, 9] {
            tally.add(slot);
            row[slot] += 1;
        }
        for slot in [7, 0] {
            tally.remove(slot);
            row[slot] -= 1;
        }
        assert_eq!(tally.total(), row.iter().sum());
        for start in 0..=11 {
            for end in start..=11 {
                assert_eq!(tally.within(start..end), row[start..end].iter().sum());
            }
        }
    }
}
