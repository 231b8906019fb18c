//! A disk for scenes: others run while it works, and it remembers what is durable.

use std::sync::{Arc, Mutex, MutexGuard};

use oarlock_storage::{
    Batch, HardState, MemoryPersister, Persister, Recovered, Snapshot, SnapshotStage,
    StagedSnapshot, StorageError,
};
use oarlock_sync::model;

use crate::EntryId;

/// What is durable, and whether the peer has let go of it.
#[derive(Default)]
pub(super) struct Held {
    pub(super) last: EntryId,
    pub(super) hard_state: HardState,
    pub(super) snapshot: EntryId,
    pub(super) closed: bool,
    writes: usize,
}

/// The scene's side of a disk.
#[derive(Clone, Default)]
pub(super) struct Platter(Arc<Mutex<Held>>);

impl Platter {
    pub(super) fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().expect("nobody panics with it")
    }
}

/// The peer's side.
pub(super) struct Disk {
    memory: MemoryPersister,
    platter: Platter,
    is_instant: bool,
    /// The write that fails, counted from 1; 0 for none.
    broken_at: usize,
}

impl Disk {
    /// A disk that takes its time.
    pub(super) fn slow(platter: &Platter) -> Self {
        Self::new(platter, false, 0)
    }

    /// A disk that says it takes none: whoever queued something writes it.
    pub(super) fn instant(platter: &Platter) -> Self {
        Self::new(platter, true, 0)
    }

    /// A disk whose `nth` write fails.
    pub(super) fn broken_at(platter: &Platter, nth: usize) -> Self {
        Self::new(platter, false, nth)
    }

    fn new(platter: &Platter, is_instant: bool, broken_at: usize) -> Self {
        let (memory, platter) = (MemoryPersister::new(), platter.clone());
        Self { memory, platter, is_instant, broken_at }
    }

    /// Others run while it works.
    fn work(&mut self) -> Result<(), StorageError> {
        model::pause();
        let mut held = self.platter.held();
        held.writes += 1;
        if held.writes == self.broken_at {
            return Err(StorageError::Latched("the disk is broken".to_owned()));
        }
        Ok(())
    }

    fn note(&self, batch: &Batch) {
        let mut held = self.platter.held();
        if let Some(hard_state) = batch.hard_state {
            held.hard_state = hard_state;
        }
        assert_eq!(batch.truncate_from, None, "no scene truncates");
        if let Some(entry) = batch.entries.last() {
            held.last = entry.id;
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        model::pause();
        self.platter.held().closed = true;
    }
}

impl Persister for Disk {
    fn load(&mut self) -> Recovered {
        self.memory.load()
    }

    fn persist(&mut self, batch: &Batch) -> Result<(), StorageError> {
        self.work()?;
        self.memory.persist(batch)?;
        self.note(batch);
        model::pause();
        Ok(())
    }

    fn snapshot_stage(&self) -> Arc<dyn SnapshotStage> {
        self.memory.snapshot_stage()
    }

    fn save_state_and_snapshot(
        &mut self,
        batch: &Batch,
        staged: StagedSnapshot,
    ) -> Result<Snapshot, StorageError> {
        self.work()?;
        let snapshot = self.memory.save_state_and_snapshot(batch, staged)?;
        self.note(batch);
        self.platter.held().snapshot = snapshot.meta.last_included;
        model::pause();
        Ok(snapshot)
    }

    fn make_room(&mut self, batch: &Batch) -> Result<(), StorageError> {
        self.memory.make_room(batch)
    }

    fn has_room(&self) -> bool {
        self.memory.has_room()
    }

    fn raft_state_bytes(&self) -> u64 {
        self.memory.raft_state_bytes()
    }

    fn is_instant(&self) -> bool {
        self.is_instant
    }
}
