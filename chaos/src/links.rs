//! The links between nodes: a proxy for each ordered pair, through which one node dials the other.
//!
//! A link is a direction. A connection that node 1 dialled to node 2 carries requests over the link
//! 1 → 2 and replies over 2 → 1, so cutting one direction holds up one of the two, whoever dialled.
//! What is held up is delivered when the link is mended, as TCP would; a reset breaks connections.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// How long a proxy tries to reach a node that does not answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// One direction between two nodes.
#[derive(Default)]
struct Link {
    state: Mutex<State>,
    /// Notified when `state` changes.
    changed: Condvar,
}

#[derive(Clone, Copy, Default)]
struct State {
    cut: bool,
    delay: Duration,
    /// The cluster is going away.
    over: bool,
}

impl Link {
    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock());
        self.changed.notify_all();
    }

    /// Waits until bytes that came at `came` may go on; false if they never may.
    fn pass(&self, came: Instant) -> bool {
        let mut state = self.state.lock();
        loop {
            if state.over {
                return false;
            }
            if state.cut {
                self.changed.wait(&mut state);
                continue;
            }
            let due = came + state.delay;
            if Instant::now() >= due {
                return true;
            }
            self.changed.wait_until(&mut state, due);
        }
    }
}

/// All links of a cluster, and their proxies.
pub(crate) struct Links {
    directions: BTreeMap<(usize, usize), Arc<Link>>,
    proxies: Vec<Arc<Proxy>>,
    acceptors: Vec<JoinHandle<()>>,
}

/// Where node `from` reaches node `to`.
struct Proxy {
    from: usize,
    to: usize,
    address: SocketAddr,
    target: SocketAddr,
    there: Arc<Link>,
    back: Arc<Link>,
    /// Both sockets of the connections that were made, until a reset.
    streams: Mutex<Vec<TcpStream>>,
}

impl Links {
    /// Proxies between all of `nodes` (numbers, and where they listen), at the addresses that
    /// `address` gives.
    pub(crate) fn start(
        nodes: &[(usize, SocketAddr)],
        address: impl Fn(usize, usize) -> SocketAddr,
    ) -> io::Result<Self> {
        let pairs = || {
            nodes.iter().flat_map(|&from| {
                nodes.iter().filter(move |to| to.0 != from.0).map(move |&to| (from, to))
            })
        };
        let directions: BTreeMap<_, _> =
            pairs().map(|(from, to)| ((from.0, to.0), Arc::new(Link::default()))).collect();
        let (mut proxies, mut acceptors) = (Vec::new(), Vec::new());
        for ((from, _), (to, target)) in pairs() {
            let listener = TcpListener::bind(address(from, to))?;
            let proxy = Arc::new(Proxy {
                from,
                to,
                address: listener.local_addr()?,
                target,
                there: Arc::clone(&directions[&(from, to)]),
                back: Arc::clone(&directions[&(to, from)]),
                streams: Mutex::default(),
            });
            let accepting = Arc::clone(&proxy);
            acceptors.push(thread::spawn(move || accepting.accept(&listener)));
            proxies.push(proxy);
        }
        Ok(Self { directions, proxies, acceptors })
    }

    /// Where `from` dials to reach `to`.
    pub(crate) fn address(&self, from: usize, to: usize) -> SocketAddr {
        let proxy = self.proxies.iter().find(|proxy| (proxy.from, proxy.to) == (from, to));
        proxy.expect("every pair has a proxy").address
    }

    /// Holds up everything from `from` to `to`.
    pub(crate) fn cut(&self, from: usize, to: usize) {
        self.directions[&(from, to)].set(|state| state.cut = true);
    }

    /// Everything from `from` to `to` takes this much longer.
    pub(crate) fn slow(&self, from: usize, to: usize, delay: Duration) {
        self.directions[&(from, to)].set(|state| state.delay = delay);
    }

    /// Breaks all connections between the two.
    pub(crate) fn reset(&self, one: usize, other: usize) {
        let between = |proxy: &&Arc<Proxy>| {
            (proxy.from, proxy.to) == (one, other) || (proxy.from, proxy.to) == (other, one)
        };
        self.proxies.iter().filter(between).for_each(|proxy| proxy.reset());
    }

    /// Mends all links.
    pub(crate) fn heal(&self) {
        self.directions.values().for_each(|link| link.set(|state| *state = State::default()));
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        self.directions.values().for_each(|link| link.set(|state| state.over = true));
        for (proxy, acceptor) in self.proxies.iter().zip(self.acceptors.drain(..)) {
            proxy.reset();
            // Wakes the acceptor, which then sees that it is over.
            drop(TcpStream::connect_timeout(&proxy.address, CONNECT_TIMEOUT));
            drop(acceptor.join());
        }
    }
}

impl Proxy {
    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        for dialled in listener.incoming() {
            if self.there.state.lock().over {
                return;
            }
            let Ok(dialled) = dialled else { continue };
            let proxy = Arc::clone(self);
            // Not joined: it ends with its connection, which a reset or the end of the links breaks.
            thread::spawn(move || drop(proxy.carry(dialled)));
        }
    }

    fn carry(&self, dialled: TcpStream) -> io::Result<()> {
        // Nor does a connection come about over a link that is cut.
        if !self.there.pass(Instant::now()) {
            return Ok(());
        }
        let target = TcpStream::connect_timeout(&self.target, CONNECT_TIMEOUT)?;
        dialled.set_nodelay(true)?;
        target.set_nodelay(true)?;
        self.streams.lock().extend([dialled.try_clone()?, target.try_clone()?]);
        let (requests, replies) = (dialled.try_clone()?, target.try_clone()?);
        let back = Arc::clone(&self.back);
        thread::spawn(move || pump(replies, dialled, &back));
        pump(requests, target, &self.there);
        Ok(())
    }

    fn reset(&self) {
        for stream in self.streams.lock().drain(..) {
            drop(stream.shutdown(Shutdown::Both));
        }
    }
}

/// Carries bytes one way, as the link lets it, and the end of the stream after them.
fn pump(mut from: TcpStream, mut to: TcpStream, link: &Link) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = from.read(&mut buffer).unwrap_or(0);
        if !link.pass(Instant::now()) || read == 0 || to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    drop(to.shutdown(Shutdown::Write));
    drop(from.shutdown(Shutdown::Read));
}
