//! What a network of namespaces must do before a campaign relies on it: a cut that stopped nothing
//! would make every round green.

use std::fs;
use std::io::{self, Read as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use super::Links as _;
use super::namespaces::Namespaces;

/// How long what must arrive may take.
const ARRIVES_WITHIN: Duration = Duration::from_secs(5);
const DELAY: Duration = Duration::from_millis(20);
const FRAMES: u32 = 4;

/// Makes a network of three nodes, tries all that can be done to its links, and removes it.
/// [`Refused`](super::tools::Refused) if it cannot be made; any other error is a mistake of ours.
pub(super) fn run() -> anyhow::Result<()> {
    let dir = std::env::temp_dir().join(format!("oarlock-chaos-{}", std::process::id()));
    fs::create_dir_all(&dir).with_context(|| format!("{}", dir.display()))?;
    let tried = try_all(&mut Namespaces::start(3, &dir)?);
    drop(fs::remove_dir(&dir));
    tried
}

fn try_all(network: &mut Namespaces) -> anyhow::Result<()> {
    let sockets = Sockets::open(network)?;
    for (from, to) in [(1, 2), (2, 1), (3, 1)] {
        cut_one_way(network, &sockets, from, to)
            .with_context(|| format!("a cut of {from} -> {to}"))?;
    }
    unplug(network, &sockets).context("an unplugged node")?;
    slow_down(network, &sockets).context("a slow link")?;
    reset(network).context("a reset")
}

/// A cut stops what goes from one to the other, and nothing else.
pub(super) fn cut_one_way(
    network: &mut Namespaces,
    sockets: &Sockets,
    from: usize,
    to: usize,
) -> anyhow::Result<()> {
    let third = 6 - from - to;
    network.cut(&[(from, to)])?;
    sockets.send(from, to, b"while it is cut")?;
    for (open_from, open_to) in [(to, from), (from, third), (third, to), (to, third)] {
        sockets.send(open_from, open_to, b"not cut")?;
    }
    // Links keep the order of what they carry: after all that is open, had it come it would be here.
    let expected = [(to, 1), (from, 1), (third, 2)];
    for (node, count) in expected {
        for _ in 0..count {
            let came = sockets.receive(node).with_context(|| format!("at node {node}"))?;
            ensure!(came == b"not cut", "node {node} received what was cut off");
        }
    }
    network.heal()?;
    sockets.send(from, to, b"healed")?;
    let came = sockets.receive(to).context("nothing comes after it was healed")?;
    ensure!(came == b"healed", "node {to} received what was cut off");
    Ok(())
}

/// A node that is unplugged hears nobody, clients included, and nobody hears it.
fn unplug(network: &mut Namespaces, sockets: &Sockets) -> anyhow::Result<()> {
    let client = UdpSocket::bind("0.0.0.0:0")?;
    network.unplug(1)?;
    sockets.send(2, 1, b"while it is unplugged")?;
    client.send_to(b"while it is unplugged", sockets.0[0].1)?;
    sockets.send(1, 2, b"while it is unplugged")?;
    sockets.send(3, 2, b"beside it")?;
    let came = sockets.receive(2).context("at node 2")?;
    ensure!(came == b"beside it", "node 2 heard it");
    network.heal()?;
    for (from, to) in [(2, 1), (1, 2)] {
        sockets.send(from, to, b"plugged in")?;
        let came = sockets.receive(to).with_context(|| format!("at node {to}, plugged in"))?;
        ensure!(came == b"plugged in", "node {to} heard {from}");
    }
    Ok(())
}

fn slow_down(network: &mut Namespaces, sockets: &Sockets) -> anyhow::Result<()> {
    network.slow(&[(1, 2)], DELAY)?;
    let full = [0; 1472];
    let began = Instant::now();
    // The first two may pass at once.
    for _ in 0..FRAMES {
        sockets.send(1, 2, &full)?;
    }
    for _ in 0..FRAMES {
        sockets.receive(2)?;
    }
    let took = began.elapsed();
    network.heal()?;
    ensure!(took >= DELAY, "{FRAMES} full frames took {took:?} only");
    Ok(())
}

fn reset(network: &mut Namespaces) -> anyhow::Result<()> {
    let address = network.peer_addr(2);
    let listener = network.within(2, || TcpListener::bind(address))?;
    let mut dialled = network.within(1, || TcpStream::connect_timeout(&address, ARRIVES_WITHIN))?;
    let (mut accepted, _) = listener.accept()?;
    network.reset(1, 2)?;
    for stream in [&mut dialled, &mut accepted] {
        stream.set_read_timeout(Some(ARRIVES_WITHIN))?;
        let broke = matches!(
            stream.read(&mut [0]).map_err(|error| error.kind()),
            Err(io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted)
        );
        ensure!(broke, "a connection lives on");
    }
    Ok(())
}

/// A socket for datagrams at each node.
pub(super) struct Sockets(Vec<(UdpSocket, SocketAddr)>);

impl Sockets {
    pub(super) fn open(network: &Namespaces) -> anyhow::Result<Self> {
        let sockets = (1..=3).map(|id| {
            let address = network.peer_addr(id);
            let socket = network.within(id, || UdpSocket::bind(address))?;
            socket.set_read_timeout(Some(ARRIVES_WITHIN))?;
            Ok((socket, address))
        });
        Ok(Self(sockets.collect::<anyhow::Result<_>>()?))
    }

    fn send(&self, from: usize, to: usize, bytes: &[u8]) -> anyhow::Result<()> {
        self.0[from - 1].0.send_to(bytes, self.0[to - 1].1)?;
        Ok(())
    }

    fn receive(&self, at: usize) -> anyhow::Result<Vec<u8>> {
        let mut buffer = vec![0; 2048];
        let read = loop {
            match self.0[at - 1].0.recv(&mut buffer) {
                // Whoever was stopped meanwhile, and goes on, is told so.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        buffer.truncate(read);
        Ok(buffer)
    }
}
