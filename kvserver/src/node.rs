//! One node's ways to get a request executed: here, if this peer leads, or at the peer that does.
//! Nothing here waits.

use std::collections::BTreeMap;
use std::sync::Arc;

use oarlock_raft::{PeerId, ReadBy, ReadError, Replicated, SubmitError, Term, Vouch};
use oarlock_rpc::codec;
use oarlock_rpc::{Completion, End};
use parking_lot::Mutex;

use crate::machine::{Gauges, KvMachine, Outcome};
use crate::request::{KV_REQUEST, KvCall, KvReply};
use crate::status::{MemberRole, MemberStatus, NodeStatus};

/// Where a request goes.
pub(crate) enum Route {
    /// This peer believes it leads.
    Here,
    /// Another does.
    Peer(Arc<dyn End>),
    /// Nobody is known to.
    Nowhere,
}

/// What a peer vouches for, and who leads as far as it knows.
pub(crate) type Standing = (Vouch, Option<PeerId>);

/// Finds the end to a member.
pub(crate) type EndTo = Box<dyn Fn(PeerId) -> Option<Arc<dyn End>> + Send + Sync>;

/// This peer of the replicated store, and its ends to the others.
pub(crate) struct Node {
    pub(crate) me: PeerId,
    pub(crate) replicated: Replicated<KvMachine>,
    /// The end to a member.
    pub(crate) end_to: EndTo,
    pub(crate) gauges: Arc<Gauges>,
    pub(crate) client_addrs: Mutex<BTreeMap<PeerId, String>>,
}

impl Node {
    /// The current term, and who leads it as far as this peer knows.
    pub(crate) fn leader(&self) -> (Term, Option<PeerId>) {
        self.replicated.leader()
    }

    /// The same, with all that this peer vouches for when it passes a request on.
    pub(crate) fn standing(&self) -> Standing {
        self.replicated.vouch()
    }

    /// Where requests go if `leader` leads.
    pub(crate) fn route_to(&self, leader: Option<PeerId>) -> Route {
        match leader {
            Some(leader) if leader == self.me => Route::Here,
            Some(leader) => (self.end_to)(leader).map_or(Route::Nowhere, Route::Peer),
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
        if !call.is_read() {
            return self.replicated.submit_with(&call.request, move |result| done(result.into()));
        }
        match call.forwarded {
            None => self.replicated.read_with(move |machine| done(read(machine, &call))),
            Some(vouch) => self.replicated.read_vouched_with(vouch, move |by| {
                done(match by {
                    Ok(ReadBy::Us(machine)) => read(Ok(machine), &call),
                    Ok(ReadBy::Voucher) => KvReply::ReadThere,
                    Err(error) => error.into(),
                });
            }),
        }
    }

    /// Serves a read that was left to this peer.
    pub(crate) fn read_here(&self, call: Arc<KvCall>, done: impl FnOnce(KvReply) + Send + 'static) {
        let brief = Arc::clone(&call);
        let here = move |machine: &KvMachine| machine.read_briefly(&brief.request.ops);
        let look = move |machine: &KvMachine| machine.read(&call.request.ops);
        self.replicated.look_with(here, look, move |answers| {
            done(answers.map_or_else(KvReply::from, KvReply::Answers));
        });
    }

    /// Asks the peer behind `end` to execute `call`; `done` gets its reply, or `None`, once. It must
    /// not wait.
    pub(crate) fn execute_there(
        end: &dyn End,
        call: &KvCall,
        done: impl FnOnce(Option<KvReply>) + Send + 'static,
    ) {
        assert!(call.forwarded.is_some(), "or it might be passed round for ever");
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
        let raft = self.replicated.status();
        let configuration = &raft.configuration;
        let member = |id: PeerId| {
            let (peer_addr, client_addr) = match configuration.address(id) {
                Some(address) => addresses(address),
                None => (None, None),
            };
            MemberStatus {
                id,
                role: MemberRole::of(id, configuration),
                peer_addr: peer_addr.map(str::to_owned),
                client_addr: addrs.get(&id).cloned().or(client_addr.map(str::to_owned)),
                match_index: None,
                last_contact: None,
            }
        };
        let members = configuration.members().into_iter().map(member).collect();
        NodeStatus::new(raft, &self.gauges, members)
    }
}

/// A member's own address and that of its clients, as the configuration has them.
fn addresses(address: &str) -> (Option<&str>, Option<&str>) {
    match address.split_once('/') {
        Some((peer, client)) => (Some(peer), Some(client)),
        None => (Some(address).filter(|address| !address.is_empty()), None),
    }
}

fn read(machine: Result<&KvMachine, ReadError>, call: &KvCall) -> KvReply {
    match machine {
        Ok(machine) => KvReply::Answers(machine.read(&call.request.ops)),
        Err(error) => error.into(),
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
