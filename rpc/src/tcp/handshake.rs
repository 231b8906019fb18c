//! The first words on a connection: who dials whom, in which version, and whether that is welcome.
//!
//! The layout is in the [module's documentation](super). Nothing is checksummed here: each field
//! that matters is compared with what the other side expects.

use std::io::{self, Write};
use std::net::TcpStream;
use std::time::Instant;

use super::Identity;
use super::socket::read_exact_until;
use crate::Lane;

/// The first byte of every connection. No text protocol begins with it, so that a port can be
/// shared by peeking at one byte.
pub const FIRST_BYTE: u8 = MAGIC[0];
/// The first bytes of both sides of every handshake.
pub const MAGIC: [u8; 4] = [0xA7, b'O', b'A', b'R'];
/// The lowest version of the protocol that this build speaks.
pub const VERSION_MIN: u16 = 1;
/// The highest version of the protocol that this build speaks.
pub const VERSION_MAX: u16 = 1;

/// Magic, two versions, and the length of the body.
const HELLO_PREFIX_LEN: usize = 10;
const HELLO_BODY_LEN: usize = 26;
/// What a later version may make of the hello, in bytes.
const HELLO_BODY_LEN_MAX: u16 = 1024;
const ANSWER_PREFIX_LEN: usize = 8;
/// The longest reason a refusal gives, in bytes: its length travels in one byte.
const REASON_LEN_MAX: usize = u8::MAX as usize;

/// What the dialer is to the listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Role {
    /// A node of the same cluster.
    Peer,
    /// Whoever uses the cluster's services.
    Client,
}

/// What a dialer says first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hello {
    /// The cluster and the node that dials; from a client, the cluster it wants or 0, and 0.
    pub(super) dialer: Identity,
    /// The node it means to reach; from a client, 0 for any.
    pub(super) listener_id: u64,
    pub(super) lane: Lane,
    pub(super) role: Role,
}

/// Why a listener does not want a connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("expected the magic {MAGIC:02x?}, found {0:02x?}")]
    Magic([u8; 4]),
    #[error(
        "expected a version from {VERSION_MIN} to {VERSION_MAX}, found one from {min} to {max}"
    )]
    Version { min: u16, max: u16 },
    #[error("expected cluster {expected}, found cluster {found}")]
    Cluster { expected: u64, found: u64 },
    #[error("expected a dialer for node {expected}, found one for node {found}")]
    Node { expected: u64, found: u64 },
    #[error("expected another role, found a {0:?}: none are served here")]
    Role(Role),
    #[error("a hello that makes no sense: {0}")]
    Malformed(&'static str),
}

impl Refusal {
    /// The number that stands for the reason on the wire.
    pub(super) fn code(&self) -> u8 {
        match self {
            Self::Magic(_) => 1,
            Self::Version { .. } => 2,
            Self::Cluster { .. } => 3,
            Self::Node { .. } => 4,
            Self::Role(_) => 5,
            Self::Malformed(_) => 6,
        }
    }
}

/// Why a handshake came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum HandshakeError {
    /// This side refuses the other.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The other side refuses this one.
    #[error("refused by the remote (code {code}): {reason}")]
    RefusedByRemote { code: u8, reason: String },
    #[error("the handshake failed: {0}")]
    Io(#[from] io::Error),
}

impl Hello {
    fn encode(&self, min: u16, max: u16) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(min.to_le_bytes());
        bytes.extend(max.to_le_bytes());
        bytes.extend((HELLO_BODY_LEN as u16).to_le_bytes());
        bytes.extend(self.dialer.cluster_id.to_le_bytes());
        bytes.extend(self.dialer.node_id.to_le_bytes());
        bytes.extend(self.listener_id.to_le_bytes());
        bytes.push(match self.lane {
            Lane::Urgent => 0,
            Lane::Bulk => 1,
        });
        bytes.push(match self.role {
            Role::Peer => 0,
            Role::Client => 1,
        });
        bytes
    }

    fn decode(body: &[u8]) -> Result<Self, Refusal> {
        let Some(body) = body.first_chunk::<HELLO_BODY_LEN>() else {
            return Err(Refusal::Malformed("it is too short"));
        };
        let word = |at: usize| {
            u64::from_le_bytes(body[at..at + 8].try_into().expect("a slice of eight bytes"))
        };
        let lane = match body[24] {
            0 => Lane::Urgent,
            1 => Lane::Bulk,
            _ => return Err(Refusal::Malformed("an unknown lane")),
        };
        let role = match body[25] {
            0 => Role::Peer,
            1 => Role::Client,
            _ => return Err(Refusal::Malformed("an unknown role")),
        };
        let dialer = Identity { cluster_id: word(0), node_id: word(8) };
        Ok(Self { dialer, listener_id: word(16), lane, role })
    }

    /// Whether a listener that is `me` is whom this dialer means to reach.
    fn check(&self, me: Identity) -> Result<(), Refusal> {
        let any = self.role == Role::Client;
        let (expected, found) = (me.cluster_id, self.dialer.cluster_id);
        if found != expected && !(any && found == 0) {
            return Err(Refusal::Cluster { expected, found });
        }
        let (expected, found) = (me.node_id, self.listener_id);
        if found != expected && !(any && found == 0) {
            return Err(Refusal::Node { expected, found });
        }
        Ok(())
    }
}

/// The highest version that both sides speak.
fn choose_version(min: u16, max: u16) -> Result<u16, Refusal> {
    let version = max.min(VERSION_MAX);
    if version < min.max(VERSION_MIN) {
        return Err(Refusal::Version { min, max });
    }
    Ok(version)
}

/// The dialer's side: says `hello`, and returns once the listener has accepted.
pub(super) fn dial(
    stream: &TcpStream,
    hello: &Hello,
    deadline: Instant,
) -> Result<(), HandshakeError> {
    (&*stream).write_all(&hello.encode(VERSION_MIN, VERSION_MAX))?;
    let mut prefix = [0; ANSWER_PREFIX_LEN];
    read_exact_until(stream, &mut prefix, deadline)?;
    let [m0, m1, m2, m3, code, v0, v1, reason_len] = prefix;
    if [m0, m1, m2, m3] != MAGIC {
        return Err(Refusal::Magic([m0, m1, m2, m3]).into());
    }
    let mut reason = vec![0; usize::from(reason_len)];
    read_exact_until(stream, &mut reason, deadline)?;
    if code != 0 {
        // Escaped: the remote writes into our log.
        let reason = String::from_utf8_lossy(&reason).escape_debug().to_string();
        return Err(HandshakeError::RefusedByRemote { code, reason });
    }
    let version = u16::from_le_bytes([v0, v1]);
    choose_version(version, version)?;
    Ok(stream.set_read_timeout(None)?)
}

/// The listener's side: hears the dialer's hello and answers it. `serves` says which roles are.
pub(super) fn accept(
    stream: &TcpStream,
    me: Identity,
    serves: impl Fn(Role) -> bool,
    deadline: Instant,
) -> Result<Hello, HandshakeError> {
    let heard = hear(stream, me, serves, deadline);
    match &heard {
        Ok((_, version)) => (&*stream).write_all(&encode_answer(0, *version, ""))?,
        // Whoever speaks another protocol would not understand.
        Err(HandshakeError::Refused(Refusal::Magic(_))) => {}
        Err(HandshakeError::Refused(refusal)) => {
            // The refusal is what counts; a dialer that is gone needs no reason.
            let answer = encode_answer(refusal.code(), 0, &refusal.to_string());
            let _ = (&*stream).write_all(&answer);
        }
        Err(_) => {}
    }
    stream.set_read_timeout(None)?;
    heard.map(|(hello, _)| hello)
}

/// Reads a hello and judges it: the hello and the version to speak.
fn hear(
    stream: &TcpStream,
    me: Identity,
    serves: impl Fn(Role) -> bool,
    deadline: Instant,
) -> Result<(Hello, u16), HandshakeError> {
    let mut prefix = [0; HELLO_PREFIX_LEN];
    let (magic, rest) = prefix.split_at_mut(MAGIC.len());
    read_exact_until(stream, magic, deadline)?;
    if magic != MAGIC {
        return Err(Refusal::Magic([magic[0], magic[1], magic[2], magic[3]]).into());
    }
    read_exact_until(stream, rest, deadline)?;
    let half = |at: usize| u16::from_le_bytes([rest[at], rest[at + 1]]);
    let (min, max, body_len) = (half(0), half(2), half(4));
    if body_len > HELLO_BODY_LEN_MAX {
        return Err(Refusal::Malformed("it is too long").into());
    }
    let mut body = vec![0; usize::from(body_len)];
    read_exact_until(stream, &mut body, deadline)?;
    let version = choose_version(min, max)?;
    let hello = Hello::decode(&body)?;
    hello.check(me)?;
    if !serves(hello.role) {
        return Err(Refusal::Role(hello.role).into());
    }
    Ok((hello, version))
}

fn encode_answer(code: u8, version: u16, reason: &str) -> Vec<u8> {
    let reason = &reason.as_bytes()[..reason.len().min(REASON_LEN_MAX)];
    let mut bytes = MAGIC.to_vec();
    bytes.push(code);
    bytes.extend(version.to_le_bytes());
    bytes.push(reason.len() as u8);
    bytes.extend(reason);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: Identity = Identity { cluster_id: 7, node_id: 2 };

    fn hello(role: Role, cluster_id: u64, listener_id: u64) -> Hello {
        let dialer = Identity { cluster_id, node_id: 1 };
        Hello { dialer, listener_id, lane: Lane::Bulk, role }
    }

    #[test]
    fn a_hello_has_the_documented_bytes() {
        let mut expected = vec![0xA7, 0x4F, 0x41, 0x52, 1, 0, 2, 0, 26, 0];
        for word in [7u64, 1, 2] {
            expected.extend(word.to_le_bytes());
        }
        expected.extend([1, 0]);
        let hello = hello(Role::Peer, 7, 2);
        assert_eq!(hello.encode(1, 2), expected);
        assert_eq!(Hello::decode(&expected[10..]), Ok(hello));
        // A later version appends.
        expected.push(99);
        assert_eq!(Hello::decode(&expected[10..]), Ok(hello));
        assert!(!FIRST_BYTE.is_ascii());
    }

    #[test]
    fn a_hello_that_makes_no_sense_is_refused() {
        let good = hello(Role::Peer, 7, 2).encode(1, 1)[10..].to_vec();
        assert_eq!(Hello::decode(&good[..25]), Err(Refusal::Malformed("it is too short")));
        for at in [24, 25] {
            let mut bad = good.clone();
            bad[at] = 2;
            assert!(matches!(Hello::decode(&bad), Err(Refusal::Malformed(_))), "at {at}");
        }
    }

    #[test]
    fn a_peer_must_name_its_cluster_and_its_listener_and_a_client_need_not() {
        assert_eq!(hello(Role::Peer, 7, 2).check(ME), Ok(()));
        let other_cluster = Err(Refusal::Cluster { expected: 7, found: 8 });
        let other_node = Err(Refusal::Node { expected: 2, found: 3 });
        assert_eq!(hello(Role::Peer, 8, 2).check(ME), other_cluster);
        assert_eq!(hello(Role::Peer, 7, 3).check(ME), other_node);
        assert!(hello(Role::Peer, 0, 2).check(ME).is_err());
        assert!(hello(Role::Peer, 7, 0).check(ME).is_err());
        assert_eq!(hello(Role::Client, 0, 0).check(ME), Ok(()));
        assert_eq!(hello(Role::Client, 8, 0).check(ME), other_cluster);
        assert_eq!(hello(Role::Client, 0, 3).check(ME), other_node);
    }

    #[test]
    fn the_highest_common_version_is_chosen() {
        assert_eq!(choose_version(VERSION_MIN, VERSION_MAX + 5), Ok(VERSION_MAX));
        assert_eq!(choose_version(0, VERSION_MIN), Ok(VERSION_MIN));
        assert!(choose_version(VERSION_MAX + 1, VERSION_MAX + 2).is_err());
        assert!(choose_version(0, VERSION_MIN - 1).is_err());
    }

    #[test]
    fn an_answer_has_the_documented_bytes() {
        let bytes = [&[0xA7, 0x4F, 0x41, 0x52, 3, 0, 0, 2][..], b"no"].concat();
        assert_eq!(encode_answer(3, 0, "no"), bytes);
        assert_eq!(encode_answer(3, 0, &"n".repeat(300)).len(), 8 + 255);
    }
}
