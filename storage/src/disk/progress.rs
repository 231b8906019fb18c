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

    /// Says where the work is, if that was not said within the last second. Returns whether it was.
    pub(crate) fn tell(&mut self, what: fmt::Arguments<'_>) -> bool {
        let is_due = self.last.elapsed() >= SILENCE;
        if is_due {
            log::info!("{what}");
            self.last = Instant::now();
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_due_after_a_second_of_silence_and_not_before() {
        let mut progress = Progress::begin();
        assert!(!progress.tell(format_args!("too early")));
        let long_ago = Instant::now().checked_sub(SILENCE);
        progress.last = long_ago.expect("the machine has run for a second");
        assert!(progress.tell(format_args!("half is done")));
        assert!(!progress.tell(format_args!("and again")));
    }
}
