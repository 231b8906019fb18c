//! The interface most people want: a state machine of one's own, replicated.
//!
//! [`Replicated::submit`] blocks until the command is committed, applied here, and answered by the
//! state machine. [`Replicated::read`] is linearizable and never touches the log. Both have a form
//! that returns at once and calls back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};
use oarlock_rpc::codec::{self, Wire};
use oarlock_rpc::{Service, promise};
use oarlock_storage::{Persister, SnapshotStage};

use crate::change::{Change, ChangeError};
use crate::cluster::{Cluster, Peers};
use crate::configuration::Configuration;
use crate::error::{OpenError, ReadError, RestoreError, Stopped, SubmitError};
use crate::hand_over::HandOverError;
use crate::options::Options;
use crate::peer::{Raft, SnapshotError, Status};
use crate::rules::{ApplyWork, Refusal, Rules};
use crate::served::{ReadDone, Served, SubmitDone, Waiting};
use crate::shared::Shared;
use crate::threads::applier::{Gone, Sink};
use crate::types::{EntryId, Index, PeerId, Term};

/// What is replicated. Every peer applies the same commands in the same order, so `apply` must
/// depend on nothing but the state and the command.
pub trait StateMachine: Send + 'static {
    /// What changes the state; travels through the log in its encoded form.
    type Command: Wire + Send + 'static;
    /// What `apply` answers to whoever submitted the command.
    type Output: Send + 'static;

    /// Takes one command. `id` is its place in the log.
    fn apply(&mut self, id: EntryId, command: Self::Command) -> Self::Output;

    /// The whole state as bytes: equal states must give equal bytes.
    fn snapshot(&self) -> Vec<u8>;

    /// Replaces the whole state by what [`snapshot`](Self::snapshot) wrote at some peer.
    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError>;
}

/// How a replicated state machine runs.
#[derive(Clone, Debug)]
pub struct ReplicatedOptions {
    /// The consensus under it.
    pub raft: Options,
    /// Once the log behind the last snapshot has more bytes than this, and than that snapshot, a
    /// new one is taken; `None` never takes one. Default: 16 MiB.
    pub snapshot_log_bytes: Option<u64>,
    /// However large the last snapshot is, the log behind it gets no larger than this, or than
    /// `snapshot_log_bytes` if that is more. A large state is so written less often than its log,
    /// and the log, which is in memory too, stays within bounds. Default: 256 MiB.
    pub snapshot_log_bytes_max: u64,
    /// How long [`Replicated::submit`] and [`Replicated::read`] wait.
    pub timeout: Duration,
}

impl Default for ReplicatedOptions {
    fn default() -> Self {
        Self {
            raft: Options::default(),
            snapshot_log_bytes: Some(16 << 20),
            snapshot_log_bytes_max: 256 << 20,
            timeout: Duration::from_secs(5),
        }
    }
}

/// A handle on this peer of a replicated state machine. The peer is killed with its last handle.
pub struct Replicated<M: StateMachine> {
    raft: Raft,
    waiting: Sender<Waiting<M>>,
    timeout: Duration,
    command_bytes_max: usize,
}

impl<M: StateMachine> Clone for Replicated<M> {
    fn clone(&self) -> Self {
        Self { raft: self.raft.clone(), waiting: self.waiting.clone(), ..*self }
    }
}

impl<M: StateMachine> Replicated<M> {
    /// Starts this peer of a cluster of `me` and `peers`, all of them voters, from what `persister`
    /// holds. See [`open_in`](Self::open_in) for clusters whose members change.
    pub fn open(
        me: PeerId,
        peers: Peers,
        persister: Box<dyn Persister>,
        machine: M,
        options: ReplicatedOptions,
    ) -> Result<Self, OpenError> {
        Self::open_in(me, Cluster::of(me, peers), persister, machine, options)
    }

    /// Starts this peer of `cluster`, from what `persister` holds.
    ///
    /// `machine` is in its initial state: it is restored from the last snapshot, and the log behind
    /// it is applied as it is found to be committed.
    pub fn open_in(
        me: PeerId,
        cluster: Cluster,
        mut persister: Box<dyn Persister>,
        mut machine: M,
        options: ReplicatedOptions,
    ) -> Result<Self, OpenError> {
        let recovered = persister.load();
        let last_snapshot_bytes = recovered.snapshot.as_ref().map_or(0, |s| s.len() as u64);
        if let Some(snapshot) = &recovered.snapshot {
            let last_included = snapshot.meta.last_included;
            machine
                .restore(snapshot)
                .map_err(|source| OpenError::Restore { last_included, source })?;
        }
        let (waiting, incoming) = unbounded();
        let sink = MachineSink {
            served: Served::new(machine),
            incoming,
            stage: persister.snapshot_stage(),
            snapshot_log_bytes: options.snapshot_log_bytes,
            snapshot_log_bytes_max: options.snapshot_log_bytes_max,
            last_snapshot_bytes,
        };
        let command_bytes_max = options.raft.command_bytes_max;
        let raft = Raft::launch(me, cluster, recovered, persister, options.raft, |_| sink)?;
        Ok(Self { raft, waiting, timeout: options.timeout, command_bytes_max })
    }

    /// Replicates `command`, and returns what the state machine answered when it applied it here.
    /// Waits no longer than the options' time-out.
    pub fn submit(&self, command: &M::Command) -> Result<M::Output, SubmitError> {
        self.submit_until(command, deadline_in(self.timeout))
    }

    /// [`submit`](Self::submit), until `deadline`: then the command's fate is unknown.
    pub fn submit_until(
        &self,
        command: &M::Command,
        deadline: Instant,
    ) -> Result<M::Output, SubmitError> {
        let (promise, answer) = promise();
        let id = self.start(command, Box::new(move |answer| promise.keep(answer)))?;
        match answer.wait_until(deadline) {
            Ok(Some(answer)) => answer,
            Ok(None) => Err(SubmitError::Stopped { stopped: self.why_stopped(), id: Some(id) }),
            Err(_) => Err(SubmitError::Unknown { id }),
        }
    }

    /// [`submit`](Self::submit) without waiting: `done` gets the answer, exactly once, on the
    /// thread that applies (or on this one, if nothing was appended). It must not wait, and there
    /// is no time-out: a command on a leader that is cut off is answered when that ends.
    pub fn submit_with(
        &self,
        command: &M::Command,
        done: impl FnOnce(Result<M::Output, SubmitError>) + Send + 'static,
    ) {
        let bytes = match self.encode(command) {
            Ok(bytes) => bytes,
            Err(error) => return done(Err(error)),
        };
        if let Err((error, done)) = self.start_encoded(bytes, Box::new(done)) {
            done(Err(error));
        }
    }

    /// Looks at the state, linearizably: `f` sees every command that was answered anywhere before
    /// the call, and runs on the thread that applies, so it should be short. Waits no longer than
    /// the options' time-out.
    pub fn read<R: Send + 'static>(
        &self,
        f: impl FnOnce(&M) -> R + Send + 'static,
    ) -> Result<R, ReadError> {
        self.read_until(f, deadline_in(self.timeout))
    }

    /// [`read`](Self::read), until `deadline`.
    pub fn read_until<R: Send + 'static>(
        &self,
        f: impl FnOnce(&M) -> R + Send + 'static,
        deadline: Instant,
    ) -> Result<R, ReadError> {
        let (promise, result) = promise();
        self.read_with(move |machine| promise.keep(machine.map(f)));
        match result.wait_until(deadline) {
            Ok(Some(result)) => result,
            Ok(None) => Err(self.why_stopped().into()),
            Err(_) => Err(ReadError::TimedOut),
        }
    }

    /// [`read`](Self::read) without waiting: `done` gets the state, exactly once, on the thread
    /// that applies (or an error, perhaps on this one). It must not wait.
    pub fn read_with(&self, done: impl FnOnce(Result<&M, ReadError>) + Send + 'static) {
        let mut done: Option<ReadDone<M>> = Some(Box::new(done));
        let begun = self.raft.shared().step(|rules, now| match rules.begin_read(now) {
            Some(id) => {
                let read = Waiting::Read(id, done.take().expect("nobody took it before"));
                self.expect(read);
                Ok(())
            }
            None => Err(ReadError::NotLeader { leader: rules.leader() }),
        });
        let error = match begun {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error,
            Err(stopped) => stopped.into(),
        };
        if let Some(done) = done {
            done(Err(error));
        }
    }

    /// The term, and who leads it as far as this peer knows.
    pub fn leader(&self) -> (Term, Option<PeerId>) {
        self.raft.shared().look(|rules, _| (rules.current_term(), rules.leader()))
    }

    /// Waits until a leader is known that is not `other_than` (a term and its leader), at the
    /// latest until `deadline`; returns what is known then.
    pub fn wait_for_leader(
        &self,
        other_than: (Term, Option<PeerId>),
        deadline: Instant,
    ) -> (Term, Option<PeerId>) {
        self.wait_for_leader_or(other_than, || false, deadline)
    }

    /// [`wait_for_leader`](Self::wait_for_leader), or for any leader at all while `anyone` says so.
    /// It is asked whenever another leader is known, or none, and before whoever learns of that
    /// by [`leader`](Self::leader); it must not wait, nor ask this peer anything.
    pub fn wait_for_leader_or(
        &self,
        other_than: (Term, Option<PeerId>),
        anyone: impl Fn() -> bool,
        deadline: Instant,
    ) -> (Term, Option<PeerId>) {
        let found = self.raft.shared().wait_for_leader(deadline, |rules| {
            let known = (rules.current_term(), rules.leader());
            (known.1.is_some() && (known != other_than || anyone())).then_some(known)
        });
        found.unwrap_or_else(|| self.leader())
    }

    /// Changes who the members are: see [`Raft::change_membership`].
    pub fn change_membership(
        &self,
        change: &Change,
        timeout: Duration,
    ) -> Result<Configuration, ChangeError> {
        self.raft.change_membership(change, timeout)
    }

    /// Passes leadership on: see [`Raft::hand_over`].
    pub fn hand_over(&self, timeout: Duration) -> Result<PeerId, HandOverError> {
        self.raft.hand_over(timeout)
    }

    /// What this peer knows of the cluster now.
    pub fn status(&self) -> Status {
        self.raft.status()
    }

    /// The peer underneath.
    pub fn raft(&self) -> &Raft {
        &self.raft
    }

    /// What answers the other peers: the methods named `Raft.…`.
    pub fn service(&self) -> Arc<dyn Service> {
        self.raft.service()
    }

    /// Stops this peer and waits for all its threads; every caller that waits gets an error.
    pub fn kill(&self) {
        self.raft.kill();
    }

    fn start(&self, command: &M::Command, done: SubmitDone<M>) -> Result<EntryId, SubmitError> {
        let bytes = self.encode(command)?;
        self.start_encoded(bytes, done).map_err(|(error, _)| error)
    }

    fn encode(&self, command: &M::Command) -> Result<Arc<[u8]>, SubmitError> {
        let bytes = codec::encode(command).map_err(SubmitError::Encode)?;
        let (len, limit) = (bytes.len(), self.command_bytes_max);
        if len > limit { Err(SubmitError::TooLarge { len, limit }) } else { Ok(bytes.into()) }
    }

    /// Appends, and tells the applier who waits, in one step.
    fn start_encoded(
        &self,
        bytes: Arc<[u8]>,
        done: SubmitDone<M>,
    ) -> Result<EntryId, (SubmitError, SubmitDone<M>)> {
        let mut done = Some(done);
        let started = self.raft.shared().step(|rules, now| {
            if rules.is_leader() && rules.is_overloaded() {
                return Err(SubmitError::Busy);
            }
            match rules.refusal() {
                Some(Refusal::DisksFull) => return Err(SubmitError::NoSpace),
                Some(Refusal::GivesWay) => return Err(SubmitError::NotLeader { leader: None }),
                None => {}
            }
            let Some(id) = rules.start(bytes, now) else {
                return Err(SubmitError::NotLeader { leader: rules.leader() });
            };
            self.expect(Waiting::Submit(id, done.take().expect("nobody took it before")));
            Ok(id)
        });
        let error = match started {
            Ok(Ok(id)) => return Ok(id),
            Ok(Err(error)) => error,
            Err(stopped) => SubmitError::Stopped { stopped, id: None },
        };
        Err((error, done.expect("it is handed over only with an id")))
    }

    fn expect(&self, waiting: Waiting<M>) {
        // The channel is unbounded, so this does not wait; if the applier is gone, dropping the
        // callback is what tells the caller.
        drop(self.waiting.send(waiting));
    }

    fn why_stopped(&self) -> Stopped {
        self.raft.stopped().unwrap_or_else(Stopped::killed)
    }
}

#[expect(clippy::disallowed_methods, reason = "a blocking call's deadline never enters the rules")]
fn deadline_in(timeout: Duration) -> Instant {
    oarlock_sync::now() + timeout
}

/// The applier's side: the state machine, whom it answers, and its snapshots.
struct MachineSink<M: StateMachine> {
    served: Served<M>,
    /// Who waits. Sent under the peer's lock, so it is on its way before the entry or round it names
    /// can be committed.
    incoming: Receiver<Waiting<M>>,
    stage: Arc<dyn SnapshotStage>,
    snapshot_log_bytes: Option<u64>,
    snapshot_log_bytes_max: u64,
    /// The size of the last snapshot that was taken here, or came from a leader.
    last_snapshot_bytes: u64,
}

impl<M: StateMachine> Sink for MachineSink<M> {
    fn take(&mut self, work: ApplyWork, shared: &Shared) -> Result<(), Gone> {
        self.learn_who_waits();
        match work {
            ApplyWork::Entries(entries) => {
                let last = entries.last().expect("work has entries").id;
                for entry in &entries {
                    self.served.apply(entry);
                }
                self.snapshot_if_due(last.index, shared);
            }
            ApplyWork::Restore(snapshot) => {
                self.last_snapshot_bytes = snapshot.len() as u64;
                self.served.restore(&snapshot);
            }
            ApplyWork::MakeRoom(applied) if self.snapshot_log_bytes.is_some() => {
                self.snapshot(applied, shared, |rules| rules.log().last().index == applied);
            }
            ApplyWork::MakeRoom(_) => {}
            ApplyWork::ServeReads { through } => self.served.serve_reads(through),
            ApplyWork::FailReads { through } => {
                let leader = shared.look(|rules, _| rules.leader());
                self.served.fail_reads(through, leader);
            }
        }
        Ok(())
    }

    fn end(&mut self, shared: &Shared) {
        self.learn_who_waits();
        self.served.end(&shared.stopped().unwrap_or_else(Stopped::killed));
    }
}

impl<M: StateMachine> MachineSink<M> {
    fn learn_who_waits(&mut self) {
        for waiting in self.incoming.try_iter() {
            self.served.expect(waiting);
        }
    }

    fn snapshot_if_due(&mut self, applied: Index, shared: &Shared) {
        if let Some(least) = self.snapshot_log_bytes {
            let limit = log_limit(least, self.last_snapshot_bytes, self.snapshot_log_bytes_max);
            self.snapshot(applied, shared, |rules| rules.log().entries_bytes() > limit);
        }
    }

    /// Takes a snapshot of everything up to `applied`, if `is_due` says so, before and after it was
    /// written.
    fn snapshot(&mut self, applied: Index, shared: &Shared, is_due: impl Fn(&Rules) -> bool) {
        let meta =
            shared.step(|rules, _| is_due(rules).then(|| rules.snapshot_meta(applied)).flatten());
        // A peer that has stopped takes no snapshots; the applier is about to see it too.
        let Ok(Some(meta)) = meta else { return };
        if let Err(error) = self.take_snapshot(meta, shared, is_due) {
            log::warn!(target: "SNAP", "no snapshot at {applied}: {error}");
        }
    }

    fn take_snapshot(
        &mut self,
        meta: oarlock_storage::SnapshotMeta,
        shared: &Shared,
        is_due: impl Fn(&Rules) -> bool,
    ) -> Result<(), SnapshotError> {
        let content = self.served.machine.snapshot();
        let staged = self.stage.write_all(meta, &content)?;
        self.last_snapshot_bytes = content.len() as u64;
        drop(content);
        // Not waited for: on a full disk that could take long, and reads come by here.
        let unused = shared.step(|rules, _| {
            if is_due(rules) {
                drop(rules.compact(staged));
                return None;
            }
            Some(staged)
        })?;
        // Its file is removed, which is not for the lock.
        drop(unused);
        Ok(())
    }
}

/// How large the log behind a snapshot of so many bytes may get.
fn log_limit(least: u64, snapshot_bytes: u64, most: u64) -> u64 {
    snapshot_bytes.min(most).max(least)
}

#[cfg(test)]
mod tests {
    use super::log_limit;

    #[test]
    fn the_log_gets_as_large_as_the_snapshot_within_bounds() {
        let limits = [0, 16, 100, 1000].map(|snapshot_bytes| log_limit(16, snapshot_bytes, 256));
        assert_eq!(limits, [16, 16, 100, 256]);
        assert_eq!(log_limit(1000, 5000, 0), 1000, "the labs' limit is one");
    }
}
