//! The heap of deadlines: what a waiting call costs.
//!
//! A deadline is never taken out before its time. A call that wants another one, or none, simply
//! remembers so; whoever takes a deadline out asks the call whether it still means it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use crate::pending::CallId;

/// Deadlines of calls, the earliest on top.
#[derive(Default)]
pub(crate) struct Deadlines {
    heap: BinaryHeap<Reverse<(Instant, CallId)>>,
    earlier: bool,
}

impl Deadlines {
    /// Adds a deadline.
    pub(crate) fn push(&mut self, deadline: Instant, call: CallId) {
        self.earlier |= self.next().is_none_or(|next| deadline < next);
        self.heap.push(Reverse((deadline, call)));
    }

    /// The earliest deadline.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((deadline, _))| *deadline)
    }

    /// Takes out the earliest deadline if it is not after `now`.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<(Instant, CallId)> {
        self.next().filter(|next| *next <= now)?;
        self.heap.pop().map(|Reverse(due)| due)
    }

    /// Whether the earliest deadline has moved forward since this was last asked.
    pub(crate) fn take_earlier(&mut self) -> bool {
        std::mem::take(&mut self.earlier)
    }

    /// Forgets all of them.
    pub(crate) fn clear(&mut self) {
        self.heap.clear();
    }
}
