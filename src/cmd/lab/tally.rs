//! What the runs add up to: for each case, for each part, and what failed.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::choose::Part;
use super::job::{Case, Outcome, Persister, Run};
use super::output::Work;
use super::schedule::Next;
use super::stats::Measurements;

/// The runs of one case.
#[derive(Default)]
pub(crate) struct CaseTally {
    pub(crate) passed: u32,
    pub(crate) failed: u32,
    /// Runs that passed although a check of linearizability ran out of time.
    pub(crate) undecided: u32,
    // Of the runs that passed:
    pub(crate) seconds: Measurements,
    pub(crate) cpu_seconds: Measurements,
    pub(crate) rpcs: Measurements,
    pub(crate) bytes: Measurements,
    pub(crate) commits: Measurements,
    pub(crate) ops: Measurements,
    /// By round: whether it passed.
    rounds: BTreeMap<u32, bool>,
}

/// A run that failed.
pub(crate) struct Failure {
    /// The number of its case.
    pub(crate) case: usize,
    pub(crate) round: u32,
    pub(crate) why: String,
    pub(crate) seed: Option<u64>,
    pub(crate) log: PathBuf,
}

/// All runs.
pub(crate) struct Tally {
    pub(crate) cases: Vec<Case>,
    /// By case.
    pub(crate) of_case: Vec<CaseTally>,
    pub(crate) failures: Vec<Failure>,
}

/// The runs of one part on one persister.
pub(crate) struct PartTally {
    pub(crate) part: Part,
    pub(crate) persister: Persister,
    /// How many of its tests were chosen.
    pub(crate) tests: usize,
    /// Rounds that every chosen test has run in,
    pub(crate) whole_runs: u32,
    /// and passed.
    pub(crate) whole_runs_passed: u32,
    /// The sum of the medians of its tests, if each has one.
    pub(crate) seconds: Option<f64>,
    pub(crate) cpu_seconds: Option<f64>,
    pub(crate) undecided: u32,
}

impl CaseTally {
    pub(crate) fn runs(&self) -> u32 {
        self.passed + self.failed
    }

    fn add(&mut self, round: u32, run: &Run) {
        self.rounds.insert(round, !run.has_failed());
        if run.has_failed() {
            self.failed += 1;
            return;
        }
        self.passed += 1;
        self.undecided += u32::from(run.output.undecided > 0);
        let Some(figures) = run.output.figures else {
            // A test of the harness, which prints none.
            self.seconds.add(run.took.as_secs_f64());
            return;
        };
        self.seconds.add(figures.seconds);
        figures.cpu_seconds.into_iter().for_each(|seconds| self.cpu_seconds.add(seconds));
        self.rpcs.add(count(figures.rpcs));
        match figures.work {
            Work::Raft { bytes, commits } => {
                self.bytes.add(count(bytes));
                self.commits.add(count(commits));
            }
            Work::KeyValue { ops } => self.ops.add(count(ops)),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "no test counts to 2^52")]
fn count(number: u64) -> f64 {
    number as f64
}

impl Tally {
    pub(crate) fn new(cases: Vec<Case>) -> Self {
        let of_case = cases.iter().map(|_| CaseTally::default()).collect();
        Self { cases, of_case, failures: Vec::new() }
    }

    /// Counts a run.
    pub(crate) fn add(&mut self, Next { case, round }: Next, run: &Run) {
        self.of_case[case].add(round, run);
        if let Outcome::Failed { why, log } = &run.outcome {
            let (why, log) = (why.clone(), log.clone());
            self.failures.push(Failure { case, round, why, seed: run.output.seed, log });
        }
    }

    pub(crate) fn runs(&self) -> u32 {
        self.passed() + self.failed()
    }

    pub(crate) fn passed(&self) -> u32 {
        self.of_case.iter().map(|case| case.passed).sum()
    }

    pub(crate) fn failed(&self) -> u32 {
        self.of_case.iter().map(|case| case.failed).sum()
    }

    /// The parts that tests were chosen of, on each persister.
    pub(crate) fn parts(&self) -> Vec<PartTally> {
        let mut members: BTreeMap<(Part, Persister), Vec<&CaseTally>> = BTreeMap::new();
        for (case, tally) in self.cases.iter().zip(&self.of_case) {
            if let Some(part) = case.test.part() {
                members.entry((part, case.persister)).or_default().push(tally);
            }
        }
        let tally = |((part, persister), cases)| part_tally(part, persister, cases);
        members.into_iter().map(tally).collect()
    }
}

fn part_tally(part: Part, persister: Persister, cases: Vec<&CaseTally>) -> PartTally {
    let rounds = cases.iter().flat_map(|case| case.rounds.keys()).max().copied().unwrap_or(0);
    let whole = |round: &u32| cases.iter().all(|case| case.rounds.contains_key(round));
    let all_passed = |round: &u32| cases.iter().all(|case| case.rounds.get(round) == Some(&true));
    PartTally {
        part,
        persister,
        tests: cases.len(),
        whole_runs: (1..=rounds).filter(whole).count() as u32,
        whole_runs_passed: (1..=rounds).filter(all_passed).count() as u32,
        seconds: cases.iter().map(|case| case.seconds.median()).sum(),
        cpu_seconds: cases.iter().map(|case| case.cpu_seconds.median()).sum(),
        undecided: cases.iter().map(|case| case.undecided).sum(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use super::super::choose::Test;
    use super::super::output::{Figures, Output};
    use super::*;

    pub(crate) fn case(name: &str, persister: Persister) -> Case {
        Case { test: Test::new(name), persister, mistake: None }
    }

    pub(crate) fn passed(seconds: f64, rpcs: u64, work: Work, undecided: u32) -> Run {
        let figures = Figures { seconds, rpcs, work, cpu_seconds: Some(seconds / 10.0) };
        let output =
            Output { figures: Some(figures), undecided, passed: true, ..Output::default() };
        Run { outcome: Outcome::Passed, took: Duration::from_secs(1), output }
    }

    pub(crate) fn failed(why: &str, seed: u64) -> Run {
        let output = Output { seed: Some(seed), ..Output::default() };
        let log = PathBuf::from(format!("logs/{seed}.log"));
        Run {
            outcome: Outcome::Failed { why: why.to_owned(), log },
            took: Duration::from_secs(9),
            output,
        }
    }

    const RAFT: Work = Work::Raft { bytes: 100, commits: 4 };

    #[test]
    fn a_case_counts_what_passed_and_what_failed() {
        let mut tally = Tally::new(vec![case("raft_2a::x_2a", Persister::Disk)]);
        let mut next = (1..).map(|round| Next { case: 0, round });
        tally.add(next.next().unwrap(), &passed(3.0, 10, RAFT, 0));
        tally.add(next.next().unwrap(), &failed("why", 77));
        tally.add(next.next().unwrap(), &passed(5.0, 30, RAFT, 2));
        let case = &tally.of_case[0];
        assert_eq!((case.runs(), case.passed, case.failed, case.undecided), (3, 2, 1, 1));
        assert_eq!(case.seconds.median(), Some(4.0));
        assert_eq!(case.rpcs.median(), Some(20.0));
        assert_eq!(case.ops.median(), None);
        let failure = &tally.failures[0];
        assert_eq!((failure.round, failure.seed, failure.why.as_str()), (2, Some(77), "why"));
    }

    #[test]
    fn a_whole_run_of_a_part_passes_if_every_test_does() {
        let cases = ["raft_2a::x_2a", "raft_2a::y_2a", "raft_2b::z_2b"];
        let mut tally = Tally::new(cases.map(|name| case(name, Persister::Disk)).to_vec());
        // By case: the rounds that passed; x fails the second, and y has not run the fourth.
        for (case, rounds) in [(0, &[1, 3, 4][..]), (1, &[1, 2, 3]), (2, &[1])] {
            for &round in rounds {
                tally.add(Next { case, round }, &passed(f64::from(round), 1, RAFT, 0));
            }
        }
        tally.add(Next { case: 0, round: 2 }, &failed("why", 1));
        let parts = tally.parts();
        let told: Vec<_> = parts
            .iter()
            .map(|part| {
                (part.part.to_string(), part.tests, part.whole_runs_passed, part.whole_runs)
            })
            .collect();
        assert_eq!(told, [("2A".to_owned(), 2, 2, 3), ("2B".to_owned(), 1, 1, 1)]);
        // Medians of 1, 3, 4 and of 1, 2, 3.
        assert_eq!(parts[0].seconds, Some(5.0));
    }

    #[test]
    fn a_part_without_a_figure_of_each_test_has_no_sum() {
        let cases = ["raft_2a::x_2a", "raft_2a::y_2a"].map(|name| case(name, Persister::Memory));
        let mut tally = Tally::new(cases.to_vec());
        tally.add(Next { case: 0, round: 1 }, &passed(1.0, 1, RAFT, 0));
        assert_eq!(tally.parts()[0].seconds, None);
        assert_eq!(tally.parts()[0].whole_runs, 0);
    }
}
