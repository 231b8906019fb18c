//! What other processes ask of this node: the methods named `Kv.…`. Nothing here waits; a reply is
//! filled in by whichever thread comes to know it.

use std::sync::Arc;

use oarlock_raft::Vouch;
use oarlock_rpc::codec::{self, Wire};
use oarlock_rpc::{ReplySlot, Service, UnknownMethod};

use crate::node::{Node, Route};
use crate::request::{KV_REQUEST, KV_STATUS, KvCall};

/// Answers clerks, and the front ends of other nodes.
pub(crate) struct KvService {
    pub(crate) node: Arc<Node>,
    /// Whether requests that come to a follower go on to the leader.
    pub(crate) forward: bool,
}

impl Service for KvService {
    fn handle(&self, method: &str, args: &[u8], reply: ReplySlot) -> Result<(), UnknownMethod> {
        if method == KV_REQUEST.name {
            match codec::decode(args) {
                Ok(call) => self.request(call, reply),
                // Not answered: the sender is of another build.
                Err(error) => log::warn!(target: "CLNT", "{method}: {error}"),
            }
        } else if method == KV_STATUS.name {
            answer(reply, &self.node.status());
        } else {
            return Err(UnknownMethod(method.to_owned()));
        }
        Ok(())
    }

    /// A step of the rules, or a call to the leader; the applier fills the slot, under no lock that
    /// anybody else waits for.
    fn is_prompt(&self) -> bool {
        true
    }
}

impl KvService {
    fn request(&self, mut call: KvCall, reply: ReplySlot) {
        if self.forward
            && call.forwarded.is_none()
            && let (vouch, leader) = self.node.standing()
            && let Route::Peer(leader) = self.node.route_to(leader)
        {
            // The leader's reply is ours, byte for byte, so it is not to leave a read to us.
            call.forwarded = Some(Vouch { applied: 0, ..vouch });
            match codec::encode(&call) {
                Ok(args) => leader.start(KV_REQUEST, args, reply),
                Err(error) => log::warn!(target: "CLNT", "a call that came cannot go on: {error}"),
            }
            return;
        }
        self.node.execute_here(Arc::new(call), move |outcome| answer(reply, &outcome));
    }
}

fn answer<T: Wire>(reply: ReplySlot, value: &T) {
    match codec::encode(value) {
        Ok(bytes) => reply.reply(bytes),
        // Answers are bounded far below the codec's limit.
        Err(error) => log::error!(target: "CLNT", "a reply cannot be encoded: {error}"),
    }
}
