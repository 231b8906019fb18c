//! What threads meet at: a mutex, a condition variable, threads to start and join, and the clock of
//! waits with a deadline.
//!
//! In every product these are `parking_lot`'s and the standard library's own types, re-exported; only
//! [`Sleeper`] is ours, a thread that sleeps until it is called, and several wake at once. With
//! the feature `interleavings` they (of sleepers only the system's futex) are look-alikes under a scheduler
//! that decides who runs next, so that tests explore how the threads of the shipped code may
//! interleave: see `model`.
//!
//! **Boundary:** nothing here knows what is guarded, or who waits for what.

#[cfg(any(not(feature = "interleavings"), test))]
mod alarm;
#[cfg(feature = "interleavings")]
mod clock;
mod futex;
#[cfg(feature = "interleavings")]
pub mod model;
#[cfg(feature = "interleavings")]
mod primitives;
#[cfg(feature = "interleavings")]
mod scheduler;
mod sleeper;
pub mod stages;

pub use sleeper::{Sleeper, Together};

#[cfg(feature = "interleavings")]
pub use clock::{now, park_until};
#[cfg(feature = "interleavings")]
use model::accident;
#[cfg(feature = "interleavings")]
pub use model::planted;
#[cfg(feature = "interleavings")]
pub use primitives::{Condvar, Mutex, MutexGuard, WaitTimeoutResult};
#[cfg(feature = "interleavings")]
use shuttle::sync::atomic::AtomicU32;
#[cfg(all(feature = "interleavings", test))]
use shuttle::sync::atomic::AtomicU64;
#[cfg(feature = "interleavings")]
pub use shuttle::thread;
#[cfg(feature = "interleavings")]
use shuttle::thread_local;

#[cfg(not(feature = "interleavings"))]
use std::sync::atomic::{AtomicU32, AtomicU64};
#[cfg(not(feature = "interleavings"))]
use std::thread_local;

#[cfg(not(feature = "interleavings"))]
pub use alarm::park_until;
#[cfg(not(feature = "interleavings"))]
pub use parking_lot::{Condvar, Mutex, MutexGuard, WaitTimeoutResult};
#[cfg(not(feature = "interleavings"))]
pub use std::thread;

/// The present, by the clock that deadlines of waits are measured on.
#[cfg(not(feature = "interleavings"))]
#[inline]
pub fn now() -> std::time::Instant {
    std::time::Instant::now()
}

/// Whether a mistake of this description is to be made here: never, but where a test wants to see
/// that it would be found.
#[cfg(not(feature = "interleavings"))]
#[inline]
pub const fn planted(_mistake: &str) -> bool {
    false
}

/// Whether somebody who sleeps wakes for no reason: in the system's hands, but where that is simulated.
#[cfg(not(feature = "interleavings"))]
#[inline]
pub(crate) const fn accident() -> bool {
    false
}
