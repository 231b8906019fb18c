//! The nodes of a round, each a process of its own.

use std::fs::OpenOptions;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::disk::SmallDisk;
use crate::network::{Links, Network};

/// How often what has no event of its own is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A cluster under test; its processes end with it.
pub(crate) struct Cluster {
    binary: PathBuf,
    dir: PathBuf,
    /// Those that are members, were, or may be: number 1 first.
    nodes: Vec<Node>,
    /// How many of them found the cluster; the others join it.
    founders: usize,
    /// The numbers of the members.
    members: Vec<usize>,
    /// Those of the nodes, in their order; empty if they use the machine's own.
    pub(crate) disks: Vec<SmallDisk>,
    pub(crate) links: Box<dyn Links>,
}

#[derive(Default)]
struct Node {
    child: Option<Child>,
    was_started: bool,
}

impl Cluster {
    /// Starts `founders` nodes, numbered from 1, with their data in `dir`, each on a small disk of its
    /// own if `small_disks` says so. As many as `spares` may join later.
    pub(crate) fn start(
        binary: &Path,
        dir: &Path,
        founders: usize,
        spares: usize,
        small_disks: bool,
        network: &Network,
    ) -> anyhow::Result<Self> {
        let ids = 1..=founders + spares;
        let nodes = ids.clone().map(|_| Node::default()).collect();
        let links = network.connect(founders + spares, dir)?;
        let mounts = ids.clone().filter(|_| small_disks);
        let disks = mounts.map(|id| SmallDisk::mount(&dir.join(format!("node-{id}"))));
        let disks = disks.collect::<anyhow::Result<_>>()?;
        let members: Vec<usize> = (1..=founders).collect();
        let (binary, dir) = (binary.to_owned(), dir.to_owned());
        let mut cluster = Self { binary, dir, nodes, founders, members, disks, links };
        for id in cluster.ids() {
            cluster.start_node(id)?;
        }
        Ok(cluster)
    }

    /// The numbers of the members.
    pub(crate) fn ids(&self) -> std::vec::IntoIter<usize> {
        self.members.clone().into_iter()
    }

    /// Where clients find the members, and those that may become some.
    pub(crate) fn client_addrs(&self) -> Vec<SocketAddr> {
        (1..=self.nodes.len()).map(|id| self.client_addr(id)).collect()
    }

    /// A number that no node has had yet.
    pub(crate) fn unused(&self) -> Option<usize> {
        let unused = |id: &usize| !self.nodes[id - 1].was_started;
        (1..=self.nodes.len()).find(unused)
    }

    /// From now on `id` is a member.
    pub(crate) fn has_joined(&mut self, id: usize) {
        self.members.push(id);
    }

    /// From now on `id` is no member any more.
    pub(crate) fn has_left(&mut self, id: usize) {
        self.members.retain(|&member| member != id);
    }

    pub(crate) fn client_addr(&self, id: usize) -> SocketAddr {
        self.links.client_addr(id)
    }

    pub(crate) fn dir_of(&self, id: usize) -> PathBuf {
        self.dir.join(format!("node-{id}")).join("data")
    }

    /// Starts a node that does not run.
    pub(crate) fn start_node(&mut self, id: usize) -> anyhow::Result<()> {
        if self.nodes[id - 1].child.is_some() {
            return Ok(());
        }
        let mut command = self.links.launch(id, &self.binary);
        command.args(["serve", "--stop-with-stdin", "--cluster-id", "7", "--id", &id.to_string()]);
        command.arg("--dir").arg(self.dir_of(id));
        command.args(["--client-addr", &self.links.client_addr(id).to_string()]);
        command.args(["--peer-addr", &self.links.peer_addr(id).to_string()]);
        if id <= self.founders {
            for other in (1..=self.founders).filter(|&other| other != id) {
                command.args(["--peer", &format!("{other}={}", self.links.address(id, other))]);
            }
        } else {
            let anybody = self.ids().next().context("a cluster has members")?;
            command.args(["--join", &self.client_addr(anybody).to_string()]);
        }
        let log = OpenOptions::new().create(true).append(true).open(self.log_of(id))?;
        // Standard input is a pipe that ends with us: a node never outlives its campaign.
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().with_context(|| format!("{}", self.binary.display()))?;
        self.nodes[id - 1] = Node { child: Some(child), was_started: true };
        Ok(())
    }

    /// Where a node writes what it has to say.
    pub(crate) fn log_of(&self, id: usize) -> PathBuf {
        self.dir.join(format!("node-{id}.log"))
    }

    /// The process of a node, if it runs.
    pub(crate) fn pid(&self, id: usize) -> Option<u32> {
        self.nodes[id - 1].child.as_ref().map(Child::id)
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self, id: usize) {
        if let Some(mut child) = self.nodes[id - 1].child.take() {
            // Fails only if it has ended already, and then there is nothing to kill.
            drop(child.kill());
            drop(child.wait());
        }
    }

    /// Sends a signal to a node, if it runs.
    pub(crate) fn signal(&self, id: usize, signal: Signal) {
        if let Some(child) = &self.nodes[id - 1].child {
            // Fails only if it has ended already.
            _ = kill_process(Pid::from_child(child), signal);
        }
    }

    /// Waits until a node has ended by itself, and forgets it.
    pub(crate) fn wait_for_end(
        &mut self,
        id: usize,
        limit: Duration,
    ) -> anyhow::Result<Option<ExitStatus>> {
        let deadline = Instant::now() + limit;
        loop {
            let Some(child) = &mut self.nodes[id - 1].child else { bail!("node {id} is down") };
            if let Some(status) = child.try_wait()? {
                self.nodes[id - 1].child = None;
                return Ok(Some(status));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    /// Whether a node has ended though nobody ended it; it is forgotten.
    pub(crate) fn has_ended(&mut self, id: usize) -> anyhow::Result<bool> {
        let Some(child) = &mut self.nodes[id - 1].child else { return Ok(false) };
        let ended = child.try_wait()?.is_some();
        if ended {
            self.nodes[id - 1].child = None;
        }
        Ok(ended)
    }

    /// The nodes that ended though nobody ended them.
    pub(crate) fn fallen(&mut self) -> anyhow::Result<Vec<usize>> {
        let mut fallen = Vec::new();
        for id in 1..=self.nodes.len() {
            if self.has_ended(id)? {
                fallen.push(id);
            }
        }
        Ok(fallen)
    }

    /// Tells all nodes to stop, and waits for them; a complaint for each that does not stop well.
    pub(crate) fn stop(&mut self, limit: Duration) -> anyhow::Result<Vec<String>> {
        for id in self.ids() {
            self.signal(id, Signal::TERM);
        }
        let mut complaints = Vec::new();
        for id in self.ids() {
            match self.wait_for_end(id, limit)? {
                Some(status) if status.success() => {}
                Some(status) => complaints.push(format!("node {id} stopped with {status}")),
                None => complaints.push(format!("node {id} did not stop within {limit:?}")),
            }
        }
        Ok(complaints)
    }

    /// Runs the program under test to its end.
    pub(crate) fn program(&self, args: &[&str]) -> anyhow::Result<Output> {
        Ok(self.spawn(args)?.wait_with_output()?)
    }

    /// Runs the program under test.
    pub(crate) fn spawn(&self, args: &[&str]) -> anyhow::Result<Child> {
        let mut command = Command::new(&self.binary);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().with_context(|| format!("{} {}", self.binary.display(), args.join(" ")))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        (1..=self.nodes.len()).for_each(|id| self.kill(id));
    }
}
