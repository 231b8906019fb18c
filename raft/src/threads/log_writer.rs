//! The log writer: the one thread that touches the disk. It takes everything queued, makes it
//! durable with one write and one sync (group commit), and then speaks for it.
//!
//! Where durable state is in memory, there is nothing to wait for, and waking a thread would cost
//! more than the write: whoever queued it writes it, if nobody else does at that moment, and unless
//! it is left to the applier, with what others queue. So the right to write is a value, [`LogWriter`],
//! and who has taken it out of [`Shared`] writes.
//!
//! What has no room waits here, in order, and everything behind it; except for terms and votes,
//! which rest on nothing in front of them, and for a snapshot of our own, which makes the entries it
//! covers unnecessary and gives space back. Nobody is told of what waits.

use std::collections::VecDeque;
use std::sync::Arc;

use oarlock_storage::{
    Batch, Persister, Snapshot, SnapshotStage, SnapshotWriter, StagedSnapshot, StorageError,
};

use crate::error::Stopped;
use crate::mutation::{WriteStep, WriteWork};
use crate::rules::{Reach, Written};
use crate::shared::Shared;

/// The right to write: the disk, and the snapshot a leader is sending.
pub(crate) struct LogWriter {
    persister: Box<dyn Persister>,
    stage: Arc<dyn SnapshotStage>,
    receiving: Option<Box<dyn SnapshotWriter>>,
    /// What is still to be written, oldest first. Empty after every visit but those that end for
    /// want of space.
    waiting: VecDeque<WriteStep>,
}

/// The thread's body: writes whatever nobody wrote on the way, until the peer stops.
pub(crate) fn log_writer_thread(shared: &Arc<Shared>) {
    while let Some((writer, work)) = shared.take_writes() {
        writer.write_for(shared, work);
    }
}

impl LogWriter {
    pub(crate) fn new(persister: Box<dyn Persister>) -> Self {
        let stage = persister.snapshot_stage();
        Self { stage, persister, receiving: None, waiting: VecDeque::new() }
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
            Ok(written) => {
                let writer = writing.writer.take().expect("nobody took it");
                shared.on_written(writer, work.through, written).send();
            }
            Err(error) => {
                log::error!(target: "PERS", "{error}; this peer stops");
                shared.stop(Stopped::storage(&error));
            }
        }
    }

    /// Makes the steps durable, in order, behind those that wait.
    pub(crate) fn write(&mut self, steps: Vec<WriteStep>) -> Result<Written, StorageError> {
        self.waiting.extend(steps);
        let mut snapshot = None;
        let reach = loop {
            match self.write_in_order(&mut snapshot) {
                Ok(()) => break Reach::All,
                Err(StorageError::NoSpace { .. }) => {}
                Err(error) => return Err(error),
            }
            let fits = self.write_hard_state().and_then(|()| self.compact_first());
            match fits {
                Ok(Some(newest)) => snapshot = Some(newest),
                Ok(None) => break Reach::HardState,
                Err(StorageError::NoSpace { .. }) => break self.reach_of_what_waits(),
                Err(error) => return Err(error),
            }
        };
        Ok(Written { reach, snapshot, has_room: self.persister.has_room() })
    }

    /// Writes what waits, until nothing does or there is no room.
    fn write_in_order(&mut self, newest: &mut Option<Snapshot>) -> Result<(), StorageError> {
        while let Some(step) = self.waiting.front_mut() {
            match step {
                WriteStep::Persist(batch) => self.persister.persist(batch)?,
                WriteStep::Receive { meta, first, data } => {
                    if *first {
                        self.receiving = Some(self.stage.begin(meta.clone())?);
                        *first = false;
                    }
                    let writer = self.receiving.as_mut().expect("a first piece began it");
                    writer.write(data)?;
                }
                WriteStep::Install => {
                    let writer = self.receiving.as_mut().expect("pieces came before the last");
                    writer.complete()?;
                    self.persister.make_room(&Batch::default())?;
                    let writer = self.receiving.take().expect("it was just there");
                    *newest = Some(self.publish(writer.finish()?)?);
                }
                WriteStep::Compact(_) => {
                    self.persister.make_room(&Batch::default())?;
                    let Some(WriteStep::Compact(staged)) = self.waiting.pop_front() else {
                        unreachable!("it was just in front");
                    };
                    *newest = Some(self.publish(staged)?);
                    continue;
                }
            }
            self.waiting.pop_front();
        }
        Ok(())
    }

    /// Writes the newest term and vote of all that waits. To be ahead of entries does no harm: it
    /// only says less about the past than will be true.
    fn write_hard_state(&mut self) -> Result<(), StorageError> {
        let mut waiting = self.waiting.iter().rev();
        let Some(hard_state) = waiting.find_map(hard_state_of) else { return Ok(()) };
        self.persister.persist(&Batch { hard_state: Some(hard_state), ..Batch::default() })?;
        for step in &mut self.waiting {
            if let WriteStep::Persist(batch) = step {
                batch.hard_state = None;
            }
        }
        Ok(())
    }

    /// Makes the first snapshot of our own that waits behind nothing but entries current, ahead of
    /// them: those it covers need not be written any more. `None` if there is no such snapshot.
    fn compact_first(&mut self) -> Result<Option<Snapshot>, StorageError> {
        let before = self.waiting.iter().take_while(|s| matches!(s, WriteStep::Persist(_))).count();
        if !matches!(self.waiting.get(before), Some(WriteStep::Compact(_))) {
            return Ok(None);
        }
        let mut net = Batch::default();
        for step in self.waiting.drain(..before) {
            if let WriteStep::Persist(next) = step {
                add_up(&mut net, next);
            }
        }
        // Whatever happens from here on, this stands for the steps it was made of.
        self.waiting.push_front(WriteStep::Persist(net));
        self.persister.make_room(&Batch::default())?;
        let Some(WriteStep::Compact(staged)) = self.waiting.remove(1) else {
            unreachable!("it is behind what was added up");
        };
        let last_included = staged.meta.last_included.index;
        let Some(WriteStep::Persist(net)) = self.waiting.front_mut() else {
            unreachable!("it was just put in front");
        };
        let truncation = Batch { truncate_from: net.truncate_from.take(), ..Batch::default() };
        net.entries.retain(|entry| entry.id.index > last_included);
        self.persister.save_state_and_snapshot(&truncation, staged).map(Some)
    }

    /// How far the work has come when something of it has no room.
    fn reach_of_what_waits(&self) -> Reach {
        let has_hard_state = self.waiting.iter().any(|step| hard_state_of(step).is_some());
        if has_hard_state { Reach::Nothing } else { Reach::HardState }
    }

    fn publish(&mut self, staged: StagedSnapshot) -> Result<Snapshot, StorageError> {
        self.persister.save_state_and_snapshot(&Batch::default(), staged)
    }
}

fn hard_state_of(step: &WriteStep) -> Option<oarlock_storage::HardState> {
    match step {
        WriteStep::Persist(batch) => batch.hard_state,
        _ => None,
    }
}

/// Adds `later` to `net`, which is written before it.
fn add_up(net: &mut Batch, later: Batch) {
    if let Some(from) = later.truncate_from {
        let kept = net.entries.partition_point(|entry| entry.id.index < from);
        net.entries.truncate(kept);
        if net.entries.is_empty() {
            net.truncate_from = Some(net.truncate_from.map_or(from, |known| known.min(from)));
        }
    }
    net.entries.extend(later.entries);
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
