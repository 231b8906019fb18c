//! The TCP network under the calling contract.
//!
//! [`TcpEnd`] is the client end of a connection to one peer, [`TcpServer`] the listener that hands
//! requests to a [`Service`](crate::Service). Everything on the wire is little-endian and laid out
//! by hand, so that any byte of a capture can be read without this code.
//!
//! # The handshake
//!
//! The dialer speaks first. Magic, versions and length have the same place in every version;
//! later versions append to the body, and a reader ignores what it does not know of.
//!
//! | offset | bytes | the dialer's hello |
//! |---|---|---|
//! | 0 | 4 | magic, `A7 4F 41 52` |
//! | 4 | 2 | lowest version the dialer speaks |
//! | 6 | 2 | highest version the dialer speaks |
//! | 8 | 2 | length of the body that follows, at most 1,024 |
//! | 10 | 8 | cluster id; 0 from a client that does not care |
//! | 18 | 8 | node id of the dialer; 0 from a client |
//! | 26 | 8 | node id of the intended listener; 0 from a client that does not care |
//! | 34 | 1 | lane: 0 urgent, 1 bulk |
//! | 35 | 1 | role: 0 peer, 1 client |
//!
//! | offset | bytes | the listener's answer |
//! |---|---|---|
//! | 0 | 4 | magic |
//! | 4 | 1 | 0 accepted; otherwise why not |
//! | 5 | 2 | the version chosen; 0 if refused |
//! | 7 | 1 | length of the reason |
//! | 8 | n | the reason in UTF-8, for the dialer's log |
//!
//! Bytes that do not begin with the magic get no answer. The handshake tells misconfigured nodes
//! apart; it authenticates nobody.
//!
//! # Frames
//!
//! | offset | bytes | a frame, in either direction, in version 1 |
//! |---|---|---|
//! | 0 | 4 | length of everything after the checksum |
//! | 4 | 4 | CRC-32 (IEEE) of everything after the checksum |
//! | 8 | 1 | kind: 1 request, 2 reply, 3 no reply |
//! | 9 | 8 | call id, chosen by the caller |
//! | 17 | 1 + n | requests only: length of the method's name, and the name in UTF-8 |
//! | | rest | arguments or reply |
//!
//! The checksum is there although TCP has one: TCP's is 16 bits wide, and a flipped bit that slips
//! past it would be written into a follower's log under a good checksum, where nothing could ever
//! find it. It costs some 0.1 ns a byte.
//!
//! # Threads
//!
//! An accepted connection has a reader, which runs the handlers, and a writer. A [`TcpEnd`] has
//! for each lane a thread that dials and then reads, which runs the completions, and a writer
//! while connected; and one timer for both lanes. Each lock here guards a few fields and is never
//! held across a system call on a socket, a handler or a completion.

mod backoff;
mod client;
mod connection;
mod frame;
mod handshake;
mod incoming;
mod link;
mod link_thread;
mod outgoing;
mod queue;
mod refusals;
mod registry;
mod server;
mod socket;
mod timer;

#[cfg(test)]
mod tests;

pub use client::{EndOptions, TcpEnd};
pub use handshake::{FIRST_BYTE, MAGIC, VERSION_MAX, VERSION_MIN};
pub use server::{ServerOptions, TcpServer};

/// Which node this is, and of which cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The cluster's number; chosen once, not 0 (a client that does not care says 0).
    pub cluster_id: u64,
    /// The node's number within its cluster.
    pub node_id: u64,
}
