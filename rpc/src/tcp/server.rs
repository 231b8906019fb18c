//! The server side: a listener, and the services behind it.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::Mutex;

use super::connection;
use super::handshake::Role;
use super::refusals::RefusalLog;
use super::registry::{self, Limits, NotAdmitted, Registry};
use super::{Identity, socket};
use crate::Service;

/// The pause after `accept` failed for a reason that lasts, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The cause under which connections are logged for which there is no room.
const NO_ROOM: u8 = u8::MAX;

/// Who a server is, whom it serves, and its limits.
#[derive(Clone)]
pub struct ServerOptions {
    /// Who this is. A peer that means another cluster or another node is refused.
    pub identity: Identity,
    /// What peers may call; `None` refuses peers.
    pub peer_service: Option<Arc<dyn Service>>,
    /// What clients may call; `None` refuses clients.
    pub client_service: Option<Arc<dyn Service>>,
    /// A connection that has not said who it is within this time is closed. Default: 5 s.
    pub handshake_timeout: Duration,
    /// The most connections, of two threads each. Default: 1,024.
    pub connections_max: usize,
    /// The most connections that have not said who they are; one more, and the oldest of them is
    /// closed. Default: 64.
    pub handshaking_max: usize,
    /// With more unsent bytes than this on a connection, further replies on it are dropped.
    /// Default: 64 MiB.
    pub unsent_bytes_max: usize,
}

impl ServerOptions {
    /// The default limits, and nobody served.
    pub fn new(identity: Identity) -> Self {
        Self {
            identity,
            peer_service: None,
            client_service: None,
            handshake_timeout: Duration::from_secs(5),
            connections_max: 1024,
            handshaking_max: 64,
            unsent_bytes_max: 64 << 20,
        }
    }

    /// Serves peers with `service`.
    #[must_use]
    pub fn serve_peers(mut self, service: Arc<dyn Service>) -> Self {
        self.peer_service = Some(service);
        self
    }

    /// Serves clients with `service`.
    #[must_use]
    pub fn serve_clients(mut self, service: Arc<dyn Service>) -> Self {
        self.client_service = Some(service);
        self
    }
}

/// A server on TCP. Dropped, it shuts down as by [`TcpServer::shutdown`].
pub struct TcpServer {
    shared: Arc<Shared>,
    local_addr: Option<SocketAddr>,
    accepting: Mutex<Option<Accepting>>,
}

struct Accepting {
    listener: Arc<TcpListener>,
    thread: JoinHandle<()>,
}

/// What the threads of a server have in common.
pub(super) struct Shared {
    pub(super) options: ServerOptions,
    pub(super) registry: Registry,
    pub(super) refusals: RefusalLog,
}

impl TcpServer {
    /// Listens on `address` (port 0: any free port, see [`TcpServer::local_addr`]).
    pub fn bind(address: impl ToSocketAddrs, options: ServerOptions) -> io::Result<Self> {
        Self::listen(TcpListener::bind(address)?, options)
    }

    /// Serves a listener that is bound already: whoever must know its port before its services
    /// exist binds it first.
    pub fn listen(listener: TcpListener, options: ServerOptions) -> io::Result<Self> {
        let listener = Arc::new(listener);
        let mut server = Self::unbound(options);
        server.local_addr = Some(listener.local_addr()?);
        let (shared, accepting) = (Arc::clone(&server.shared), Arc::clone(&listener));
        let thread = thread::Builder::new()
            .name(shared.thread_name("accept"))
            .spawn(move || accept_all(&shared, &accepting))?;
        *server.accepting.get_mut() = Some(Accepting { listener, thread });
        Ok(server)
    }

    /// A server without a listener, for the streams that [`TcpServer::serve_stream`] gets.
    pub fn unbound(options: ServerOptions) -> Self {
        let limits = Limits {
            connections_max: options.connections_max,
            handshaking_max: options.handshaking_max,
        };
        let registry = Registry::new(limits);
        let shared = Arc::new(Shared { options, registry, refusals: RefusalLog::default() });
        Self { shared, local_addr: None, accepting: Mutex::new(None) }
    }

    /// The address this server listens on, or listened on; `None` without a listener.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.local_addr
    }

    /// Serves a connection that someone else accepted and of which nothing has been consumed: its
    /// first byte, if it was peeked at, is [`FIRST_BYTE`](super::FIRST_BYTE).
    ///
    /// Returns at once. A connection for which there is no room is closed.
    pub fn serve_stream(&self, stream: TcpStream) {
        serve_stream(&self.shared, stream);
    }

    /// Closes the listener and all connections, and joins all threads. Idempotent.
    ///
    /// The caller must hold no lock that a handler takes; a handler may itself be the caller.
    pub fn shutdown(&self) {
        self.shared.registry.refuse_all();
        let accepting = self.accepting.lock().take();
        if let Some(Accepting { listener, thread }) = accepting {
            match socket::wake_listener(&listener) {
                Ok(()) => registry::join(thread),
                // Better one thread left behind than never to return.
                Err(e) => log::error!(target: "NETW", "the listener cannot be closed: {e}"),
            }
        }
        self.shared.registry.close_all();
    }
}

impl Drop for TcpServer {
    fn drop(&mut self) {
        self.shutdown();
    }
}

impl Shared {
    /// The service for those who come in `role`.
    pub(super) fn service(&self, role: Role) -> Option<&Arc<dyn Service>> {
        match role {
            Role::Peer => self.options.peer_service.as_ref(),
            Role::Client => self.options.client_service.as_ref(),
        }
    }

    /// The name of a thread of this server.
    pub(super) fn thread_name(&self, duty: &str) -> String {
        format!("rpc{}-{duty}", self.options.identity.node_id)
    }
}

fn accept_all(shared: &Arc<Shared>, listener: &TcpListener) {
    let mut failing = false;
    loop {
        match listener.accept() {
            _ if shared.registry.is_stopped() => return,
            Ok((stream, _)) => {
                failing = false;
                serve_stream(shared, stream);
            }
            // The connection is gone, not the listener.
            Err(e) if socket::is_passing(&e) || e.kind() == ErrorKind::ConnectionAborted => {}
            Err(e) => {
                if !std::mem::replace(&mut failing, true) {
                    log::error!(target: "NETW", "no connection can be accepted: {e}");
                }
                if shared.registry.stopped_within(ACCEPT_PAUSE) {
                    return;
                }
            }
        }
    }
}

fn serve_stream(shared: &Arc<Shared>, stream: TcpStream) {
    let (remote, second) = match (stream.peer_addr(), stream.try_clone()) {
        (Ok(remote), Ok(second)) => (remote, second),
        (Err(e), _) | (_, Err(e)) => {
            log::debug!(target: "NETW", "a connection was gone before it was served: {e}");
            return;
        }
    };
    let reader_shared = Arc::clone(shared);
    let admitted = shared.registry.admit(second, shared.thread_name("in"), move |id| {
        // Leaves even if a handler panics.
        let _leave = Leave { shared: &reader_shared, id };
        connection::serve(&reader_shared, id, stream, remote);
    });
    match admitted {
        Ok(()) | Err(NotAdmitted::Stopped) => {}
        Err(e) => shared.refusals.log(remote, NO_ROOM, e),
    }
}

/// Takes a connection out of the registry when its reader ends.
struct Leave<'a> {
    shared: &'a Shared,
    id: u64,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.shared.registry.leave(self.id);
    }
}
