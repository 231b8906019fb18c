//! The network as its users meet it, over real sockets. One file a theme; what they share is here.

mod calls;
mod faults;
mod handshakes;
mod lanes;
mod threads;

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::{EndOptions, Identity, ServerOptions, TcpEnd, TcpServer};
use crate::{Completion, End, Method, ReplySlot, Service, UnknownMethod};

const CLUSTER: u64 = 7;
/// How long a test waits for what should come at once: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(30);

const ECHO: Method = Method::urgent("Test.Echo");
const BULK_ECHO: Method = Method::bulk("Test.Echo");
/// Its reply slot is kept for the test to answer.
const KEEP: Method = Method::urgent("Test.Keep");
const UNKNOWN: Method = Method::urgent("Test.Unknown");

/// Node ids that no other test in this process has: threads are named after them.
fn fresh_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1000);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn node(node_id: u64) -> Identity {
    Identity { cluster_id: CLUSTER, node_id }
}

/// Echoes, and keeps the slots it is told to keep.
#[derive(Default)]
struct TestService {
    kept: Mutex<Vec<(Vec<u8>, ReplySlot)>>,
    hung_up: Mutex<Vec<u64>>,
}

impl Service for TestService {
    fn handle(&self, method: &str, args: &[u8], reply: ReplySlot) -> Result<(), UnknownMethod> {
        match method {
            "Test.Echo" => reply.reply(args.to_vec()),
            "Test.Keep" => self.kept.lock().push((args.to_vec(), reply)),
            _ => return Err(UnknownMethod(method.to_owned())),
        }
        Ok(())
    }

    fn hung_up(&self, peer: u64) {
        self.hung_up.lock().push(peer);
    }
}

impl TestService {
    /// Waits until `count` slots are kept, and takes them.
    fn take_kept(&self, count: usize) -> Vec<(Vec<u8>, ReplySlot)> {
        eventually("the calls have arrived", || self.kept.lock().len() >= count);
        std::mem::take(&mut *self.kept.lock())
    }
}

/// A server with a service of its own.
struct Fixture {
    service: Arc<TestService>,
    me: Identity,
    server: TcpServer,
}

impl Fixture {
    fn new() -> Self {
        Self::with(|options| options)
    }

    fn with(change: impl FnOnce(ServerOptions) -> ServerOptions) -> Self {
        let service = Arc::new(TestService::default());
        let me = node(fresh_id());
        let shared: Arc<dyn Service> = service.clone();
        let options = ServerOptions::new(me).serve_peers(shared.clone()).serve_clients(shared);
        let server = TcpServer::bind("127.0.0.1:0", change(options)).unwrap();
        Self { service, me, server }
    }

    fn addr(&self) -> SocketAddr {
        self.server.local_addr().unwrap()
    }

    fn peer_options(&self) -> EndOptions {
        EndOptions::peer(self.addr().to_string(), node(fresh_id()), self.me.node_id)
    }

    fn end(&self) -> TcpEnd {
        patient(self.peer_options())
    }

    /// A bare connection, to say anything on.
    fn stream(&self) -> TcpStream {
        let stream = TcpStream::connect(self.addr()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }
}

/// An end whose calls do not time out because the machine is busy.
fn patient(mut options: EndOptions) -> TcpEnd {
    options.call_timeout = PATIENCE;
    options.connect_timeout = PATIENCE;
    options.handshake_timeout = PATIENCE;
    TcpEnd::connect(options).unwrap()
}

#[track_caller]
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Collects outcomes, so that a test can tell how often each completion ran.
#[derive(Clone, Default)]
struct Outcomes(Arc<Mutex<Vec<Option<Vec<u8>>>>>);

impl Outcomes {
    fn completion(&self) -> Completion {
        let outcomes = Arc::clone(&self.0);
        Completion::new(move |outcome| outcomes.lock().push(outcome))
    }

    fn count(&self) -> usize {
        self.0.lock().len()
    }

    fn all_none(&self) -> bool {
        self.0.lock().iter().all(Option::is_none)
    }
}

/// How many threads of this process have a name that begins so.
///
/// A thread has its parent's name until it runs, and is listed for a moment after it was joined:
/// ask [`eventually`].
#[cfg(target_os = "linux")]
fn threads_named(prefix: &str) -> usize {
    let names = std::fs::read_dir("/proc/self/task").unwrap().filter_map(|task| {
        // A thread may end between the listing and the look.
        std::fs::read_to_string(task.ok()?.path().join("comm")).ok()
    });
    names.filter(|name| name.starts_with(prefix)).count()
}

/// Keeps what this process logs, so that tests can ask for it.
struct LogKeeper(Mutex<Vec<(log::Level, String)>>);

static LOG: LogKeeper = LogKeeper(Mutex::new(Vec::new()));

impl log::Log for LogKeeper {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        self.0.lock().push((record.level(), record.args().to_string()));
    }

    fn flush(&self) {}
}

fn keep_log() {
    // Another test may have done it already.
    let _ = log::set_logger(&LOG);
    log::set_max_level(log::LevelFilter::Debug);
}

/// Waits for a line of this level that holds both texts.
#[track_caller]
fn wait_for_log(level: log::Level, who: &str, what: &str) {
    eventually(&format!("{level} is logged of {who}: {what}"), || {
        let lines = LOG.0.lock();
        lines.iter().any(|(at, line)| *at == level && line.contains(who) && line.contains(what))
    });
}
