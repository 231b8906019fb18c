//! What is done to a cluster, as a seed has it.

mod members;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use fastrand::Rng;
use rustix::process::Signal;

use crate::cluster::Cluster;
use crate::disk::can_mount;
use crate::network::{Network, find_program};

/// How long a node may take to stop, that is told to or whose disk fails.
const STOPS_WITHIN: Duration = Duration::from_secs(10);

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Kind {
    /// `kill -9`: one node, a majority, or all.
    Kill,
    /// Told to stop (SIGTERM), and started again: one node, a majority, or all.
    Stop,
    /// SIGSTOP, and SIGCONT some time later: to the node, its clock jumps.
    Pause,
    /// Two groups that do not hear each other.
    Partition,
    /// Two nodes that do not hear each other, though both hear the rest.
    Pair,
    /// A node that others hear, but that does not hear them, or the other way round.
    OneWay,
    /// Links of one node take longer.
    Slow,
    /// Connections break.
    Reset,
    /// A sync fails: the node must stop, and says so.
    Sync,
    /// Disks are full for a while. Needs the right to mount; then one round in three has small
    /// disks in memory for it.
    Full,
    /// A new node takes the place of another, or joins before another leaves. Needs namespaces.
    Members,
    /// A node that neither nodes nor clients reach; it may be killed meanwhile, and nobody is told.
    /// Needs namespaces.
    Unplug,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 12] = [
        Self::Kill,
        Self::Stop,
        Self::Pause,
        Self::Partition,
        Self::Pair,
        Self::OneWay,
        Self::Slow,
        Self::Reset,
        Self::Sync,
        Self::Full,
        Self::Members,
        Self::Unplug,
    ];

    /// As it is counted.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Stop => "stop",
            Self::Pause => "pause",
            Self::Partition => "partition",
            Self::Pair => "pair",
            Self::OneWay => "one-way",
            Self::Slow => "slow",
            Self::Reset => "reset",
            Self::Sync => "sync",
            Self::Full => "full",
            Self::Members => "members",
            Self::Unplug => "unplug",
        }
    }

    /// Whether it is something between two nodes.
    pub(crate) fn takes_two(self) -> bool {
        matches!(self, Self::Partition | Self::Pair | Self::OneWay | Self::Slow | Self::Reset)
    }

    /// Whether this machine can make it on that network; `dir` is where clusters are kept.
    pub(crate) fn is_possible(self, dir: &Path, network: &Network) -> bool {
        match self {
            Self::Sync => find_program("strace").is_some(),
            Self::Full => can_mount(dir),
            // The members tell each other where a new one is, past the proxies; clients go past them.
            Self::Members | Self::Unplug => *network == Network::Namespaces,
            _ => true,
        }
    }
}

/// The faults of one round.
pub(crate) struct Faults<'a> {
    pub(crate) kinds: Vec<Kind>,
    pub(crate) rng: Rng,
    pub(crate) cluster: &'a mut Cluster,
    pub(crate) counts: BTreeMap<Kind, u64>,
    /// What nodes did that they must not do.
    pub(crate) complaints: Vec<String>,
}

impl Faults<'_> {
    /// Makes faults, one after the other, and mends each, until `deadline`.
    pub(crate) fn run(&mut self, deadline: Instant) -> anyhow::Result<()> {
        while Instant::now() < deadline && !self.kinds.is_empty() {
            self.wait(200, 1500);
            let kind = self.kinds[self.rng.usize(..self.kinds.len())];
            if kind == Kind::Members && self.cluster.unused().is_none() {
                // A number is never used again; this round has had them all.
                self.kinds.retain(|&kind| kind != Kind::Members);
                continue;
            }
            *self.counts.entry(kind).or_default() += 1;
            match kind {
                Kind::Kill => self.kill()?,
                Kind::Stop => self.stop()?,
                Kind::Pause => self.pause(),
                Kind::Partition => self.partition()?,
                Kind::Pair => self.pair()?,
                Kind::OneWay => self.one_way()?,
                Kind::Slow => self.slow()?,
                Kind::Reset => self.reset()?,
                Kind::Sync => self.fail_sync()?,
                Kind::Full => self.fill()?,
                Kind::Members => self.change_members()?,
                Kind::Unplug => self.unplug()?,
            }
            self.cluster.links.heal()?;
            for id in self.cluster.fallen()? {
                self.complaints.push(format!("node {id} ended by itself (after {})", kind.name()));
                self.cluster.start_node(id)?;
            }
        }
        Ok(())
    }

    fn wait(&mut self, from_ms: u64, to_ms: u64) {
        thread::sleep(Duration::from_millis(self.rng.u64(from_ms..=to_ms)));
    }

    /// For as long as links are cut: now and then until connections over them are given up.
    fn while_cut(&mut self) {
        if self.rng.u32(..8) == 0 { self.wait(5000, 9000) } else { self.wait(300, 4000) }
    }

    fn some_node(&mut self) -> usize {
        let ids: Vec<usize> = self.cluster.ids().collect();
        ids[self.rng.usize(..ids.len())]
    }

    /// One node often, a majority sometimes, all of them now and then.
    fn some_nodes(&mut self) -> Vec<usize> {
        let mut ids: Vec<usize> = self.cluster.ids().collect();
        self.rng.shuffle(&mut ids);
        let count = match self.rng.u32(..10) {
            0..7 => 1,
            7..9 => ids.len() / 2 + 1,
            _ => ids.len(),
        };
        ids.truncate(count);
        ids
    }

    fn kill(&mut self) -> anyhow::Result<()> {
        let victims = self.some_nodes();
        for &id in &victims {
            self.cluster.kill(id);
        }
        for id in victims {
            self.wait(0, 1500);
            self.cluster.start_node(id)?;
        }
        Ok(())
    }

    fn stop(&mut self) -> anyhow::Result<()> {
        let victims = self.some_nodes();
        for &id in &victims {
            self.cluster.signal(id, Signal::TERM);
        }
        for id in victims {
            match self.cluster.wait_for_end(id, STOPS_WITHIN)? {
                Some(status) if status.success() => {}
                Some(status) => self.complaints.push(format!("node {id} stopped with {status}")),
                None => {
                    let late = format!("node {id} does not stop within {STOPS_WITHIN:?}");
                    self.complaints.push(late);
                    self.cluster.kill(id);
                }
            }
            self.wait(0, 1500);
            self.cluster.start_node(id)?;
        }
        Ok(())
    }

    fn pause(&mut self) {
        let victims = self.some_nodes();
        for &id in &victims {
            self.cluster.signal(id, Signal::STOP);
        }
        self.wait(100, 3000);
        for &id in &victims {
            self.cluster.signal(id, Signal::CONT);
        }
    }

    fn partition(&mut self) -> anyhow::Result<()> {
        let mut ids: Vec<usize> = self.cluster.ids().collect();
        self.rng.shuffle(&mut ids);
        let (some, others) = ids.split_at(self.rng.usize(1..ids.len().max(2)));
        let pairs = some.iter().flat_map(|&one| others.iter().map(move |&other| (one, other)));
        self.cluster.links.cut(&both_ways(pairs))?;
        self.while_cut();
        Ok(())
    }

    fn pair(&mut self) -> anyhow::Result<()> {
        let pair = self.some_pair();
        self.cluster.links.cut(&both_ways([pair]))?;
        self.while_cut();
        Ok(())
    }

    fn one_way(&mut self) -> anyhow::Result<()> {
        let node = self.some_node();
        let hears = self.rng.bool();
        let others = self.cluster.ids().filter(|&other| other != node);
        let links: Vec<_> =
            others.map(|other| if hears { (node, other) } else { (other, node) }).collect();
        self.cluster.links.cut(&links)?;
        self.while_cut();
        Ok(())
    }

    fn slow(&mut self) -> anyhow::Result<()> {
        let node = self.some_node();
        let delay = Duration::from_millis(self.rng.u64(2..=120));
        let others = self.cluster.ids().filter(|&other| other != node);
        self.cluster.links.slow(&both_ways(others.map(|other| (node, other))), delay)?;
        self.wait(500, 4000);
        Ok(())
    }

    fn unplug(&mut self) -> anyhow::Result<()> {
        let node = self.some_node();
        self.cluster.links.unplug(node)?;
        let dies = self.rng.bool();
        if dies {
            self.wait(0, 500);
            self.cluster.kill(node);
        }
        self.while_cut();
        self.cluster.links.heal()?;
        self.cluster.start_node(node)
    }

    fn reset(&mut self) -> anyhow::Result<()> {
        let (one, other) = self.some_pair();
        self.cluster.links.reset(one, other)
    }

    fn fill(&mut self) -> anyhow::Result<()> {
        let victims = self.some_nodes();
        for &id in &victims {
            self.cluster.disks[id - 1].fill()?;
        }
        self.wait(500, 5000);
        victims.iter().try_for_each(|&id| self.cluster.disks[id - 1].empty())
    }

    fn some_pair(&mut self) -> (usize, usize) {
        let mut ids: Vec<usize> = self.cluster.ids().collect();
        self.rng.shuffle(&mut ids);
        (ids[0], ids[1])
    }

    /// From now on every sync of a node fails: it must stop by itself, and not with success.
    fn fail_sync(&mut self) -> anyhow::Result<()> {
        let id = self.some_node();
        let Some(pid) = self.cluster.pid(id) else { return Ok(()) };
        let mut strace = fail_syncs_of(pid)?;
        let end = self.cluster.wait_for_end(id, STOPS_WITHIN)?;
        drop(strace.kill());
        strace.wait()?;
        match end {
            Some(status) if status.success() => {
                self.complaints
                    .push(format!("node {id}: its syncs fail, and it ends with success"));
            }
            Some(_) => {}
            // Without anything to write there is no sync.
            None => self.cluster.kill(id),
        }
        self.wait(0, 1000);
        self.cluster.start_node(id)
    }
}

/// The links between the nodes of each pair.
fn both_ways(pairs: impl IntoIterator<Item = (usize, usize)>) -> Vec<(usize, usize)> {
    pairs.into_iter().flat_map(|(one, other)| [(one, other), (other, one)]).collect()
}

fn fail_syncs_of(pid: u32) -> anyhow::Result<Child> {
    let pid = pid.to_string();
    Command::new("strace")
        .args(["-f", "-qq", "-o"])
        .arg(Path::new("/dev/null"))
        .args(["-e", "trace=fdatasync,fsync,pwritev2"])
        .args(["-e", "inject=fdatasync,fsync,pwritev2:error=EIO", "-p", &pid])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("strace does not start")
}
