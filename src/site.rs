//! What one node of a cluster stands on: its address, its directory, and the ends to its peers.

use std::collections::BTreeMap;
use std::io;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use oarlock_raft::{Cluster, Configuration, Connect, OpenError, PeerId};
use oarlock_rpc::tcp::{EndOptions, Identity, ServerOptions, TcpEnd, TcpServer};
use oarlock_rpc::{End, Service};
use oarlock_storage::{DiskOptions, DiskPersister, StorageError};

/// A call to a peer that is not answered within this time is given up. Above what a slow disk
/// takes, and below the patience of whoever waits behind it.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);

/// Which node of which cluster, and where it lives.
#[derive(Clone, Debug)]
pub struct SiteOptions {
    /// This node's number; not 0.
    pub id: PeerId,
    /// Where each member of the cluster listens for the others, this node included: `host:port`, and
    /// where it listens for clients behind a slash, if that shall be known.
    ///
    /// They found the cluster. Later its log says who the members are, and where; an address given
    /// here goes before the one it says, so that a member can move.
    pub members: BTreeMap<PeerId, String>,
    /// This node's directory; made if it does not exist.
    pub dir: PathBuf,
    /// The cluster's number. `None` takes what the directory says, or makes one of the members of a
    /// new cluster.
    pub cluster_id: Option<u64>,
    /// Whether this node is to join a cluster that is there already, and founds none: then it waits
    /// until a leader contacts it. Of `members` only its own address is used to begin with, and a
    /// new directory needs the `cluster_id`.
    pub joins: bool,
    /// The length of a segment of the log, in bytes; `None` takes the usual 16 MiB. A disk needs room
    /// for about four of them and three snapshots.
    pub segment_bytes: Option<u64>,
}

/// A node that could not be started. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The members do not make a cluster with this node in it.
    #[error("{0}")]
    Members(String),
    /// The node's address cannot be listened on.
    #[error("cannot listen on {address}: {source}; stop what uses it, or choose another")]
    Listen {
        /// The address.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// The node's directory cannot be used.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// What the directory holds cannot be taken over.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A thread could not be started.
    #[error("cannot start a thread: {0}; free some resources and try again")]
    Thread(io::Error),
}

/// A node's address is taken, its directory open, and its ends dial; but it answers nobody yet.
pub struct Site {
    /// Which node of which cluster.
    pub identity: Identity,
    /// Who its members are, to begin with, and the way to reach whoever comes.
    pub cluster: Cluster,
    /// The directory.
    pub persister: DiskPersister,
    listener: TcpListener,
}

impl Site {
    /// Takes the address, then the directory, then dials.
    pub fn prepare(options: &SiteOptions) -> Result<Self, StartError> {
        let me = options.id;
        let Some(address) = options.members.get(&me).filter(|_| me.0 != 0) else {
            let known: Vec<_> = options.members.keys().map(ToString::to_string).collect();
            let known = known.join(", ");
            return Err(StartError::Members(format!(
                "node {me} is not among the members {known}; ids begin at 1"
            )));
        };
        let listener = listen(peer_address(address))?;
        let persister = DiskPersister::open(&options.dir, disk_options(options)?)?;
        let identity = Identity { cluster_id: persister.cluster_id(), node_id: me.0 };
        let initial = if options.joins {
            Configuration::default()
        } else {
            Configuration::of_voters_at(options.members.clone())
        };
        let dial = Dial { identity, moved: options.members.clone() };
        let cluster = Cluster { initial, connect: Arc::new(dial) };
        Ok(Self { identity, cluster, persister, listener })
    }

    /// Takes the site apart: what the service is opened with, and what serves it afterwards.
    pub fn split(self) -> (Cluster, DiskPersister, SiteListener) {
        let listener = SiteListener { identity: self.identity, listener: self.listener };
        (self.cluster, self.persister, listener)
    }
}

/// Dials members, where this node was told that they are, or where the configuration says.
struct Dial {
    identity: Identity,
    moved: BTreeMap<PeerId, String>,
}

impl Connect for Dial {
    fn connect(&self, peer: PeerId, address: &str) -> Option<Arc<dyn End>> {
        let address = peer_address(self.moved.get(&peer).map_or(address, String::as_str));
        if address.is_empty() {
            return None;
        }
        let mut options = EndOptions::peer(address, self.identity, peer.0);
        options.call_timeout = CALL_TIMEOUT;
        let end = TcpEnd::connect(options);
        let end = end.map_err(|error| log::error!(target: "NETW", "to node {peer}: {error}"));
        Some(Arc::new(end.ok()?))
    }
}

/// A member's own address, without that of its clients.
fn peer_address(address: &str) -> &str {
    address.split_once('/').map_or(address, |(peer, _)| peer)
}

/// The address of a node that does not answer yet.
pub struct SiteListener {
    identity: Identity,
    listener: TcpListener,
}

impl SiteListener {
    /// Which node of which cluster.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Begins to answer: peers with `service`.
    pub fn serve(self, service: Arc<dyn Service>) -> Result<TcpServer, StartError> {
        let options = ServerOptions::new(self.identity).serve_peers(service);
        TcpServer::listen(self.listener, options).map_err(StartError::Thread)
    }
}

/// Listens on `address`, or says whose fault it is.
pub fn listen(address: &str) -> Result<TcpListener, StartError> {
    TcpListener::bind(address)
        .map_err(|source| StartError::Listen { address: address.to_owned(), source })
}

fn disk_options(options: &SiteOptions) -> Result<DiskOptions, StartError> {
    let stored = DiskPersister::read_identity(&options.dir)?.map(|identity| identity.cluster_id);
    let known = options.cluster_id.or(stored);
    if known.is_none() && options.joins {
        return Err(StartError::Members(
            "a node that joins a cluster must be told its number: cluster_id".to_owned(),
        ));
    }
    let cluster_id = known.unwrap_or_else(|| derived_cluster_id(options));
    let usual = DiskOptions::new(options.id.0);
    let segment_bytes = options.segment_bytes.unwrap_or(usual.segment_bytes);
    Ok(DiskOptions { cluster_id: Some(cluster_id), segment_bytes, ..usual })
}

/// A number for a new cluster that all its members find by themselves: of who is in it, and where.
fn derived_cluster_id(options: &SiteOptions) -> u64 {
    let members =
        options.members.iter().map(|(id, address)| format!("{id}={}", peer_address(address)));
    let members = members.collect::<Vec<_>>().join(",");
    // The upper half tells it from numbers people choose, and keeps it from being 0.
    1 << 32 | u64::from(crc32fast::hash(members.as_bytes()))
}
