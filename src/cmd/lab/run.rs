//! `oarlock lab run`: from the command line through the build and the runs to the exit code.

use std::fs;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};

use super::choose::{Test, choose};
use super::job::{Case, Persister, Setting};
use super::page::{Made, page};
use super::pool::{Ended, work_off};
use super::progress::Progress;
use super::schedule::Schedule;
use super::summary::summary;
use super::tally::Tally;
use super::{binary, course};
use crate::cmd::signals::stop_requests;

/// Of a test that the course says nothing of.
const EXPECTED_SECONDS: f64 = 10.0;

/// Run tests of the lab suites, many times if you like, several at a time.
///
/// Each run of a test is a process of its own. The logs of runs that fail are kept, the others are
/// not. Rounds interleave: every test has run once before one runs twice. Ctrl-C ends it, and what
/// has run so far is told.
///
/// Variables of the environment that no option sets are handed on as they are.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  oarlock lab run 2A                             each test of part 2A once
  oarlock lab run 2C --times 100 --jobs 4        part 2C a hundred times, four tests at a time
  oarlock lab run figure_8 --trace VOTE,LEAD     tests by a piece of their name, with a trace
  oarlock lab run all --persister both           everything, on disk and in memory
  oarlock lab run all --table results.md         … and a page of it, beside the course's figures
  oarlock lab run 2B --mistake NAME --times 5    whether a mistake on purpose is found")]
pub(crate) struct Args {
    /// What to run: parts such as 2A or 3b, `all`, or pieces of test names (ours, or the Go tests').
    #[arg(required = true, value_name = "PART|TEST")]
    what: Vec<String>,
    /// How often to run each test.
    #[arg(long, default_value = "1", value_name = "N")]
    times: NonZeroU32,
    /// How many tests run at the same time [default: the number of processor cores].
    #[arg(long, value_name = "J")]
    jobs: Option<NonZeroUsize>,
    /// Where servers keep what must survive a crash.
    #[arg(long, value_enum, default_value = "disk")]
    persister: Persisters,
    /// The seed of every run's random choices [default: a fresh one for each run].
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Topics to trace into the logs: `VOTE,LEAD`, or `all`.
    #[arg(long, value_name = "TOPICS")]
    trace: Option<String>,
    /// Which Raft the tests of 2A to 2D are for: a name that the suites know, such as `oarlock`, `toy`
    /// or one of your own.
    #[arg(long, value_name = "NAME")]
    raft: Option<String>,
    /// Test a Raft that makes this mistake, to see whether the suites find it.
    #[arg(long, value_name = "NAME")]
    mistake: Option<String>,
    /// How long a check for linearizability may take, in seconds.
    #[arg(long, value_name = "S", value_parser = check_seconds)]
    check_seconds: Option<String>,
    /// A check for linearizability that runs out of time fails its test.
    #[arg(long)]
    strict: bool,
    /// Kill a run that takes longer than so many seconds: it has failed.
    #[arg(long, default_value = "180", value_name = "S")]
    limit: NonZeroU32,
    /// Start no more runs after the first failure.
    #[arg(long)]
    fail_fast: bool,
    /// The folder for the logs of runs that fail.
    #[arg(long, default_value = "lab-logs", value_name = "DIR")]
    logs: PathBuf,
    /// Write the results, beside the course's figures, into this file, a page of Markdown.
    #[arg(long, value_name = "FILE")]
    table: Option<PathBuf>,
    /// A test binary to run, instead of building the one of the current directory.
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Persisters {
    Disk,
    Memory,
    Both,
}

impl Persisters {
    fn each(self) -> &'static [Persister] {
        match self {
            Self::Disk => &[Persister::Disk],
            Self::Memory => &[Persister::Memory],
            Self::Both => &[Persister::Disk, Persister::Memory],
        }
    }
}

impl Args {
    fn variables(&self) -> Vec<(&'static str, String)> {
        let strict = self.strict.then(|| "1".to_owned());
        [
            ("OARLOCK_SEED", self.seed.map(|seed| seed.to_string())),
            ("OARLOCK_TRACE", self.trace.clone()),
            ("OARLOCK_RAFT", self.raft.clone()),
            ("OARLOCK_MISTAKE", self.mistake.clone()),
            ("OARLOCK_CHECK_SECONDS", self.check_seconds.clone()),
            ("OARLOCK_CHECK_STRICT", strict),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
    }

    /// The options that a failing run needs again, besides its persister and its seed.
    fn repeated_options(&self) -> String {
        let named = [
            ("raft", self.raft.as_ref()),
            ("mistake", self.mistake.as_ref()),
            ("check-seconds", self.check_seconds.as_ref()),
        ];
        let named = named.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let options = named.map(|(name, value)| format!(" --{name} {value}"));
        options.chain(self.strict.then(|| " --strict".to_owned())).collect()
    }

    fn cases(&self, tests: &[Test]) -> Vec<Case> {
        let on_each = |test: &Test| {
            let test = test.clone();
            self.persister.each().iter().map(move |&persister| Case {
                test: test.clone(),
                persister,
                mistake: None,
            })
        };
        tests.iter().flat_map(on_each).collect()
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let stop_requests = stop_requests()?;
    let binary = match &args.binary {
        Some(binary) => binary.clone(),
        None => binary::build(args.mistake.is_some())?,
    };
    if let Some(folder) = args.table.as_deref().and_then(Path::parent) {
        // Better said now than after hours.
        let is_there = folder.as_os_str().is_empty() || folder.is_dir();
        ensure!(is_there, "there is no folder {} for the page", folder.display());
    }
    let cases = args.cases(&choose(&binary::tests(&binary)?, &args.what)?);
    let jobs = match args.jobs {
        Some(jobs) => jobs,
        None => thread::available_parallelism()?,
    };
    let logs = &args.logs;
    fs::create_dir_all(logs).with_context(|| format!("{} cannot be made", logs.display()))?;
    let limit = Duration::from_secs(args.limit.get().into());
    let setting = Setting {
        binary,
        variables: args.variables(),
        logs: logs.clone(),
        limit,
        fail_fast: args.fail_fast,
    };
    let schedule = Schedule::new(cases.iter().map(expected).collect(), args.times.get());

    let total = args.times.get().saturating_mul(cases.len() as u32);
    let mut progress = Progress::new(total);
    let mut tally = Tally::new(cases.clone());
    let ended = work_off(&setting, &cases, &schedule, jobs, &stop_requests, |next, run| {
        tally.add(next, run);
        progress.on_run(&tally, next, run);
    })?;
    progress.erase();
    print!("{}", summary(&tally, progress.elapsed(), &args.repeated_options()));
    if let Some(table) = args.table.as_ref().filter(|_| ended == Ended::Done) {
        let cores = thread::available_parallelism()?.get();
        let (command, elapsed) = (command_line(), progress.elapsed());
        let page = page(&tally, &Made { command, jobs: jobs.get(), cores, elapsed });
        fs::write(table, page).with_context(|| format!("{} cannot be written", table.display()))?;
    }
    // Only an empty folder goes away.
    drop(fs::remove_dir(logs));
    let done = tally.passed() + tally.failed();
    match (ended, tally.failed()) {
        (Ended::Interrupted, _) => bail!("interrupted after {done} of {total} runs"),
        (Ended::Done, 0) => Ok(()),
        (Ended::Done, failed) => bail!("{failed} of {done} runs failed"),
    }
}

/// A number of seconds, whole or not.
fn check_seconds(text: &str) -> Result<String, String> {
    match text.parse().map(Duration::try_from_secs_f64) {
        Ok(Ok(_)) => Ok(text.to_owned()),
        _ => Err("expected a number of seconds, such as 10 or 0.5".to_owned()),
    }
}

/// As it was typed, but for the way to the program.
pub(super) fn command_line() -> String {
    let args = std::env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned());
    std::iter::once("oarlock".to_owned()).chain(args).collect::<Vec<_>>().join(" ")
}

/// How long a case takes, as far as the course knows.
pub(super) fn expected(case: &Case) -> Duration {
    let seconds = course::test(case.test.short()).map(|test| test.sample.seconds());
    Duration::from_secs_f64(seconds.unwrap_or(EXPECTED_SECONDS))
}
