//! The results as a page of Markdown: ours beside the course's, test by test and part by part.

use super::choose::{Part, Test};
use super::course::{self, CourseParts, Sample};
use super::job::Persister;
use super::output::Work;
use super::progress::clock;
use super::stats::Measurements;
use super::tally::{CaseTally, PartTally, Tally};

use std::collections::BTreeMap;
use std::time::Duration;

/// Stands where there is no figure.
const NONE: &str = "–";

/// How the results came about.
pub(crate) struct Made {
    /// The command line.
    pub(crate) command: String,
    pub(crate) jobs: usize,
    pub(crate) cores: usize,
    pub(crate) elapsed: Duration,
}

/// A test on each of the persisters, if it ran there.
#[derive(Clone, Copy, Default)]
struct Pair<'a> {
    disk: Option<&'a CaseTally>,
    memory: Option<&'a CaseTally>,
}

/// The whole page.
pub(crate) fn page(tally: &Tally, made: &Made) -> String {
    let mut by_part: BTreeMap<Part, Vec<(&Test, Pair<'_>)>> = BTreeMap::new();
    for (case, of_case) in tally.cases.iter().zip(&tally.of_case) {
        let Some(part) = case.test.part() else { continue };
        let tests = by_part.entry(part).or_default();
        if tests.last().is_none_or(|(test, _)| **test != case.test) {
            tests.push((&case.test, Pair::default()));
        }
        let (_, pair) = tests.last_mut().expect("one was there or has been put there");
        match case.persister {
            Persister::Disk => pair.disk = Some(of_case),
            Persister::Memory => pair.memory = Some(of_case),
        }
    }
    let sections: String = by_part.iter().map(|(&part, tests)| section(part, tests)).collect();
    format!("{}{}{}{sections}", introduction(tally, made), totals(tally), undecided(tally))
}

fn introduction(tally: &Tally, made: &Made) -> String {
    let Made { command, jobs, cores, elapsed } = made;
    let runs = tally.passed() + tally.failed();
    format!(
        "\
# Results of the lab suites

Made by

```sh
{command}
```

in {}, {} of a machine with {cores} processor cores: {} runs of tests, of which {} passed and {}
failed.

Each test has the name of its original in the course's Go suites, in Rust's spelling: `figure_8_2c` is
`TestFigure82C`. Figures of ours are medians of the runs that passed. Those of the course are from the
sample output on its pages of 2022 (3A and 3B with Go's race detector on); `*` marks the mean of 50 runs
of a student's solution, for tests that are not in the sample.
",
        clock(*elapsed),
        count(*jobs as u64, "test at a time", "tests at a time"),
        grouped(runs.into()),
        grouped(tally.passed().into()),
        grouped(tally.failed().into()),
    )
}

fn totals(tally: &Tally) -> String {
    let mut text = "
## Parts

Sums of the medians of the tests, in seconds.

| part | on | tests | whole runs passed | real | CPU | course's real | course's guidance |
|---|---|---|---|---|---|---|---|
"
    .to_owned();
    let parts = tally.parts();
    text.extend(parts.iter().map(total));
    for lab in course::labs() {
        let in_lab = |part: &&PartTally| lab.parts.contains(&part.part.to_string().as_str());
        for persister in [Persister::Disk, Persister::Memory] {
            let on_it = |part: &&PartTally| part.persister == persister;
            let of_lab: Vec<_> = parts.iter().filter(in_lab).filter(on_it).collect();
            if of_lab.len() == lab.parts.len() {
                text += &lab_total(lab, persister, &of_lab);
            }
        }
    }
    text
}

fn lab_total(lab: &CourseParts, persister: Persister, parts: &[&PartTally]) -> String {
    let tests: usize = parts.iter().map(|part| part.tests).sum();
    let cells = [
        lab.name.to_owned(),
        persister.name().to_owned(),
        tests.to_string(),
        String::new(),
        decimal(parts.iter().map(|part| part.seconds).sum(), 1),
        decimal(parts.iter().map(|part| part.cpu_seconds).sum(), 1),
        decimal(Some(lab.seconds), 1),
        lab.guidance.to_owned(),
    ];
    row(&cells)
}

fn total(part: &PartTally) -> String {
    let course = course::part(&part.part.to_string());
    let cells = [
        part.part.to_string(),
        part.persister.name().to_owned(),
        part.tests.to_string(),
        format!("{} of {}", part.whole_runs_passed, part.whole_runs),
        decimal(part.seconds, 1),
        decimal(part.cpu_seconds, 1),
        decimal(course.map(|course| course.seconds), 1),
        course.map_or("", |course| course.guidance).to_owned(),
    ];
    row(&cells)
}

fn undecided(tally: &Tally) -> String {
    let cases = tally.cases.iter().zip(&tally.of_case);
    let lines: Vec<String> = cases
        .filter(|(_, of_case)| of_case.undecided > 0)
        .map(|(case, of_case)| {
            let (name, persister) = (case.test.short(), case.persister.name());
            format!("- `{name}` on {persister}: {} of {} runs", of_case.undecided, of_case.runs())
        })
        .collect();
    if lines.is_empty() {
        return "\nEvery check for linearizability came to an end.\n".to_owned();
    }
    let lines = lines.join("\n");
    format!(
        "\nRuns that passed with a check for linearizability that ran out of time:\n\n{lines}\n"
    )
}

fn section(part: Part, tests: &[(&Test, Pair<'_>)]) -> String {
    let of_raft = |tally: &CaseTally| tally.bytes.median().is_some();
    let each = || tests.iter().flat_map(|(_, pair)| [pair.disk, pair.memory]).flatten();
    let raft = each().any(of_raft);
    let head = format!(
        "\n## {part}\n\nIn each cell: on disk / in memory / the course's.\n\n\
         | test | passed | seconds | CPU s (ours) | RPCs | {} | limits |\n{}\n",
        if raft { "bytes | commits" } else { "calls" },
        if raft { "|---|---|---|---|---|---|---|---|" } else { "|---|---|---|---|---|---|---|" }
    );
    let rows = tests.iter().map(|(test, pair)| row(&cells(test.short(), *pair, raft)));
    head + &rows.collect::<String>()
}

fn cells(name: &str, pair: Pair<'_>, raft: bool) -> Vec<String> {
    let sample = course::test(name).map(|test| test.sample);
    let (rpcs, work) = match sample {
        Some(Sample::Course { rpcs, work, .. }) => (Some(rpcs), work),
        Some(Sample::Student { .. }) | None => (None, None),
    };
    let (bytes, commits, ops) = match work {
        Some(Work::Raft { bytes, commits }) => (Some(bytes), Some(commits), None),
        Some(Work::KeyValue { ops }) => (None, None, Some(ops)),
        None => (None, None, None),
    };
    let seconds = sample.map_or_else(
        || NONE.to_owned(),
        |sample| {
            let mark = if matches!(sample, Sample::Student { .. }) { "\\*" } else { "" };
            format!("{:.1}{mark}", sample.seconds())
        },
    );
    let mut cells = vec![
        format!("`{name}`"),
        pair.map(|case| format!("{} of {}", case.passed, case.runs())).join(" / "),
        format!("{} / {seconds}", pair.map(|case| decimal(case.seconds.median(), 1)).join(" / ")),
        pair.map(|case| decimal(case.cpu_seconds.median(), 2)).join(" / "),
        pair.counts(|case| &case.rpcs, rpcs),
    ];
    if raft {
        cells.push(pair.counts(|case| &case.bytes, bytes));
        cells.push(pair.counts(|case| &case.commits, commits));
    } else {
        cells.push(pair.counts(|case| &case.ops, ops));
    }
    cells.push(course::limit(name).unwrap_or_default().to_owned());
    cells
}

impl Pair<'_> {
    fn map(self, told: impl Fn(&CaseTally) -> String) -> [String; 2] {
        [self.disk, self.memory].map(|case| match case {
            Some(case) if case.runs() > 0 => told(case),
            _ => NONE.to_owned(),
        })
    }

    fn counts(self, of: impl Fn(&CaseTally) -> &Measurements, course: Option<u64>) -> String {
        let ours = self.map(|case| of(case).median().map_or_else(|| NONE.to_owned(), whole));
        let course = course.map_or_else(|| NONE.to_owned(), grouped);
        format!("{} / {course}", ours.join(" / "))
    }
}

/// A row of a table.
fn row(cells: &[String]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

fn decimal(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| NONE.to_owned(), |value| format!("{value:.digits$}"))
}

#[expect(clippy::cast_sign_loss, reason = "counts are not negative")]
fn whole(value: f64) -> String {
    grouped(value.round() as u64)
}

/// With commas between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let from_the_end = |i: usize| digits.len() - i;
    let comma = |i: usize| i > 0 && from_the_end(i).is_multiple_of(3);
    digits
        .char_indices()
        .flat_map(|(i, digit)| comma(i).then_some(',').into_iter().chain([digit]))
        .collect()
}

fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::super::schedule::Next;
    use super::super::tally::tests::{case, failed, passed};
    use super::*;

    fn made() -> Made {
        Made {
            command: "oarlock lab run all --times 2".to_owned(),
            jobs: 4,
            cores: 2,
            elapsed: Duration::from_secs(125),
        }
    }

    fn tally() -> Tally {
        let mut tally = Tally::new(vec![
            case("raft_2b::rpc_bytes_2b", Persister::Disk),
            case("raft_2b::rpc_bytes_2b", Persister::Memory),
            case("raft_2b::leader_failure_2b", Persister::Memory),
            case("kv_3b::speed_3b", Persister::Disk),
            case("harness::tests::not_of_a_part", Persister::Disk),
        ]);
        let raft = |bytes| Work::Raft { bytes, commits: 11 };
        let kv = Work::KeyValue { ops: 1001 };
        tally.add(Next { case: 0, round: 1 }, &passed(1.7, 48, raft(114_000), 0));
        tally.add(Next { case: 0, round: 2 }, &failed("no", 1));
        tally.add(Next { case: 1, round: 1 }, &passed(1.5, 50, raft(1_200_000), 0));
        tally.add(Next { case: 3, round: 1 }, &passed(2.0, 3_010, kv, 1));
        tally
    }

    #[track_caller]
    fn check(expected: &str) {
        let page = page(&tally(), &made());
        assert!(page.contains(expected), "no {expected:?} in\n{page}");
    }

    #[test]
    fn it_says_how_it_was_made() {
        check("```sh\noarlock lab run all --times 2\n```");
        check("in 2:05, 4 tests at a time of a machine with 2 processor cores: 4 runs");
        check("of which 3 passed and 1\nfailed");
    }

    #[test]
    fn a_raft_test_stands_beside_the_course() {
        check(
            "| `rpc_bytes_2b` | 1 of 2 / 1 of 1 | 1.7 / 1.5 / 1.7 | 0.17 / 0.15 | 48 / 50 / 48 | \
             114,000 / 1,200,000 / 114,536 | 11 / 11 / 11 | at most 200,000 bytes",
        );
        check("| `leader_failure_2b` | – / – | – / – / 5.8\\* | – / – | – / – / – |");
    }

    #[test]
    fn a_key_value_test_has_calls() {
        check("| test | passed | seconds | CPU s (ours) | RPCs | calls | limits |");
        check(
            "| `speed_3b` | 1 of 1 / – | 2.0 / – / 3.2 | 0.20 / – | 3,010 / – / 3,025 | \
             1,001 / – / – |",
        );
    }

    #[test]
    fn parts_have_sums_if_all_their_tests_have_figures() {
        check("| 2B | disk | 1 | 1 of 2 | 1.7 | 0.2 | 35.6 |");
        check("| 2B | memory | 2 | 0 of 0 | – | – | 35.6 |");
    }

    #[test]
    fn labs_have_sums_if_all_their_parts_ran() {
        let page = page(&tally(), &made());
        assert!(!page.contains("3A and 3B |"), "3A did not run:\n{page}");
        let names = ["kv_3a::x_3a", "kv_3b::y_3b"];
        let mut tally = Tally::new(names.map(|name| case(name, Persister::Disk)).to_vec());
        for case in 0..2 {
            tally.add(Next { case, round: 1 }, &passed(1.5, 1, Work::KeyValue { ops: 1 }, 0));
        }
        let page = super::page(&tally, &made());
        assert!(
            page.contains("| 3A and 3B | disk | 2 |  | 3.0 | 0.3 | 451.7 | 400 s real"),
            "{page}"
        );
    }

    #[test]
    fn undecided_checks_are_named() {
        check("out of time:\n\n- `speed_3b` on disk: 1 of 1 runs\n");
        let page = page(&Tally::new(Vec::new()), &made());
        assert!(page.contains("Every check for linearizability came to an end."), "{page}");
    }

    #[test]
    fn thousands_are_grouped() {
        for (number, expected) in
            [(0, "0"), (999, "999"), (1000, "1,000"), (44_771_259, "44,771,259")]
        {
            assert_eq!(grouped(number), expected);
        }
    }
}
