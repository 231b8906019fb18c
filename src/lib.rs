//! Oarlock: a replicated state machine with threads and locks, and no async runtime.
//!
//! Give it a type that implements [`StateMachine`], start a [`Node`] of it on each machine, and
//! every command that [`submit`](Replicated::submit) answers is on the disks of a majority.
//!
//! ```
//! use std::collections::BTreeMap;
//!
//! use oarlock::{
//!     EntryId, Node, PeerId, ReplicatedOptions, RestoreError, SiteOptions, StateMachine, Wire,
//! };
//!
//! /// What changes the state.
//! #[derive(serde::Serialize, serde::Deserialize)]
//! struct Add(u64);
//! impl Wire for Add {}
//!
//! /// The state: the same on every node.
//! #[derive(Default)]
//! struct Counter(u64);
//!
//! impl StateMachine for Counter {
//!     type Command = Add;
//!     type Output = u64;
//!     fn apply(&mut self, _id: EntryId, Add(n): Add) -> u64 {
//!         self.0 += n;
//!         self.0
//!     }
//!     fn snapshot(&self) -> Vec<u8> {
//!         self.0.to_le_bytes().to_vec()
//!     }
//!     fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
//!         let bytes = snapshot.try_into().map_err(|_| RestoreError("not 8 bytes".into()))?;
//!         self.0 = u64::from_le_bytes(bytes);
//!         Ok(())
//!     }
//! }
//!
//! # let dir = tempfile::tempdir()?;
//! // A cluster of one; `examples/counter.rs` runs three.
//! let id = PeerId(1);
//! let site = SiteOptions {
//!     id,
//!     members: BTreeMap::from([(id, "127.0.0.1:0".to_owned())]),
//!     dir: dir.path().join("node-1"),
//!     cluster_id: None,
//!     joins: false,
//!     segment_bytes: None,
//! };
//! let node = Node::start(&site, Counter::default(), ReplicatedOptions::default())?;
//! node.wait_for_leader((0, None), std::time::Instant::now() + std::time::Duration::from_secs(5));
//! assert_eq!(node.submit(&Add(2))?, 2);
//! assert_eq!(node.read(|counter| counter.0)?, 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod node;
mod site;

pub use node::Node;
pub use oarlock_raft::{
    Change, ChangeError, Cluster, Configuration, Entry, EntryId, Frozen, Index, LeaseReads,
    Options, PeerId, PeerStatus, Peers, Raft, ReadError, Replicated, ReplicatedOptions,
    RestoreError, RoleName, Snapshot, StateMachine, Status, Stopped, SubmitError, Term,
};
pub use oarlock_rpc::codec::Wire;
pub use site::{Site, SiteListener, SiteOptions, StartError, listen};

/// The key-value service, its clerk and its Redis-protocol front end.
pub use oarlock_kvserver as kvserver;
/// The labs' interface underneath.
pub use oarlock_raft as raft;
/// The calling contract, the codec and the TCP network.
pub use oarlock_rpc as rpc;
/// Durable state.
pub use oarlock_storage as storage;
