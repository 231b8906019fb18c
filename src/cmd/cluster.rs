//! `oarlock cluster`: a whole cluster on this machine, one process a node.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use crossbeam_channel::Receiver;
use oarlock_kvserver::NodeRole;
use oarlock_rpc::tcp::{EndOptions, TcpEnd};

use super::cluster_file::ClusterFile;
use super::member::Member;
use super::node_process::NodeProcess;
use super::node_status::ClusterStatus;
use super::{signals, status, table};

/// Run a cluster on this machine, a process for each node. Run it again on the same directory, and
/// it goes on with what it held.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many nodes; a majority of them must run.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=9))]
    nodes: u64,
    /// The directory of all of them; made if it does not exist.
    #[arg(long, default_value = "oarlock-data")]
    dir: PathBuf,
    /// Where clients reach node 1; node i is on this port + i - 1.
    #[arg(long, default_value_t = 7001)]
    client_port: u16,
    /// Where node 1 listens for the others; node i is on this port + i - 1.
    #[arg(long, default_value_t = 7101)]
    peer_port: u16,
}

/// How long the nodes may take until one of them leads.
const LEADS_WITHIN: Duration = Duration::from_secs(30);
/// How often it is looked who leads and who ended; while nobody leads yet, more often.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const LOOK_EVERY_AT_FIRST: Duration = Duration::from_millis(100);

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let requests = signals::stop_requests().context("cannot listen for signals")?;
    let members = members(args)?;
    let file = ClusterFile::open_or_create(&args.dir, args.nodes)?;
    let nodes = members
        .iter()
        .map(|member| NodeProcess::start(&args.dir, member, &members, file.cluster_id));
    let mut cluster = Cluster::new(nodes.collect::<anyhow::Result<_>>()?)?;
    let stopped = cluster.wait_for_leader(&requests)?;
    if !stopped {
        print!("{}", cluster.introduction(args.client_port));
        cluster.follow(&requests)?;
    }
    cluster.stop()
}

fn members(args: &Args) -> anyhow::Result<Vec<Member>> {
    let (client_port, peer_port, nodes) =
        (u64::from(args.client_port), u64::from(args.peer_port), args.nodes);
    let last = client_port.max(peer_port) + nodes - 1;
    ensure!(
        u16::try_from(last).is_ok(),
        "{nodes} nodes need ports up to {last}; choose lower ones"
    );
    ensure!(
        client_port.abs_diff(peer_port) >= nodes,
        "{nodes} nodes from --client-port {client_port} and from --peer-port {peer_port} overlap"
    );
    let member = |id: u64| Member {
        id,
        peer_addr: format!("127.0.0.1:{}", peer_port + id - 1),
        client_addr: Some(format!("127.0.0.1:{}", client_port + id - 1)),
    };
    Ok((1..=nodes).map(member).collect())
}

/// The processes, and a connection to each.
struct Cluster {
    nodes: Vec<NodeProcess>,
    ends: BTreeMap<u64, TcpEnd>,
    /// The leader last seen, and its term.
    leader: Option<(u64, u64)>,
}

impl Cluster {
    fn new(nodes: Vec<NodeProcess>) -> anyhow::Result<Self> {
        let end = |node: &NodeProcess| {
            let mut options = EndOptions::client(&node.client_addr);
            options.call_timeout = LOOK_EVERY;
            Ok((node.member.id, TcpEnd::connect(options)?))
        };
        let ends = nodes.iter().map(end).collect::<anyhow::Result<_>>()?;
        Ok(Self { nodes, ends, leader: None })
    }

    /// Waits until somebody leads. Returns whether it was told to stop meanwhile. A node that does not
    /// start is spoken of, and the others go on, as long as they are a majority.
    fn wait_for_leader(&mut self, requests: &Receiver<()>) -> anyhow::Result<bool> {
        let deadline = Instant::now() + LEADS_WITHIN;
        let mut ended = Vec::new();
        while self.leader.is_none() {
            for words in self.just_ended()? {
                println!("{words}");
                ended.push(words);
            }
            let running = self.nodes.iter().filter(|node| node.is_running()).count();
            ensure!(
                running > self.nodes.len() / 2,
                "too few nodes started for any to lead\n{}",
                ended.join("\n")
            );
            if requests.recv_timeout(LOOK_EVERY_AT_FIRST).is_ok() {
                return Ok(true);
            }
            self.leader = self.ask_for_leader();
            ensure!(
                Instant::now() < deadline,
                "no node leads after {LEADS_WITHIN:?}; see {}",
                self.nodes[0].log.display()
            );
        }
        Ok(false)
    }

    /// Of every node that has ended since this was last asked: how and why, and what starts it again.
    fn just_ended(&mut self) -> anyhow::Result<Vec<String>> {
        let mut words = Vec::new();
        for node in &mut self.nodes {
            if let Some(status) = node.just_ended()? {
                words.push(format!(
                    "node {} (pid {}) ended: {status}\n  {}\n  (its log: {}); start it again with\n  {}",
                    node.member.id,
                    node.pid(),
                    node.last_words(),
                    node.log.display(),
                    node.command_line()
                ));
            }
        }
        Ok(words)
    }

    /// What a person needs to see first.
    fn introduction(&self, client_port: u16) -> String {
        let rows: Vec<_> = self
            .nodes
            .iter()
            .map(|node| {
                let dir = node.dir.display().to_string();
                [node.member.id.to_string(), node.pid().to_string(), node.client_addr.clone(), dir]
            })
            .collect();
        let table = table::aligned(["node", "pid", "clients", "directory"], &rows);
        let lead = self.leader.map_or_else(String::new, |(leader, term)| {
            format!("node {leader} leads term {term}. Every node takes every command:\n")
        });
        format!(
            "{table}\n{lead}  redis-cli -p {client_port} set greeting hello\n  \
               oarlock get greeting --addr 127.0.0.1:{client_port}\n  \
               oarlock status --addr 127.0.0.1:{client_port}\n\
             Ctrl-C stops the cluster; what was answered is kept.\n"
        )
    }

    /// Says what changes, until it is told to stop or no node is left.
    fn follow(&mut self, requests: &Receiver<()>) -> anyhow::Result<()> {
        while requests.recv_timeout(LOOK_EVERY).is_err() {
            for words in self.just_ended()? {
                println!("{words}");
            }
            if !self.nodes.iter().any(NodeProcess::is_running) {
                bail!(
                    "no node is left; run this again to go on from {}",
                    self.nodes[0].dir.display()
                );
            }
            let leader = self.ask_for_leader();
            if leader.is_some() && leader != self.leader {
                self.leader = leader;
                if let Some((leader, term)) = leader {
                    println!("node {leader} leads term {term}");
                }
            }
        }
        Ok(())
    }

    fn stop(&mut self) -> anyhow::Result<()> {
        println!("stopping");
        self.nodes.iter_mut().for_each(NodeProcess::ask_to_stop);
        for node in &mut self.nodes {
            let id = node.member.id;
            let by_itself = node.wait().with_context(|| format!("cannot wait for node {id}"))?;
            ensure!(by_itself, "node {id} did not stop in time and was killed; nothing is lost");
        }
        Ok(())
    }

    /// Who leads, by the account of the first node that knows.
    fn ask_for_leader(&self) -> Option<(u64, u64)> {
        let deadline = Instant::now() + LOOK_EVERY;
        let running = self.nodes.iter().filter(|node| node.is_running());
        let mut answers = running
            .filter_map(|node| status::ask(&self.ends[&node.member.id], deadline))
            .filter_map(|cluster| leader_of(&cluster));
        answers.next()
    }
}

fn leader_of(cluster: &ClusterStatus) -> Option<(u64, u64)> {
    let statuses = cluster.members.iter().filter_map(|member| member.status.as_ref());
    let leaders = statuses.filter(|status| status.role == NodeRole::Leader);
    leaders.map(|status| (status.id.0, status.term)).max_by_key(|(_, term)| *term)
}
