//! A node of the store: the replicated state machine, the service other processes call, and the
//! client that this process's front end uses.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use oarlock_raft::{Cluster, OpenError, Options, PeerId, Peers, Replicated, ReplicatedOptions};
use oarlock_rpc::{Router, Service};
use oarlock_storage::Persister;
use parking_lot::Mutex;

use crate::local::LocalClient;
use crate::machine::KvMachine;
use crate::node::Node;
use crate::service::KvService;
use crate::session::Limits;
use crate::status::NodeStatus;
use crate::watch::Watch;

/// How a node runs.
#[derive(Clone, Debug)]
pub struct KvOptions {
    /// The consensus under it.
    pub raft: Options,
    /// Once the log behind the last snapshot has more bytes than this, and than half of that snapshot, a
    /// new one is taken; `None` never takes one. The labs' `maxraftstate`. Default: 8 MiB.
    pub snapshot_log_bytes: Option<u64>,
    /// See [`ReplicatedOptions::snapshot_log_bytes_max`]. Default: 256 MiB.
    pub snapshot_log_bytes_max: u64,
    /// Whether a `Kv.Request` that comes to a follower goes on to the leader. Default: true.
    pub forward: bool,
    /// How long this node's own client waits for a leader and an answer. Default: 2 s, well below
    /// the time after which Redis clients send a command again by themselves.
    pub request_timeout: Duration,
    /// How much is remembered of clients. All nodes must use the same.
    pub limits: Limits,
    /// Where the members' clients connect, `host:port`, as far as it is known.
    pub client_addrs: BTreeMap<PeerId, String>,
}

impl Default for KvOptions {
    fn default() -> Self {
        Self {
            raft: Options::default(),
            snapshot_log_bytes: Some(8 << 20),
            snapshot_log_bytes_max: 256 << 20,
            forward: true,
            request_timeout: Duration::from_secs(2),
            limits: Limits::default(),
            client_addrs: BTreeMap::new(),
        }
    }
}

impl KvOptions {
    /// What the labs expect: their pace, their limit of the raft state in bytes (`None` forbids
    /// snapshots), and followers that say so instead of forwarding.
    pub fn lab(maxraftstate: Option<u64>) -> Self {
        Self {
            // Reads need an entry of the leader's own term, and no test counts our indexes.
            raft: Options { no_op_on_election: true, ..Options::lab() },
            snapshot_log_bytes: maxraftstate,
            snapshot_log_bytes_max: 0,
            forward: false,
            ..Self::default()
        }
    }
}

/// A handle on a running node. The node is killed with its last handle.
#[derive(Clone)]
pub struct KvServer {
    inner: Arc<Inner>,
}

struct Inner {
    node: Arc<Node>,
    service: Arc<KvService>,
    client: Arc<LocalClient>,
    watcher: Mutex<Option<JoinHandle<()>>>,
}

impl KvServer {
    /// Starts the node `me` of a cluster of it and `peers`, all of them voters, from what `persister`
    /// holds. See [`open_in`](Self::open_in) for clusters whose members change.
    pub fn open(
        me: PeerId,
        peers: Peers,
        persister: Box<dyn Persister>,
        options: KvOptions,
    ) -> Result<Self, OpenError> {
        Self::open_in(me, Cluster::of(me, peers), persister, options)
    }

    /// Starts the node `me` of `cluster`, from what `persister` holds.
    ///
    /// The ends to members carry the methods `Raft.…` and, for forwarding, `Kv.…`. The address of a
    /// member in the configuration is its own, and behind a slash that of its clients, if it has one
    /// that shall be known: `host:port/host:port`.
    pub fn open_in(
        me: PeerId,
        cluster: Cluster,
        persister: Box<dyn Persister>,
        options: KvOptions,
    ) -> Result<Self, OpenError> {
        let machine = KvMachine::new(options.limits);
        let gauges = machine.gauges();
        let replicated_options = ReplicatedOptions {
            raft: options.raft,
            snapshot_log_bytes: options.snapshot_log_bytes,
            snapshot_log_bytes_max: options.snapshot_log_bytes_max,
            timeout: options.request_timeout,
        };
        let replicated = Replicated::open_in(me, cluster, persister, machine, replicated_options)?;
        let raft = replicated.raft().clone();
        let end_to = Box::new(move |member| raft.end_to(member));
        let client_addrs = Mutex::new(options.client_addrs);
        let node = Arc::new(Node { me, replicated, end_to, gauges, client_addrs });
        let watch = Arc::new(Watch::default());
        let watcher = thread::Builder::new().name(format!("kv{me}-watch")).spawn({
            let (watch, node) = (Arc::clone(&watch), Arc::clone(&node));
            move || watch.run(&node)
        })?;
        let client = LocalClient::start(Arc::clone(&node), watch, options.request_timeout)?;
        let service = KvService { node: Arc::clone(&node), forward: options.forward };
        let inner = Inner {
            node,
            service: Arc::new(service),
            client: Arc::new(client),
            watcher: Mutex::new(Some(watcher)),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// What answers the methods named `Kv.…`: all that clients need.
    pub fn service(&self) -> Arc<dyn Service> {
        Arc::clone(&self.inner.service) as Arc<dyn Service>
    }

    /// Everything this node answers, `Raft.…` and `Kv.…`: what its peers need.
    pub fn services(&self) -> Router {
        Router::new().with("Raft", self.inner.node.replicated.service()).with("Kv", self.service())
    }

    /// This process's own client.
    pub fn client(&self) -> Arc<LocalClient> {
        Arc::clone(&self.inner.client)
    }

    /// The state machine underneath, and through it the peer.
    pub fn replicated(&self) -> &Replicated<KvMachine> {
        &self.inner.node.replicated
    }

    /// What there is to say of this node now.
    pub fn status(&self) -> NodeStatus {
        self.inner.node.status()
    }

    /// Notes where a member's clients connect, `host:port`.
    pub fn set_client_addr(&self, member: PeerId, addr: String) {
        self.inner.node.client_addrs.lock().insert(member, addr);
    }

    /// Stops the node and waits for its threads; whoever waits gets an error. Idempotent.
    ///
    /// Must not be called from a thread of the node or its network.
    pub fn kill(&self) {
        self.inner.kill();
    }
}

impl Inner {
    fn kill(&self) {
        self.node.replicated.kill();
        self.client.close();
        let watcher = self.watcher.lock().take();
        if let Some(Err(panic)) = watcher.map(JoinHandle::join)
            && !thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
#[path = "server_tests.rs"]
pub(crate) mod tests;
