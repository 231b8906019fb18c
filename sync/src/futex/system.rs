//! The two calls of the system.

use std::num::NonZeroU32;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use rustix::io::Errno;
use rustix::thread::futex::{self, Flags};
use rustix::time::{ClockId, Timespec, clock_gettime};

/// However many there are.
const ALL: u32 = i32::MAX as u32;

/// The system knows by its address who sleeps there.
#[derive(Default)]
pub(crate) struct Word(AtomicU32);

/// A moment of the system's clock.
#[derive(Clone, Copy)]
pub(crate) struct Moment(Timespec);

impl Moment {
    /// The moment that is so far away; `None` if it never comes.
    pub(crate) fn in_future(left: Duration) -> Option<Self> {
        let left = Timespec::try_from(left).ok()?;
        clock_gettime(ClockId::Monotonic).checked_add(left).map(Self)
    }
}

impl Word {
    pub(crate) fn value(&self) -> &AtomicU32 {
        &self.0
    }

    /// Sleeps if the value is as it was `seen`. Returns whether the deadline came.
    pub(crate) fn wait(&self, seen: u32, bits: NonZeroU32, deadline: Option<Moment>) -> bool {
        let deadline = deadline.as_ref().map(|Moment(deadline)| deadline);
        match futex::wait_bitset(&self.0, Flags::PRIVATE, seen, deadline, bits) {
            Ok(()) | Err(Errno::AGAIN | Errno::INTR) => false,
            Err(Errno::TIMEDOUT) => true,
            Err(error) => panic!("a thread cannot sleep: {error}"),
        }
    }

    /// Wakes whoever sleeps here under one of `bits`. Returns how many those were.
    pub(crate) fn wake(&self, bits: NonZeroU32) -> usize {
        futex::wake_bitset(&self.0, Flags::PRIVATE, ALL, bits)
            .unwrap_or_else(|error| panic!("threads cannot be woken: {error}"))
    }
}
