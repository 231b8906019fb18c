//! What is told while the runs go on: each failure at once, and now and then how far they are.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use super::job::{Case, Outcome, Run};
use super::schedule::Next;
use super::tally::Tally;

/// Where no terminal shows it, this many lines tell of the progress.
const LINES: u32 = 10;
/// Erases the line under the cursor.
const ERASE: &str = "\r\x1b[K";

/// Tells of the progress on standard output.
pub(crate) struct Progress {
    began: Instant,
    terminal: bool,
    /// Failures are what is looked for, and told at the end.
    quiet: bool,
    total: u32,
    /// Lines told so far.
    told: u32,
}

impl Progress {
    /// Of `total` runs.
    pub(crate) fn new(total: u32) -> Self {
        let terminal = io::stdout().is_terminal();
        Self { began: Instant::now(), terminal, quiet: false, total, told: 0 }
    }

    /// Of `total` runs that may well fail.
    pub(crate) fn quiet(total: u32) -> Self {
        Self { quiet: true, ..Self::new(total) }
    }

    /// Tells of a run that is over and counted.
    pub(crate) fn on_run(&mut self, tally: &Tally, next: Next, run: &Run) {
        if let Outcome::Failed { .. } = run.outcome
            && !self.quiet
        {
            self.erase();
            println!("{}", failure_line(&tally.cases[next.case], next.round, run));
        }
        let line = progress_line(tally.passed(), tally.failed(), self.total, self.began.elapsed());
        if self.terminal {
            print!("{ERASE}{line}");
            // Whoever closed the other end does not miss it.
            drop(io::stdout().flush());
        } else if is_due(tally.passed() + tally.failed(), self.total, self.told) {
            self.told += 1;
            println!("{line}");
        }
    }

    /// Makes room for other lines.
    pub(crate) fn erase(&self) {
        if self.terminal {
            print!("{ERASE}");
        }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }
}

/// Whether one more of [`LINES`] lines is due after `done` of `total` runs.
fn is_due(done: u32, total: u32, told: u32) -> bool {
    u64::from(done) * u64::from(LINES) >= u64::from(total) * (u64::from(told) + 1)
}

fn progress_line(passed: u32, failed: u32, total: u32, elapsed: Duration) -> String {
    let done = passed + failed;
    format!("{done} of {total} runs, {passed} passed, {failed} failed, {}", clock(elapsed))
}

fn failure_line(case: &Case, round: u32, run: &Run) -> String {
    let (why, log) = match &run.outcome {
        Outcome::Failed { why, log } => (why.as_str(), log.display().to_string()),
        Outcome::Passed => ("", String::new()),
    };
    let (name, persister) = (case.test.short(), case.persister.name());
    let seconds = run.took.as_secs_f64();
    format!("FAILED {name} ({persister}, run {round}, {seconds:.1} s): {why}\n       {log}")
}

/// Minutes and seconds, `7:05`; from an hour on with hours.
pub(crate) fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours == 0 {
        format!("{minutes}:{seconds:02}")
    } else {
        format!("{hours}:{minutes:02}:{seconds:02}")
    }
}

#[cfg(test)]
mod tests {
    use super::super::job::Persister;
    use super::super::tally::tests::{case, failed};
    use super::*;

    #[test]
    fn ten_lines_or_one_for_each_run() {
        for (total, expected) in [(100, 10), (1000, 10), (3, 3), (25, 10), (1, 1)] {
            let mut told = 0;
            for done in 1..=total {
                told += u32::from(is_due(done, total, told));
            }
            assert_eq!(told, expected, "{total} runs");
        }
    }

    #[test]
    fn times_are_short() {
        for (seconds, expected) in [(0, "0:00"), (65, "1:05"), (3599, "59:59"), (7384, "2:03:04")] {
            assert_eq!(clock(Duration::from_secs(seconds)), expected);
        }
    }

    #[test]
    fn a_failure_says_what_where_and_why() {
        let line =
            failure_line(&case("raft_2a::x_2a", Persister::Memory), 7, &failed("no leader", 5));
        assert_eq!(line, "FAILED x_2a (memory, run 7, 9.0 s): no leader\n       logs/5.log");
    }
}
