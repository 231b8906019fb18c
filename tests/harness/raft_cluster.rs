//! A cluster of Raft peers whose apply channels are read and checked.

use std::ops::Deref;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, bounded};
use oarlock_raft::{ApplyMsg, Start, Term};
use oarlock_rpc::{End, Router, Service};
use parking_lot::Mutex;

use super::applied::Applied;
use super::command::Command;
use super::lab_raft::{LabRaft, Make};
use super::report::{Counters, Report};
use super::servers::{Origin, Peer, Servers};
use super::traced_end::TracedEnd;

/// A service takes a snapshot after it has applied index 9, 19, 29, ….
const SNAPSHOT_INTERVAL: u64 = 10;

/// What a test asks for.
#[derive(Clone, Copy)]
pub(crate) struct Setup {
    name: &'static str,
    servers: usize,
    reliable: bool,
    snapshots: bool,
}

impl Setup {
    /// Of so many servers, on a reliable network, without snapshots.
    pub(crate) const fn new(name: &'static str, servers: usize) -> Self {
        Self { name, servers, reliable: true, snapshots: false }
    }

    /// Whether the network neither delays nor loses messages.
    pub(crate) const fn reliable(self, reliable: bool) -> Self {
        Self { reliable, ..self }
    }

    /// The services take snapshots.
    pub(crate) const fn with_snapshots(self) -> Self {
        Self { snapshots: true, ..self }
    }
}

/// The cluster of one test. Ends with [`RaftCluster::end`].
pub(crate) struct RaftCluster {
    make: Make,
    pub(super) applied: Arc<Applied>,
    snapshots: bool,
    report: Report,
    servers: Servers<RaftPeer>,
}

impl RaftCluster {
    /// Starts and connects all servers, whose peers come from `make`.
    pub(crate) fn new(setup: Setup, make: Make) -> Self {
        let n = setup.servers;
        let servers = Servers::new(setup.name, n, setup.reliable);
        let cluster = Self {
            make,
            applied: Arc::new(Applied::new(n)),
            snapshots: setup.snapshots,
            report: Report::begin(setup.name, n, servers.seed, Counters::default()),
            servers,
        };
        cluster.network.set_long_delays(true);
        (0..n).for_each(|i| cluster.start1(i));
        cluster.connect_each(0..n);
        cluster
    }

    /// The test has passed, if what it leaves is in order: no violation on an apply channel, no
    /// thread that lives on.
    pub(crate) fn end(self) {
        let counters = self.counters();
        self.servers.end();
        if let Some(violation) = self.applied.violation() {
            panic!("{violation}");
        }
        self.report.raft_passed(counters);
    }

    /// Starts server `i`, after crashing what runs there: with new client ends, and what its
    /// predecessor had persisted. It is not connected yet.
    pub(crate) fn start1(&self, i: usize) {
        self.servers.start_with(i, |Origin { ends, persister, snapshot, seed }| {
            let snapshot = snapshot.filter(|_| self.snapshots);
            self.applied.restart(i, snapshot.as_deref());
            let ends = ends
                .into_iter()
                .enumerate()
                .map(|(to, end)| Arc::new(TracedEnd { end, from: i, to }) as Arc<dyn End>);
            let (apply_tx, apply_rx) = bounded(0);
            let raft = (self.make)(ends.collect(), i, persister, apply_tx, seed);
            let service = Router::new().with("Raft", raft.service());
            let reader = self.spawn_reader(i, Arc::clone(&raft), apply_rx);
            let reader = Arc::new(Mutex::new(Some(reader)));
            (RaftPeer { raft, reader }, Arc::new(service) as Arc<dyn Service>)
        });
    }

    /// Starts and connects the servers that are down.
    pub(crate) fn revive(&self) {
        for i in (0..self.n).filter(|&i| !self.is_up(i)) {
            self.start1(i);
            self.connect(i);
        }
    }

    /// Gives a command to the peer at server `i`; `None` if the server is down or refuses, being no
    /// leader.
    pub(crate) fn start(&self, i: usize, command: impl Into<Command>) -> Option<Start> {
        let raft = self.peer(i)?.raft;
        Some(raft.start(command.into().encode())).filter(|start| start.is_leader)
    }

    /// The term of the peer at server `i`, and whether it believes it leads; `None` if it is down.
    pub(crate) fn get_state(&self, i: usize) -> Option<(Term, bool)> {
        Some(self.peer(i)?.raft.get_state())
    }

    /// The bytes of all messages so far.
    pub(crate) fn bytes_total(&self) -> u64 {
        self.network.total_bytes()
    }

    /// The thread that reads server `i`'s apply channel until the peer drops its end.
    fn spawn_reader(
        &self,
        i: usize,
        raft: Arc<dyn LabRaft>,
        apply_rx: Receiver<ApplyMsg>,
    ) -> JoinHandle<()> {
        let applied = Arc::clone(&self.applied);
        let snapshots = self.snapshots;
        let read = move || {
            for message in apply_rx {
                match message {
                    ApplyMsg::Command { index, command, .. } => {
                        applied.command(i, index, &command);
                        if snapshots && (index + 1).is_multiple_of(SNAPSHOT_INTERVAL) {
                            // While it is at it, nobody reads the apply channel.
                            raft.snapshot(index, &applied.encode_snapshot(i, index));
                        }
                    }
                    ApplyMsg::Snapshot { last_included, snapshot } => {
                        let (index, term) = (last_included.index, last_included.term);
                        if raft.cond_install_snapshot(term, index, &snapshot) {
                            applied.snapshot(i, index, &snapshot);
                        }
                    }
                }
            }
        };
        thread::Builder::new()
            .name(format!("apply-{i}"))
            .spawn(read)
            .expect("the system has room for another thread")
    }

    fn counters(&self) -> Counters {
        Counters {
            rpcs: self.network.total_count(),
            bytes: self.network.total_bytes(),
            max_index: self.applied.max_index(),
            ops: 0,
        }
    }
}

impl Deref for RaftCluster {
    type Target = Servers<RaftPeer>;

    fn deref(&self) -> &Self::Target {
        &self.servers
    }
}

/// One incarnation, and the thread that reads its apply channel.
#[derive(Clone)]
pub(crate) struct RaftPeer {
    raft: Arc<dyn LabRaft>,
    reader: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl Peer for RaftPeer {
    fn kill(&self) {
        self.raft.kill();
        let reader = self.reader.lock().take();
        if let Some(Err(panic)) = reader.map(JoinHandle::join)
            && !thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }

    fn describe(&self) -> String {
        self.raft.describe()
    }
}
