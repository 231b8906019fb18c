//! How many callers wait for the answers to their commands, and so whether the next one comes in
//! company.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts the callers of one peer that wait.
#[derive(Clone, Debug, Default)]
pub(crate) struct OnTheirWay(Arc<AtomicUsize>);

/// One of them. It waits no more when this is dropped.
#[derive(Debug)]
pub(crate) struct OneMore(Arc<AtomicUsize>);

impl OnTheirWay {
    /// Counts one more; tells whether there are others.
    pub(crate) fn one_more(&self) -> (OneMore, bool) {
        // Only a hint hangs on it, so nothing need be in order with it.
        let others = self.0.fetch_add(1, Ordering::Relaxed);
        (OneMore(Arc::clone(&self.0)), others > 0)
    }
}

impl Drop for OneMore {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_answered_is_no_company() {
        let on_their_way = OnTheirWay::default();
        let (first, in_company) = on_their_way.one_more();
        assert!(!in_company);
        let (second, in_company) = on_their_way.one_more();
        assert!(in_company);
        drop((first, second));
        let (_third, in_company) = on_their_way.one_more();
        assert!(!in_company);
    }
}
