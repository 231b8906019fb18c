//! What all connections of one front end share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::Store;
use super::clients::Clients;
use super::connection::Connection;
use crate::error::ExecuteError;
use crate::op::Answer;

/// How a front end runs.
#[derive(Clone, Debug)]
pub struct RespOptions {
    /// What `AUTH` must say; `None` lets everyone in.
    pub password: Option<String>,
    /// The most clients at a time. Default: 10,000.
    pub clients_max: usize,
    /// A client that takes nothing of a reply for this long is disconnected. Default: 10 s.
    pub write_timeout: Duration,
    /// How long a shutdown waits for commands in flight to be answered. Default: 3 s.
    pub shutdown_grace: Duration,
    /// How many threads share the connections; at least one. Default: half as many as there are
    /// processors, and at most four: what one thread takes at a time is executed as one request.
    pub threads: usize,
}

impl Default for RespOptions {
    fn default() -> Self {
        Self {
            password: None,
            clients_max: 10_000,
            write_timeout: Duration::from_secs(10),
            shutdown_grace: Duration::from_secs(3),
            threads: thread::available_parallelism().map_or(1, |n| (n.get() / 2).clamp(1, 4)),
        }
    }
}

/// The part of the front end that is not a connection.
pub struct FrontEnd {
    pub(super) store: Arc<dyn Store>,
    pub(super) options: RespOptions,
    pub(super) clients: Clients,
    pub(super) stats: Stats,
    pub(super) started: Instant,
}

impl FrontEnd {
    /// A front end of `store` that nobody is connected to.
    pub fn new(store: Arc<dyn Store>, options: RespOptions) -> Arc<Self> {
        Arc::new(Self {
            store,
            options,
            clients: Clients::default(),
            stats: Stats::default(),
            started: Instant::now(),
        })
    }

    /// A conversation on no socket of ours; `None` if there are as many clients as may be.
    pub fn connect(self: &Arc<Self>) -> Option<Connection> {
        let client = self.clients.add(self.options.clients_max, None, None)?;
        Some(Connection::new(Arc::clone(self), client))
    }

    /// Whether `given` is the password. Takes the same time wherever they differ.
    pub(super) fn is_password(&self, given: &[u8]) -> bool {
        let Some(password) = &self.options.password else { return false };
        let differing = password.bytes().zip(given).fold(0, |acc, (a, b)| acc | (a ^ b));
        differing == 0 && password.len() == given.len()
    }
}

/// Counts since the start, for `INFO`.
#[derive(Debug, Default)]
pub(super) struct Stats {
    pub(super) commands: AtomicU64,
    pub(super) connections: AtomicU64,
    pub(super) rejected_connections: AtomicU64,
    pub(super) errors: AtomicU64,
    pub(super) bytes_in: AtomicU64,
    pub(super) bytes_out: AtomicU64,
}

impl Stats {
    /// Counts an error reply.
    pub(super) fn count_error(&self) {
        self.errors.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an answer, if it is an error.
    pub(super) fn count_answer(&self, answer: &Answer) {
        if matches!(answer, Answer::Error(_)) {
            self.count_error();
        }
    }
}

/// The reply that tells why a command was not answered. Clients repeat by themselves after the
/// first words used here, but for `UNKNOWNRESULT`, `MISCONF` and `ERR`.
pub(super) fn error_reply(error: &ExecuteError) -> String {
    let code = match error {
        ExecuteError::NoLeader { .. } | ExecuteError::Stopped => "CLUSTERDOWN",
        ExecuteError::UnknownResult { .. } => "UNKNOWNRESULT",
        ExecuteError::Busy => "TRYAGAIN",
        // The word that clients know from a store which cannot write its disk. They do not repeat
        // after it by themselves, and it would be no use.
        ExecuteError::NoSpace => "MISCONF",
        ExecuteError::TooLarge => "ERR",
    };
    format!("{code} {error}")
}
