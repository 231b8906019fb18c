//! A cluster of Raft peers over a simulated network: started, crashed, connected, disconnected.
//!
//! A *server* is a place in the cluster, 0 to n - 1; what runs there is its *peer*, and each start
//! makes a new one, with client ends of its own, so that a dead peer can never speak again. The
//! names of the methods are the labs'.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, bounded};
use oarlock_labrpc::Network;
use oarlock_raft::{ApplyMsg, Start, Term};
use oarlock_rpc::{End, Router};
use parking_lot::Mutex;

use super::applied::Applied;
use super::command::Command;
use super::durable::Durable;
use super::lab_raft::LabRaft;
use super::random::Random;
use super::report::{Counters, Report};
use super::turn::Turn;
use super::watchdog::Watchdog;
use super::{seed, threads, trace};

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
pub(crate) struct RaftCluster<R: LabRaft> {
    pub(super) n: usize,
    /// The source of the test's random choices.
    pub(crate) random: Random,
    pub(super) network: Network,
    pub(super) applied: Arc<Applied>,
    servers: Arc<Mutex<Vec<Server<R>>>>,
    snapshots: bool,
    seed: u64,
    report: Option<Report>,
    // Dropped in this order: what goes before is watched, and runs alone.
    _watchdog: Watchdog,
    _turn: Turn,
}

struct Server<R> {
    peer: Option<Peer<R>>,
    connected: bool,
    durable: Durable,
    incarnation: u64,
}

/// One incarnation.
struct Peer<R> {
    raft: R,
    reader: JoinHandle<()>,
    /// The names of its client ends, by the server they lead to.
    ends: Vec<String>,
}

impl<R: LabRaft> RaftCluster<R> {
    /// Starts and connects all servers.
    pub(crate) fn new(setup: Setup) -> Self {
        let turn = Turn::wait();
        trace::begin();
        let seed = seed::of_this_test();
        let n = setup.servers;
        let server =
            |i| Server { peer: None, connected: false, durable: Durable::new(i), incarnation: 0 };
        let servers: Arc<Mutex<Vec<Server<R>>>> =
            Arc::new(Mutex::new((0..n).map(server).collect()));
        let watched = Arc::clone(&servers);
        let watchdog = Watchdog::new(setup.name.to_owned(), n, move |i| {
            let raft = watched.lock()[i].peer.as_ref().map(|peer| peer.raft.clone());
            raft.map_or_else(|| "down".to_owned(), |raft| raft.describe())
        });
        let mut cluster = Self {
            n,
            random: Random::new(seed.wrapping_add(1)),
            network: Network::new(seed),
            applied: Arc::new(Applied::new(n)),
            servers,
            snapshots: setup.snapshots,
            seed,
            report: None,
            _watchdog: watchdog,
            _turn: turn,
        };
        cluster.network.set_reliable(setup.reliable);
        cluster.network.set_long_delays(true);
        (0..n).for_each(|i| cluster.start1(i));
        cluster.connect_each(0..n);
        cluster.report = Some(Report::begin(setup.name, n, seed, cluster.counters()));
        cluster
    }

    /// The test has passed, if what it leaves is in order: no violation on an apply channel, no
    /// thread that lives on.
    pub(crate) fn end(mut self) {
        let report = self.report.take().expect("a cluster ends once");
        let counters = self.counters();
        self.stop();
        if let Some(violation) = self.applied.violation() {
            panic!("{violation}");
        }
        threads::check_none_left();
        report.passed(counters);
    }

    /// Starts server `i`, after crashing what runs there: with new client ends, and what its
    /// predecessor had persisted. It is not connected yet.
    pub(crate) fn start1(&self, i: usize) {
        self.crash1(i);
        let (persister, incarnation) = {
            let server = &mut self.servers.lock()[i];
            let (persister, snapshot) = server.durable.open();
            let snapshot = snapshot.filter(|_| self.snapshots);
            self.applied.restart(i, snapshot.as_deref());
            server.incarnation += 1;
            (persister, server.incarnation)
        };
        log::debug!(target: "TEST", "start1({i})");
        let names: Vec<String> =
            (0..self.n).map(|j| format!("S{i}.{incarnation} to S{j}")).collect();
        let ends = names.iter().enumerate().map(|(j, name)| {
            let end = self.network.make_end(name);
            self.network.connect(name, j);
            end as Arc<dyn End>
        });
        let (apply_tx, apply_rx) = bounded(0);
        let seed = seed::of_server(self.seed, i, incarnation);
        let raft = R::make(ends.collect(), i, persister, apply_tx, seed);
        let reader = self.spawn_reader(i, raft.clone(), apply_rx);
        let service = Router::new().with("Raft", raft.service());
        self.servers.lock()[i].peer = Some(Peer { raft, reader, ends: names });
        self.network.add_server(i, Arc::new(service));
    }

    /// Crashes server `i`: no message to it or from it arrives any more, and what it has not
    /// persisted is lost.
    pub(crate) fn crash1(&self, i: usize) {
        self.disconnect(i);
        self.network.delete_server(i);
        let peer = {
            let server = &mut self.servers.lock()[i];
            server.durable.cut();
            server.peer.take()
        };
        let Some(Peer { raft, reader, ends }) = peer else { return };
        log::debug!(target: "TEST", "crash1({i})");
        raft.kill();
        if let Err(panic) = reader.join()
            && !thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
        for end in ends {
            self.network.delete_end(end);
        }
    }

    /// Connects server `i` with itself and with every server that is connected.
    pub(crate) fn connect(&self, i: usize) {
        log::debug!(target: "TEST", "connect({i})");
        let servers = &mut self.servers.lock();
        servers[i].connected = true;
        let connected = (0..self.n).filter(|&j| servers[j].connected);
        connected.for_each(|j| self.enable_both_ways(servers, i, j, true));
    }

    /// Cuts server `i` off: no call to it or from it arrives.
    pub(crate) fn disconnect(&self, i: usize) {
        log::debug!(target: "TEST", "disconnect({i})");
        let servers = &mut self.servers.lock();
        servers[i].connected = false;
        (0..self.n).for_each(|j| self.enable_both_ways(servers, i, j, false));
    }

    /// [`connect`](Self::connect)s several servers.
    pub(crate) fn connect_each(&self, servers: impl IntoIterator<Item = usize>) {
        servers.into_iter().for_each(|i| self.connect(i));
    }

    /// [`disconnect`](Self::disconnect)s several servers.
    pub(crate) fn disconnect_each(&self, servers: impl IntoIterator<Item = usize>) {
        servers.into_iter().for_each(|i| self.disconnect(i));
    }

    /// Starts and connects the servers that are down.
    pub(crate) fn revive(&self) {
        for i in (0..self.n).filter(|&i| !self.is_up(i)) {
            self.start1(i);
            self.connect(i);
        }
    }

    /// Whether messages are neither delayed nor lost, from here on.
    pub(crate) fn set_reliable(&self, reliable: bool) {
        log::debug!(target: "TEST", "set_reliable({reliable})");
        self.network.set_reliable(reliable);
    }

    /// Whether replies are held back for up to 2.2 s, from here on.
    pub(crate) fn set_long_reordering(&self, on: bool) {
        log::debug!(target: "TEST", "set_long_reordering({on})");
        self.network.set_long_reordering(on);
    }

    /// Whether a peer runs at server `i`.
    pub(crate) fn is_up(&self, i: usize) -> bool {
        self.servers.lock()[i].peer.is_some()
    }

    /// Whether server `i` is connected.
    pub(crate) fn is_connected(&self, i: usize) -> bool {
        self.servers.lock()[i].connected
    }

    /// Gives a command to the peer at server `i`; `None` if the server is down or refuses, being no
    /// leader.
    pub(crate) fn start(&self, i: usize, command: impl Into<Command>) -> Option<Start> {
        let raft = self.raft(i)?;
        Some(raft.start(command.into().encode())).filter(|start| start.is_leader)
    }

    /// The term of the peer at server `i`, and whether it believes it leads; `None` if it is down.
    pub(crate) fn get_state(&self, i: usize) -> Option<(Term, bool)> {
        Some(self.raft(i)?.get_state())
    }

    /// Requests that arrived at server `i` since its start.
    pub(crate) fn rpc_count(&self, i: usize) -> u64 {
        self.network.count(i).expect("counted servers are up")
    }

    /// The bytes of all messages so far.
    pub(crate) fn bytes_total(&self) -> u64 {
        self.network.total_bytes()
    }

    /// The largest persisted Raft state of all servers, crashed ones included, without snapshots,
    /// in bytes.
    pub(crate) fn log_size(&self) -> u64 {
        let servers = self.servers.lock();
        servers.iter().map(|server| server.durable.raft_state_bytes()).max().unwrap_or(0)
    }

    fn raft(&self, i: usize) -> Option<R> {
        self.servers.lock()[i].peer.as_ref().map(|peer| peer.raft.clone())
    }

    fn enable_both_ways(&self, servers: &[Server<R>], i: usize, j: usize, enabled: bool) {
        for (from, to) in [(i, j), (j, i)] {
            if let Some(peer) = &servers[from].peer {
                self.network.enable(&peer.ends[to], enabled);
            }
        }
    }

    /// The thread that reads server `i`'s apply channel until the peer drops its end.
    fn spawn_reader(&self, i: usize, raft: R, apply_rx: Receiver<ApplyMsg>) -> JoinHandle<()> {
        let applied = Arc::clone(&self.applied);
        let snapshots = self.snapshots;
        let read = move || {
            for message in apply_rx {
                match message {
                    ApplyMsg::Command { index, command, .. } => {
                        applied.command(i, index, &command);
                        if snapshots && (index + 1) % SNAPSHOT_INTERVAL == 0 {
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
        }
    }

    fn stop(&self) {
        (0..self.n).for_each(|i| self.crash1(i));
        self.network.shutdown();
    }
}

impl<R: LabRaft> Drop for RaftCluster<R> {
    fn drop(&mut self) {
        if !thread::panicking() {
            assert!(self.report.is_none(), "a test must end() its cluster");
            return;
        }
        eprintln!("The last events of the failed test:\n{}", trace::recent());
        eprintln!("Repeat its random choices with {}={}", seed::VARIABLE, self.seed);
        self.stop();
    }
}
