//! One run of one test: a process of its own, with a limit to its time and a log that is kept if the
//! run failed.
//!
//! A thread blocks in `waitid` until the process has ended, without reaping it: until then its
//! number belongs to nobody else, and can be killed.

use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use crossbeam_channel::{Receiver, after, bounded, select};
use rustix::io::retry_on_intr;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::choose::Test;
use super::output::Output;

/// Where servers keep what must survive a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Persister {
    Disk,
    Memory,
}

impl Persister {
    /// As the harness spells it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Memory => "memory",
        }
    }
}

/// A test, and what it runs on.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) test: Test,
    pub(crate) persister: Persister,
    /// The mistake that this run's Raft makes, if it makes one of its own.
    pub(crate) mistake: Option<&'static str>,
}

impl Case {
    fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        let mistake = self.mistake.map(|mistake| ("OARLOCK_MISTAKE", mistake));
        [("OARLOCK_PERSISTER", self.persister.name())].into_iter().chain(mistake)
    }

    /// A name for its logs.
    fn file_name(&self) -> String {
        let mistake = self.mistake.map(|mistake| format!("{mistake}-")).unwrap_or_default();
        format!("{mistake}{}-{}", self.test.short(), self.persister.name())
    }
}

/// What all runs have in common.
pub(crate) struct Setting {
    /// The test binary.
    pub(crate) binary: PathBuf,
    /// Variables of the environment besides `OARLOCK_PERSISTER`.
    pub(crate) variables: Vec<(&'static str, String)>,
    /// The folder for the logs of runs that failed.
    pub(crate) logs: PathBuf,
    /// A run that takes longer is killed.
    pub(crate) limit: Duration,
    /// Start no more runs once one has failed.
    pub(crate) fail_fast: bool,
}

/// A run that is over.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) outcome: Outcome,
    /// From the start of the process to its end.
    pub(crate) took: Duration,
    pub(crate) output: Output,
}

impl Run {
    pub(crate) fn has_failed(&self) -> bool {
        matches!(self.outcome, Outcome::Failed { .. })
    }
}

#[derive(Debug)]
pub(crate) enum Outcome {
    Passed,
    Failed {
        why: String,
        /// What the run printed.
        log: PathBuf,
    },
}

/// How the waiting for a process ended.
enum Waited {
    Exited,
    TimedOut,
    Stopped,
}

impl Setting {
    /// Runs `case` for the `round`th time. None if `stop` was disconnected before it was over.
    ///
    /// # Errors
    ///
    /// If the process cannot be started, or its log not be written: nothing is known of the test.
    pub(crate) fn run(
        &self,
        case: &Case,
        round: u32,
        stop: &Receiver<()>,
    ) -> anyhow::Result<Option<Run>> {
        let own = std::process::id();
        let name = format!("{}-{round}", case.file_name());
        let log = self.logs.join(format!("{name}.{own}.running"));
        let scratch = Scratch::make(&format!("oarlock-lab-{own}-{name}"))?;
        let mut command = self.command(case);
        let out = create_log(&log, &self.shell_line(case))
            .with_context(|| format!("{} cannot be written", log.display()))?;
        let began = Instant::now();
        let mut child = command
            .env("TMPDIR", &scratch.0)
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            // Ctrl-C is for us: a group of its own is killed when we say so.
            .process_group(0)
            .spawn()
            .with_context(|| format!("{} does not start", self.binary.display()))?;
        let (waited, status) = wait(&mut child, self.limit, stop)?;
        let took = began.elapsed();
        if matches!(waited, Waited::Stopped) {
            fs::remove_file(&log)?;
            return Ok(None);
        }
        let output = Output::read(BufReader::new(File::open(&log)?))?;
        let Some(why) = self.why_failed(&waited, status, &output) else {
            fs::remove_file(&log)?;
            return Ok(Some(Run { outcome: Outcome::Passed, took, output }));
        };
        let kept = keep(&log, &self.logs, &name, output.seed)?;
        Ok(Some(Run { outcome: Outcome::Failed { why, log: kept }, took, output }))
    }

    fn command(&self, case: &Case) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .args(["--exact", &case.test.name, "--nocapture", "--test-threads=1"])
            .envs(case.variables())
            .envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// The command as one would type it.
    fn shell_line(&self, case: &Case) -> String {
        let variables = case
            .variables()
            .chain(self.variables.iter().map(|(name, value)| (*name, value.as_str())))
            .map(|(name, value)| format!("{name}={value} "));
        format!(
            "{}{} --exact {} --nocapture --test-threads=1",
            variables.collect::<String>(),
            self.binary.display(),
            case.test.name
        )
    }

    fn why_failed(&self, waited: &Waited, status: ExitStatus, output: &Output) -> Option<String> {
        if matches!(waited, Waited::TimedOut) {
            return Some(format!("timed out: killed after {:?}", self.limit));
        }
        if !status.success() {
            return Some(output.why.clone().unwrap_or_else(|| status.to_string()));
        }
        (!output.passed).then(|| "the test binary ended well without running the test".to_owned())
    }
}

/// A folder for a run's temporary files: a run that is killed cannot remove them.
struct Scratch(PathBuf);

impl Scratch {
    fn make(name: &str) -> anyhow::Result<Self> {
        let dir = std::env::temp_dir().join(name);
        fs::create_dir(&dir).with_context(|| format!("{} cannot be made", dir.display()))?;
        Ok(Self(dir))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left of it does no harm but take room.
        drop(fs::remove_dir_all(&self.0));
    }
}

fn create_log(log: &Path, headline: &str) -> std::io::Result<File> {
    let mut file = OpenOptions::new().append(true).create(true).open(log)?;
    file.set_len(0)?;
    writeln!(file, "{headline}")?;
    Ok(file)
}

/// Gives the log of a failed run its final name, which overwrites no other.
fn keep(log: &Path, logs: &Path, name: &str, seed: Option<u64>) -> std::io::Result<PathBuf> {
    let seed = seed.map(|seed| format!("-seed-{seed}")).unwrap_or_default();
    let names = (1..).map(|copy| match copy {
        1 => logs.join(format!("{name}{seed}.log")),
        _ => logs.join(format!("{name}{seed}-again-{copy}.log")),
    });
    for kept in names {
        // A link, unlike a rename, fails where another log is.
        match fs::hard_link(log, &kept) {
            Ok(()) => {
                fs::remove_file(log)?;
                return Ok(kept);
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    unreachable!("there is always another number")
}

/// Waits until the child has ended by itself, or kills it.
fn wait(
    child: &mut Child,
    limit: Duration,
    stop: &Receiver<()>,
) -> anyhow::Result<(Waited, ExitStatus)> {
    let pid = Pid::from_child(child);
    let (ended, exited) = bounded::<()>(0);
    let thread = thread::Builder::new().name("lab-wait".to_owned()).spawn(move || {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        // It fails for no child of ours; and if it did, the reaping below would wait just as well.
        let _ = retry_on_intr(|| waitid(WaitId::Pid(pid), options));
        drop(ended);
    })?;
    let waited = select! {
        recv(exited) -> _ => Waited::Exited,
        recv(after(limit)) -> _ => Waited::TimedOut,
        recv(stop) -> _ => Waited::Stopped,
    };
    if !matches!(waited, Waited::Exited) {
        // It may have ended in this moment; not reaped, it is still there to be killed.
        kill_process_group(pid, Signal::KILL)?;
    }
    thread.join().expect("the waiter does not panic");
    Ok((waited, child.wait()?))
}
