//! The way between nodes that are far from each other: whatever comes is passed on after the time the
//! way takes. It delays and does not limit: as many bytes as may be are on the way at once.
//!
//! One thread relays everything, so that the load on the machine is small. What it does not do is
//! delay the making of a connection, lose anything, or slow down at the start as TCP does over a
//! real distance.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fd::OwnedFd;

/// What one read takes at most, in bytes.
const READ_BYTES: usize = 64 << 10;

/// The token of the call to end; sockets have the small ones.
const OVER: u64 = u64::MAX;

/// Ways to some ports of this machine; they end with this value.
pub(crate) struct Ways {
    /// Where each begins, in the order of the ports they lead to.
    pub(crate) ports: Vec<u16>,
    over: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Ways {
    /// Makes a way to each of `targets`, which takes as long as `delay` in each direction.
    pub(crate) fn start(targets: &[u16], delay: Duration) -> io::Result<Self> {
        let list = epoll::create(CreateFlags::CLOEXEC)?;
        let over = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        epoll::add(&list, &over, EventData::new_u64(OVER), EventFlags::IN)?;
        let (mut doors, mut ports) = (Vec::new(), Vec::new());
        for &target in targets {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            listener.set_nonblocking(true)?;
            epoll::add(&list, &listener, EventData::new_u64(doors.len() as u64), EventFlags::IN)?;
            ports.push(listener.local_addr()?.port());
            doors.push(Door { listener, target });
        }
        let relay = Relay { list, doors, pairs: Vec::new(), delay, buffer: vec![0; READ_BYTES] };
        let thread = std::thread::Builder::new().name("ways".to_owned()).spawn(move || {
            if let Err(error) = relay.run() {
                eprintln!("the ways between the nodes have broken down: {error}");
            }
        })?;
        Ok(Self { ports, over, thread: Some(thread) })
    }
}

impl Drop for Ways {
    fn drop(&mut self) {
        // A counter that is full is as good a call.
        _ = rustix::io::write(&self.over, &1u64.to_ne_bytes());
        _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Where connections come in, and where they are to go.
struct Door {
    listener: TcpListener,
    target: u16,
}

struct Relay {
    list: OwnedFd,
    doors: Vec<Door>,
    /// `None` once it has ended.
    pairs: Vec<Option<Pair>>,
    delay: Duration,
    buffer: Vec<u8>,
}

/// A connection: both its sockets, and what is on its way to each.
struct Pair {
    sides: [TcpStream; 2],
    to: [Flow; 2],
}

/// What is on its way to a socket.
#[derive(Default)]
struct Flow {
    /// When it arrives, oldest first; nothing at all is the end of the stream.
    pieces: VecDeque<(Instant, Vec<u8>)>,
    /// So much of the first is written.
    written: usize,
    /// The socket takes no more for now.
    is_full: bool,
}

impl Flow {
    fn due(&self) -> Option<Instant> {
        self.pieces.front().filter(|_| !self.is_full).map(|(due, _)| *due)
    }

    /// Writes what has arrived. False once the stream has ended.
    fn deliver(&mut self, mut socket: &TcpStream, now: Instant) -> io::Result<bool> {
        while self.due().is_some_and(|due| due <= now) {
            let Some((_, piece)) = self.pieces.front() else { break };
            if piece.is_empty() {
                socket.shutdown(Shutdown::Write)?;
                return Ok(false);
            }
            match socket.write(&piece[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.is_full = true,
                Err(error) => return Err(error),
            }
            if self.written == piece.len() {
                self.pieces.pop_front();
                self.written = 0;
            }
        }
        Ok(true)
    }
}

impl Relay {
    fn run(mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(256);
        loop {
            self.wait()?;
            events.clear();
            let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
            epoll::wait(&self.list, rustix::buffer::spare_capacity(&mut events), Some(&at_once))?;
            for event in &events {
                let (flags, data) = (event.flags, event.data);
                let Ok(token) = usize::try_from(data.u64()) else { return Ok(()) };
                if data.u64() == OVER {
                    return Ok(());
                }
                match token.checked_sub(self.doors.len()) {
                    None => self.accept(token),
                    Some(socket) => self.ready(socket / 2, socket % 2, flags),
                }
            }
            self.deliver();
        }
    }

    /// Waits for a socket, or for something to arrive. `epoll` itself counts in whole milliseconds.
    fn wait(&self) -> io::Result<()> {
        let dues = self.pairs.iter().flatten().flat_map(|pair| &pair.to).filter_map(Flow::due);
        let wait = dues.min().map(|due| due.saturating_duration_since(Instant::now()));
        let timeout = wait.map(|wait| Timespec {
            tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(wait.subsec_nanos()),
        });
        match poll(&mut [PollFd::new(&self.list, PollFlags::IN)], timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn accept(&mut self, door: usize) {
        let Door { listener, target } = &self.doors[door];
        // One that is gone again, or finds nobody, is the caller's to try again.
        let Ok((from, _)) = listener.accept() else { return };
        let Ok(to) = TcpStream::connect(("127.0.0.1", *target)) else { return };
        let pair = Pair { sides: [from, to], to: Default::default() };
        if self.register(&pair).is_ok() {
            self.pairs.push(Some(pair));
        }
    }

    fn register(&self, pair: &Pair) -> io::Result<()> {
        for (side, socket) in pair.sides.iter().enumerate() {
            socket.set_nonblocking(true)?;
            socket.set_nodelay(true)?;
            let token = self.doors.len() + self.pairs.len() * 2 + side;
            let flags = EventFlags::IN | EventFlags::OUT | EventFlags::ET;
            epoll::add(&self.list, socket, EventData::new_u64(token as u64), flags)?;
        }
        Ok(())
    }

    fn ready(&mut self, pair: usize, side: usize, flags: EventFlags) {
        let Some(Pair { sides, to }) = &mut self.pairs[pair] else { return };
        to[side].is_full &= !flags.contains(EventFlags::OUT);
        // Told once for all that has come, so all is to be read.
        loop {
            let read = (&sides[side]).read(&mut self.buffer);
            if read.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock) {
                return;
            }
            let count = read.unwrap_or(0);
            let piece = self.buffer[..count].to_vec();
            to[1 - side].pieces.push_back((Instant::now() + self.delay, piece));
            if count == 0 {
                return;
            }
        }
    }

    fn deliver(&mut self) {
        let now = Instant::now();
        for slot in &mut self.pairs {
            let Some(Pair { sides, to }) = slot else { continue };
            let both = sides.iter().zip(to).map(|(socket, flow)| flow.deliver(socket, now));
            // An end in one direction ends both: nobody here goes on after it.
            if both.fold(false, |ends, goes_on| ends | !goes_on.unwrap_or(false)) {
                *slot = None;
            }
        }
    }
}
