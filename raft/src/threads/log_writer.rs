//! The log writer: the one thread that touches the disk. It takes everything queued, makes it
//! durable with one write and one sync (group commit), and then speaks for it.
//!
//! Where durable state is in memory, there is nothing to wait for, and waking a thread would cost
//! more than the write: whoever queued it writes it, if nobody else does at that moment. So the
//! right to write is a value, [`LogWriter`], and who has taken it out of [`Shared`] writes.

use std::sync::Arc;

use oarlock_storage::{
    Batch, Persister, Snapshot, SnapshotStage, SnapshotWriter, StagedSnapshot, StorageError,
};

use crate::error::Stopped;
use crate::mutation::{WriteStep, WriteWork};
use crate::shared::Shared;

/// The right to write: the disk, and the snapshot a leader is sending.
pub(crate) struct LogWriter {
    persister: Box<dyn Persister>,
    stage: Arc<dyn SnapshotStage>,
    receiving: Option<Box<dyn SnapshotWriter>>,
}

/// The thread's body: writes whatever nobody wrote on the way, until the peer stops.
pub(crate) fn log_writer_thread(shared: &Arc<Shared>) {
    while let Some((writer, work)) = shared.take_writes() {
        writer.write_for(shared, work);
    }
}

impl LogWriter {
    pub(crate) fn new(persister: Box<dyn Persister>) -> Self {
        Self { stage: persister.snapshot_stage(), persister, receiving: None }
    }

    /// Whether any thread may write on its way.
    pub(crate) fn is_instant(&self) -> bool {
        self.persister.is_instant()
    }

    /// Writes `work`, gives the right back, and sends what waited for it. The first storage error
    /// stops the peer for good, before anything that rests on it is spoken.
    pub(crate) fn write_for(self, shared: &Shared, work: WriteWork) {
        let mut writing = Writing { writer: Some(self), shared };
        let writer = writing.writer.as_mut().expect("it was just put there");
        match writer.write(work.steps) {
            Ok(snapshot) => {
                let writer = writing.writer.take().expect("nobody took it");
                for answer in shared.on_durable(writer, work.through, snapshot) {
                    answer.send();
                }
            }
            Err(error) => {
                log::error!(target: "PERS", "{error}; this peer stops");
                shared.stop(Stopped::storage(&error));
            }
        }
    }

    /// Makes the steps durable, in order; returns the newest snapshot among them.
    pub(crate) fn write(
        &mut self,
        steps: Vec<WriteStep>,
    ) -> Result<Option<Snapshot>, StorageError> {
        let mut newest = None;
        let mut batch = Batch::default();
        for step in steps {
            match step {
                WriteStep::Persist(next) => {
                    // Pieces of a snapshot may stand between two batches.
                    let before = std::mem::replace(&mut batch, next);
                    if !before.is_empty() {
                        self.persister.persist(&before)?;
                    }
                }
                WriteStep::Receive { meta, first, data } => {
                    if first {
                        self.receiving = Some(self.stage.begin(meta)?);
                    }
                    let writer = self.receiving.as_mut().expect("a first piece began it");
                    writer.write(&data)?;
                }
                WriteStep::Install => {
                    let writer = self.receiving.take().expect("pieces came before the last");
                    newest = Some(self.publish(&mut batch, writer.finish()?)?);
                }
                WriteStep::Compact(staged) => newest = Some(self.publish(&mut batch, staged)?),
            }
        }
        if !batch.is_empty() {
            self.persister.persist(&batch)?;
        }
        Ok(newest)
    }

    fn publish(
        &mut self,
        before: &mut Batch,
        staged: StagedSnapshot,
    ) -> Result<Snapshot, StorageError> {
        let before = std::mem::take(before);
        self.persister.save_state_and_snapshot(&before, staged)
    }
}

/// A write under way. If it fails or panics, nobody writes ever again.
struct Writing<'a> {
    writer: Option<LogWriter>,
    shared: &'a Shared,
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        if let Some(writer) = self.writer.take() {
            // Closed first: when the peer has been killed, its state can be opened again.
            drop(writer);
            self.shared.stop(Stopped("a write to the log panicked".to_owned()));
            self.shared.writer_is_gone();
        }
    }
}
