//! The contract of durable state.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use crate::{Entry, EntryId, HardState, StorageError};

/// A peer's durable state, owned by its log writer: the one thread that changes it.
///
/// Guarantees, of both implementations:
/// 1. When [`persist`](Self::persist) or [`save_state_and_snapshot`](Self::save_state_and_snapshot)
///    returns `Ok`, everything given so far survives a crash of the process and of the machine.
/// 2. Each call is atomic: after a crash the whole batch is there, or none of it.
/// 3. The snapshot and the log's start move together: after a crash both are old or both are new.
/// 4. After the first error the persister is dead: every later call fails with
///    [`StorageError::Latched`] and touches nothing. It never tries a failed sync again. Only
///    [`StorageError::NoSpace`] is no such error: it comes before anything was changed.
/// 5. A batch that would break the log's shape (a gap, a falling term, a truncation at or below the
///    snapshot, a second vote in one term) is our own bug: it panics before anything is written.
pub trait Persister: Send {
    /// Takes what was found at opening. Called once, before anything else; a second call panics.
    fn load(&mut self) -> Recovered;

    /// Makes `batch` durable: one write and one sync, however much is in it.
    fn persist(&mut self, batch: &Batch) -> Result<(), StorageError>;

    /// Sees to it that the next call of [`persist`](Self::persist) or
    /// [`save_state_and_snapshot`](Self::save_state_and_snapshot), with this very batch, does not
    /// fail for want of space; [`StorageError::NoSpace`] if that cannot be had now. The former does
    /// it by itself; the latter does not, because its snapshot would be lost.
    fn make_room(&mut self, batch: &Batch) -> Result<(), StorageError> {
        let _ = batch;
        Ok(())
    }

    /// Whether new entries had better be taken on. Once this is false there is still some room, a
    /// reserve: for what is under way already, for terms and votes, and for the snapshot that gives
    /// space back. It becomes true again by itself when there is space. Cheap.
    fn has_room(&self) -> bool {
        true
    }

    /// A way to write snapshots aside, usable from any thread while the log goes on.
    fn snapshot_stage(&self) -> Arc<dyn SnapshotStage>;

    /// Makes `staged` the current snapshot, and `batch` (which comes before it in the order of
    /// mutations) durable, in one atomic step.
    ///
    /// Afterwards the log begins behind `staged`'s last entry. Entries after it are kept if the log
    /// held exactly that entry (index and term), else the whole log is dropped: that is the rule of
    /// `InstallSnapshot` (the paper's Figure 13, steps 6 and 7), and a peer's own snapshot of its
    /// log always meets the first case. A snapshot not newer than the current one panics.
    fn save_state_and_snapshot(
        &mut self,
        batch: &Batch,
        staged: StagedSnapshot,
    ) -> Result<Snapshot, StorageError>;

    /// The size of the logical state: hard state, the log's base, and each entry's
    /// [`logical_bytes`](Entry::logical_bytes). Not the size of files, and without the snapshot.
    fn raft_state_bytes(&self) -> u64;

    /// Whether no call ever waits, for a disk or anything else, so that any thread may make it on
    /// its way. Default: no.
    fn is_instant(&self) -> bool {
        false
    }
}

/// What one call makes durable. Its parts apply in the order of the fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The new term and vote, if they changed.
    pub hard_state: Option<HardState>,
    /// Drop every entry with this index or above, before appending.
    pub truncate_from: Option<u64>,
    /// Entries to append: contiguous, right behind the (truncated) log, terms never falling.
    pub entries: Vec<Entry>,
}

impl Batch {
    /// Whether there is nothing to make durable.
    pub fn is_empty(&self) -> bool {
        self.hard_state.is_none() && self.truncate_from.is_none() && self.entries.is_empty()
    }
}

/// What a persister found when it was opened.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// The last durable term and vote.
    pub hard_state: HardState,
    /// The current snapshot, if there is one.
    pub snapshot: Option<Snapshot>,
    /// The log behind the snapshot, contiguous.
    pub entries: Vec<Entry>,
}

/// What a snapshot stands for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotMeta {
    /// The last entry the snapshot covers (`last_included_index` and `last_included_term`).
    pub last_included: EntryId,
    /// The configuration in force at that entry, as the layer above encodes it.
    pub configuration: Arc<[u8]>,
}

/// Where the content of a snapshot or of a segment lives: a memory map, or memory.
pub trait SnapshotBytes: Send + Sync {
    /// The whole content.
    fn bytes(&self) -> &[u8];
}

impl SnapshotBytes for Vec<u8> {
    fn bytes(&self) -> &[u8] {
        self
    }
}

/// A complete, verified, durable snapshot. Cloning shares it; it stays readable when a newer one
/// replaces it.
#[derive(Clone)]
pub struct Snapshot {
    /// What it stands for.
    pub meta: SnapshotMeta,
    content: Arc<dyn SnapshotBytes>,
}

impl Snapshot {
    /// A snapshot of `meta` whose content is `content`.
    pub fn new(meta: SnapshotMeta, content: Arc<dyn SnapshotBytes>) -> Self {
        Self { meta, content }
    }
}

impl Deref for Snapshot {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.content.bytes()
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Snapshot({}, {} bytes)", self.meta.last_included, self.len())
    }
}

/// Writes snapshots aside. Any number may be under way at once; an unfinished one is dropped with
/// its handle, or at the next opening.
pub trait SnapshotStage: Send + Sync {
    /// Begins a snapshot of `meta`.
    fn begin(&self, meta: SnapshotMeta) -> Result<Box<dyn SnapshotWriter>, StorageError>;

    /// Writes a whole snapshot from memory.
    fn write_all(
        &self,
        meta: SnapshotMeta,
        content: &[u8],
    ) -> Result<StagedSnapshot, StorageError> {
        let mut writer = self.begin(meta)?;
        writer.write(content)?;
        writer.finish()
    }
}

/// A snapshot being written aside, from its beginning to its end.
pub trait SnapshotWriter: Send {
    /// Appends `bytes` to the content: all of them, or, after [`StorageError::NoSpace`], none.
    fn write(&mut self, bytes: &[u8]) -> Result<(), StorageError>;

    /// The content written so far, in bytes.
    fn len_bytes(&self) -> u64;

    /// Writes whatever is needed behind the content, which is complete: after this,
    /// [`finish`](Self::finish) needs no more space. After [`StorageError::NoSpace`] it may be
    /// called again.
    fn complete(&mut self) -> Result<(), StorageError> {
        Ok(())
    }

    /// Completes and syncs the content. It is durable, but not current, until
    /// [`Persister::save_state_and_snapshot`] takes it.
    fn finish(self: Box<Self>) -> Result<StagedSnapshot, StorageError>;
}

/// A snapshot that is complete and synced, but not current yet. Dropped, its file is removed.
pub struct StagedSnapshot {
    /// What it stands for.
    pub meta: SnapshotMeta,
    /// The staging implementation's own handle; only the persister it came from can take it.
    pub handle: Box<dyn std::any::Any + Send>,
}

impl fmt::Debug for StagedSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StagedSnapshot({})", self.meta.last_included)
    }
}
