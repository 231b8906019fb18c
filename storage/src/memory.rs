//! The persister in memory: for simulations and the lab suites, where a crash is taking a copy of
//! what was durable and throwing the rest away.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::log_shape::LogShape;
use crate::{
    Batch, Entry, Persister, Recovered, Snapshot, SnapshotMeta, SnapshotStage, SnapshotWriter,
    StagedSnapshot, StorageError,
};

/// Durable state that lives as long as its handles.
///
/// Cloning shares the state: one clone goes to the log writer, another stays with the test, which
/// can ask for sizes at any time and take a [`copy`](Self::copy) to "restart" from.
#[derive(Clone, Default)]
pub struct MemoryPersister {
    state: Arc<Mutex<State>>,
}

#[derive(Clone, Default)]
struct State {
    shape: LogShape,
    entries: Vec<Entry>,
    snapshot: Option<Snapshot>,
    loaded: bool,
    room: MemoryRoom,
}

/// How much room a persister in memory pretends to have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MemoryRoom {
    /// As much as anyone wants.
    #[default]
    Enough,
    /// The reserve: everything still fits, but new entries had better not be taken on.
    Reserve,
    /// None for entries; terms, votes and snapshots fit.
    NoEntries,
}

impl MemoryPersister {
    /// An empty one: term 0, no vote, no log, no snapshot.
    pub fn new() -> Self {
        Self::default()
    }

    /// A detached copy of what is durable now. Whatever is written through this handle later does
    /// not show up in the copy: an old peer that still runs cannot reach its successor's state.
    /// The copy can be loaded, once, like a newly opened directory.
    #[must_use]
    pub fn copy(&self) -> Self {
        let state = State { loaded: false, ..self.state.lock().clone() };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// From here on it has this much room.
    pub fn set_room(&self, room: MemoryRoom) {
        self.state.lock().room = room;
    }

    /// The current snapshot, if there is one.
    pub fn snapshot(&self) -> Option<Snapshot> {
        self.state.lock().snapshot.clone()
    }

    /// The size of the current snapshot's content in bytes; 0 without one.
    pub fn snapshot_bytes(&self) -> usize {
        self.state.lock().snapshot.as_ref().map_or(0, |snapshot| snapshot.len())
    }
}

impl State {
    fn apply(&mut self, batch: &Batch) {
        self.shape.check(batch);
        self.shape.apply(batch);
        if let Some(from) = batch.truncate_from {
            let kept = from - self.shape.base.index - 1;
            self.entries.truncate(usize::try_from(kept).unwrap_or(usize::MAX));
        }
        self.entries.extend_from_slice(&batch.entries);
        assert_eq!(self.entries.len(), self.shape.entry_count(), "the log and its shape agree");
    }

    fn install(&mut self, snapshot: Snapshot) {
        let last_included = snapshot.meta.last_included;
        self.shape.compact(last_included);
        let dropped = self.entries.len() - self.shape.entry_count();
        self.entries.drain(..dropped);
        self.snapshot = Some(snapshot);
    }
}

impl Persister for MemoryPersister {
    fn load(&mut self) -> Recovered {
        let mut state = self.state.lock();
        assert!(!state.loaded, "a persister is loaded once; take a copy() to restart from");
        state.loaded = true;
        Recovered {
            hard_state: state.shape.hard_state,
            snapshot: state.snapshot.clone(),
            entries: state.entries.clone(),
        }
    }

    fn persist(&mut self, batch: &Batch) -> Result<(), StorageError> {
        self.make_room(batch)?;
        self.state.lock().apply(batch);
        Ok(())
    }

    fn make_room(&mut self, batch: &Batch) -> Result<(), StorageError> {
        let has_room = self.state.lock().room != MemoryRoom::NoEntries;
        if has_room || batch.entries.is_empty() {
            return Ok(());
        }
        let source = std::io::ErrorKind::StorageFull.into();
        Err(StorageError::NoSpace { operation: "append to", path: "memory".into(), source })
    }

    fn has_room(&self) -> bool {
        self.state.lock().room == MemoryRoom::Enough
    }

    fn snapshot_stage(&self) -> Arc<dyn SnapshotStage> {
        Arc::new(MemoryStage)
    }

    fn save_state_and_snapshot(
        &mut self,
        batch: &Batch,
        staged: StagedSnapshot,
    ) -> Result<Snapshot, StorageError> {
        let content = staged.handle.downcast::<Vec<u8>>().expect("staged by this persister");
        let snapshot = Snapshot::new(staged.meta, Arc::new(*content));
        let mut state = self.state.lock();
        // All that can be wrong is found first: a batch that panics leaves nothing half done.
        state.shape.check(batch);
        state.shape.check_newer(snapshot.meta.last_included);
        state.apply(batch);
        state.install(snapshot.clone());
        Ok(snapshot)
    }

    fn raft_state_bytes(&self) -> u64 {
        self.state.lock().shape.raft_state_bytes()
    }

    fn is_instant(&self) -> bool {
        true
    }
}

/// Writes snapshots into memory.
struct MemoryStage;

impl SnapshotStage for MemoryStage {
    fn begin(&self, meta: SnapshotMeta) -> Result<Box<dyn SnapshotWriter>, StorageError> {
        Ok(Box::new(MemoryWriter { meta, content: Vec::new() }))
    }
}

struct MemoryWriter {
    meta: SnapshotMeta,
    content: Vec<u8>,
}

impl SnapshotWriter for MemoryWriter {
    fn write(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        self.content.extend_from_slice(bytes);
        Ok(())
    }

    fn len_bytes(&self) -> u64 {
        self.content.len() as u64
    }

    fn finish(self: Box<Self>) -> Result<StagedSnapshot, StorageError> {
        Ok(StagedSnapshot { meta: self.meta, handle: Box::new(self.content) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EntryId, HardState};

    fn append(index: u64) -> Batch {
        let id = EntryId::new(index, 1);
        Batch {
            hard_state: Some(HardState { current_term: 1, voted_for: Some(2) }),
            entries: vec![Entry { id, tag: 3, data: b"x"[..].into() }],
            ..Batch::default()
        }
    }

    #[test]
    fn a_copy_is_detached_both_ways() {
        let mut old = MemoryPersister::new();
        old.load();
        old.persist(&append(1)).unwrap();
        let mut new = old.copy();
        old.persist(&append(2)).unwrap();
        let found = new.load();
        assert_eq!(found.entries.len(), 1);
        assert_eq!(found.hard_state.voted_for, Some(2));
        new.persist(&append(2)).unwrap();
        new.persist(&append(3)).unwrap();
        assert_eq!(old.copy().load().entries.len(), 2);
    }

    #[test]
    fn sizes_can_be_asked_through_another_handle() {
        let mut writer = MemoryPersister::new();
        let watcher = writer.clone();
        writer.persist(&append(1)).unwrap();
        assert_eq!(watcher.raft_state_bytes(), crate::log_shape::FIXED_BYTES + 14);
        assert_eq!(watcher.snapshot_bytes(), 0);
        let meta = SnapshotMeta { last_included: EntryId::new(1, 1), ..SnapshotMeta::default() };
        let staged = writer.snapshot_stage().write_all(meta, b"state").unwrap();
        writer.save_state_and_snapshot(&Batch::default(), staged).unwrap();
        assert_eq!(watcher.snapshot_bytes(), 5);
        assert_eq!(watcher.raft_state_bytes(), crate::log_shape::FIXED_BYTES);
    }

    #[test]
    fn without_room_entries_wait_and_votes_do_not() {
        let mut persister = MemoryPersister::new();
        persister.set_room(MemoryRoom::NoEntries);
        let error = persister.persist(&append(1)).unwrap_err();
        assert!(matches!(error, StorageError::NoSpace { .. }), "{error}");
        let vote = Batch { entries: Vec::new(), ..append(1) };
        persister.persist(&vote).unwrap();
        persister.set_room(MemoryRoom::Reserve);
        assert!(!persister.has_room());
        persister.persist(&append(1)).unwrap();
        assert_eq!(persister.copy().load().entries.len(), 1);
    }

    #[test]
    #[should_panic(expected = "loaded once")]
    fn a_second_load_panics() {
        let mut persister = MemoryPersister::new();
        persister.load();
        persister.load();
    }
}
