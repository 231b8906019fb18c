//! A network namespace for each node, with an address and a link of its own to a switch.
//!
//! The switch is a bridge in the namespace of this process, where the clients are; `choose.rs` says
//! how it got there. All nodes have fixed hardware addresses and know each other's by heart, so
//! nobody ever asks for one.
//!
//! A cut sends the frames of one node for another to a hardware address that nobody has: they leave
//! and vanish, and neither end is told. (A route into a black hole would tell the sender at once.)
//! The other direction goes on; of a connection between the two it carries data that nobody
//! acknowledges. A slow link is narrow: a full frame takes the time that was asked for, others wait
//! behind it, and where too many wait some are lost.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::tools::{run, run_all};
use super::{CLIENT_PORT, Links, PEER_PORT};

/// The length of a full frame, in bits, with its header.
const FRAME_BITS: u32 = 1514 * 8;
/// How many frames wait for a narrow link; more are lost.
const QUEUE_FRAMES: u32 = 16;
/// The switch, where the clients are, as if it were a node.
const SWITCH: usize = 254;

/// The namespaces of a cluster; they go when this is dropped.
#[derive(Default)]
pub(crate) struct Namespaces {
    /// The files by which they are held, those of the nodes in their order.
    files: Vec<PathBuf>,
    cut: BTreeSet<(usize, usize)>,
    /// The nodes that have a narrow link.
    narrow: BTreeSet<usize>,
    unplugged: BTreeSet<usize>,
}

/// Where `ip` and its like read commands from.
const BATCH: [&str; 2] = ["-batch", "-"];

impl Namespaces {
    /// Makes `count` namespaces and connects them; they are held by files in `dir`.
    pub(super) fn start(count: usize, dir: &Path) -> anyhow::Result<Self> {
        let dir = dir.canonicalize().with_context(|| format!("{}", dir.display()))?;
        // From here on what was made is taken down again, also if the rest fails.
        let mut made = Self::default();
        for id in 1..=count {
            let file = dir.join(format!("node-{id}.net"));
            File::create(&file).with_context(|| format!("{}", file.display()))?;
            made.files.push(file.clone());
            let mut held = std::ffi::OsString::from("--net=");
            held.push(&file);
            let mut unshare = Command::new("unshare");
            unshare.arg(held).arg("true");
            run(unshare)?;
        }
        let mut switch = String::from("link set lo up\n");
        let (own, hardware) = (node_address(SWITCH), hardware_address(SWITCH));
        writeln!(
            switch,
            "link add switch address {hardware} type bridge\nlink set switch up\n\
             addr add {own}/24 dev switch"
        )?;
        for (file, id) in made.files.iter().zip(1..) {
            let (file, hardware) = (quoted(file), hardware_address(id));
            writeln!(
                switch,
                "link add node-{id} type veth peer name eth0 address {hardware} netns {file}\n\
                 link set node-{id} master switch up"
            )?;
            switch += &neighbour(id, &hardware, "switch");
        }
        at_switch(switch)?;
        let ends = (1..=count).map(|id| (made.command(id, "ip", &BATCH), made.end_of(id)));
        run_all(ends.collect())?;
        Ok(made)
    }

    fn ids(&self) -> std::ops::RangeInclusive<usize> {
        1..=self.files.len()
    }

    /// What is to be set at a node's end of its link.
    fn end_of(&self, id: usize) -> String {
        // A frame is a packet: one that stands for many would pass a narrow link in a moment.
        let own = format!(
            "link set lo up\nlink set dev eth0 gso_max_segs 1\n\
             addr add {}/24 dev eth0\nlink set eth0 up\n",
            node_address(id)
        );
        let others = self.ids().chain([SWITCH]).filter(|&other| other != id);
        own + &others.map(usual_neighbour).collect::<String>()
    }

    /// A command that runs in a node's namespace.
    fn command(&self, id: usize, program: impl AsRef<std::ffi::OsStr>, args: &[&str]) -> Command {
        let mut held = std::ffi::OsString::from("--net=");
        held.push(&self.files[id - 1]);
        let mut command = Command::new("nsenter");
        command.arg(held).arg(program).args(args);
        command
    }

    /// Opens a socket in a node's namespace, where it stays.
    pub(super) fn within<T: Send>(
        &self,
        id: usize,
        open: impl FnOnce() -> io::Result<T> + Send,
    ) -> io::Result<T> {
        let namespace = File::open(&self.files[id - 1])?;
        thread::scope(|scope| {
            // A thread may be in another namespace than its process; what it opens is there.
            let thread = scope.spawn(|| {
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
                open()
            });
            thread.join().expect("it does not panic")
        })
    }
}

impl Links for Namespaces {
    fn client_addr(&self, id: usize) -> SocketAddr {
        SocketAddr::from((node_address(id), CLIENT_PORT))
    }

    fn peer_addr(&self, id: usize) -> SocketAddr {
        SocketAddr::from((node_address(id), PEER_PORT))
    }

    fn address(&self, _: usize, to: usize) -> SocketAddr {
        self.peer_addr(to)
    }

    fn launch(&self, id: usize, program: &Path) -> Command {
        // Each of the two becomes the next program. A node that is paused when this process is
        // killed would never see that its standard input has ended.
        let mut command = self.command(id, "setpriv", &["--pdeathsig", "KILL"]);
        command.arg(program);
        command
    }

    fn cut(&mut self, links: &[(usize, usize)]) -> anyhow::Result<()> {
        let nobody = hardware_address(0);
        self.cut.extend(links);
        let ends = by_sender(links.iter().copied(), |to| neighbour(to, &nobody, "eth0"));
        run_all(ends.map(|(from, input)| (self.command(from, "ip", &BATCH), input)).collect())
    }

    fn slow(&mut self, links: &[(usize, usize)], delay: Duration) -> anyhow::Result<()> {
        let rate = f64::from(FRAME_BITS) / delay.as_secs_f64().max(1e-6);
        let queue = |to: usize| {
            format!(
                "class add dev eth0 parent 1: classid 1:{to} htb rate {rate:.0}bit quantum 1514\n\
                 qdisc add dev eth0 parent 1:{to} pfifo limit {QUEUE_FRAMES}\n\
                 filter add dev eth0 parent 1: protocol ip u32 match ip dst {}/32 flowid 1:{to}\n",
                node_address(to)
            )
        };
        let ends: Vec<_> = by_sender(links.iter().copied(), queue).collect();
        self.narrow.extend(ends.iter().map(|end| end.0));
        let root = "qdisc replace dev eth0 root handle 1: htb\n";
        let ends = ends
            .into_iter()
            .map(|(from, input)| (self.command(from, "tc", &BATCH), root.to_owned() + &input));
        run_all(ends.collect())
    }

    fn reset(&mut self, one: usize, other: usize) -> anyhow::Result<()> {
        let other = node_address(other).to_string();
        run(self.command(one, "ss", &["--kill", "--tcp", "dst", &other]))
    }

    fn unplug(&mut self, id: usize) -> anyhow::Result<()> {
        self.unplugged.insert(id);
        // Its end stays up: it has a link, to nobody.
        at_switch(format!("link set node-{id} nomaster\n"))
    }

    fn heal(&mut self) -> anyhow::Result<()> {
        let plug = std::mem::take(&mut self.unplugged).into_iter();
        let plug = plug.map(|id| format!("link set node-{id} master switch"));
        let plug = plug.collect::<Vec<_>>().join("\n");
        if !plug.is_empty() {
            at_switch(plug)?;
        }
        let (cut, narrow) = (std::mem::take(&mut self.cut), std::mem::take(&mut self.narrow));
        let mend = by_sender(cut.into_iter(), usual_neighbour);
        let mend = mend.map(|(from, input)| (self.command(from, "ip", &BATCH), input));
        let widen = narrow
            .into_iter()
            .map(|id| (self.command(id, "tc", &BATCH), "qdisc del dev eth0 root\n".to_owned()));
        run_all(mend.chain(widen).collect())
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        let links = self.ids().map(|id| format!("link del node-{id}\n"));
        let down: String = links.chain(["link del switch\n".to_owned()]).collect();
        let mut ip = Command::new("ip");
        ip.args(["-force", "-batch", "-"]);
        // If not all of it was made, not all of it can be taken down.
        drop(run_all(vec![(ip, down)]));
        for file in &self.files {
            // Lazily: a process may still have it open.
            drop(
                Command::new("umount")
                    .arg("-l")
                    .arg(file)
                    .stdin(Stdio::null())
                    .stderr(Stdio::null())
                    .status(),
            );
            drop(fs::remove_file(file));
        }
    }
}

/// Lets `ip` do this at the switch.
fn at_switch(input: String) -> anyhow::Result<()> {
    let mut ip = Command::new("ip");
    ip.args(BATCH);
    run_all(vec![(ip, input)])
}

/// Links by the node they start from, each with the lines that `line` gives for their ends.
fn by_sender(
    links: impl Iterator<Item = (usize, usize)>,
    line: impl Fn(usize) -> String,
) -> impl Iterator<Item = (usize, String)> {
    let mut ends = BTreeMap::<usize, String>::new();
    for (from, to) in links {
        *ends.entry(from).or_default() += &line(to);
    }
    ends.into_iter()
}

/// That `id` is to be found at this hardware address.
fn neighbour(id: usize, hardware: &str, link: &str) -> String {
    format!("neigh replace {} lladdr {hardware} dev {link} nud permanent\n", node_address(id))
}

/// Where `id` is if nothing is cut, for another node.
fn usual_neighbour(id: usize) -> String {
    neighbour(id, &hardware_address(id), "eth0")
}

/// Addresses that lead nowhere, should they ever get out.
fn node_address(id: usize) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, u8::try_from(id).expect("there are few nodes"))
}

/// That of a node; of number 0, one that nobody has.
fn hardware_address(id: usize) -> String {
    format!("02:00:c0:00:02:{id:02x}")
}

/// As the batches read it.
fn quoted(file: &Path) -> String {
    format!("\"{}\"", file.display())
}
