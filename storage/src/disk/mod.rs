//! Durable state in a directory: a segmented write-ahead log, a second copy of the hard state, and
//! snapshot files.
//!
//! A call of [`Persister::persist`] is one batch in the log: one write and one sync. A change of
//! term or vote costs a second sync, of its second copy. The log is the truth; a snapshot counts
//! only once a batch in the log says so.

mod directory;
mod files;
mod format;
pub mod inspect;
mod lock_file;
mod log_reader;
pub(crate) mod mmap;
mod progress;
mod recovery;
mod remover;
mod replay;
mod scan;
mod segment;
mod segment_reader;
mod shelf;
mod snapshot;
mod spare;
#[cfg(test)]
pub(crate) mod tests;
mod verify;
mod vote;
mod wal;
mod window;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

pub use format::Identity;

use crate::fs::{Fs, RealFs};
use crate::log_shape::LogShape;
use crate::{Batch, Persister, Recovered, Snapshot, SnapshotStage, StagedSnapshot, StorageError};
use files::Files;
use format::{Changes, Mark, StateCopy, extent_of};
use lock_file::LockFile;
use remover::Remover;
use snapshot::DiskStage;
use vote::VoteFile;
use wal::Wal;

/// How a directory is to be opened.
#[derive(Clone, Debug)]
pub struct DiskOptions {
    /// Whose directory it is; another node's is refused.
    pub node_id: u64,
    /// The cluster it must belong to. `None` takes what is stored, or 0 for a new directory.
    pub cluster_id: Option<u64>,
    /// The length of a segment of the log, in bytes. A batch that does not fit gets a longer one.
    /// Opening copies at most one segment.
    pub segment_bytes: u64,
    /// Whether snapshots, and the segments found when a directory is opened, are memory-mapped;
    /// otherwise they are read into memory as a whole. Switch it off where somebody else may cut
    /// files short, as on network file systems.
    pub map_files: bool,
    /// Whether a thread fills the next segment with zeros ahead of time.
    pub prepare_spares: bool,
}

impl DiskOptions {
    /// The usual options, for node `node_id`: 16 MiB segments, mapped snapshots, spares.
    pub fn new(node_id: u64) -> Self {
        Self {
            node_id,
            cluster_id: None,
            segment_bytes: 16 << 20,
            map_files: true,
            prepare_spares: true,
        }
    }
}

/// The persister on disk.
///
/// Invariants: (1) `state` and `shape` are what the durable batches add up to; (2) one write and
/// one sync are in flight at a time; (3) durable bytes are never changed; (4) after `failure` is
/// set, nothing is written.
pub struct DiskPersister {
    files: Arc<Files>,
    identity: Identity,
    state: StateCopy,
    shape: LogShape,
    wal: Wal,
    vote: VoteFile,
    snapshots: Arc<DiskStage>,
    /// The snapshot that the log says is current could not be read: another stands in for it, and
    /// the next one must not keep it as its predecessor.
    current_is_damaged: bool,
    recovered: Option<Recovered>,
    failure: Option<String>,
    /// Where threads may work ahead, old snapshots are removed by one as well. Above the lock, which so is
    /// given back when nothing is left to remove.
    remover: Option<Remover>,
    _lock: LockFile,
}

impl DiskPersister {
    /// Opens the directory, or makes it. What is needed of it is verified as a whole, and durable when this
    /// returns; of the part of the log that would stand in for the current snapshot, only the heads are
    /// looked at, unless that snapshot is damaged.
    ///
    /// A write that a crash cut short, and which therefore was never acknowledged, is dropped.
    /// Anything else there that is not as it was written is [`StorageError::Damaged`], and then nothing
    /// has been changed. [`StorageError::InUse`] if anyone has it open, [`StorageError::Foreign`] if
    /// it belongs to someone else.
    pub fn open(dir: &Path, options: DiskOptions) -> Result<Self, StorageError> {
        Self::open_on(Arc::new(RealFs::default()), dir, &options)
    }

    /// [`open`](Self::open), on a disk whose power can be cut: what was not synced is lost then.
    #[cfg(feature = "power-cut")]
    pub fn open_with_power_cut(
        dir: &Path,
        options: &DiskOptions,
    ) -> Result<(Self, crate::PowerCut), StorageError> {
        let (power, disk) = crate::PowerCut::new();
        Ok((Self::open_on(Arc::new(disk), dir, options)?, power))
    }

    /// [`open`](Self::open), on a simulated disk.
    #[cfg(feature = "simulation")]
    #[doc(hidden)]
    pub fn open_simulated(
        disk: &crate::SimFs,
        options: &DiskOptions,
    ) -> Result<Self, StorageError> {
        Self::open_on(Arc::new(disk.clone()), Path::new("simulated"), options)
    }

    /// [`open`](Self::open), on any file system.
    pub(crate) fn open_on(
        fs: Arc<dyn Fs>,
        dir: &Path,
        options: &DiskOptions,
    ) -> Result<Self, StorageError> {
        recovery::open(Arc::new(Files::new(fs, dir)), options)
    }

    /// Whose directory `dir` is, without opening it; `None` if nobody's yet.
    pub fn read_identity(dir: &Path) -> Result<Option<Identity>, StorageError> {
        directory::read_identity(&Files::new(Arc::new(RealFs::default()), dir))
    }

    /// Whose directory this is.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// The cluster this directory belongs to.
    pub fn cluster_id(&self) -> u64 {
        self.identity.cluster_id
    }

    /// Runs `change`, which may write, unless something failed before. It is taken to have failed
    /// until it has returned, so that a panic on the way is the end as well.
    fn latched<T>(
        &mut self,
        change: impl FnOnce(&mut Self) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        self.check_alive()?;
        self.failure = Some("a call did not return".to_owned());
        let result = change(self);
        self.failure = result.as_ref().err().map(ToString::to_string);
        result
    }

    fn check_alive(&self) -> Result<(), StorageError> {
        match &self.failure {
            Some(failure) => Err(StorageError::Latched(failure.clone())),
            None => Ok(()),
        }
    }

    /// Has space for `batch`, with or without a mark behind it. Any failure but the want of space is
    /// the last thing that happens.
    fn have_room(&mut self, batch: &Batch) -> Result<(), StorageError> {
        match self.wal.make_room(extent_of(&batch.entries)) {
            Err(error @ StorageError::NoSpace { .. }) => Err(error),
            other => self.latched(|_| other),
        }
    }

    /// Makes `batch`, and `mark` behind it, durable in one step. There is room for it.
    fn write(&mut self, batch: &Batch, mark: Option<Mark>) -> Result<(), StorageError> {
        // Saying the same again changes nothing, and need not cost a sync of its own.
        let new = batch.hard_state.filter(|new| *new != self.state.hard_state);
        let hard_state = new.map(|new| (self.state.generation.next(), new));
        let changes = Changes { hard_state, truncate_from: batch.truncate_from, mark };
        if changes == Changes::default() && batch.entries.is_empty() {
            return Ok(());
        }
        let number = self.wal.append(&self.state, changes, &batch.entries)?;
        if let Some((generation, new)) = hard_state {
            let alone = batch.truncate_from.is_none() && batch.entries.is_empty() && mark.is_none();
            self.vote.write((generation, new), (number, alone))?;
            self.state.generation = generation;
            self.state.hard_state = new;
        }
        self.shape.apply(batch);
        if let Some(mark) = mark {
            self.shape.compact(mark.snapshot.last_included);
            self.state.take_mark(mark.snapshot, mark.replaces_damaged);
        }
        let last = self.shape.last();
        self.state.last_index = last.index;
        self.state.last_term = Some(last.term);
        Ok(())
    }

    /// Removes segments and snapshots that nothing needs any more, and `stragglers` among them.
    ///
    /// Unless somebody is short of their room, snapshots may go a moment later, and one may stay to be
    /// written over. That they and the
    /// segments are gone is durable when the directory is synced for something else.
    fn remove_obsolete(&mut self, stragglers: &[u64]) -> Result<(), StorageError> {
        let has_room = self.has_room();
        self.wal.purge(self.state.floor())?;
        for number in stragglers {
            self.files.unlink(&segment::name(*number))?;
        }
        let mut aside = self.remover.as_mut();
        if !has_room && let Some(remover) = aside.take() {
            remover.wait();
        }
        let kept: BTreeSet<String> = [self.state.current, self.state.previous]
            .iter()
            .flatten()
            .map(|reference| snapshot::name(reference.last_included))
            .collect();
        for name in self.files.list()? {
            let Some(id) = snapshot::id_of(&name).filter(|_| !kept.contains(&name)) else {
                continue;
            };
            if self.files.shelf().take_over(&self.files, &name, id, !has_room)? {
                continue;
            }
            match &mut aside {
                Some(remover) => remover.remove(name),
                None => self.files.unlink(&name)?,
            }
        }
        Ok(())
    }
}

impl Drop for DiskPersister {
    fn drop(&mut self) {
        match self.failure {
            None => self.files.shelf().close(&self.files),
            Some(_) => self.files.shelf().abandon(),
        }
    }
}

impl Persister for DiskPersister {
    fn load(&mut self) -> Recovered {
        self.recovered.take().expect("a persister is loaded once")
    }

    fn persist(&mut self, batch: &Batch) -> Result<(), StorageError> {
        self.check_alive()?;
        self.shape.check(batch);
        self.have_room(batch)?;
        self.latched(|this| this.write(batch, None))
    }

    fn make_room(&mut self, batch: &Batch) -> Result<(), StorageError> {
        self.check_alive()?;
        self.have_room(batch)
    }

    fn has_room(&self) -> bool {
        self.wal.has_room()
    }

    fn snapshot_stage(&self) -> Arc<dyn SnapshotStage> {
        Arc::clone(&self.snapshots) as Arc<dyn SnapshotStage>
    }

    fn save_state_and_snapshot(
        &mut self,
        batch: &Batch,
        staged: StagedSnapshot,
    ) -> Result<Snapshot, StorageError> {
        self.check_alive()?;
        self.shape.check(batch);
        let last_included = staged.meta.last_included;
        // Short of space, the log need not stay for the case that this snapshot is lost: that is
        // what a reset means where nothing stands behind the snapshot.
        let resets_log = self.shape.resets_log(batch, last_included)
            || (!self.has_room() && batch.entries.is_empty() && self.shape.last() == last_included);
        self.have_room(batch)?;
        self.latched(|this| {
            let (snapshot, reference) = snapshot::publish(&this.files, staged, resets_log)?;
            this.wal.names_are_durable();
            let replaces_damaged = this.current_is_damaged;
            this.write(batch, Some(Mark { snapshot: reference, replaces_damaged }))?;
            this.current_is_damaged = false;
            this.remove_obsolete(&[])?;
            Ok(snapshot)
        })
    }

    fn raft_state_bytes(&self) -> u64 {
        self.shape.raft_state_bytes()
    }
}
