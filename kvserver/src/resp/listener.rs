//! The port: accepts connections and gives each a thread. Another protocol may share the port, told
//! apart by its first byte, which no Redis client sends.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use socket2::SockRef;

use super::connection::Connection;
use super::front_end::FrontEnd;
use super::socket;

/// The pause after `accept` failed for a reason that lasts, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// So many connections more than there may be clients are looked at: they may be of the other
/// protocol.
const UNDECIDED_MAX: usize = 64;

/// How long such a one may take to show what it is.
const UNDECIDED_TIMEOUT: Duration = Duration::from_secs(1);

/// A connection's stack, in bytes: nothing there is deep.
const STACK_BYTES: usize = 512 << 10;

const TOO_MANY: &str = "max number of clients reached";

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
}

/// What the threads of a port have in common.
struct Shared {
    front: Arc<FrontEnd>,
    other: Option<OtherProtocol>,
    threads: Mutex<Threads>,
    /// Predicates: no thread is running; the port is closing.
    changed: Condvar,
}

#[derive(Default)]
struct Threads {
    closing: bool,
    next: u64,
    running: BTreeMap<u64, Running>,
    /// To be joined; each is about to end.
    finished: Vec<JoinHandle<()>>,
}

struct Running {
    thread: JoinHandle<()>,
    stream: Arc<TcpStream>,
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
        let (threads, changed) = (Mutex::default(), Condvar::new());
        let shared = Arc::new(Shared { front, other, threads, changed });
        let accepting = thread::Builder::new().name("resp-accept".to_owned()).spawn({
            let (shared, listener) = (Arc::clone(&shared), Arc::clone(&listener));
            move || accept_all(&shared, &listener)
        })?;
        Ok(Self { shared, listener, local_addr, accepting: Mutex::new(Some(accepting)) })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// How many bytes have come from clients so far.
    pub fn bytes_in(&self) -> u64 {
        self.shared.front.stats.bytes_in.load(Ordering::Relaxed)
    }

    /// Serves a connection that someone else accepted.
    pub fn serve_stream(&self, stream: TcpStream) {
        serve(&self.shared, stream);
    }

    /// Closes the port: takes no more connections, lets the commands that have come be answered,
    /// closes all connections, and joins all threads. Idempotent.
    ///
    /// Must not be called from a connection's thread.
    pub fn shutdown(&self) {
        self.shared.threads.lock().closing = true;
        self.shared.changed.notify_all();
        if let Some(accepting) = self.accepting.lock().take() {
            match wake(&self.listener, self.local_addr) {
                Ok(()) => join(accepting),
                // Better one thread left behind than never to return.
                Err(error) => log::error!(target: "CLNT", "the port cannot be closed: {error}"),
            }
        }
        self.shared.close_all();
    }
}

impl Drop for RespListener {
    fn drop(&mut self) {
        self.shutdown();
    }
}

impl Shared {
    /// Ends every connection once what it has sent is answered, or when the grace is over.
    fn close_all(&self) {
        self.hang_up(Shutdown::Read);
        let deadline = Instant::now() + self.front.options.shutdown_grace;
        let mut threads = self.threads.lock();
        while !threads.running.is_empty() {
            if self.changed.wait_until(&mut threads, deadline).timed_out() {
                break;
            }
        }
        drop(threads);
        self.hang_up(Shutdown::Both);
        let mut threads = self.threads.lock();
        while !threads.running.is_empty() {
            self.changed.wait(&mut threads);
        }
        let finished = std::mem::take(&mut threads.finished);
        drop(threads);
        finished.into_iter().for_each(join);
    }

    fn hang_up(&self, how: Shutdown) {
        let streams: Vec<Arc<TcpStream>> =
            self.threads.lock().running.values().map(|r| Arc::clone(&r.stream)).collect();
        for stream in streams {
            // If it is not connected any more, that is what we want.
            drop(stream.shutdown(how));
        }
    }

    /// Joins threads that are about to end.
    fn reap(&self) {
        let finished = std::mem::take(&mut self.threads.lock().finished);
        finished.into_iter().for_each(join);
    }
}

fn accept_all(shared: &Arc<Shared>, listener: &TcpListener) {
    let mut failing = false;
    loop {
        let accepted = listener.accept();
        if shared.threads.lock().closing {
            return;
        }
        shared.reap();
        match accepted {
            Ok((stream, _)) => {
                failing = false;
                serve(shared, stream);
            }
            // The connection is gone, not the port.
            Err(e) if matches!(e.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionAborted) => {
            }
            Err(e) => {
                if !std::mem::replace(&mut failing, true) {
                    log::error!(target: "CLNT", "no connection can be accepted: {e}");
                }
                let deadline = Instant::now() + ACCEPT_PAUSE;
                let mut threads = shared.threads.lock();
                while !threads.closing {
                    if shared.changed.wait_until(&mut threads, deadline).timed_out() {
                        break;
                    }
                }
            }
        }
    }
}

/// Gives a connection a thread, if there is room.
fn serve(shared: &Arc<Shared>, stream: TcpStream) {
    let clients_max = shared.front.options.clients_max;
    let stream = Arc::new(stream);
    let mut threads = shared.threads.lock();
    if threads.closing {
        return;
    }
    if threads.running.len() >= clients_max + UNDECIDED_MAX {
        drop(threads);
        shared.front.stats.rejected_connections.fetch_add(1, Ordering::Relaxed);
        return;
    }
    let crowded = threads.running.len() >= clients_max;
    threads.next += 1;
    let id = threads.next;
    // Its end needs this lock, so it finds itself in the list.
    let spawned =
        thread::Builder::new().name(format!("resp-{id}")).stack_size(STACK_BYTES).spawn({
            let (shared, stream) = (Arc::clone(shared), Arc::clone(&stream));
            move || {
                let _leave = Leave { shared: &shared, id };
                tell_apart(&shared, &stream, crowded);
            }
        });
    match spawned {
        Ok(thread) => drop(threads.running.insert(id, Running { thread, stream })),
        Err(error) => {
            drop(threads);
            log::error!(target: "CLNT", "no thread for a connection: {error}");
        }
    }
}

/// Takes a connection's thread off the list when it ends, even by a panic.
struct Leave<'a> {
    shared: &'a Shared,
    id: u64,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        let mut threads = self.shared.threads.lock();
        if let Some(running) = threads.running.remove(&self.id) {
            threads.finished.push(running.thread);
        }
        drop(threads);
        self.shared.changed.notify_all();
    }
}

/// Finds out whose connection this is, and serves it if it is a Redis client's.
fn tell_apart(shared: &Shared, stream: &Arc<TcpStream>, crowded: bool) {
    let timeout = crowded.then_some(UNDECIDED_TIMEOUT);
    if stream.set_read_timeout(timeout).is_err() {
        return;
    }
    let first = socket::peek_first(stream);
    if let (Some(other), Some(first)) = (&shared.other, first)
        && first == other.first_byte
    {
        let handed_over = stream.set_read_timeout(None).and_then(|()| stream.try_clone());
        return match handed_over {
            Ok(stream) => (other.serve)(stream),
            Err(error) => log::debug!(target: "CLNT", "a connection was lost: {error}"),
        };
    }
    if first.is_some() || crowded {
        serve_client(shared, stream);
    }
}

fn serve_client(shared: &Shared, stream: &Arc<TcpStream>) {
    let front = &shared.front;
    let ready = socket::tune(stream, front.options.write_timeout)
        .and_then(|()| Ok((stream.peer_addr()?, stream.local_addr()?)));
    // An error here means that the client is gone.
    let Ok(addrs) = ready else { return };
    let max = front.options.clients_max;
    let Some(client) = front.clients.add(max, Some(addrs), Some(Arc::clone(stream))) else {
        front.stats.rejected_connections.fetch_add(1, Ordering::Relaxed);
        return socket::turn_away(stream, TOO_MANY);
    };
    front.stats.connections.fetch_add(1, Ordering::Relaxed);
    let connection = Connection::new(Arc::clone(front), client);
    if stream.set_read_timeout(None).is_ok() {
        socket::converse(front, stream, connection);
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
