//! What a peer is told of its cluster when it starts: who is in it, if its disk does not say, and
//! how to reach whoever comes to be in it.

use std::collections::BTreeMap;
use std::sync::Arc;

use oarlock_rpc::End;

use crate::configuration::Configuration;
use crate::types::PeerId;

/// Ends to other peers, by id.
pub type Peers = BTreeMap<PeerId, Arc<dyn End>>;

/// Makes ends to members as they come.
pub trait Connect: Send + Sync + 'static {
    /// The end to `peer`, whom the configuration says to be at `address` (empty if it does not
    /// say). Returns at once: the end may still be dialling. `None` if that peer cannot be reached
    /// from here at all; then this one goes on without.
    ///
    /// The end is dropped when the peer is a member no more, or this peer is killed.
    fn connect(&self, peer: PeerId, address: &str) -> Option<Arc<dyn End>>;
}

/// Ends that are all there from the start.
impl Connect for Peers {
    fn connect(&self, peer: PeerId, _address: &str) -> Option<Arc<dyn End>> {
        self.get(&peer).cloned()
    }
}

/// A cluster as one of its peers is told of it at the start.
#[derive(Clone)]
pub struct Cluster {
    /// Who the members are, as long as neither the log nor a snapshot says so: all founders must
    /// start with the same. The default, nobody, is for a peer that joins: it waits until a leader
    /// contacts it, and never campaigns before it is made a voter.
    pub initial: Configuration,
    /// How members are reached.
    pub connect: Arc<dyn Connect>,
}

impl Cluster {
    /// A cluster of `me` and `peers`, all of them voters, whom these ends reach. An end to `me` may
    /// be there; it is not used.
    pub fn of(me: PeerId, mut peers: Peers) -> Self {
        peers.remove(&me);
        let voters = peers.keys().copied().chain([me]);
        Self { initial: Configuration::of_voters(voters), connect: Arc::new(peers) }
    }

    /// A cluster that a peer is to join, and knows nothing of.
    pub fn unknown(connect: Arc<dyn Connect>) -> Self {
        Self { initial: Configuration::default(), connect }
    }
}
