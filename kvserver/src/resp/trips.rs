//! How long requests take at the least, lately: whether the majority is far away.
//!
//! The quickest of the last few tells the way from what comes on top of it: a request may take long
//! because the machine or a disk is busy, but then not all do.

use std::time::Duration;

/// The quickest of this many is compared, and of as many before them.
const COUNT: u32 = 16;

/// Requests that all take longer than this are not worth waiting for.
const FAR: Duration = Duration::from_millis(20);

/// The times that the latest requests took.
#[derive(Debug, Default)]
pub(super) struct Trips {
    /// How many of these have come, and the quickest of them.
    count: u32,
    quickest: Duration,
    /// The quickest of those before them; none before there were as many.
    before: Duration,
}

impl Trips {
    /// A request took this long.
    pub(super) fn note(&mut self, took: Duration) {
        self.quickest = if self.count == 0 { took } else { self.quickest.min(took) };
        self.count += 1;
        if self.count == COUNT {
            *self = Self { count: 0, quickest: took, before: self.quickest };
        }
    }

    /// Whether all of the latest requests took long.
    pub(super) fn are_far(&self) -> bool {
        let lately = if self.count == 0 { self.before } else { self.quickest.min(self.before) };
        lately > FAR
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_always_takes_long_is_far() {
        let mut trips = Trips::default();
        for _ in 0..COUNT {
            assert!(!trips.are_far(), "too few to know");
            trips.note(FAR * 2);
        }
        for _ in 0..COUNT * 3 {
            assert!(trips.are_far());
            trips.note(FAR * 2);
        }
        // One that is quick is enough, for as many as come after it and as many again.
        trips.note(FAR / 2);
        for count in 1..COUNT * 2 {
            assert!(!trips.are_far(), "{count} after it");
            trips.note(FAR * 2);
        }
        assert!(trips.are_far());
    }
}
