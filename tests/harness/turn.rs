//! One cluster at a time. The suites measure time, and libtest runs tests side by side unless it
//! is told not to: so a test first waits for its turn, and its clock starts once it has it.

use parking_lot::{Mutex, MutexGuard};

static TURN: Mutex<()> = Mutex::new(());

/// The right to run a cluster; ends when dropped.
pub(crate) struct Turn {
    _guard: MutexGuard<'static, ()>,
}

impl Turn {
    /// Waits until no other cluster runs in this process.
    pub(crate) fn wait() -> Self {
        Self { _guard: TURN.lock() }
    }
}
