//! A proxy for each ordered pair of nodes, through which the one dials the other.
//!
//! A link is a direction. A connection that node 1 dialled to node 2 carries requests over the link
//! 1 → 2 and replies over 2 → 1, so cutting one direction holds up one of the two, whoever dialled.
//! What is held up is delivered when the link is mended, as TCP would; a reset breaks connections.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use parking_lot::{Condvar, Mutex};

use super::{CLIENT_PORT, Links, PEER_PORT};

/// How long a proxy tries to reach a node that does not answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Where proxies listen, each at an address of its own.
const PROXY_PORT: u16 = 7201;

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
pub(crate) struct Proxies {
    directions: BTreeMap<(usize, usize), Arc<Link>>,
    pairs: Vec<Arc<Proxy>>,
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

impl Proxies {
    /// Proxies between all of nodes 1 to `count`.
    pub(super) fn start(count: usize) -> anyhow::Result<Self> {
        let pairs = || {
            (1..=count).flat_map(move |from| {
                (1..=count).filter(move |&to| to != from).map(move |to| (from, to))
            })
        };
        let directions: BTreeMap<_, _> =
            pairs().map(|pair| (pair, Arc::new(Link::default()))).collect();
        let (mut between, mut acceptors) = (Vec::new(), Vec::new());
        for (from, to) in pairs() {
            let listener = TcpListener::bind(own(100 + 10 * from + to, PROXY_PORT))
                .context("cannot listen on the loopback addresses of the proxies")?;
            let proxy = Arc::new(Proxy {
                from,
                to,
                address: listener.local_addr()?,
                target: own(to, PEER_PORT),
                there: Arc::clone(&directions[&(from, to)]),
                back: Arc::clone(&directions[&(to, from)]),
                streams: Mutex::default(),
            });
            let accepting = Arc::clone(&proxy);
            acceptors.push(thread::spawn(move || accepting.accept(&listener)));
            between.push(proxy);
        }
        Ok(Self { directions, pairs: between, acceptors })
    }
}

impl Links for Proxies {
    fn client_addr(&self, id: usize) -> SocketAddr {
        own(id, CLIENT_PORT)
    }

    fn peer_addr(&self, id: usize) -> SocketAddr {
        own(id, PEER_PORT)
    }

    fn address(&self, from: usize, to: usize) -> SocketAddr {
        let proxy = self.pairs.iter().find(|proxy| (proxy.from, proxy.to) == (from, to));
        proxy.expect("every pair has a proxy").address
    }

    fn launch(&self, _: usize, program: &Path) -> Command {
        Command::new(program)
    }

    fn cut(&mut self, links: &[(usize, usize)]) -> anyhow::Result<()> {
        for link in links {
            self.directions[link].set(|state| state.cut = true);
        }
        Ok(())
    }

    fn slow(&mut self, links: &[(usize, usize)], delay: Duration) -> anyhow::Result<()> {
        for link in links {
            self.directions[link].set(|state| state.delay = delay);
        }
        Ok(())
    }

    fn reset(&mut self, one: usize, other: usize) -> anyhow::Result<()> {
        let between = |proxy: &&Arc<Proxy>| {
            (proxy.from, proxy.to) == (one, other) || (proxy.from, proxy.to) == (other, one)
        };
        self.pairs.iter().filter(between).for_each(|proxy| proxy.reset());
        Ok(())
    }

    fn unplug(&mut self, id: usize) -> anyhow::Result<()> {
        bail!("node {id} is on the loopback device, which cannot be unplugged")
    }

    fn heal(&mut self) -> anyhow::Result<()> {
        self.directions.values().for_each(|link| link.set(|state| *state = State::default()));
        Ok(())
    }
}

impl Drop for Proxies {
    fn drop(&mut self) {
        self.directions.values().for_each(|link| link.set(|state| state.over = true));
        for (proxy, acceptor) in self.pairs.iter().zip(self.acceptors.drain(..)) {
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

/// A loopback address of this process's own: fixed ports there are nobody else's.
fn own(last: usize, port: u16) -> SocketAddr {
    let [.., high, low] = std::process::id().to_be_bytes();
    let last = u8::try_from(last).expect("there are few nodes");
    SocketAddr::from((Ipv4Addr::new(127, 64 | (high & 63), low, last), port))
}
