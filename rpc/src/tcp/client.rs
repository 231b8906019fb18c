//! The client side: the end of a connection to one address.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::Mutex;

use super::frame::Header;
use super::handshake::{Hello, Role};
use super::link::Link;
use super::timer::Timer;
use super::{Identity, link_thread, registry};
use crate::{Completion, End, Lane, Method};

/// The longest pause between two dials of a peer. A node that starts again knows of no leader, and
/// can do nothing for its clients, before the leader has dialled it.
const PEER_BACKOFF_MAX: Duration = Duration::from_millis(100);

/// Whom an end dials, as whom, and its limits.
#[derive(Clone, Debug)]
pub struct EndOptions {
    /// `host:port`. A name is looked up again for each dial.
    pub address: String,
    /// Who dials; a client has node id 0, and cluster id 0 if any will do.
    dialer: Identity,
    /// The node that is meant; 0 from a client if any will do.
    listener_id: u64,
    role: Role,
    /// How long one address may take to connect. Default: 1 s.
    pub connect_timeout: Duration,
    /// How long the listener may take to answer the handshake. Default: 2 s.
    pub handshake_timeout: Duration,
    /// After this long without a reply, a call gets `None`. Default: 5 s.
    pub call_timeout: Duration,
    /// The pause after the first failed dial. Default: 20 ms.
    pub backoff_min: Duration,
    /// The longest pause between two dials. Default: 100 ms between peers, 1 s for a client.
    pub backoff_max: Duration,
    /// With more unsent bytes than this on a lane, further calls on it fail at once.
    /// Default: 64 MiB.
    pub unsent_bytes_max: usize,
}

impl EndOptions {
    /// The peer `dialer` dials the peer `listener_id` of its own cluster.
    pub fn peer(address: impl Into<String>, dialer: Identity, listener_id: u64) -> Self {
        let options = Self::new(address.into(), dialer, listener_id, Role::Peer);
        Self { backoff_max: PEER_BACKOFF_MAX, ..options }
    }

    /// A client dials whichever node answers at `address`.
    pub fn client(address: impl Into<String>) -> Self {
        let nobody = Identity { cluster_id: 0, node_id: 0 };
        Self::new(address.into(), nobody, 0, Role::Client)
    }

    /// A client that insists on this cluster and this node.
    #[must_use]
    pub fn insist_on(mut self, listener: Identity) -> Self {
        self.dialer.cluster_id = listener.cluster_id;
        self.listener_id = listener.node_id;
        self
    }

    fn new(address: String, dialer: Identity, listener_id: u64, role: Role) -> Self {
        Self {
            address,
            dialer,
            listener_id,
            role,
            connect_timeout: Duration::from_secs(1),
            handshake_timeout: Duration::from_secs(2),
            call_timeout: Duration::from_secs(5),
            backoff_min: Duration::from_millis(20),
            backoff_max: Duration::from_secs(1),
            unsent_bytes_max: 64 << 20,
        }
    }

    pub(super) fn hello(&self, lane: Lane) -> Hello {
        Hello { dialer: self.dialer, listener_id: self.listener_id, lane, role: self.role }
    }

    /// The name of a thread of this end.
    pub(super) fn thread_name(&self, lane: Lane, duty: &str) -> String {
        let lane = match lane {
            Lane::Urgent => 'u',
            Lane::Bulk => 'b',
        };
        format!("rpc{}-{lane}-{duty}", self.dialer.node_id)
    }
}

/// The end of a connection to one address, on TCP.
///
/// It connects by itself, and again whenever the connection breaks. Each lane has its own
/// connection; the bulk one is dialled when it is first used. A call that starts while a dial is
/// under way waits for that dial; one that starts between two dials fails at once.
///
/// Dropped, it gives every call in flight `None` and joins its threads. The last owner may drop it
/// from within a completion of its own, but must then hold no lock that its other completions
/// take. A name look-up that is under way cannot be interrupted: if `address` is a name, the drop
/// may have to wait for the resolver.
pub struct TcpEnd {
    next_call_id: AtomicU64,
    urgent: Arc<Link>,
    bulk: Arc<Link>,
    timer: Arc<Timer>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl TcpEnd {
    /// Starts to connect, and returns at once. Fails only if a thread cannot be started.
    pub fn connect(options: EndOptions) -> io::Result<Self> {
        let options = Arc::new(options);
        let timer = Arc::new(Timer::default());
        let link = |lane| Arc::new(Link::new(lane, Arc::clone(&options), Arc::clone(&timer)));
        let end = Self {
            next_call_id: AtomicU64::new(1),
            urgent: link(Lane::Urgent),
            bulk: link(Lane::Bulk),
            timer: Arc::clone(&timer),
            threads: Mutex::default(),
        };
        // From here on, an early return drops the end, which joins what was started.
        let links = [Arc::clone(&end.urgent), Arc::clone(&end.bulk)];
        end.spawn(options.thread_name(Lane::Urgent, "time"), move || timer.run(&links))?;
        for link in [&end.urgent, &end.bulk] {
            let (name, link) = (options.thread_name(link.lane, "in"), Arc::clone(link));
            end.spawn(name, move || link_thread::run(&link))?;
        }
        Ok(end)
    }

    fn spawn(&self, name: String, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let thread = thread::Builder::new().name(name).spawn(body)?;
        self.threads.lock().push(thread);
        Ok(())
    }
}

impl End for TcpEnd {
    fn start(&self, method: Method, args: Vec<u8>, done: Completion) {
        let call_id = self.next_call_id.fetch_add(1, Ordering::Relaxed);
        let link = match method.lane {
            Lane::Urgent => &self.urgent,
            Lane::Bulk => &self.bulk,
        };
        match Header::request(call_id, method.name, &args) {
            Ok(header) => link.start(call_id, header, args, done),
            Err(e) => {
                log::error!(target: "NETW", "a call of {method} could not be sent: {e}");
                done.complete(None);
            }
        }
    }
}

impl Drop for TcpEnd {
    fn drop(&mut self) {
        self.timer.stop();
        self.urgent.close();
        self.bulk.close();
        std::mem::take(self.threads.get_mut()).into_iter().for_each(registry::join);
    }
}
