//! What a disk has acknowledged, written down by somebody who does not crash.

use std::collections::VecDeque;
use std::sync::Arc;

use oarlock_storage::{
    Batch, DiskPersister, Entry, EntryId, HardState, Persister, Recovered, Snapshot, SnapshotMeta,
    SnapshotStage, StagedSnapshot, StorageError,
};
use parking_lot::Mutex;

use crate::fingerprint::{mix, mix_bytes};

/// A durable state: what opening a directory gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Durable {
    pub(crate) hard_state: HardState,
    pub(crate) base: EntryId,
    /// The configuration that came with the snapshot, as it is encoded.
    pub(crate) configuration: Arc<[u8]>,
    /// Identities and fingerprints.
    entries: VecDeque<(EntryId, u64)>,
}

/// One call of a persister.
#[derive(Clone, Debug)]
struct Step {
    batch: Batch,
    snapshot: Option<SnapshotMeta>,
}

fn fingerprint(entry: &Entry) -> (EntryId, u64) {
    (entry.id, mix_bytes(mix(0, u64::from(entry.tag)), &entry.data))
}

impl Durable {
    pub(crate) fn of(recovered: &Recovered) -> Self {
        let meta = recovered.snapshot.as_ref().map(|snapshot| snapshot.meta.clone());
        let (base, configuration) =
            meta.map_or_else(Default::default, |meta| (meta.last_included, meta.configuration));
        let entries = recovered.entries.iter().map(fingerprint).collect();
        Self { hard_state: recovered.hard_state, base, configuration, entries }
    }

    pub(crate) fn last(&self) -> EntryId {
        self.entries.back().map_or(self.base, |(id, _)| *id)
    }

    /// The entry at `index`, or the base; `None` outside.
    pub(crate) fn id_at(&self, index: u64) -> Option<EntryId> {
        if index == self.base.index {
            return Some(self.base);
        }
        let at = usize::try_from(index.checked_sub(self.base.index + 1)?).ok()?;
        self.entries.get(at).map(|(id, _)| *id)
    }

    /// Whether the entry is there, or a snapshot in its place.
    pub(crate) fn covers(&self, id: EntryId) -> bool {
        id.index < self.base.index || self.id_at(id.index) == Some(id)
    }

    fn take(&mut self, step: &Step) {
        let Batch { hard_state, truncate_from, entries } = &step.batch;
        self.hard_state = hard_state.unwrap_or(self.hard_state);
        if let Some(from) = *truncate_from {
            while self.entries.back().is_some_and(|(id, _)| id.index >= from) {
                self.entries.pop_back();
            }
        }
        self.entries.extend(entries.iter().map(fingerprint));
        if let Some(meta) = &step.snapshot {
            let base = meta.last_included;
            if self.id_at(base.index) == Some(base) {
                self.entries.drain(..(base.index - self.base.index) as usize);
            } else {
                self.entries.clear();
            }
            self.base = base;
            self.configuration = Arc::clone(&meta.configuration);
        }
    }
}

/// What a disk has acknowledged, and the step it has not.
#[derive(Clone, Debug, Default)]
pub(crate) struct Witness {
    pub(crate) acknowledged: Durable,
    under_way: Option<Step>,
}

impl Witness {
    /// Whether opening may give `found`.
    pub(crate) fn allows(&self, found: &Durable) -> bool {
        *found == self.acknowledged || self.with_step().is_some_and(|with| *found == with)
    }

    /// What is acknowledged, and the step under way.
    pub(crate) fn with_step(&self) -> Option<Durable> {
        let step = self.under_way.as_ref()?;
        let mut with = self.acknowledged.clone();
        with.take(step);
        Some(with)
    }

    /// What was found is durable now.
    pub(crate) fn opened(&mut self, found: Durable) {
        *self = Self { acknowledged: found, under_way: None };
    }
}

/// A persister with a witness beside it.
pub(crate) struct Witnessed {
    pub(crate) inner: DiskPersister,
    pub(crate) witness: Arc<Mutex<Witness>>,
    /// What was found at opening.
    pub(crate) loaded: Option<Recovered>,
}

impl Witnessed {
    fn watch<T>(
        &mut self,
        step: Step,
        call: impl FnOnce(&mut DiskPersister) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        self.witness.lock().under_way = Some(step);
        let result = call(&mut self.inner);
        let mut witness = self.witness.lock();
        match result {
            Ok(result) => {
                if let Some(step) = witness.under_way.take() {
                    witness.acknowledged.take(&step);
                }
                Ok(result)
            }
            Err(error) => {
                // For want of space nothing was changed.
                if matches!(error, StorageError::NoSpace { .. }) {
                    witness.under_way = None;
                }
                Err(error)
            }
        }
    }
}

impl Persister for Witnessed {
    fn load(&mut self) -> Recovered {
        self.loaded.take().expect("a persister is loaded once")
    }

    fn persist(&mut self, batch: &Batch) -> Result<(), StorageError> {
        let step = Step { batch: batch.clone(), snapshot: None };
        self.watch(step, |inner| inner.persist(batch))
    }

    fn snapshot_stage(&self) -> Arc<dyn SnapshotStage> {
        self.inner.snapshot_stage()
    }

    fn save_state_and_snapshot(
        &mut self,
        batch: &Batch,
        staged: StagedSnapshot,
    ) -> Result<Snapshot, StorageError> {
        let step = Step { batch: batch.clone(), snapshot: Some(staged.meta.clone()) };
        self.watch(step, |inner| inner.save_state_and_snapshot(batch, staged))
    }

    fn make_room(&mut self, batch: &Batch) -> Result<(), StorageError> {
        self.inner.make_room(batch)
    }

    fn has_room(&self) -> bool {
        self.inner.has_room()
    }

    fn raft_state_bytes(&self) -> u64 {
        self.inner.raft_state_bytes()
    }
}
