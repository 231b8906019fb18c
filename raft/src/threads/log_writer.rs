//! The log writer: the one thread that touches the disk. It takes everything queued, makes it
//! durable with one write and one sync (group commit), and then speaks for it.

use std::sync::Arc;

use oarlock_storage::{
    Batch, Persister, Snapshot, SnapshotStage, SnapshotWriter, StagedSnapshot, StorageError,
};

use crate::error::Stopped;
use crate::mutation::WriteStep;
use crate::rules::Rules;
use crate::shared::Shared;

/// The thread's own state: the disk, and the snapshot a leader is sending.
pub(crate) struct LogWriter {
    persister: Box<dyn Persister>,
    stage: Arc<dyn SnapshotStage>,
    receiving: Option<Box<dyn SnapshotWriter>>,
}

impl LogWriter {
    pub(crate) fn new(persister: Box<dyn Persister>) -> Self {
        Self { stage: persister.snapshot_stage(), persister, receiving: None }
    }

    /// The thread's body. The first storage error stops the peer for good, before anything that
    /// rests on it is spoken.
    pub(crate) fn run(mut self, shared: &Shared) {
        while let Some(work) =
            shared.take(&shared.log_writer, |rules: &mut Rules, now| rules.writes_due(now))
        {
            let snapshot = match self.write(work.steps) {
                Ok(snapshot) => snapshot,
                Err(error) => {
                    log::error!(target: "PERS", "{error}; this peer stops");
                    return shared.stop(Stopped::storage(&error));
                }
            };
            let Ok(answers) = shared.on_durable(work.through, snapshot) else { return };
            for answer in answers {
                answer.send();
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
