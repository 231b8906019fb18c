//! Clusters of processes: Oarlock's, etcd's, ZooKeeper's, and the skeleton's.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::skeleton;
use crate::way::Ways;

/// How long a cluster may take to answer.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// The library that Debian's package has, which names all others that it needs.
const ZOOKEEPER_JAR: &str = "/usr/share/java/zookeeper.jar";

/// Whose nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum System {
    Oarlock,
    Etcd,
    ZooKeeper,
    /// No store, but what one cannot do without.
    Skeleton,
}

impl System {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Oarlock => "Oarlock",
            Self::Etcd => "etcd",
            Self::ZooKeeper => "ZooKeeper",
            Self::Skeleton => "skeleton",
        }
    }

    /// What its nodes speak, by the load's name for that.
    pub(crate) fn speaks(self) -> &'static str {
        match self {
            Self::Oarlock | Self::Skeleton => "redis",
            Self::Etcd => "etcd",
            Self::ZooKeeper => "zookeeper",
        }
    }

    /// The version that is installed, if it is.
    pub(crate) fn version(self) -> Option<String> {
        let mut command = match self {
            Self::Oarlock => Command::new(env!("CARGO_BIN_EXE_oarlock")),
            Self::Etcd => Command::new("etcd"),
            Self::ZooKeeper => java("org.apache.zookeeper.version.VersionInfoMain"),
            Self::Skeleton => return None,
        };
        if self != Self::ZooKeeper {
            command.arg("--version");
        }
        let output = command.output().ok().filter(|output| output.status.success())?;
        let text = String::from_utf8_lossy(&output.stdout);
        let line = text.lines().next()?;
        let line = line.replace("etcd Version: ", "etcd ");
        // When it was built stands behind.
        let line = line.replace("Apache ZooKeeper, version ", "ZooKeeper ");
        Some(line.split(' ').take(2).collect::<Vec<_>>().join(" "))
    }
}

/// One of ZooKeeper's programs, with the class path that Debian's scripts have.
fn java(class: &str) -> Command {
    let mut command = Command::new("java");
    command.args(["-cp", ZOOKEEPER_JAR, class]);
    command
}

/// A running cluster; killed with this value.
pub(crate) struct Nodes {
    pub(crate) system: System,
    dir: PathBuf,
    clients: Vec<u16>,
    peers: Vec<u16>,
    /// Where ZooKeeper's nodes elect, which they do apart.
    elections: Vec<u16>,
    children: Vec<Option<Child>>,
    /// The ways from each node to each, by pairs, if they are far from each other.
    ways: Option<Ways>,
    /// Further arguments of each node.
    flags: Vec<String>,
}

/// The memory that a process takes, as `/proc` counts it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Resident {
    pub(crate) own_bytes: u64,
    pub(crate) file_bytes: u64,
}

impl Nodes {
    /// Starts a new cluster of `size` nodes, and waits until it answers.
    pub(crate) fn start(system: System, size: usize, dir: &Path) -> Self {
        Self::start_apart(system, size, dir, Duration::ZERO)
    }

    /// Starts a cluster of three of Oarlock's, each with further arguments.
    pub(crate) fn start_with(flags: &[&str], dir: &Path) -> Self {
        let flags = flags.iter().map(ToString::to_string).collect();
        Self::start_as(System::Oarlock, 3, dir, Duration::ZERO, flags)
    }

    /// The same, where a message takes as long as `delay` from one node to another.
    pub(crate) fn start_apart(system: System, size: usize, dir: &Path, delay: Duration) -> Self {
        Self::start_as(system, size, dir, delay, Vec::new())
    }

    fn start_as(
        system: System,
        size: usize,
        dir: &Path,
        delay: Duration,
        flags: Vec<String>,
    ) -> Self {
        let mut ports = free_ports(size * 3);
        let elections = ports.split_off(size * 2);
        let peers = ports.split_off(size);
        let dir = dir.join(format!("{}-{}", system.name(), ports[0]));
        std::fs::create_dir_all(&dir).expect("a folder for data");
        let children = (0..size).map(|_| None).collect();
        let targets: Vec<u16> = (0..size).flat_map(|_| peers.iter().copied()).collect();
        let ways = (delay > Duration::ZERO).then(|| Ways::start(&targets, delay));
        let ways = ways.transpose().expect("there are ports and threads");
        let mut nodes =
            Self { system, dir, clients: ports, peers, elections, children, ways, flags };
        (0..size).for_each(|node| nodes.start_node(node));
        nodes.wait_until_ready();
        nodes
    }

    /// Starts a node, for the first time or again.
    pub(crate) fn start_node(&mut self, node: usize) {
        let mut command = match self.system {
            System::Oarlock => self.oarlock(node),
            System::Etcd => self.etcd(node),
            System::ZooKeeper => self.zookeeper(node),
            System::Skeleton => {
                let dir = self.dir.join(node.to_string());
                skeleton::command(node, self.clients[0], &self.peers, &dir)
            }
        };
        command.args(&self.flags);
        let path = self.dir.join(format!("{node}.log"));
        let log = OpenOptions::new().create(true).append(true).open(path).expect("a log");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.children[node] = Some(command.spawn().expect("it is installed"));
    }

    /// Stops all nodes of Oarlock's, and starts them again with these further arguments.
    pub(crate) fn start_again_with(&mut self, flags: &[&str]) {
        self.flags = flags.iter().map(ToString::to_string).collect();
        let size = self.children.len();
        (0..size).for_each(|node| self.end(node, rustix::process::Signal::TERM));
        (0..size).for_each(|node| self.start_node(node));
        self.wait_until_ready();
    }

    /// Where a node finds another.
    fn port_from(&self, node: usize, other: usize) -> u16 {
        match &self.ways {
            Some(ways) => ways.ports[node * self.peers.len() + other],
            None => self.peers[other],
        }
    }

    fn oarlock(&self, node: usize) -> Command {
        let address = |port: u16| format!("127.0.0.1:{port}");
        let mut command = Command::new(env!("CARGO_BIN_EXE_oarlock"));
        command.args(["serve", "--id", &(node + 1).to_string(), "--dir"]);
        command.arg(self.dir.join(node.to_string()));
        command.args(["--client-addr", &address(self.clients[node])]);
        command.args(["--peer-addr", &address(self.peers[node])]);
        // Of a build that notes stages.
        command.env("OARLOCK_STAGES", self.stages_of(node));
        // Each may know the others by addresses of its own.
        command.args(["--cluster-id", "7"]);
        for other in (0..self.peers.len()).filter(|&other| other != node) {
            let port = self.port_from(node, other);
            command.args(["--peer", &format!("{}={}", other + 1, address(port))]);
        }
        command
    }

    fn etcd(&self, node: usize) -> Command {
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let member = |(node, &port): (usize, &u16)| format!("m{node}={}", url(port));
        let all: Vec<_> = self.peers.iter().enumerate().map(member).collect();
        let (client, peer) = (url(self.clients[node]), url(self.peers[node]));
        let mut command = Command::new("etcd");
        command.args(["--name", &format!("m{node}"), "--log-level", "error", "--data-dir"]);
        command.arg(self.dir.join(node.to_string()));
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &all.join(","), "--initial-cluster-state", "new"]);
        command
    }

    /// With the settings of the example that comes with it; but as many clients of one address as come,
    /// and no server for administrators, who would want a port more.
    fn zookeeper(&self, node: usize) -> Command {
        let dir = self.dir.join(node.to_string());
        std::fs::create_dir_all(&dir).expect("a folder for data");
        std::fs::write(dir.join("myid"), (node + 1).to_string()).expect("its number");
        let mut settings = format!(
            "tickTime=2000\ninitLimit=10\nsyncLimit=5\nmaxClientCnxns=0\nadmin.enableServer=false\n\
             dataDir={}\nclientPortAddress=127.0.0.1\nclientPort={}\n",
            dir.display(),
            self.clients[node]
        );
        for (nth, (peer, election)) in self.peers.iter().zip(&self.elections).enumerate() {
            _ = writeln!(settings, "server.{}=127.0.0.1:{peer}:{election}", nth + 1);
        }
        let path = dir.join("zoo.cfg");
        std::fs::write(&path, settings).expect("its settings");
        let mut command = java("org.apache.zookeeper.server.quorum.QuorumPeerMain");
        command.arg(path);
        command
    }

    fn wait_until_ready(&self) {
        let deadline = Instant::now() + READY_WITHIN;
        // As many keys as clients: some systems have them all created first.
        let flags = ["--seconds", "0.05", "--warmup", "0", "--clients", "3", "--keys", "3"];
        while crate::load::run(self, &flags).is_none() {
            assert!(Instant::now() < deadline, "{:?} does not answer", self.system);
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Where a node writes when each write passed each stage, if it was built to.
    pub(crate) fn stages_of(&self, node: usize) -> PathBuf {
        self.dir.join(format!("{node}.stages"))
    }

    /// Where clients connect: anywhere, but to the skeleton's first node.
    pub(crate) fn addrs(&self) -> impl Iterator<Item = String> + '_ {
        let open = if self.system == System::Skeleton { 1 } else { self.clients.len() };
        (0..open).map(|node| self.addr(node))
    }

    /// Where a node's clients connect.
    pub(crate) fn addr(&self, node: usize) -> String {
        format!("127.0.0.1:{}", self.clients[node])
    }

    /// Processor time that all nodes have used.
    pub(crate) fn cpu(&self) -> Duration {
        self.children.iter().flatten().map(|child| cpu_of(child.id())).sum()
    }

    /// The memory of the node that takes the most.
    pub(crate) fn resident(&self) -> Resident {
        let all = self.children.iter().flatten().map(|child| resident_of(child.id()));
        all.max_by_key(|resident| resident.own_bytes + resident.file_bytes).unwrap_or_default()
    }

    /// How much all of them have had written to the disk.
    pub(crate) fn written_bytes(&self) -> u64 {
        self.children.iter().flatten().map(|child| written_by(child.id())).sum()
    }

    /// Whether one of Oarlock's writes a snapshot now: aside, under a name that ends so.
    pub(crate) fn are_writing_snapshots(&self) -> bool {
        (0..self.children.len()).any(|node| {
            let files = std::fs::read_dir(self.dir.join(node.to_string()));
            let mut names = files.into_iter().flatten().flatten().map(|file| file.file_name());
            names.any(|name| {
                let name = name.to_string_lossy();
                name.starts_with("snapshot-") && name.ends_with(".tmp")
            })
        })
    }

    /// Which node leads, by the account of any of Oarlock's.
    pub(crate) fn leader(&self) -> usize {
        self.leadership().0
    }

    /// Which node leads, and its term.
    pub(crate) fn leadership(&self) -> (usize, u64) {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            if let Some(leads) = self.addrs().find_map(|addr| leadership_by(&addr)) {
                return leads;
            }
            assert!(Instant::now() < deadline, "nobody leads");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sends a node a signal, by its name, and waits for its end.
    pub(crate) fn end(&mut self, node: usize, signal: rustix::process::Signal) {
        let mut child = self.children[node].take().expect("it runs");
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), signal)
            .expect("it is ours");
        child.wait().expect("it is ours");
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for child in self.children.iter_mut().flatten() {
            // One that has ended by itself is what we want.
            _ = child.kill();
            _ = child.wait();
        }
        _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Who leads, and in which term, as the node at `addr` has it.
fn leadership_by(addr: &str) -> Option<(usize, u64)> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oarlock"));
    let status = command.args(["status", "--json", "--addr", addr]).output().ok()?;
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).ok()?;
    let members = status["members"].as_array()?;
    let leader = members.iter().find(|member| member["status"]["role"] == "Leader")?;
    Some((leader["id"].as_u64()? as usize - 1, leader["status"]["term"].as_u64()?))
}

fn free_ports(count: usize) -> Vec<u16> {
    let listeners: Vec<_> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
    listeners.iter().map(|listener| listener.local_addr().expect("bound").port()).collect()
}

/// The system counts in hundredths of a second: fields 14 and 15 of `stat`, behind the name.
fn cpu_of(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks = fields.split_whitespace().skip(11).take(2).filter_map(|f| f.parse::<u64>().ok());
    Duration::from_millis(ticks.sum::<u64>() * 10)
}

/// Lines of `status`: a name, a colon, a number of KiB.
fn resident_of(pid: u32) -> Resident {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        let kib = line.split_whitespace().next().and_then(|number| number.parse::<u64>().ok());
        kib.unwrap_or(0) << 10
    };
    Resident { own_bytes: bytes("RssAnon:"), file_bytes: bytes("RssFile:") }
}

fn written_by(pid: u32) -> u64 {
    let io = std::fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    let bytes = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    bytes.and_then(|bytes| bytes.parse().ok()).unwrap_or(0)
}
