//! The applier's side of [`crate::Replicated`]: the state machine, whom it answers, and when its
//! state is written down.

use std::sync::Arc;

use crossbeam_channel::Receiver;
use oarlock_storage::SnapshotStage;
use oarlock_sync::{Mutex, MutexGuard};

use crate::error::Stopped;
use crate::rules::{ApplyWork, Rules, Why};
use crate::served::{Served, Waiting};
use crate::shared::Shared;
use crate::state_machine::{Frozen, StateMachine};
use crate::threads::applier::{Gone, Sink};
use crate::threads::snapshots::{FrozenState, Job};
use crate::types::{Index, SnapshotMeta};

/// A state of at most so many bytes is written by the applier itself: waking another thread, and
/// telling the state machine, would cost more.
const WRITTEN_HERE_MAX: usize = 64 << 10;

/// The state machine, and what the applier must know to serve it.
pub(crate) struct MachineSink<M: StateMachine> {
    /// Ours but for brief looks by others, who never wait for it. Nothing once the applier has ended:
    /// the state goes with it, whoever has a handle on the peer.
    pub(crate) served: Arc<Mutex<Option<Served<M>>>>,
    /// Who waits. Sent under the peer's lock, so it is on its way before the entry or round it names
    /// can be committed.
    pub(crate) incoming: Receiver<Waiting<M>>,
    pub(crate) stage: Arc<dyn SnapshotStage>,
    pub(crate) snapshot_log_bytes: Option<u64>,
    pub(crate) snapshot_log_bytes_max: u64,
    /// The size of the last snapshot that was taken here, or came from a leader.
    pub(crate) last_snapshot_bytes: u64,
}

impl<M: StateMachine> Sink for MachineSink<M> {
    fn take(&mut self, work: ApplyWork, shared: &Shared) -> Result<(), Gone> {
        self.learn_who_waits();
        match work {
            ApplyWork::Entries(entries) => {
                let last = entries.last().expect("work has entries").id;
                self.change(|served| served.apply_all(&entries));
                self.snapshot_if_log_is_long(last.index, shared);
            }
            ApplyWork::Restore(snapshot) => {
                self.last_snapshot_bytes = snapshot.len() as u64;
                self.change(|served| served.restore(&snapshot));
            }
            ApplyWork::Published(snapshot, applied) => {
                self.last_snapshot_bytes = snapshot.len() as u64;
                let unwanted = self.change(|served| served.machine.published(&snapshot));
                if let Some(unwanted) = unwanted {
                    shared.have_done(Job::Drop(unwanted));
                }
                // What came meanwhile may be too much already.
                self.snapshot_if_log_is_long(applied, shared);
            }
            ApplyWork::MakeRoom(applied) if self.snapshot_log_bytes.is_some() => {
                self.snapshot(applied, shared, Why::DiskIsFull);
            }
            ApplyWork::MakeRoom(_) => {}
            ApplyWork::ServeReads { through } => self.change(|served| served.serve_reads(through)),
            ApplyWork::FailReads { through } => {
                let leader = shared.look(|rules, _| rules.leader());
                self.change(|served| served.fail_reads(through, leader));
            }
        }
        Ok(())
    }

    fn end(&mut self, shared: &Shared) {
        self.learn_who_waits();
        let why = shared.stopped().unwrap_or_else(Stopped::killed);
        self.change(|served| served.end(&why));
    }
}

impl<M: StateMachine> MachineSink<M> {
    // This lock is no peer's, but the applier's own.
    #[cfg_attr(not(feature = "interleavings"), expect(clippy::disallowed_methods))]
    fn lock(&self) -> MutexGuard<'_, Option<Served<M>>> {
        self.served.lock()
    }

    fn change<T>(&self, f: impl FnOnce(&mut Served<M>) -> T) -> T {
        self.lock().as_mut().expect("it is there as long as we are").change(f)
    }

    fn learn_who_waits(&self) {
        if !self.incoming.is_empty() {
            self.change(|served| self.incoming.try_iter().for_each(|who| served.expect(who)));
        }
    }

    fn snapshot_if_log_is_long(&mut self, applied: Index, shared: &Shared) {
        if let Some(least) = self.snapshot_log_bytes {
            let most = self.snapshot_log_bytes_max;
            let limit = log_limit(least, self.last_snapshot_bytes, most);
            self.snapshot(applied, shared, Why::LogIsLong { limit });
        }
    }

    /// Takes a snapshot of everything up to `applied`, if one is due: here if the state is small, else
    /// on the thread for that.
    fn snapshot(&mut self, applied: Index, shared: &Shared, why: Why) {
        let begun = shared.step(|rules, now| rules.begin_snapshot(applied, why, now));
        // A peer that has stopped takes no snapshots; the applier is about to see it too.
        let Ok(Some(meta)) = begun else { return };
        match self.change(|served| taken_from(&mut served.machine)) {
            Taken::Small(content) => self.write_here(meta, &content, shared, why),
            Taken::Large(state) => {
                shared.have_done(Job::Write(FrozenState { meta, why, state }));
            }
        }
    }

    fn write_here(&mut self, meta: SnapshotMeta, content: &[u8], shared: &Shared, why: Why) {
        let index = meta.last_included.index;
        match self.stage.write_all(meta, content) {
            Ok(staged) => {
                self.last_snapshot_bytes = content.len() as u64;
                // Not waited for: on a full disk that could take long, and reads come by here.
                let unused = shared.step(|rules, _| rules.snapshot_written(staged, why, false));
                // A file is removed or memory given back, which is not for the lock.
                drop(unused);
            }
            Err(error) => {
                log::warn!(target: "SNAP", "no snapshot at {index}: {error}");
                drop(shared.step(Rules::snapshot_failed));
            }
        }
    }
}

impl<M: StateMachine> Drop for MachineSink<M> {
    fn drop(&mut self) {
        // Whoever looks is waited for, and looks no longer when the peer is gone.
        let served = self.lock().take();
        drop(served);
    }
}

/// The state of a machine, to be written.
pub(crate) enum Taken {
    /// It is here.
    Small(Vec<u8>),
    /// It is to be written burst by burst.
    Large(Box<dyn Frozen>),
}

/// Takes the state of `machine` as it is now.
pub(crate) fn taken_from(machine: &mut impl StateMachine) -> Taken {
    if let Some(state) = machine.freeze() {
        return Taken::Large(state);
    }
    let content = machine.snapshot();
    if content.len() > WRITTEN_HERE_MAX {
        Taken::Large(Box::new(content))
    } else {
        Taken::Small(content)
    }
}

/// How large the log behind a snapshot of so many bytes gets before the next one is begun: half of it,
/// within bounds. So to write snapshots takes no more than thrice what writing the log does, and the log,
/// with what a state machine keeps in memory of it, stays the smaller part, even if it grows as much
/// again while that is written.
fn log_limit(least: u64, snapshot_bytes: u64, most: u64) -> u64 {
    (snapshot_bytes / 2).min(most).max(least)
}

#[cfg(test)]
mod tests {
    use super::log_limit;

    #[test]
    fn the_log_gets_half_as_large_as_the_snapshot_within_bounds() {
        let limits = [0, 32, 200, 1000].map(|snapshot_bytes| log_limit(16, snapshot_bytes, 256));
        assert_eq!(limits, [16, 16, 100, 256]);
        assert_eq!(log_limit(1000, 5000, 0), 1000, "the labs' limit is one");
    }
}
