//! What one run of a test printed: its seed, its figures, and why it failed.
//!
//! ```text
//! Test (2B): basic agreement ... (OARLOCK_SEED=7)
//!   ... Passed --   0.6  3    14    3912    3 (0.05 s CPU)
//! ```

use std::io::{self, BufRead};

const SEED: &str = "OARLOCK_SEED=";
const PASSED: &str = "... Passed --";
const UNKNOWN: &str = "... Unknown --";
const PANICKED: &str = "panicked at ";
/// The harness's last word on a test that hung.
const ABORTED: &str = "aborted by the watchdog";
/// libtest's last word on a test that it did run.
const RESULT: &str = "test result: ok. 1 passed";

/// The figures of a test that has passed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Figures {
    pub(crate) seconds: f64,
    pub(crate) rpcs: u64,
    pub(crate) work: Work,
    /// Of the whole process during the test; not known everywhere.
    pub(crate) cpu_seconds: Option<f64>,
}

/// What a test counts besides RPCs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Of a test of Raft.
    Raft { bytes: u64, commits: u64 },
    /// Of a test of the key-value service: calls of clerks.
    KeyValue { ops: u64 },
}

impl Default for Work {
    fn default() -> Self {
        Self::KeyValue { ops: 0 }
    }
}

/// What a run printed, as far as it is understood.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Output {
    pub(crate) seed: Option<u64>,
    /// The sum, if the test has parts that report for themselves.
    pub(crate) figures: Option<Figures>,
    /// Checks of linearizability that ran out of time.
    pub(crate) undecided: u32,
    /// The first line of the first panic, or the last words of the harness's watchdog.
    pub(crate) why: Option<String>,
    /// Whether libtest says that one test ran, and passed.
    pub(crate) passed: bool,
}

impl Output {
    /// Reads everything. A line that says nothing to us may be anything, text or not.
    pub(crate) fn read(from: impl BufRead) -> io::Result<Self> {
        let mut output = Self::default();
        let mut panic_follows = false;
        for line in from.split(b'\n') {
            let line = line?;
            let line = String::from_utf8_lossy(&line);
            if std::mem::take(&mut panic_follows) && output.why.is_none() {
                output.why = Some(line.trim().to_owned());
            }
            panic_follows = line.contains(PANICKED);
            output.take(&line);
        }
        Ok(output)
    }

    fn take(&mut self, line: &str) {
        if self.seed.is_none() {
            self.seed = after(line, SEED).and_then(leading_number);
        }
        if let Some(figures) = after(line, PASSED).and_then(parse_figures) {
            self.figures = Some(match self.figures {
                Some(before) => before.plus(figures),
                None => figures,
            });
        }
        if self.why.is_none() && line.contains(ABORTED) {
            self.why = Some(line.trim().to_owned());
        }
        self.undecided += u32::from(line.contains(UNKNOWN));
        self.passed |= line.starts_with(RESULT);
    }
}

impl Figures {
    fn plus(self, other: Self) -> Self {
        let work = match (self.work, other.work) {
            (Work::Raft { bytes, commits }, Work::Raft { bytes: more, commits: later }) => {
                Work::Raft { bytes: bytes + more, commits: commits + later }
            }
            (Work::KeyValue { ops }, Work::KeyValue { ops: more }) => {
                Work::KeyValue { ops: ops + more }
            }
            (work, _) => work,
        };
        Self {
            seconds: self.seconds + other.seconds,
            rpcs: self.rpcs + other.rpcs,
            work,
            cpu_seconds: self.cpu_seconds.zip(other.cpu_seconds).map(|(a, b)| a + b),
        }
    }
}

fn after<'a>(line: &'a str, mark: &str) -> Option<&'a str> {
    line.split_once(mark).map(|(_, rest)| rest)
}

fn leading_number(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().ok()
}

/// Reads `3.5  3  58  16840  0 (0.31 s CPU)`: seconds, peers, RPCs, then bytes and commits, or
/// calls of clerks.
fn parse_figures(text: &str) -> Option<Figures> {
    let (counted, cpu) = text.split_once('(').unwrap_or((text, ""));
    let words: Vec<&str> = counted.split_whitespace().collect();
    let (&[seconds, _peers, rpcs], work) = words.split_first_chunk()?;
    let work = match *work {
        [bytes, commits] => {
            Work::Raft { bytes: bytes.parse().ok()?, commits: commits.parse().ok()? }
        }
        [ops] => Work::KeyValue { ops: ops.parse().ok()? },
        _ => return None,
    };
    let cpu_seconds = cpu.strip_suffix(" s CPU)").and_then(|seconds| seconds.parse().ok());
    Some(Figures { seconds: seconds.parse().ok()?, rpcs: rpcs.parse().ok()?, work, cpu_seconds })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Output {
        Output::read(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_raft_test_that_passed() {
        let output = read(
            "\nrunning 1 test
test raft_2a::initial_election_2a ... Test (2A): initial election ... (OARLOCK_SEED=81)
warning: OARLOCK_SEED=9 is no seed of ours
  ... Passed --   3.1  3    58   16840    0 (0.31 s CPU)
ok

test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 37 filtered out; finished in 3.16s
",
        );
        let work = Work::Raft { bytes: 16840, commits: 0 };
        let figures = Figures { seconds: 3.1, rpcs: 58, work, cpu_seconds: Some(0.31) };
        let expected =
            Output { seed: Some(81), figures: Some(figures), passed: true, ..Output::default() };
        assert_eq!(output, expected);
    }

    #[test]
    fn a_key_value_test_in_parts_with_an_undecided_check() {
        let output = read(
            "  ... Passed --   1.5  5   100   20\n  ... Unknown -- the check ran out of time\n  \
             ... Passed --   2.0  5    50    4\n",
        );
        let work = Work::KeyValue { ops: 24 };
        let figures = Figures { seconds: 3.5, rpcs: 150, work, cpu_seconds: None };
        assert_eq!(output.figures, Some(figures));
        assert_eq!(output.undecided, 1);
        assert!(!output.passed, "libtest has not said so");
    }

    #[test]
    fn a_test_that_failed() {
        let output = read(
            "Test (2C): Figure 8 ... (OARLOCK_SEED=18446744073709551615)
thread 'raft_2c::figure_8_2c' (77) panicked at tests/harness/raft_checks.rs:90:13:
one(7) failed to reach agreement
note: run with `RUST_BACKTRACE=1`
thread 'watchdog' panicked at x.rs:1:1:
another
test result: FAILED. 0 passed; 1 failed; 0 ignored
",
        );
        assert_eq!(output.seed, Some(u64::MAX));
        assert_eq!(output.why.as_deref(), Some("one(7) failed to reach agreement"));
        assert_eq!(output.figures, None);
        assert!(!output.passed);
    }

    #[test]
    fn a_test_that_hung() {
        let output =
            read("S0: Status\n(2A): x: aborted by the watchdog after 120s (OARLOCK_SEED=5)\n");
        assert_eq!(output.seed, Some(5));
        let expected = "(2A): x: aborted by the watchdog after 120s (OARLOCK_SEED=5)";
        assert_eq!(output.why.as_deref(), Some(expected));
    }

    #[test]
    fn what_is_not_understood_is_passed_over() {
        let output = read("OARLOCK_SEED=x\n  ... Passed -- 1.0 3 oops 4\n... Passed --\n\u{fffd}");
        assert_eq!(output, Output::default());
        let bytes = [0xff, b'\n', 0xfe];
        assert_eq!(Output::read(&bytes[..]).unwrap(), Output::default());
    }

    #[test]
    fn no_test_run_is_no_pass() {
        assert!(!read("test result: ok. 0 passed; 0 failed\n").passed);
    }
}
