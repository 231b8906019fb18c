//! A linearizable key-value store on a replicated log, and the ways to talk to it.
//!
//! The map, from the inside out:
//! - `op`: what can be asked, and what comes back. `data` (with `key` and `glob`): what each
//!   operation does. `layers` (with `base` and `merge`): where the data is, so that it need be
//!   neither copied for a snapshot nor in memory.
//! - [`session`]: which requests have been executed, so that each is executed once.
//! - `machine`: both together as a replicated state machine; `snapshot`: its state as bytes.
//! - `request`: how requests travel. `node`, `service`: executing them here or at the leader.
//! - `local` (with `numbering` and `watch`): the client inside this process. [`Clerk`]: the one
//!   outside.
//! - [`KvServer`]: a node, from all of these.
//! - [`resp`]: the front end for Redis clients.
//!
//! **Boundary:** consensus is `oarlock-raft`'s; nothing here looks at its messages or its log.

mod base;
mod clerk;
mod data;
mod error;
#[cfg(test)]
mod follower_read_tests;
mod glob;
mod key;
mod layers;
#[cfg(test)]
mod lease_tests;
mod local;
mod machine;
mod marks;
mod merge;
mod node;
mod numbering;
mod op;
mod request;
pub mod resp;
mod server;
mod service;
pub mod session;
mod snapshot;
mod status;
mod value;
mod watch;

pub use clerk::Clerk;
pub use error::{ClerkError, ExecuteError};
pub use local::LocalClient;
pub use machine::{FrozenKv, Gauges, KvMachine, Outcome};
pub use op::{
    ANSWER_BYTES_MAX, Answer, Answers, Bytes, Condition, KEY_BYTES_MAX, Op, OpError,
    VALUE_BYTES_MAX,
};
pub use request::{ClientId, KV_REQUEST, KV_STATUS, KvCall, KvReply, REQUEST_BYTES_MAX, Request};
pub use server::{KvOptions, KvServer};
pub use session::{Limits, Refused};
pub use status::{MemberRole, MemberStatus, NodeRole, NodeStatus};
