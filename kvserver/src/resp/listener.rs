//! The port: accepts connections and deals them out to a few threads, each with many. Another
//! protocol may share the port, told apart by its first byte, which no Redis client sends.

use std::io::{self, ErrorKind};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use socket2::SockRef;

use super::front_end::FrontEnd;
use super::host::Common;
use super::mailbox::Mailbox;
use super::poller::Poller;
use super::switchboard::Switchboard;

/// The pause after `accept` failed for a reason that lasts, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// So many connections more than there may be clients are looked at: they may be of the other
/// protocol.
const UNDECIDED_MAX: usize = 64;

/// Who shares the port.
#[derive(Clone)]
pub struct OtherProtocol {
    /// What its connections begin with.
    pub first_byte: u8,
    /// Takes over such a connection, of which nothing has been read. Must return soon.
    pub serve: Arc<dyn Fn(TcpStream) + Send + Sync>,
}

/// A port that Redis clients connect to. Dropped, it shuts down as by [`RespListener::shutdown`].
pub struct RespListener {
    shared: Arc<Shared>,
    listener: Arc<TcpListener>,
    local_addr: SocketAddr,
    accepting: Mutex<Option<JoinHandle<()>>>,
    serving: Mutex<Vec<JoinHandle<()>>>,
}

/// What the thread that accepts shares with those who close the port.
struct Shared {
    common: Arc<Common>,
    mailboxes: Vec<Arc<Mailbox>>,
    /// Whose turn it is.
    turn: AtomicUsize,
    closing: Mutex<bool>,
    /// Predicate: the port is closing.
    changed: Condvar,
}

impl RespListener {
    /// Serves what connects to `listener`.
    pub fn start(
        listener: TcpListener,
        front: Arc<FrontEnd>,
        other: Option<OtherProtocol>,
    ) -> io::Result<Self> {
        let local_addr = listener.local_addr()?;
        let listener = Arc::new(listener);
        let threads = front.options.threads.max(1);
        let common = Arc::new(Common { front, other, connections: AtomicUsize::new(0) });
        let mailboxes = (0..threads).map(|_| Ok(Arc::new(Mailbox::new(Poller::new()?))));
        let shared = Arc::new(Shared {
            common,
            mailboxes: mailboxes.collect::<io::Result<_>>()?,
            turn: AtomicUsize::new(0),
            closing: Mutex::new(false),
            changed: Condvar::new(),
        });
        // Dropped on an error, it ends the threads that have begun.
        let port = Self {
            shared: Arc::clone(&shared),
            listener: Arc::clone(&listener),
            local_addr,
            accepting: Mutex::new(None),
            serving: Mutex::default(),
        };
        for (number, mailbox) in shared.mailboxes.iter().enumerate() {
            let (common, mailbox) = (Arc::clone(&shared.common), Arc::clone(mailbox));
            let thread = thread::Builder::new().name(format!("resp-{number}"));
            port.serving.lock().push(thread.spawn(move || serve_all(common, &mailbox))?);
        }
        let accepting = thread::Builder::new().name("resp-accept".to_owned());
        let accepting = accepting.spawn(move || accept_all(&shared, &listener))?;
        *port.accepting.lock() = Some(accepting);
        Ok(port)
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// How many bytes have come from clients so far.
    pub fn bytes_in(&self) -> u64 {
        self.shared.common.front.stats.bytes_in.load(Ordering::Relaxed)
    }

    /// Serves a connection that someone else accepted.
    pub fn serve_stream(&self, stream: TcpStream) {
        self.shared.serve(stream);
    }

    /// Closes the port: takes no more connections, lets the commands that have come be answered,
    /// closes all connections, and joins all threads. Idempotent.
    ///
    /// Must not be called from one of these threads.
    pub fn shutdown(&self) {
        *self.shared.closing.lock() = true;
        self.shared.changed.notify_all();
        if let Some(accepting) = self.accepting.lock().take() {
            match wake(&self.listener, self.local_addr) {
                Ok(()) => join(accepting),
                // Better one thread left behind than never to return.
                Err(error) => log::error!(target: "CLNT", "the port cannot be closed: {error}"),
            }
        }
        let end = Instant::now() + self.shared.common.front.options.shutdown_grace;
        for mailbox in &self.shared.mailboxes {
            // One whose thread has ended has nothing to close.
            let _ = mailbox.put(|mail| mail.closing = Some(end));
        }
        let serving = std::mem::take(&mut *self.serving.lock());
        serving.into_iter().for_each(join);
    }
}

impl Drop for RespListener {
    fn drop(&mut self) {
        self.shutdown();
    }
}

impl Shared {
    /// Gives a connection to one of the threads, if there is room.
    fn serve(&self, stream: TcpStream) {
        let front = &self.common.front;
        let clients_max = front.options.clients_max;
        let connections = self.common.connections.fetch_add(1, Ordering::Relaxed);
        let mut stream = Some(stream);
        if connections < clients_max + UNDECIDED_MAX {
            let crowded = connections >= clients_max;
            for _ in &self.mailboxes {
                let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.mailboxes.len();
                let mut take = || stream.take().map(|stream| (stream, crowded));
                if self.mailboxes[turn].put(|mail| mail.streams.extend(take())) {
                    return;
                }
            }
        }
        self.common.connections.fetch_sub(1, Ordering::Relaxed);
        front.stats.rejected_connections.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits a little, unless the port closes.
    fn pause(&self) {
        let deadline = Instant::now() + ACCEPT_PAUSE;
        let mut closing = self.closing.lock();
        while !*closing {
            if self.changed.wait_until(&mut closing, deadline).timed_out() {
                break;
            }
        }
    }
}

/// The thread that serves the connections which come by `mailbox`.
fn serve_all(common: Arc<Common>, mailbox: &Arc<Mailbox>) {
    let _closed = CloseAtEnd(mailbox);
    let board = Box::new(Switchboard::new(common, Arc::clone(mailbox)));
    if let Err(error) = board.run() {
        log::error!(target: "CLNT", "a front-end thread cannot go on: {error}");
    }
}

/// Takes nothing more once the thread has ended, even by a panic.
struct CloseAtEnd<'a>(&'a Mailbox);

impl Drop for CloseAtEnd<'_> {
    fn drop(&mut self) {
        drop(self.0.close());
    }
}

fn accept_all(shared: &Shared, listener: &TcpListener) {
    let mut failing = false;
    loop {
        let accepted = listener.accept();
        if *shared.closing.lock() {
            return;
        }
        match accepted {
            Ok((stream, _)) => {
                failing = false;
                shared.serve(stream);
            }
            // The connection is gone, not the port.
            Err(e) if matches!(e.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionAborted) => {
            }
            Err(e) => {
                if !std::mem::replace(&mut failing, true) {
                    log::error!(target: "CLNT", "no connection can be accepted: {e}");
                }
                shared.pause();
            }
        }
    }
}

/// Makes `accept` return, now and from now on, or once by a connection from ourselves.
fn wake(listener: &TcpListener, local_addr: SocketAddr) -> io::Result<()> {
    if SockRef::from(listener).shutdown(Shutdown::Both).is_ok() {
        return Ok(());
    }
    let mut addr = local_addr;
    if addr.ip().is_unspecified() {
        addr.set_ip(if addr.is_ipv4() {
            std::net::Ipv4Addr::LOCALHOST.into()
        } else {
            std::net::Ipv6Addr::LOCALHOST.into()
        });
    }
    TcpStream::connect_timeout(&addr, Duration::from_secs(1)).map(drop)
}

/// Joins a thread that is about to end; its panic, if any, goes on here.
fn join(thread: JoinHandle<()>) {
    if let Err(panic) = thread.join()
        && !thread::panicking()
    {
        std::panic::resume_unwind(panic);
    }
}
