//! `oarlock lab mistakes`: which test of the suites finds which mistake, and how often.

use std::collections::BTreeMap;
use std::fs;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};

use super::binary;
use super::catalogue::{CATALOGUE, Planted};
use super::choose::Test;
use super::job::{Case, Outcome, Persister, Run, Setting};
use super::pool::{Ended, work_off};
use super::progress::{Progress, clock};
use super::run::{command_line, expected};
use super::schedule::Schedule;
use super::tally::Tally;
use crate::cmd::signals::stop_requests;

/// What the suites say of a mistake they do not know: no test has found anything then.
const NO_SUCH_MISTAKE: &str = "no such mistake";

/// Build mistakes into Raft, one at a time, and see which tests find them.
///
/// Each mistake has the tests that ought to find it. A run that fails has found it; its log is not
/// kept.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Mistakes, by name [default: all].
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// How often to run each test.
    #[arg(long, default_value = "20", value_name = "N")]
    times: NonZeroU32,
    /// How many tests run at the same time [default: the number of processor cores].
    #[arg(long, value_name = "J")]
    jobs: Option<NonZeroUsize>,
    /// Where servers keep what must survive a crash.
    #[arg(long, value_enum, default_value = "disk")]
    persister: Persister,
    /// Kill a run that takes longer than so many seconds: it has found the mistake.
    #[arg(long, default_value = "180", value_name = "S")]
    limit: NonZeroU32,
    /// Write the results into this file, a page of Markdown.
    #[arg(long, value_name = "FILE")]
    table: Option<PathBuf>,
    /// A test binary with mistakes in it, instead of building the one of the current directory.
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
}

/// What the runs of one test with one mistake came to.
#[derive(Default)]
struct Found {
    runs: u32,
    times: u32,
    /// How often each message came.
    messages: BTreeMap<String, u32>,
}

impl Found {
    fn add(&mut self, run: &Run) {
        self.runs += 1;
        if let Outcome::Failed { why, .. } = &run.outcome {
            self.times += 1;
            *self.messages.entry(without_figures(why)).or_default() += 1;
        }
    }

    /// What was said most often.
    fn message(&self) -> &str {
        let most = self.messages.iter().max_by_key(|(_, times)| **times);
        most.map_or("", |(message, _)| message)
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let stop_requests = stop_requests()?;
    let planted = chosen(&args.names)?;
    let binary = match &args.binary {
        Some(binary) => binary.clone(),
        None => binary::build(true)?,
    };
    let cases = cases(&planted, args.persister, &binary::tests(&binary)?)?;
    let jobs = match args.jobs {
        Some(jobs) => jobs,
        None => thread::available_parallelism()?,
    };
    let logs = std::env::temp_dir().join(format!("oarlock-mistakes-{}", std::process::id()));
    fs::create_dir_all(&logs).with_context(|| format!("{} cannot be made", logs.display()))?;
    let limit = Duration::from_secs(args.limit.get().into());
    let setting =
        Setting { binary, variables: Vec::new(), logs: logs.clone(), limit, fail_fast: false };
    let schedule = Schedule::new(cases.iter().map(expected).collect(), args.times.get());

    let total = args.times.get().saturating_mul(cases.len() as u32);
    let mut progress = Progress::quiet(total);
    let mut tally = Tally::new(cases.clone());
    let mut found: Vec<Found> = cases.iter().map(|_| Found::default()).collect();
    let mut unknown = None;
    let ended = work_off(&setting, &cases, &schedule, jobs, &stop_requests, |next, run| {
        if let Outcome::Failed { why, log } = &run.outcome {
            if why.contains(NO_SUCH_MISTAKE) {
                unknown.get_or_insert_with(|| why.clone());
                schedule.close();
            }
            // Left behind, it would be one of thousands.
            drop(fs::remove_file(log));
        }
        found[next.case].add(run);
        tally.add(next, run);
        progress.on_run(&tally, next, run);
    });
    progress.erase();
    drop(fs::remove_dir_all(&logs));
    let ended = ended?;
    if let Some(why) = unknown {
        bail!("the suites and the catalogue of mistakes do not fit together: {why}");
    }

    let table = table(&planted, &cases, &found);
    print!("{table}");
    ensure!(ended == Ended::Done, "interrupted after {} of {total} runs", tally.runs());
    if let Some(file) = &args.table {
        let cores = thread::available_parallelism()?.get();
        let page = introduction(&tally, jobs, cores, progress.elapsed()) + &table;
        fs::write(file, page).with_context(|| format!("{} cannot be written", file.display()))?;
    }
    Ok(())
}

fn chosen(names: &[String]) -> anyhow::Result<Vec<&'static Planted>> {
    if names.is_empty() {
        return Ok(CATALOGUE.iter().collect());
    }
    let find = |name: &String| {
        let known = CATALOGUE.iter().find(|planted| planted.name.eq_ignore_ascii_case(name));
        known.with_context(|| {
            let all: Vec<&str> = CATALOGUE.iter().map(|planted| planted.name).collect();
            format!("no mistake is named {name}; there are {}", all.join(", "))
        })
    };
    names.iter().map(find).collect()
}

fn cases(
    planted: &[&'static Planted],
    persister: Persister,
    tests: &[Test],
) -> anyhow::Result<Vec<Case>> {
    let case = |mistake: &'static str, short: &str| {
        let test = tests.iter().find(|test| test.short() == short).cloned();
        let test = test.with_context(|| format!("the suites have no test {short}"))?;
        Ok(Case { test, persister, mistake: Some(mistake) })
    };
    let of_each = planted
        .iter()
        .flat_map(|planted| planted.tests.iter().map(|test| case(planted.name, test)));
    of_each.collect()
}

fn introduction(tally: &Tally, jobs: NonZeroUsize, cores: usize, elapsed: Duration) -> String {
    format!(
        "\
# Mistakes on purpose, and the lab tests that find them

Made by

```sh
{}
```

in {}: {} runs, {jobs} at a time on {cores} processor cores. Each mistake was built into the rules of
Raft alone (`raft/src/mistake.rs`, feature `mistakes`), and the tests that ought to find it were run with
it. A run found it if it failed, whether a check of the test did, or an `assert!` in the rules.

",
        command_line(),
        clock(elapsed),
        tally.runs(),
    )
}

/// The mistakes that some test found, and the others.
fn table(planted: &[&'static Planted], cases: &[Case], found: &[Found]) -> String {
    let of = |name: &str| -> Tried<'_> {
        let all = cases.iter().zip(found);
        all.filter(|(case, _)| case.mistake == Some(name)).collect()
    };
    let tried = planted.iter().map(|planted| (*planted, of(planted.name)));
    let (seen, unseen): (Vec<_>, Vec<_>) =
        tried.partition(|(_, tried)| tried.iter().any(|(_, found)| found.times > 0));
    let rows: String = seen.iter().map(|(planted, tried)| rows(planted, tried)).collect();
    let items: String = unseen.iter().map(|(planted, tried)| item(planted, tried)).collect();
    let rest = if items.is_empty() { "" } else { "\nNo lab test that was tried found these:\n\n" };
    format!(
        "\
| mistake | what goes wrong | test | found in | what it says |
|---|---|---|---|---|
{rows}{rest}{items}"
    )
}

/// The tests that were tried on a mistake.
type Tried<'a> = Vec<(&'a Case, &'a Found)>;

fn rows(planted: &Planted, tried: &Tried<'_>) -> String {
    let row = |(nth, (case, found)): (usize, &(&Case, &Found))| {
        let (name, what) = if nth == 0 { (planted.name, planted.what) } else { ("", "") };
        let (test, times, runs) = (case.test.short(), found.times, found.runs);
        let message = found.message();
        format!("| {name} | {what} | `{test}` | {times} of {runs} | {message} |\n")
    };
    tried.iter().enumerate().map(row).collect()
}

fn item(planted: &Planted, tried: &Tried<'_>) -> String {
    let test =
        |(case, found): &(&Case, &Found)| format!("`{}` ({} runs)", case.test.short(), found.runs);
    let tests: Vec<String> = tried.iter().map(test).collect();
    let tried = match tests[..] {
        [] => "No lab does what it takes".to_owned(),
        _ => format!("Tried: {}", tests.join(", ")),
    };
    format!("- **{}**: {}. {tried}.\n", planted.name, planted.what)
}

/// A message without what differs from run to run, so that the same ones can be counted; and
/// nothing in it that would end a cell of a table.
fn without_figures(message: &str) -> String {
    let mut text = String::new();
    for c in message.chars() {
        match c {
            '0'..='9' if text.ends_with('N') => {}
            '0'..='9' => text.push('N'),
            '|' => text.push('/'),
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::output::Output;
    use super::*;

    fn run(why: Option<&str>) -> Run {
        let outcome = why.map_or(Outcome::Passed, |why| Outcome::Failed {
            why: why.to_owned(),
            log: PathBuf::new(),
        });
        Run { outcome, took: Duration::ZERO, output: Output::default() }
    }

    #[test]
    fn a_table_tells_what_found_a_mistake_how_often_and_what_it_mostly_said() {
        let planted = CATALOGUE.iter().find(|planted| planted.tests.len() > 1).unwrap();
        let tests: Vec<Test> =
            planted.tests.iter().map(|short| Test::new(format!("suite::{short}"))).collect();
        let cases = cases(&[planted], Persister::Disk, &tests).unwrap();
        let mut found: Vec<Found> = cases.iter().map(|_| Found::default()).collect();
        let whys = [Some("index 3 | S1"), None, Some("another"), Some("index 44 | S2")];
        for why in whys {
            found[0].add(&run(why));
        }
        found[1].add(&run(None));
        let table = table(&[planted], &cases, &found);
        let lines: Vec<&str> = table.lines().collect();
        let (name, what, [first, second, ..]) = (planted.name, planted.what, planted.tests) else {
            panic!("two tests were asked for");
        };
        assert_eq!(lines[2], format!("| {name} | {what} | `{first}` | 3 of 4 | index N / SN |"));
        assert_eq!(lines[3], format!("|  |  | `{second}` | 0 of 1 |  |"));
    }

    #[test]
    fn a_mistake_that_nothing_found_is_listed_apart() {
        let planted = &CATALOGUE[0];
        let tests: Vec<Test> =
            planted.tests.iter().map(|short| Test::new(format!("suite::{short}"))).collect();
        let cases = cases(&[planted], Persister::Disk, &tests).unwrap();
        let mut found: Vec<Found> = cases.iter().map(|_| Found::default()).collect();
        found[0].add(&run(None));
        let table = table(&[planted], &cases, &found);
        assert!(table.contains(&format!("- **{}**: {}. Tried: ", planted.name, planted.what)));
    }

    #[cfg(feature = "mistakes")]
    #[test]
    fn the_catalogue_has_every_mistake() {
        let all = oarlock_raft::Mistake::ALL.iter().map(|mistake| format!("{mistake:?}"));
        assert!(all.eq(CATALOGUE.iter().map(|planted| planted.name.to_owned())));
    }

    #[test]
    fn names_are_of_the_catalogue() {
        assert_eq!(chosen(&[]).unwrap().len(), CATALOGUE.len());
        assert_eq!(chosen(&["votestwice".to_owned()]).unwrap()[0].name, "VotesTwice");
        let error = chosen(&["Nothing".to_owned()]).err().unwrap().to_string();
        assert!(error.contains("no mistake is named Nothing; there are "), "{error}");
    }
}
