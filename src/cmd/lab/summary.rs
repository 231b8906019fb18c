//! What is told at the end: a line for each test, a line for each part, and where the logs are.

use std::time::Duration;

use super::progress::clock;
use super::stats::Measurements;
use super::tally::{CaseTally, Failure, PartTally, Tally};
use crate::cmd::table::aligned;

const UNKNOWN: &str = "-";

/// The whole summary, as lines. To repeat a run takes `options` besides its persister and its seed.
pub(crate) fn summary(tally: &Tally, elapsed: Duration, options: &str) -> String {
    let parts: String = tally.parts().iter().map(part_line).collect();
    let (passed, runs) = (tally.passed(), tally.passed() + tally.failed());
    let logs = logs(tally, options);
    format!(
        "\n{}\n{parts}{passed} of {runs} runs passed, in {}\n{logs}",
        tests(tally),
        clock(elapsed)
    )
}

fn logs(tally: &Tally, options: &str) -> String {
    if tally.failures.is_empty() {
        return String::new();
    }
    let failures: String =
        tally.failures.iter().map(|failure| failure_lines(tally, failure, options)).collect();
    format!("\nLogs, and how to draw the same chances again:\n{failures}")
}

fn tests(tally: &Tally) -> String {
    let head = [
        "test",
        "on",
        "runs",
        "passed",
        "failed",
        "undecided",
        "s min",
        "median",
        "max",
        "CPU s",
        "RPCs",
        "bytes",
        "commits",
        "ops",
    ];
    let rows: Vec<_> = tally
        .cases
        .iter()
        .zip(&tally.of_case)
        .filter(|(_, of_case)| of_case.runs() > 0)
        .map(|(case, of_case)| row(case.test.short(), case.persister.name(), of_case))
        .collect();
    aligned(head, &rows)
}

fn row(name: &str, persister: &str, case: &CaseTally) -> [String; 14] {
    [
        name.to_owned(),
        persister.to_owned(),
        case.runs().to_string(),
        case.passed.to_string(),
        case.failed.to_string(),
        case.undecided.to_string(),
        decimal(case.seconds.min(), 1),
        decimal(case.seconds.median(), 1),
        decimal(case.seconds.max(), 1),
        decimal(case.cpu_seconds.median(), 2),
        median(&case.rpcs),
        median(&case.bytes),
        median(&case.commits),
        median(&case.ops),
    ]
}

fn median(counts: &Measurements) -> String {
    decimal(counts.median(), 0)
}

fn decimal(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| UNKNOWN.to_owned(), |value| format!("{value:.digits$}"))
}

fn part_line(part: &PartTally) -> String {
    let PartTally { whole_runs_passed, whole_runs, tests, .. } = part;
    let on = part.persister.name();
    let seconds = decimal(part.seconds, 1);
    let cpu = decimal(part.cpu_seconds, 2);
    let tests = format!("{tests} test{}", if *tests == 1 { "" } else { "s" });
    format!(
        "{} on {on}, {tests}: {whole_runs_passed} of {whole_runs} whole runs passed; sum of \
         medians {seconds} s, CPU {cpu} s; undecided {}\n",
        part.part, part.undecided
    )
}

fn failure_lines(tally: &Tally, failure: &Failure, options: &str) -> String {
    let case = &tally.cases[failure.case];
    let (name, persister) = (case.test.short(), case.persister.name());
    let seed = failure.seed.map(|seed| format!(" --seed {seed}")).unwrap_or_default();
    format!(
        "  {}\n    {name} on {persister}, run {}: {}\n    oarlock lab run {name} --persister \
         {persister}{seed}{options}\n",
        failure.log.display(),
        failure.round,
        failure.why
    )
}

#[cfg(test)]
mod tests {
    use super::super::job::Persister;
    use super::super::output::Work;
    use super::super::schedule::Next;
    use super::super::tally::tests::{case, failed, passed};
    use super::*;

    #[test]
    fn tests_parts_and_logs() {
        let mut tally = Tally::new(vec![
            case("raft_2a::x_2a", Persister::Disk),
            case("kv_3b::y_3b", Persister::Memory),
            case("kv_3b::never_run_3b", Persister::Memory),
        ]);
        let raft = Work::Raft { bytes: 16_840, commits: 3 };
        let kv = Work::KeyValue { ops: 12 };
        tally.add(Next { case: 0, round: 1 }, &passed(3.0, 58, raft, 0));
        tally.add(Next { case: 0, round: 2 }, &passed(4.0, 60, raft, 0));
        tally.add(Next { case: 1, round: 1 }, &failed("no", 9));
        tally.add(Next { case: 1, round: 2 }, &passed(7.5, 7, kv, 1));
        let expected = "
test  on      runs  passed  failed  undecided  s min  median  max  CPU s  RPCs  bytes  commits  ops
x_2a  disk    2     2       0       0          3.0    3.5     4.0  0.35   59    16840  3        -
y_3b  memory  2     1       1       1          7.5    7.5     7.5  0.75   7     -      -        12

2A on disk, 1 test: 2 of 2 whole runs passed; sum of medians 3.5 s, CPU 0.35 s; undecided 0
3B on memory, 2 tests: 0 of 0 whole runs passed; sum of medians - s, CPU - s; undecided 1
3 of 4 runs passed, in 1:01

Logs, and how to draw the same chances again:
  logs/9.log
    y_3b on memory, run 1: no
    oarlock lab run y_3b --persister memory --seed 9 --raft other
";
        assert_eq!(summary(&tally, Duration::from_secs(61), " --raft other"), expected);
    }
}
