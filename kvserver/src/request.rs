//! Requests as they travel: into the log, from a clerk to a server, and from a follower to the
//! leader.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::SystemTime;

use oarlock_raft::{EntryId, Index, PeerId, Vouch};
use oarlock_rpc::Method;
use oarlock_rpc::codec::Wire;
use serde::{Deserialize, Serialize};

use crate::op::{Answers, Bytes, Op};
use crate::session::Refused;

/// The largest encoded request, in bytes.
pub const REQUEST_BYTES_MAX: usize = 8 << 20;

/// The method a [`KvCall`] is sent by.
pub const KV_REQUEST: Method = Method::urgent("Kv.Request");

/// The method that asks a node for its [`crate::NodeStatus`].
pub const KV_STATUS: Method = Method::urgent("Kv.Status");

/// Who sends requests, for as long as it remembers which ones it has sent.
///
/// Two sessions are the same only if both numbers are. See [`crate::session`] for what `born` is
/// good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClientId {
    /// A log index that had been applied somewhere before the session's first request; 0 always
    /// has.
    pub born: Index,
    /// Drawn at random from all 64-bit numbers.
    pub nonce: u64,
}

impl ClientId {
    /// A client nobody has ever been, for a session that begins after `born`.
    pub fn random(born: Index) -> Self {
        // The system's own randomness is in the hasher's keys.
        let mut hasher = RandomState::new().build_hasher();
        hasher.write_u32(std::process::id());
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        hasher.write_u128(now.map_or(0, |d| d.as_nanos()));
        Self { born, nonce: hasher.finish() }
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}@{}", self.nonce, self.born)
    }
}

/// One entry of the log: operations that execute together, in order, once. Their keys and values are
/// their own, or borrowed from where the request was decoded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request<B = Bytes> {
    /// Whose request it is.
    pub client: ClientId,
    /// The client's number for it, from 1; the same each time it is sent again.
    pub seq: u64,
    /// The client will never again send a request numbered below this one: each is answered or
    /// given up.
    pub acked_below: u64,
    /// What to do.
    pub ops: Vec<Op<B>>,
}

impl Wire for Request {
    const MAX_BYTES: usize = REQUEST_BYTES_MAX;
}

/// A request on its way to a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KvCall {
    /// Set if another server passed it on, after it had come there: then it is not passed on again,
    /// and spares a read a round of messages.
    pub forwarded: Option<Vouch>,
    /// The request. If it only reads, its client and numbers mean nothing.
    pub request: Request,
}

impl KvCall {
    /// Operations that only read: no session is needed.
    pub fn reading(ops: Vec<Op>) -> Self {
        let client = ClientId { born: 0, nonce: 0 };
        Self { forwarded: None, request: Request { client, seq: 0, acked_below: 0, ops } }
    }

    /// Whether the request only reads, and so need not go through the log.
    pub fn is_read(&self) -> bool {
        self.request.ops.iter().all(Op::is_read)
    }
}

impl Wire for KvCall {
    const MAX_BYTES: usize = REQUEST_BYTES_MAX + 64;
}

/// What a server says to a [`KvCall`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KvReply {
    /// Executed, now or when it was first sent.
    Answers(Answers),
    /// The session's rules forbid executing it.
    Refused(Refused),
    /// Not executed: this peer does not lead, and `leader` may.
    NotLeader {
        /// Who leads, as far as this peer knows.
        leader: Option<PeerId>,
    },
    /// Appended, but another entry took its place: not executed.
    Superseded,
    /// Appended; whether it will be executed is not known here.
    Unknown {
        /// The entry.
        id: EntryId,
    },
    /// Not executed: too much is waiting already.
    Busy,
    /// Not executed, and never will be: it is too large.
    TooLarge,
    /// This peer has stopped.
    Stopped {
        /// Whether the request may be executed all the same.
        may_have_taken_effect: bool,
    },
    /// Not executed: the disks of a majority are full.
    NoSpace,
    /// A read, left to whoever passed it on: what that had applied is enough.
    ReadThere,
}

impl Wire for KvReply {
    const MAX_BYTES: usize = 64 << 20;
}

#[cfg(test)]
mod tests {
    use super::*;
    use oarlock_rpc::codec;
    use serde_bytes::ByteBuf;

    #[test]
    fn a_small_put_is_a_small_entry() {
        let op = Op::Put { key: ByteBuf::from(b"key"), value: ByteBuf::from(b"x 0 1 y") };
        let request =
            Request { client: ClientId::random(0), seq: 1, acked_below: 1, ops: vec![op] };
        let bytes = codec::encode(&request).unwrap();
        assert!(bytes.len() <= 72, "{} bytes", bytes.len());
        assert_eq!(codec::decode::<Request>(&bytes).unwrap(), request);
    }

    #[test]
    fn clients_are_never_the_same() {
        let ids: std::collections::BTreeSet<_> =
            (0..1000).map(|_| ClientId::random(0).nonce).collect();
        assert_eq!(ids.len(), 1000);
    }

    #[test]
    fn a_call_that_only_reads_is_known_by_its_operations() {
        let get = Op::Get { key: ByteBuf::from(b"k") };
        let del = Op::GetDel { key: ByteBuf::from(b"k") };
        assert!(KvCall::reading(vec![get.clone(), Op::DbSize]).is_read());
        assert!(!KvCall::reading(vec![get, del]).is_read());
    }
}
