//! The servers of a cluster over a simulated network: started, crashed, connected, disconnected.
//!
//! A *server* is a place in the cluster, 0 to n - 1; what runs there is its *peer*, and each start
//! makes a new one, with client ends of its own, so that a dead peer can never speak again. The
//! names of the methods are the labs'.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use oarlock_labrpc::Network;
use oarlock_rpc::{End, Service};
use oarlock_storage::{Persister, Snapshot};
use parking_lot::Mutex;

use super::durable::Durable;
use super::random::Random;
use super::turn::Turn;
use super::watchdog::Watchdog;
use super::{seed, threads, trace};

/// What runs at a server. Cloning makes another handle.
pub(crate) trait Peer: Clone + Send + Sync + 'static {
    /// Stops it, and waits for its threads.
    fn kill(&self);

    /// Where it stands, for whoever looks for the reason of a hang.
    fn describe(&self) -> String;
}

/// What a new peer starts from.
pub(crate) struct Origin {
    /// The ends to all servers, its own included.
    pub(crate) ends: Vec<Arc<dyn End>>,
    /// What its predecessor had persisted.
    pub(crate) persister: Box<dyn Persister>,
    /// The snapshot in there.
    pub(crate) snapshot: Option<Snapshot>,
    /// Where its random choices follow from.
    pub(crate) seed: u64,
}

/// The servers of one test, which has the process for itself until it ends.
pub(crate) struct Servers<P: Peer> {
    pub(super) n: usize,
    /// The source of the test's random choices.
    pub(crate) random: Random,
    pub(super) network: Network,
    pub(super) seed: u64,
    places: Arc<Mutex<Vec<Place<P>>>>,
    ended: AtomicBool,
    // Dropped in this order: what goes before is watched, and runs alone.
    _watchdog: Watchdog,
    _turn: Turn,
}

struct Place<P> {
    running: Option<Running<P>>,
    connected: bool,
    durable: Durable,
    incarnation: u64,
}

struct Running<P> {
    peer: P,
    /// The names of its client ends, by the server they lead to.
    ends: Vec<String>,
}

impl<P: Peer> Servers<P> {
    /// `n` servers where nothing runs yet, for the test `name`.
    pub(crate) fn new(name: &str, n: usize, reliable: bool) -> Self {
        let turn = Turn::wait();
        trace::begin();
        let seed = seed::of_this_test();
        let place =
            |i| Place { running: None, connected: false, durable: Durable::new(i), incarnation: 0 };
        let places: Arc<Mutex<Vec<Place<P>>>> = Arc::new(Mutex::new((0..n).map(place).collect()));
        let watched = Arc::clone(&places);
        let watchdog = Watchdog::new(name.to_owned(), seed, n, move |i| {
            let peer = watched.lock()[i].running.as_ref().map(|running| running.peer.clone());
            peer.map_or_else(|| "down".to_owned(), |peer| peer.describe())
        });
        let network = Network::new(seed);
        network.set_reliable(reliable);
        Self {
            n,
            random: Random::new(seed.wrapping_add(1)),
            network,
            seed,
            places,
            ended: AtomicBool::new(false),
            _watchdog: watchdog,
            _turn: turn,
        }
    }

    /// Starts a peer at server `i`, after crashing what runs there: with new client ends, and what
    /// its predecessor had persisted. It is not connected yet.
    pub(super) fn start_with(&self, i: usize, make: impl FnOnce(Origin) -> (P, Arc<dyn Service>)) {
        self.crash1(i);
        log::debug!(target: "TEST", "start1({i})");
        let (persister, snapshot, incarnation) = {
            let place = &mut self.places.lock()[i];
            place.incarnation += 1;
            let (persister, snapshot) = place.durable.open();
            (persister, snapshot, place.incarnation)
        };
        let names: Vec<String> =
            (0..self.n).map(|j| format!("S{i}.{incarnation} to S{j}")).collect();
        let ends = names.iter().enumerate().map(|(j, name)| self.make_end(name, j)).collect();
        let seed = seed::of_server(self.seed, i, incarnation);
        let (peer, service) = make(Origin { ends, persister, snapshot, seed });
        self.places.lock()[i].running = Some(Running { peer, ends: names });
        self.network.add_server(i, service);
    }

    /// Crashes server `i`: no message to it or from it arrives any more, and what it has not
    /// persisted is lost.
    pub(crate) fn crash1(&self, i: usize) {
        self.disconnect(i);
        self.network.delete_server(i);
        let running = {
            let place = &mut self.places.lock()[i];
            place.durable.cut();
            place.running.take()
        };
        let Some(Running { peer, ends }) = running else { return };
        log::debug!(target: "TEST", "crash1({i})");
        peer.kill();
        for end in ends {
            self.network.delete_end(end);
        }
    }

    /// Connects server `i` with itself and with every server that is connected.
    pub(crate) fn connect(&self, i: usize) {
        log::debug!(target: "TEST", "connect({i})");
        self.places.lock()[i].connected = true;
        (0..self.n).filter(|&j| self.is_connected(j)).for_each(|j| self.link(i, j, true));
    }

    /// Cuts server `i` off: no call to it or from it arrives.
    pub(crate) fn disconnect(&self, i: usize) {
        log::debug!(target: "TEST", "disconnect({i})");
        self.places.lock()[i].connected = false;
        (0..self.n).for_each(|j| self.link(i, j, false));
    }

    /// [`connect`](Self::connect)s several servers.
    pub(crate) fn connect_each(&self, servers: impl IntoIterator<Item = usize>) {
        servers.into_iter().for_each(|i| self.connect(i));
    }

    /// [`disconnect`](Self::disconnect)s several servers.
    pub(crate) fn disconnect_each(&self, servers: impl IntoIterator<Item = usize>) {
        servers.into_iter().for_each(|i| self.disconnect(i));
    }

    /// Connects servers `i` and `j` with each other, or cuts them off from each other.
    pub(super) fn link(&self, i: usize, j: usize, linked: bool) {
        let places = self.places.lock();
        for (from, to) in [(i, j), (j, i)] {
            if let Some(running) = &places[from].running {
                self.network.enable(&running.ends[to], linked);
            }
        }
    }

    /// A client end to server `i`, disabled.
    pub(super) fn make_end(&self, name: &str, i: usize) -> Arc<dyn End> {
        let end = self.network.make_end(name);
        self.network.connect(name, i);
        end
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
        self.places.lock()[i].running.is_some()
    }

    /// Whether server `i` is connected.
    pub(crate) fn is_connected(&self, i: usize) -> bool {
        self.places.lock()[i].connected
    }

    /// Requests that arrived at server `i` since its start.
    pub(crate) fn rpc_count(&self, i: usize) -> u64 {
        self.network.count(i).expect("counted servers are up")
    }

    /// The largest persisted Raft state of all servers, crashed ones included, without snapshots,
    /// in bytes.
    pub(crate) fn log_size(&self) -> u64 {
        self.places.lock().iter().map(|place| place.durable.raft_state_bytes()).max().unwrap_or(0)
    }

    /// The largest persisted snapshot of all servers, in bytes; 0 if nobody has one.
    pub(crate) fn snapshot_size(&self) -> u64 {
        self.places.lock().iter().map(|place| place.durable.snapshot_bytes()).max().unwrap_or(0)
    }

    /// The peer at server `i`, if one runs there.
    pub(super) fn peer(&self, i: usize) -> Option<P> {
        self.places.lock()[i].running.as_ref().map(|running| running.peer.clone())
    }

    /// Crashes everything, and checks that nothing lives on.
    pub(super) fn end(&self) {
        self.stop();
        threads::check_none_left();
    }

    fn stop(&self) {
        self.ended.store(true, Ordering::SeqCst);
        (0..self.n).for_each(|i| self.crash1(i));
        self.network.shutdown();
    }
}

impl<P: Peer> Drop for Servers<P> {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("The last events of the failed test:\n{}", trace::recent());
            eprintln!("Repeat its random choices with {}={}", seed::VARIABLE, self.seed);
            self.stop();
        } else {
            assert!(self.ended.load(Ordering::SeqCst), "a test must end() its cluster");
        }
    }
}
