//! One `oarlock serve` process, as `oarlock cluster` runs it.

use std::fs::OpenOptions;
use std::io;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::member::Member;

/// How long a node gets to stop by itself.
const STOPS_WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// One node of a local cluster: what it is started with, and its process.
pub(crate) struct NodeProcess {
    pub(crate) member: Member,
    pub(crate) client_addr: String,
    pub(crate) dir: PathBuf,
    /// What it writes to standard error.
    pub(crate) log: PathBuf,
    args: Vec<String>,
    child: Child,
    /// Set once it has ended and that was reported.
    ended: bool,
}

impl NodeProcess {
    /// Starts node `member` with its directory in `dir`.
    pub(crate) fn start(
        dir: &std::path::Path,
        member: &Member,
        others: &[Member],
        cluster_id: u64,
    ) -> anyhow::Result<Self> {
        let node_dir = dir.join(format!("node-{}", member.id));
        let log = dir.join(format!("node-{}.log", member.id));
        let client_addr = member.client_addr.clone().expect("a local node has a client address");
        let mut args: Vec<String> = ["serve", "--id"].map(str::to_owned).to_vec();
        args.push(member.id.to_string());
        args.extend(["--dir".to_owned(), node_dir.display().to_string()]);
        args.extend(["--client-addr".to_owned(), client_addr.clone()]);
        args.extend(["--peer-addr".to_owned(), member.peer_addr.clone()]);
        for other in others.iter().filter(|other| other.id != member.id) {
            args.extend(["--peer".to_owned(), other.to_string()]);
        }
        args.extend(["--cluster-id".to_owned(), cluster_id.to_string()]);
        let stderr = OpenOptions::new().create(true).append(true).open(&log);
        let stderr = stderr.with_context(|| format!("cannot write {}", log.display()))?;
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        let child = Command::new(program)
            .args(&args)
            .arg("--stop-with-stdin")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .with_context(|| format!("cannot start node {}", member.id))?;
        Ok(Self {
            member: member.clone(),
            client_addr,
            dir: node_dir,
            log,
            args,
            child,
            ended: false,
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The command that starts this node again.
    pub(crate) fn command_line(&self) -> String {
        let quoted = |arg: &String| {
            if arg.contains(' ') { format!("'{arg}'") } else { arg.clone() }
        };
        format!("oarlock {}", self.args.iter().map(quoted).collect::<Vec<_>>().join(" "))
    }

    pub(crate) fn is_running(&self) -> bool {
        !self.ended
    }

    /// How it ended, if it has since this was last asked.
    pub(crate) fn just_ended(&mut self) -> io::Result<Option<ExitStatus>> {
        if self.ended {
            return Ok(None);
        }
        let status = self.child.try_wait()?;
        self.ended = status.is_some();
        Ok(status)
    }

    /// The last line it wrote: why it ended, if it did so by itself.
    pub(crate) fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        text.lines().next_back().unwrap_or("it said nothing").to_owned()
    }

    /// Tells it to stop: the end of its input does.
    pub(crate) fn ask_to_stop(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Waits for its end, and ends it the hard way if it takes too long. Returns whether it
    /// stopped by itself.
    pub(crate) fn wait(&mut self) -> io::Result<bool> {
        let deadline = Instant::now() + STOPS_WITHIN;
        while self.child.try_wait()?.is_none() {
            if Instant::now() >= deadline {
                self.child.kill()?;
                self.child.wait()?;
                return Ok(false);
            }
            std::thread::sleep(LOOK_EVERY);
        }
        self.ended = true;
        Ok(true)
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        self.ask_to_stop();
        // Nobody is left to tell: a process that cannot be waited for is gone.
        drop(self.wait());
    }
}
