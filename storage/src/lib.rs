//! Durable state: what `persist()` and `save_state_and_snapshot()` stand on.
//!
//! One contract, [`Persister`], with two implementations that pass one shared suite:
//! [`DiskPersister`], a segmented write-ahead log with memory-mapped snapshots, and
//! [`MemoryPersister`], for simulations. `docs/wal-format.md` and `docs/snapshot-format.md` have
//! the bytes.
//!
//! **Boundary:** indexes and terms are numbers here; nothing knows of leaders or votes' meaning.
//!
//! ```
//! use oarlock_storage::{
//!     Batch, DiskOptions, DiskPersister, Entry, EntryId, HardState, Persister, SnapshotMeta,
//! };
//!
//! # fn main() -> Result<(), oarlock_storage::StorageError> {
//! # let dir = tempfile::tempdir().expect("a temporary directory");
//! # let dir = dir.path();
//! let mut persister = DiskPersister::open(dir, DiskOptions::new(1))?;
//! assert!(persister.load().entries.is_empty());
//!
//! // One batch, one sync: when this returns, it outlives any crash.
//! persister.persist(&Batch {
//!     hard_state: Some(HardState { current_term: 1, voted_for: Some(1) }),
//!     entries: vec![Entry { id: EntryId::new(1, 1), tag: 0, data: b"x = 1".as_slice().into() }],
//!     ..Batch::default()
//! })?;
//!
//! // A snapshot is written aside, from any thread, and then takes the log's place.
//! let meta = SnapshotMeta { last_included: EntryId::new(1, 1), ..SnapshotMeta::default() };
//! let staged = persister.snapshot_stage().write_all(meta, b"{x: 1}")?;
//! persister.save_state_and_snapshot(&Batch::default(), staged)?;
//! drop(persister);
//!
//! let found = DiskPersister::open(dir, DiskOptions::new(1))?.load();
//! assert_eq!(found.hard_state.current_term, 1);
//! assert_eq!(&*found.snapshot.expect("it was saved"), b"{x: 1}");
//! # Ok(())
//! # }
//! ```

#[cfg(test)]
mod contract_tests;
mod disk;
mod entry;
mod error;
mod fs;
mod log_shape;
mod memory;
mod payload;
mod persister;

pub use disk::{DiskOptions, DiskPersister, Identity, inspect};
pub use entry::{Entry, EntryId, HardState};
pub use error::StorageError;
#[cfg(any(test, feature = "power-cut"))]
pub use fs::forgetful::PowerCut;
#[cfg(any(test, feature = "simulation"))]
#[doc(hidden)]
pub use fs::sim::{Fault as SimFault, SimFs, Unmade as SimUnmade};
pub use memory::{MemoryPersister, MemoryRoom};
pub use payload::Payload;
pub use persister::{
    Batch, Persister, Recovered, Snapshot, SnapshotBytes, SnapshotMeta, SnapshotStage,
    SnapshotWriter, StagedSnapshot,
};
