//! Who is connected.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use super::reply::Protocol;

/// What is known of one client.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) id: u64,
    pub(super) addr: String,
    pub(super) local_addr: String,
    connected: Instant,
    /// To disconnect it; `None` if it is on no socket.
    stream: Option<Arc<TcpStream>>,
    about: Mutex<About>,
}

/// What a client says of itself, and did last.
#[derive(Clone, Debug)]
pub(super) struct About {
    pub(super) name: String,
    pub(super) lib_name: String,
    pub(super) lib_ver: String,
    pub(super) protocol: Protocol,
    pub(super) last_command: &'static str,
    pub(super) last_active: Instant,
    /// How many commands are queued for a transaction, if there is one.
    pub(super) queued: Option<usize>,
}

impl Client {
    /// A copy of what it says of itself.
    pub(super) fn about(&self) -> About {
        self.about.lock().clone()
    }

    /// Changes what is known of it.
    pub(super) fn update(&self, f: impl FnOnce(&mut About)) {
        f(&mut self.about.lock());
    }

    /// Ends the connection once what it has sent is answered: its thread finds nothing more to
    /// read.
    pub(super) fn disconnect(&self) {
        if let Some(stream) = &self.stream {
            // If it is not connected any more, that is what we want.
            drop(stream.shutdown(Shutdown::Read));
        }
    }

    /// Its line in `CLIENT LIST`.
    pub(super) fn line(&self) -> String {
        let about = self.about();
        let (age, idle) = (self.connected.elapsed().as_secs(), about.last_active.elapsed());
        let mut line = format!("id={} addr={} laddr={} ", self.id, self.addr, self.local_addr);
        let multi = about.queued.map_or_else(|| "-1".to_owned(), |n| n.to_string());
        let flags = if about.queued.is_some() { "x" } else { "N" };
        // Writing to a string cannot fail.
        let _ = write!(
            line,
            "name={} age={age} idle={} flags={flags} db=0 sub=0 psub=0 multi={multi} cmd={} \
             user=default resp={} lib-name={} lib-ver={}",
            about.name,
            idle.as_secs(),
            about.last_command,
            about.protocol.number(),
            about.lib_name,
            about.lib_ver,
        );
        line
    }
}

/// All clients.
#[derive(Debug, Default)]
pub(super) struct Clients {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last_id: u64,
    connected: BTreeMap<u64, Arc<Client>>,
}

impl Clients {
    /// Adds a client unless there are `max` already.
    pub(super) fn add(
        &self,
        max: usize,
        addrs: Option<(SocketAddr, SocketAddr)>,
        stream: Option<Arc<TcpStream>>,
    ) -> Option<Arc<Client>> {
        let mut state = self.state.lock();
        if state.connected.len() >= max {
            return None;
        }
        state.last_id += 1;
        let now = Instant::now();
        let (addr, local_addr) =
            addrs.map_or_else(Default::default, |(a, l)| (a.to_string(), l.to_string()));
        let about = About {
            name: String::new(),
            lib_name: String::new(),
            lib_ver: String::new(),
            protocol: Protocol::Resp2,
            last_command: "NULL",
            last_active: now,
            queued: None,
        };
        let client = Arc::new(Client {
            id: state.last_id,
            addr,
            local_addr,
            connected: now,
            stream,
            about: Mutex::new(about),
        });
        state.connected.insert(client.id, Arc::clone(&client));
        Some(client)
    }

    /// Takes a client out.
    pub(super) fn remove(&self, id: u64) {
        self.state.lock().connected.remove(&id);
    }

    /// Everyone who is connected, by id.
    pub(super) fn all(&self) -> Vec<Arc<Client>> {
        self.state.lock().connected.values().cloned().collect()
    }

    /// How many are connected.
    pub(super) fn len(&self) -> usize {
        self.state.lock().connected.len()
    }
}
