//! What a node says of itself and of its cluster: the service behind `oarlock status`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use oarlock_kvserver::{KV_STATUS, KvServer, NodeStatus};
use oarlock_raft::{PeerId, Peers};
use oarlock_rpc::codec::{self, Wire};
use oarlock_rpc::{Completion, Method, ReplySlot, Service, UnknownMethod};
use serde::{Deserialize, Serialize};

use super::member::Member;

/// What one node gathers of all: itself, and whoever answers it.
pub(crate) const CLUSTER: Method = Method::urgent("Node.Cluster");

/// One member of the cluster, as the node asked sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MemberReport {
    pub(crate) id: u64,
    /// Where its clients go, if the node asked knows.
    pub(crate) client_addr: Option<String>,
    /// `None` if it did not answer.
    pub(crate) status: Option<NodeStatus>,
}

/// The whole cluster, as the node asked sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClusterStatus {
    /// The node asked.
    pub(crate) asked: u64,
    pub(crate) members: Vec<MemberReport>,
}

/// Asks for a status: nothing to say beyond that.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Ask;

impl Wire for ClusterStatus {}
impl Wire for Ask {}

/// Answers the methods named `Node.…`.
pub(crate) struct NodeService {
    pub(crate) me: PeerId,
    pub(crate) server: KvServer,
    pub(crate) peers: Peers,
    pub(crate) members: BTreeMap<PeerId, Member>,
}

impl Service for NodeService {
    fn handle(&self, method: &str, _args: &[u8], reply: ReplySlot) -> Result<(), UnknownMethod> {
        if method != CLUSTER.name {
            return Err(UnknownMethod(method.to_owned()));
        }
        self.gather(reply);
        Ok(())
    }
}

impl NodeService {
    /// Asks every peer at once; the last answer, or the last time-out, completes the reply.
    fn gather(&self, reply: ReplySlot) {
        let own = BTreeMap::from([(self.me, self.server.status())]);
        let gathering = Arc::new(Gathering {
            me: self.me,
            members: self.members.clone(),
            known: parking_lot::Mutex::new((own, Some(reply))),
            missing: AtomicUsize::new(self.peers.len() + 1),
        });
        for (&peer, end) in &self.peers {
            let gathering = Arc::clone(&gathering);
            let args = codec::encode(&Ask).expect("an empty question fits");
            let done = Completion::new(move |bytes| {
                let status = bytes.and_then(|bytes| codec::decode::<NodeStatus>(&bytes).ok());
                gathering.arrived(peer, status);
            });
            end.start(KV_STATUS, args, done);
        }
        gathering.finish_if_last();
    }
}

/// Answers that are coming in.
struct Gathering {
    me: PeerId,
    members: BTreeMap<PeerId, Member>,
    known: parking_lot::Mutex<(BTreeMap<PeerId, NodeStatus>, Option<ReplySlot>)>,
    missing: AtomicUsize,
}

impl Gathering {
    fn arrived(&self, peer: PeerId, status: Option<NodeStatus>) {
        if let Some(status) = status {
            self.known.lock().0.insert(peer, status);
        }
        self.finish_if_last();
    }

    fn finish_if_last(&self) {
        if self.missing.fetch_sub(1, Ordering::AcqRel) > 1 {
            return;
        }
        let (mut statuses, reply) = std::mem::take(&mut *self.known.lock());
        let members = self.members.iter().map(|(&id, member)| MemberReport {
            id: id.0,
            client_addr: member.client_addr.clone(),
            status: statuses.remove(&id),
        });
        let cluster = ClusterStatus { asked: self.me.0, members: members.collect() };
        if let Some(reply) = reply {
            reply.complete(codec::encode(&cluster).ok());
        }
    }
}
