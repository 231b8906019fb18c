//! The interface most people want: a state machine of one's own, replicated.
//!
//! [`Replicated::submit`] blocks until the command is committed, applied here, and answered by the
//! state machine. [`Replicated::read`] is linearizable and never touches the log. Both have a form
//! that returns at once and calls back.

pub(crate) mod reading;
pub(crate) mod submitting;

pub use reading::ReadBy;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, unbounded};
use oarlock_rpc::Service;
use oarlock_storage::Persister;
use oarlock_sync::Mutex;

use crate::change::{Change, ChangeError};
use crate::cluster::{Cluster, Peers};
use crate::configuration::Configuration;
use crate::error::{OpenError, Stopped};
use crate::hand_over::HandOverError;
use crate::machine_sink::MachineSink;
use crate::options::Options;
use crate::peer::{Raft, Status};
use crate::served::{Served, Waiting};
use crate::shared::Shared;
use crate::state_machine::StateMachine;
use crate::threads::snapshots::snapshots_thread;
use crate::threads::spawn;
use crate::types::{PeerId, Term};

/// How a replicated state machine runs.
#[derive(Clone, Debug)]
pub struct ReplicatedOptions {
    /// The consensus under it.
    pub raft: Options,
    /// Once the log behind the last snapshot has more bytes than this, and than half of that snapshot,
    /// a new one is taken; `None` never takes one. Default: 8 MiB.
    pub snapshot_log_bytes: Option<u64>,
    /// However large the last snapshot is, the next one is begun once the log behind it has more bytes
    /// than this, or than `snapshot_log_bytes` if that is more; while that is written the log gets up to
    /// twice as long (a short one a quarter longer), unless the disk is left behind. A large state is so
    /// written less often than its log, and the log, which is in memory too, stays within bounds.
    /// Default: 256 MiB.
    pub snapshot_log_bytes_max: u64,
    /// How long [`Replicated::submit`] and [`Replicated::read`] wait.
    pub timeout: Duration,
}

impl Default for ReplicatedOptions {
    fn default() -> Self {
        Self {
            raft: Options::default(),
            snapshot_log_bytes: Some(8 << 20),
            snapshot_log_bytes_max: 256 << 20,
            timeout: Duration::from_secs(5),
        }
    }
}

/// A handle on this peer of a replicated state machine. The peer is killed with its last handle.
pub struct Replicated<M: StateMachine> {
    raft: Raft,
    waiting: Sender<Waiting<M>>,
    /// The applier's, as long as it runs; others look at it where it is free.
    served: Arc<Mutex<Option<Served<M>>>>,
    timeout: Duration,
    command_bytes_max: usize,
}

impl<M: StateMachine> Clone for Replicated<M> {
    fn clone(&self) -> Self {
        let (raft, waiting, served) =
            (self.raft.clone(), self.waiting.clone(), Arc::clone(&self.served));
        Self { raft, waiting, served, ..*self }
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
                .restore_from(snapshot)
                .map_err(|source| OpenError::Restore { last_included, source })?;
        }
        let (waiting, incoming) = unbounded();
        let stage = persister.snapshot_stage();
        let served = Arc::new(Mutex::new(Some(Served::new(machine))));
        let sink = MachineSink {
            served: Arc::clone(&served),
            incoming,
            stage: Arc::clone(&stage),
            snapshot_log_bytes: options.snapshot_log_bytes,
            snapshot_log_bytes_max: options.snapshot_log_bytes_max,
            last_snapshot_bytes,
        };
        let command_bytes_max = options.raft.command_bytes_max;
        let raft = Raft::launch(me, cluster, recovered, persister, options.raft, |_| sink)?;
        if options.snapshot_log_bytes.is_some() {
            let body = move |shared: &Arc<Shared>| snapshots_thread(shared, &*stage);
            spawn(raft.shared(), me, "snapshots", body)?;
        }
        let timeout = options.timeout;
        Ok(Self { raft, waiting, served, timeout, command_bytes_max })
    }

    /// The term, and who leads it as far as this peer knows; nobody, once it has stopped.
    pub fn leader(&self) -> (Term, Option<PeerId>) {
        let (vouch, leader) = self.vouch();
        (vouch.term, leader)
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
