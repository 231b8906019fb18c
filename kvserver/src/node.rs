//! One node's ways to get a request executed: here, if this peer leads, or at the peer that does.
//! Nothing here waits.

use std::collections::BTreeMap;
use std::sync::Arc;

use oarlock_raft::{PeerId, Peers, ReadError, Replicated, SubmitError, Term};
use oarlock_rpc::codec;
use oarlock_rpc::{Completion, End};
use parking_lot::Mutex;

use crate::machine::{Gauges, KvMachine, Outcome};
use crate::request::{KV_REQUEST, KvCall, KvReply};
use crate::status::{MemberStatus, NodeStatus};

/// Where a request goes.
pub(crate) enum Route {
    /// This peer believes it leads.
    Here,
    /// Another does.
    Peer(Arc<dyn End>),
    /// Nobody is known to.
    Nowhere,
}

/// This peer of the replicated store, and its ends to the others.
pub(crate) struct Node {
    pub(crate) me: PeerId,
    pub(crate) peers: Peers,
    pub(crate) replicated: Replicated<KvMachine>,
    pub(crate) gauges: Arc<Gauges>,
    pub(crate) client_addrs: Mutex<BTreeMap<PeerId, String>>,
}

impl Node {
    /// The current term, and who leads it as far as this peer knows.
    pub(crate) fn leader(&self) -> (Term, Option<PeerId>) {
        self.replicated.leader()
    }

    /// Where requests go if `leader` leads.
    pub(crate) fn route_to(&self, leader: Option<PeerId>) -> Route {
        match leader {
            Some(leader) if leader == self.me => Route::Here,
            Some(leader) => {
                let end = self.peers.get(&leader);
                end.map_or(Route::Nowhere, |end| Route::Peer(Arc::clone(end)))
            }
            None => Route::Nowhere,
        }
    }

    /// Executes `call` at this peer if it leads. `done` runs once, perhaps on the applier: it must
    /// not wait.
    pub(crate) fn execute_here(
        &self,
        call: Arc<KvCall>,
        done: impl FnOnce(KvReply) + Send + 'static,
    ) {
        if call.is_read() {
            self.replicated.read_with(move |machine| {
                done(match machine {
                    Ok(machine) => KvReply::Answers(machine.read(&call.request.ops)),
                    Err(error) => error.into(),
                });
            });
        } else {
            self.replicated.submit_with(&call.request, move |result| done(result.into()));
        }
    }

    /// Asks the peer behind `end` to execute `call`; `done` gets its reply, or `None`, once. It must
    /// not wait.
    pub(crate) fn execute_there(
        end: &dyn End,
        call: &KvCall,
        done: impl FnOnce(Option<KvReply>) + Send + 'static,
    ) {
        assert!(call.forwarded, "or it might be passed round for ever");
        match codec::encode(call) {
            Err(_) => done(Some(KvReply::TooLarge)),
            Ok(args) => {
                let done = |reply: Option<Vec<u8>>| done(reply.and_then(|bytes| decode(&bytes)));
                end.start(KV_REQUEST, args, Completion::new(done));
            }
        }
    }

    /// What there is to say of this node now.
    pub(crate) fn status(&self) -> NodeStatus {
        let addrs = self.client_addrs.lock().clone();
        let others = self.peers.keys().copied().filter(|id| *id != self.me);
        let mut ids: Vec<PeerId> = others.chain([self.me]).collect();
        ids.sort_unstable();
        let members = ids.into_iter().map(|id| MemberStatus {
            id,
            client_addr: addrs.get(&id).cloned(),
            match_index: None,
            last_contact: None,
        });
        NodeStatus::new(self.replicated.status(), &self.gauges, members.collect())
    }
}

fn decode(bytes: &[u8]) -> Option<KvReply> {
    let reply = codec::decode(bytes);
    reply.map_err(|error| log::warn!(target: "CLNT", "a reply cannot be read: {error}")).ok()
}

/// The reply that tells a submission's result.
impl From<Result<Outcome, SubmitError>> for KvReply {
    fn from(result: Result<Outcome, SubmitError>) -> Self {
        match result {
            Ok(Ok(answers)) => Self::Answers(answers),
            Ok(Err(refused)) => Self::Refused(refused),
            Err(SubmitError::NotLeader { leader }) => Self::NotLeader { leader },
            Err(SubmitError::Superseded) => Self::Superseded,
            Err(SubmitError::Unknown { id }) => Self::Unknown { id },
            Err(SubmitError::Busy) => Self::Busy,
            Err(SubmitError::NoSpace) => Self::NoSpace,
            Err(SubmitError::TooLarge { .. } | SubmitError::Encode(_)) => Self::TooLarge,
            Err(SubmitError::Stopped { id, .. }) => {
                Self::Stopped { may_have_taken_effect: id.is_some() }
            }
        }
    }
}

/// The reply that tells why a read was not served.
impl From<ReadError> for KvReply {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::NotLeader { leader } => Self::NotLeader { leader },
            ReadError::TimedOut => Self::NotLeader { leader: None },
            ReadError::Stopped(_) => Self::Stopped { may_have_taken_effect: false },
        }
    }
}
