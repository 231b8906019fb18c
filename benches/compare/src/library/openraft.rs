//! openraft: three nodes on one tokio runtime with as many threads as there are processors. A message
//! is a call of the other node, without an encoding.
//!
//! Callers are threads that block on their write. The log is in memory; where it is to be durable,
//! a thread for each node writes all that has come up meanwhile to raft-engine, with one sync, and says
//! so; it is read from memory.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use openraft::impls::TokioRuntime;
use openraft::{BasicNode, Config, SnapshotPolicy};
use parking_lot::Mutex;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use super::System;
use super::command::{Answer, Applied, command};
use super::window::Window;

mod log;
mod machine;
mod network;

use self::log::Log;
use self::machine::Machine;
use self::network::Network;

const ELECTED_MAX: Duration = Duration::from_secs(10);
/// After so many entries a snapshot is taken, and the log is cut.
const COMPACTED_ENTRIES: u64 = 1 << 16;

/// A command, shared.
#[derive(Clone, Debug)]
pub struct Command(Arc<[u8]>);

impl std::fmt::Display for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

openraft::declare_raft_types!(
    /// What it is about.
    pub Types:
        D = Command,
        R = Option<Answer>,
        AsyncRuntime = TokioRuntime,
);

type Node = openraft::Raft<Types, Machine>;
type Nodes = Arc<OnceLock<Vec<Node>>>;

/// Three nodes.
pub struct OpenRaft {
    runtime: Runtime,
    nodes: Vec<Node>,
    leader: usize,
    applied: Vec<Arc<Applied>>,
    /// Waits for the answers of the last batch.
    collecting: Mutex<Option<JoinHandle<()>>>,
}

impl OpenRaft {
    /// Starts nodes whose logs are in directories in `dir`, or in memory alone.
    pub fn start(dir: Option<&Path>) -> Self {
        let runtime = Runtime::new().expect("room for a runtime");
        let applied: Vec<Arc<Applied>> = (0..3).map(|_| Arc::default()).collect();
        let config = Config {
            heartbeat_interval: 50,
            election_timeout_min: 1000,
            election_timeout_max: 2000,
            max_payload_entries: 1024,
            snapshot_policy: SnapshotPolicy::LogsSinceLast(COMPACTED_ENTRIES),
            max_in_snapshot_log_to_keep: COMPACTED_ENTRIES,
            ..Config::default()
        };
        let config = Arc::new(config.validate().expect("a configuration that is right"));
        let known: Nodes = Arc::default();
        let started = (0..3).map(|me: usize| {
            let dir = dir.map(|dir| dir.join(format!("openraft-{me}")));
            let (network, log) = (Network::new(Arc::clone(&known)), Log::open(dir.as_deref()));
            let machine = Machine::new(Arc::clone(&applied[me]));
            let node = Node::new(me as u64, Arc::clone(&config), network, log, machine);
            runtime.block_on(node).expect("an empty node starts")
        });
        let nodes: Vec<Node> = started.collect();
        drop(known.set(nodes.clone()));
        let members: BTreeMap<u64, BasicNode> =
            (0..3).map(|id| (id, BasicNode::default())).collect();
        runtime.block_on(nodes[0].initialize(members)).expect("an empty cluster");
        let began = Instant::now();
        let leader = loop {
            if let Some(leader) = runtime.block_on(nodes[0].current_leader()) {
                break leader as usize;
            }
            assert!(began.elapsed() < ELECTED_MAX, "a leader in time");
            std::thread::sleep(Duration::from_millis(10));
        };
        Self { runtime, nodes, leader, applied, collecting: Mutex::default() }
    }
}

impl System for OpenRaft {
    fn submit(&self, number: u64) -> Answer {
        let write = self.nodes[self.leader].client_write(Command(command(number).into()));
        let written = self.runtime.handle().block_on(write).expect("a leader that stays");
        written.data.expect("a command is answered")
    }

    fn submit_all(&self, first: u64, count: u64, window: &Arc<Window>) {
        let commands = (first..first + count).map(|number| Command(command(number).into()));
        let commands: Vec<Command> = commands.collect();
        let (node, window) = (self.nodes[self.leader].clone(), Arc::clone(window));
        let written = self.runtime.block_on(node.client_write_many(commands));
        let mut written = written.expect("a node that runs").ready_chunks(1000);
        // One after the other: the answers of two batches would overtake each other.
        let before = self.collecting.lock().take();
        let collecting = self.runtime.spawn(async move {
            if let Some(before) = before {
                before.await.expect("it was answered");
            }
            while let Some(chunk) = written.next().await {
                window.answered(chunk.into_iter().map(|written| {
                    let written = written.expect("a node that runs").expect("a leader that stays");
                    written.response.expect("a command is answered")
                }));
            }
        });
        *self.collecting.lock() = Some(collecting);
    }

    fn applied(&self) -> Vec<Arc<Applied>> {
        self.applied.clone()
    }
}

impl Drop for OpenRaft {
    fn drop(&mut self) {
        for node in &self.nodes {
            drop(self.runtime.block_on(node.shutdown()));
        }
    }
}
