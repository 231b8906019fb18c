//! The network as its user holds it: knobs, ends and servers, counters, and its end.
//!
//! Names are anything that can be printed, so that a server may be called `2` and an end
//! `"clerk-7"`. What is done to a network that has been torn down has no effect.

use std::fmt;
use std::panic;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use oarlock_rpc::Service;
use parking_lot::Mutex;

use crate::end::ClientEnd;
use crate::shared::Shared;
use crate::workers::join_thread;

/// A handle of a simulated network; clones are handles of the same one.
///
/// A new network is reliable, with long delays and long reordering off. It ends with
/// [`Network::shutdown`], or with its last handle.
#[derive(Clone)]
pub struct Network(Arc<Owner>);

/// No server has that name now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no server is named {0:?}")]
pub struct NoSuchServer(pub String);

/// What the handles share, and the threads do not: its drop is the drop of the last handle.
struct Owner {
    shared: Arc<Shared>,
    delivery: Mutex<Option<JoinHandle<()>>>,
}

impl Network {
    /// A network with no ends and no servers, whose random draws follow from `seed`.
    ///
    /// # Panics
    /// If the system has no room for another thread.
    pub fn new(seed: u64) -> Self {
        let shared = Arc::new(Shared::new(seed));
        let delivery = thread::Builder::new()
            .name("labrpc-delivery".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || shared.deliver()
            })
            .expect("the system has room for another thread");
        Self(Arc::new(Owner { shared, delivery: Mutex::new(Some(delivery)) }))
    }

    /// Makes a client end, disabled and connected to nothing.
    ///
    /// # Panics
    /// If there is an end of that name.
    pub fn make_end(&self, name: impl fmt::Display) -> Arc<ClientEnd> {
        let name = name.to_string();
        let id = self.0.shared.step(|calls, _| calls.make_end(name.clone()));
        Arc::new(ClientEnd::new(id, name, Arc::clone(&self.0.shared)))
    }

    /// Takes a client end away for good. To its calls it is a disabled one for ever; its name may
    /// be used again, for another end.
    ///
    /// # Panics
    /// If there is no end of that name.
    pub fn delete_end(&self, name: impl fmt::Display) {
        self.0.shared.step(|calls, now| calls.delete_end(&name.to_string(), now));
    }

    /// Connects a client end to the server *name* `server`, whoever bears that name at each call.
    ///
    /// # Panics
    /// If there is no such end, or it is connected already.
    pub fn connect(&self, end: impl fmt::Display, server: impl fmt::Display) {
        self.0.shared.step(|calls, _| calls.connect(&end.to_string(), server.to_string()));
    }

    /// Enables or disables a client end.
    ///
    /// # Panics
    /// If there is no such end.
    pub fn enable(&self, end: impl fmt::Display, enabled: bool) {
        self.0.shared.step(|calls, now| calls.enable(&end.to_string(), enabled, now));
    }

    /// Gives the name `name` to a new server, in place of the one that has it.
    ///
    /// Each time makes a new server object, with a count of 0: the same service added again is a
    /// restarted server. A [`Router`](oarlock_rpc::Router) puts several services behind one name.
    pub fn add_server(&self, name: impl fmt::Display, service: Arc<dyn Service>) {
        let name = name.to_string();
        drop(self.0.shared.step(|calls, now| calls.add_server(name, service, now)));
    }

    /// Takes the server of that name away, if there is one.
    pub fn delete_server(&self, name: impl fmt::Display) {
        drop(self.0.shared.step(|calls, now| calls.delete_server(&name.to_string(), now)));
    }

    /// On an unreliable network requests are delayed, and requests and replies are lost.
    pub fn set_reliable(&self, reliable: bool) {
        self.0.shared.step(|calls, _| calls.knobs.reliable = reliable);
    }

    /// With long delays a call without a target takes up to 7 s to fail, else up to 100 ms.
    pub fn set_long_delays(&self, long_delays: bool) {
        self.0.shared.step(|calls, _| calls.knobs.long_delays = long_delays);
    }

    /// With long reordering two replies in three are held back by 200 ms to 2.2 s.
    pub fn set_long_reordering(&self, long_reordering: bool) {
        self.0.shared.step(|calls, _| calls.knobs.long_reordering = long_reordering);
    }

    /// Requests that reached the server of that name, as it is now: not those lost on their way, nor
    /// those to an earlier server of the name.
    pub fn count(&self, server: impl fmt::Display) -> Result<u64, NoSuchServer> {
        let name = server.to_string();
        let count = self
            .0
            .shared
            .step(|calls, _| calls.topology().server(&name).map(|server| server.request_count()));
        count.ok_or(NoSuchServer(name))
    }

    /// Every call ever started, those without a target included.
    pub fn total_count(&self) -> u64 {
        self.0.shared.step(|calls, _| calls.total_count())
    }

    /// The encoded bytes of every call's arguments, and of the replies that were delivered.
    pub fn total_bytes(&self) -> u64 {
        self.0.shared.step(|calls, _| calls.total_bytes())
    }

    /// Tears the network down: calls in flight fail now, servers are dropped, and later calls fail
    /// at once. Then waits until the network's threads have ended, handlers that still run included
    /// (on a thread of the network itself: all but that thread). A second time does nothing.
    ///
    /// Completions run on this thread, so it must hold no lock that they take.
    ///
    /// # Panics
    /// With the panic of a handler or completion that panicked on a thread of the network.
    pub fn shutdown(&self) {
        self.0.shutdown();
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Network")
    }
}

impl Owner {
    fn shutdown(&self) {
        let delivery = self.delivery.lock().take();
        let Some(delivery) = delivery else { return };
        self.shared.stop();
        let panic = join_thread(delivery).or(self.shared.workers().join());
        if let Some(panic) = panic
            && !thread::panicking()
        {
            panic::resume_unwind(panic);
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shutdown();
    }
}
