//! The nodes of a round, each a process of its own.

use std::fs::OpenOptions;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
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
    nodes: Vec<Node>,
    /// Those of the nodes, in their order; empty if they use the machine's own.
    pub(crate) disks: Vec<SmallDisk>,
    pub(crate) links: Box<dyn Links>,
}

#[derive(Default)]
struct Node {
    child: Option<Child>,
}

impl Cluster {
    /// Starts `count` nodes, numbered from 1, with their data in `dir`, each on a small disk of its
    /// own if `small_disks` says so.
    pub(crate) fn start(
        binary: &Path,
        dir: &Path,
        count: usize,
        small_disks: bool,
        network: &Network,
    ) -> anyhow::Result<Self> {
        let ids = 1..=count;
        let nodes = ids.clone().map(|_| Node::default()).collect();
        let links = network.connect(count, dir)?;
        let mounts = ids.clone().filter(|_| small_disks);
        let disks = mounts.map(|id| SmallDisk::mount(&dir.join(format!("node-{id}"))));
        let disks = disks.collect::<anyhow::Result<_>>()?;
        let mut cluster =
            Self { binary: binary.to_owned(), dir: dir.to_owned(), nodes, disks, links };
        for id in ids {
            cluster.start_node(id)?;
        }
        Ok(cluster)
    }

    /// The numbers of the nodes.
    pub(crate) fn ids(&self) -> std::ops::RangeInclusive<usize> {
        1..=self.nodes.len()
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
        for other in self.ids().filter(|&other| other != id) {
            command.args(["--peer", &format!("{other}={}", self.links.address(id, other))]);
        }
        let log = self.dir.join(format!("node-{id}.log"));
        let log = OpenOptions::new().create(true).append(true).open(log)?;
        // Standard input is a pipe that ends with us: a node never outlives its campaign.
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().with_context(|| format!("{}", self.binary.display()))?;
        self.nodes[id - 1].child = Some(child);
        Ok(())
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

    /// The nodes that ended though nobody ended them.
    pub(crate) fn fallen(&mut self) -> anyhow::Result<Vec<usize>> {
        let mut fallen = Vec::new();
        for (node, id) in self.nodes.iter_mut().zip(1..) {
            if let Some(child) = &mut node.child
                && child.try_wait()?.is_some()
            {
                node.child = None;
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
    pub(crate) fn program(&self, args: &[&str]) -> anyhow::Result<std::process::Output> {
        let output = Command::new(&self.binary).args(args).stdin(Stdio::null()).output();
        output.with_context(|| format!("{} {}", self.binary.display(), args.join(" ")))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.ids().for_each(|id| self.kill(id));
    }
}
