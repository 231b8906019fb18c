//! What a node says of itself and of its cluster, and what it changes there: the service behind
//! `oarlock status` and `oarlock member`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use oarlock_kvserver::{KV_STATUS, KvServer, MemberRole, MemberStatus, NodeStatus};
use oarlock_raft::{Change, ChangeError, ChangeState, PeerId, Raft};
use oarlock_rpc::codec::{self, Wire};
use oarlock_rpc::{Completion, Method, ReplySlot, Service, UnknownMethod};
use serde::{Deserialize, Serialize};

/// What one node gathers of all: itself, and whoever answers it.
pub(crate) const CLUSTER: Method = Method::urgent("Node.Cluster");

/// Takes a change of the members one step further, at the leader.
pub(crate) const CHANGE: Method = Method::urgent("Node.Change");

/// One member of the cluster, as the node asked sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MemberReport {
    pub(crate) id: u64,
    pub(crate) role: MemberRole,
    /// Where it listens for other members, if the configuration says so.
    pub(crate) peer_addr: Option<String>,
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
    pub(crate) cluster_id: u64,
    pub(crate) members: Vec<MemberReport>,
    /// Who was removed: their ids are never used again.
    pub(crate) retired: Vec<u64>,
}

impl ClusterStatus {
    /// An id that no member has or had.
    pub(crate) fn unused_id(&self) -> u64 {
        let known = self.members.iter().map(|member| member.id).chain(self.retired.iter().copied());
        known.max().unwrap_or(0) + 1
    }
}

/// What is to change. The node asked passes it on to the leader, once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ChangeRequest {
    pub(crate) forwarded: bool,
    pub(crate) change: Change,
}

/// How far it is, or why not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ChangeReply(pub(crate) Result<ChangeState, ChangeError>);

/// Asks for a status: nothing to say beyond that.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Ask;

impl Wire for ClusterStatus {}
impl Wire for ChangeRequest {}
impl Wire for ChangeReply {}
impl Wire for Ask {}

/// Answers the methods named `Node.…`.
pub(crate) struct NodeService {
    pub(crate) me: PeerId,
    pub(crate) cluster_id: u64,
    pub(crate) server: KvServer,
}

impl Service for NodeService {
    fn handle(&self, method: &str, args: &[u8], reply: ReplySlot) -> Result<(), UnknownMethod> {
        if method == CLUSTER.name {
            self.gather(reply);
        } else if method == CHANGE.name {
            match codec::decode(args) {
                Ok(request) => self.change(request, reply),
                // Not answered: the sender is of another build.
                Err(error) => log::warn!(target: "CONF", "{method}: {error}"),
            }
        } else {
            return Err(UnknownMethod(method.to_owned()));
        }
        Ok(())
    }
}

impl NodeService {
    fn raft(&self) -> &Raft {
        self.server.replicated().raft()
    }

    /// One step here, or at the leader; whoever asks comes again for the next.
    fn change(&self, request: ChangeRequest, reply: ReplySlot) {
        let outcome = self.raft().pursue_change(&request.change);
        if let Err(ChangeError::NotLeader { leader: Some(leader) }) = outcome
            && !request.forwarded
            && let Some(end) = self.raft().end_to(leader)
        {
            let request = ChangeRequest { forwarded: true, ..request };
            let args = codec::encode(&request).expect("it came in a message, and fits one");
            return end.start(CHANGE, args, reply);
        }
        reply.complete(codec::encode(&ChangeReply(outcome)).ok());
    }

    /// Asks every peer at once; the last answer, or the last time-out, completes the reply.
    fn gather(&self, reply: ReplySlot) {
        let (own, peers) = (self.server.status(), self.raft().ends());
        let gathering = Arc::new(Gathering {
            asked: ClusterStatus {
                asked: self.me.0,
                cluster_id: self.cluster_id,
                members: own.members.iter().map(report).collect(),
                retired: self.raft().configuration().retired().iter().map(|id| id.0).collect(),
            },
            missing: AtomicUsize::new(peers.len() + 1),
            known: parking_lot::Mutex::new((BTreeMap::from([(self.me, own)]), Some(reply))),
        });
        for (&peer, end) in &peers {
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

fn report(member: &MemberStatus) -> MemberReport {
    MemberReport {
        id: member.id.0,
        role: member.role,
        peer_addr: member.peer_addr.clone(),
        client_addr: member.client_addr.clone(),
        status: None,
    }
}

/// Answers that are coming in.
struct Gathering {
    /// The answer, but for what the others say.
    asked: ClusterStatus,
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
        let mut cluster = self.asked.clone();
        for member in &mut cluster.members {
            member.status = statuses.remove(&PeerId(member.id));
        }
        if let Some(reply) = reply {
            reply.complete(codec::encode(&cluster).ok());
        }
    }
}
