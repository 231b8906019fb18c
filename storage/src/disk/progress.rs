//! A line a second about work that takes long, for whoever waits for it.

use std::fmt;
use std::time::{Duration, Instant};

/// How long nothing is said.
const SILENCE: Duration = Duration::from_secs(1);

/// When the last line was.
pub(crate) struct Progress {
    last: Instant,
}

impl Progress {
    /// Work begins now.
    pub(crate) fn begin() -> Self {
        Self { last: Instant::now() }
    }

    /// Says where the work is, if that was not said within the last second.
    pub(crate) fn tell(&mut self, what: fmt::Arguments<'_>) {
        if self.last.elapsed() >= SILENCE {
            log::info!("{what}");
            self.last = Instant::now();
        }
    }
}
