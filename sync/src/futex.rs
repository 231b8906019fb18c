//! A place where threads sleep, each under bits of its own, so that one call to the system wakes any
//! number of them and nobody else.

use std::num::NonZeroU32;
use std::sync::atomic::Ordering;

#[cfg(feature = "interleavings")]
#[path = "futex/model.rs"]
mod system;
#[cfg(not(feature = "interleavings"))]
mod system;

pub(crate) use system::Moment;
use system::Word;

use crate::planted;

/// The place. Alone in its line of the processor's cache: whoever wakes writes to it.
#[derive(Default)]
#[repr(align(64))]
pub(crate) struct Futex {
    /// Counts the wake-ups, also those that met nobody.
    epoch: Word,
}

impl Futex {
    /// What [`wait`](Self::wait) is to be told of: read ahead of the last look at whether to sleep.
    pub(crate) fn epoch(&self) -> u32 {
        self.epoch.value().load(Ordering::SeqCst)
    }

    /// Sleeps until somebody wakes one of `bits`, at the latest until `deadline`; or less long, for no
    /// reason. Not at all if somebody was woken since the epoch `seen`. Returns whether the deadline came.
    pub(crate) fn wait(&self, seen: u32, bits: NonZeroU32, deadline: Option<Moment>) -> bool {
        self.epoch.wait(seen, bits, deadline)
    }

    /// Wakes all who sleep under one of `bits`. Returns how many those were.
    pub(crate) fn wake(&self, bits: NonZeroU32) -> usize {
        let begin_epoch = || self.epoch.value().fetch_add(1, Ordering::SeqCst);
        if planted("a wake-up comes ahead of its epoch") {
            let count = self.epoch.wake(bits);
            begin_epoch();
            return count;
        }
        if !planted("a wake-up begins no epoch") {
            begin_epoch();
        }
        self.epoch.wake(bits)
    }
}
