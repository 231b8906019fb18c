//! Durable state: what `persist()` and `save_state_and_snapshot()` stand on.
//!
//! One contract, [`Persister`], with two implementations that pass one shared suite: on disk, a
//! segmented write-ahead log with memory-mapped snapshots, and [`MemoryPersister`].
//!
//! **Boundary:** indexes and terms are numbers here; nothing knows of leaders or votes' meaning.

#[cfg(test)]
mod contract_tests;
mod disk;
mod entry;
mod error;
mod fs;
mod log_shape;
mod memory;
mod persister;

pub use disk::{DiskOptions, DiskPersister, Identity};
pub use entry::{Entry, EntryId, HardState};
pub use error::StorageError;
pub use memory::MemoryPersister;
pub use persister::{
    Batch, Persister, Recovered, Snapshot, SnapshotBytes, SnapshotMeta, SnapshotStage,
    SnapshotWriter, StagedSnapshot,
};
