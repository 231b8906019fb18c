//! Who can reach whom: client ends, the server name each is connected to, and the servers.
//!
//! Plain data under the network's lock. Ends and servers are known by names outside and by numbers
//! inside: a name may be used again, a number never, so that a call remembers *which* end it started
//! from and *which* server object it went to.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use oarlock_rpc::Service;

/// One client end, for the life of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct EndId(u64);

/// One server object, for the life of the network: adding a server makes a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Incarnation(u64);

/// A server object: its services, and how many requests it got.
pub(crate) struct Server {
    /// The name it was added under.
    pub(crate) name: String,
    /// Which object this is.
    pub(crate) incarnation: Incarnation,
    /// What answers.
    pub(crate) service: Arc<dyn Service>,
    dispatched: AtomicU64,
}

impl Server {
    /// Counts one request.
    pub(crate) fn count_request(&self) {
        self.dispatched.fetch_add(1, Ordering::Relaxed);
    }

    /// Requests dispatched to this object.
    pub(crate) fn request_count(&self) -> u64 {
        self.dispatched.load(Ordering::Relaxed)
    }
}

/// What is known of a client end.
#[derive(Default)]
struct EndState {
    enabled: bool,
    server: Option<String>,
}

/// The ends, the servers, and what connects them.
#[derive(Default)]
pub(crate) struct Topology {
    end_ids: HashMap<String, EndId>,
    ends: HashMap<EndId, EndState>,
    servers: HashMap<String, Arc<Server>>,
    last_number: u64,
}

impl Topology {
    /// A new end, disabled and connected to nothing.
    ///
    /// # Panics
    /// If there is an end of that name.
    pub(crate) fn make_end(&mut self, name: String) -> EndId {
        let id = EndId(self.number());
        let namesake = self.end_ids.get(&name);
        assert!(namesake.is_none(), "a second client end is named {name:?}");
        self.end_ids.insert(name, id);
        self.ends.insert(id, EndState::default());
        id
    }

    /// Removes an end for good; its name may be used again.
    pub(crate) fn delete_end(&mut self, name: &str) {
        let id = self.end_id(name);
        self.end_ids.remove(name);
        self.ends.remove(&id);
    }

    /// Connects an end to a server's name, once.
    pub(crate) fn connect(&mut self, end: &str, server: String) {
        let state = self.end_mut(end);
        if let Some(connected) = &state.server {
            panic!("client end {end:?} is connected to {connected:?} already");
        }
        state.server = Some(server);
    }

    /// Enables or disables an end.
    pub(crate) fn enable(&mut self, end: &str, enabled: bool) {
        self.end_mut(end).enabled = enabled;
    }

    /// Puts a new server object under `name`; returns the one it replaces.
    pub(crate) fn add_server(
        &mut self,
        name: String,
        service: Arc<dyn Service>,
    ) -> Option<Arc<Server>> {
        let incarnation = Incarnation(self.number());
        let dispatched = AtomicU64::new(0);
        let server = Server { name: name.clone(), incarnation, service, dispatched };
        self.servers.insert(name, Arc::new(server))
    }

    /// Takes away the server object under `name`, if there is one.
    pub(crate) fn delete_server(&mut self, name: &str) -> Option<Arc<Server>> {
        self.servers.remove(name)
    }

    /// The server object under `name`.
    pub(crate) fn server(&self, name: &str) -> Option<&Arc<Server>> {
        self.servers.get(name)
    }

    /// The server a call from `end` reaches now: `None` if the end is disabled, deleted or not
    /// connected, or if no server has that name.
    pub(crate) fn target(&self, end: EndId) -> Option<&Arc<Server>> {
        let state = self.ends.get(&end).filter(|e| e.enabled)?;
        self.server(state.server.as_deref()?)
    }

    /// Whether a call from `end` still reaches that very server object.
    pub(crate) fn reaches(&self, end: EndId, incarnation: Incarnation) -> bool {
        self.target(end).is_some_and(|server| server.incarnation == incarnation)
    }

    fn end_id(&self, name: &str) -> EndId {
        let id = self.end_ids.get(name).copied();
        id.unwrap_or_else(|| panic!("no client end is named {name:?}"))
    }

    fn end_mut(&mut self, name: &str) -> &mut EndState {
        let id = self.end_id(name);
        self.ends.get_mut(&id).expect("a named end has a state: both go together")
    }

    fn number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }
}
