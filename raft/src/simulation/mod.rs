//! A peer without threads, locks or clock, for the simulation of whole clusters: the rules, the real
//! log writer, and the real applier, moved by whoever owns it.
//!
//! What `threads` do is done here by [`Peer`], one step at a time and in an order drawn from
//! a seed. A thread that sleeps is looked at again only when a step wakes it or its deadline has come,
//! just as on a condition variable: a wake-up that the rules forget is missing here too.
//!
//! Not for users: it may change with any version.

mod message;
mod view;
mod work;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use oarlock_storage::{Persister, SnapshotStage, StorageError};

pub use message::{Asked, Outcome, Reply, Request, Said};

use crate::change::{Change, ChangeError, ChangeState};
use crate::configuration::Configuration;
use crate::error::{OpenError, ReadError, Stopped, SubmitError};
use crate::machine::ReadBy;
use crate::machine::submitting::start;
use crate::message::RequestVoteArgs;
use crate::mutation::{AfterDurable, WriteWork};
use crate::options::Options;
use crate::rules::{Begun, Reach, Rules, SentAppend, SentPiece, Vouch};
use crate::served::{Served, SubmitDone, Waiting};
use crate::state_machine::StateMachine;
use crate::threads::log_writer::LogWriter;
use crate::threads::snapshots::FrozenState;
use crate::types::{Entry, EntryId, EntryKind, Index, PeerId, Term};
use work::{Sleeping, Thread};

/// What a peer wants done after a step.
#[derive(Debug)]
pub enum Output {
    /// Ask another peer; what comes back goes to [`Peer::on_outcome`], once.
    Call {
        /// Whom.
        to: PeerId,
        /// The number of the call, at this peer.
        call: u64,
        /// What.
        request: Request,
    },
    /// Answer the request that [`Peer::handle`] was given under this number.
    Answer {
        /// The caller's number.
        reply_to: u64,
        /// What.
        reply: Reply,
    },
    /// The request that [`Peer::handle`] was given under this number will never be answered.
    Silence {
        /// The caller's number.
        reply_to: u64,
    },
    /// The log writer has something to write: [`Peer::finish_write`] does it.
    Write,
    /// The snapshot thread has something to write: [`Peer::finish_snapshot`] does it.
    WriteState,
    /// What came of [`Peer::change_members`].
    Changed {
        /// The number given there.
        number: u64,
        /// As [`crate::Raft::change_membership`] returns it.
        result: Result<Configuration, ChangeError>,
    },
    /// The peer was removed from its cluster and stops: nothing is left but to drop it.
    Removed,
}

/// The configuration that an entry of the log holds, if it is of that kind.
pub fn configuration_of(entry: &Entry) -> Option<Configuration> {
    let is_one = EntryKind::from_tag(entry.tag) == Some(EntryKind::Configuration);
    is_one.then(|| configuration_from(&entry.data))
}

/// The configuration that comes with a snapshot.
///
/// # Panics
///
/// If these are no bytes of one.
pub fn configuration_from(bytes: &[u8]) -> Configuration {
    Configuration::decode(bytes).expect("a peer encoded it")
}

/// What the sender of a request must remember of it.
#[derive(Debug)]
enum Sent {
    Vote(RequestVoteArgs),
    Append(Term, SentAppend),
    Piece(SentPiece),
    TimeoutNow(Term),
}

/// A change of members that somebody waits for.
#[derive(Debug)]
struct WaitingChange {
    number: u64,
    change: Change,
    until: Instant,
}

/// How a simulated peer runs.
#[derive(Clone, Debug)]
pub struct PeerOptions {
    /// The consensus.
    pub raft: Options,
    /// Once the log behind the last snapshot has more bytes than this, a new one is taken.
    pub snapshot_log_bytes: Option<u64>,
    /// In which order threads run that could run at once.
    pub order_seed: u64,
}

/// A running peer of a replicated state machine.
pub struct Peer<M: StateMachine> {
    rules: Rules,
    writer: LogWriter,
    stage: Arc<dyn SnapshotStage>,
    served: Served<M>,
    snapshot_log_bytes: Option<u64>,
    applied: Index,
    /// What the snapshot thread is to write.
    frozen: Option<FrozenState>,
    writing: Option<WriteWork>,
    /// The round that the election thread may not send yet.
    round: Option<AfterDurable<crate::rules::VoteRound>>,
    outbox: Vec<AfterDurable<(u64, Reply)>>,
    calls: BTreeMap<u64, (PeerId, Sent)>,
    next_call: u64,
    threads: BTreeMap<Thread, Sleeping>,
    /// The change that a thread of the caller waits for.
    change: Option<WaitingChange>,
    /// The members thread has seen that this peer was removed.
    is_removed: bool,
    order: u64,
    outputs: Vec<Output>,
}

impl<M: StateMachine> Peer<M> {
    /// Starts the peer `me` from what `persister` holds; `initial` is the configuration if that holds
    /// none, and `machine` is in its initial state.
    pub fn open(
        me: PeerId,
        initial: Configuration,
        mut persister: Box<dyn Persister>,
        mut machine: M,
        options: PeerOptions,
        now: Instant,
    ) -> Result<Self, OpenError> {
        let recovered = persister.load();
        if let Some(snapshot) = &recovered.snapshot {
            let last_included = snapshot.meta.last_included;
            machine
                .restore_from(snapshot)
                .map_err(|source| OpenError::Restore { last_included, source })?;
        }
        let rules = Rules::recovered(me, initial, recovered, options.raft, now)?;
        let mut peer = Self {
            applied: rules.last_applied(),
            threads: work::threads(rules.other_members().into_keys()),
            change: None,
            is_removed: false,
            rules,
            stage: persister.snapshot_stage(),
            writer: LogWriter::new(persister),
            served: Served::new(machine),
            snapshot_log_bytes: options.snapshot_log_bytes,
            frozen: None,
            writing: None,
            round: None,
            outbox: Vec::new(),
            calls: BTreeMap::new(),
            next_call: 0,
            order: options.order_seed | 1,
            outputs: Vec::new(),
        };
        peer.settle(now);
        Ok(peer)
    }

    /// A request came; its answer will be an [`Output::Answer`] to `reply_to`.
    pub fn handle(&mut self, reply_to: u64, request: &Request, now: Instant) {
        let AfterDurable { value, until } = request.handle(&mut self.rules, now);
        self.outbox.push(AfterDurable { value: (reply_to, value), until });
        self.settle(now);
    }

    /// What came of a call: a reply, or nothing. Only the first outcome counts.
    pub fn on_outcome(&mut self, call: u64, reply: Option<&Reply>, now: Instant) {
        let Some((peer, sent)) = self.calls.remove(&call) else { return };
        message::on_reply(&mut self.rules, peer, &sent, reply, now);
        self.settle(now);
    }

    /// Time has passed.
    pub fn wake(&mut self, now: Instant) {
        self.settle(now);
    }

    /// What the log writer began is done: writes it, really, and speaks for it. After an error the
    /// peer has stopped: it is good for nothing but [`stop`](Self::stop).
    pub fn finish_write(&mut self, now: Instant) -> Result<(), StorageError> {
        let work = self.writing.take().expect("a write was begun");
        let written = self.writer.write(work.steps)?;
        let is_stalled = written.reach != Reach::All;
        self.rules.on_written(work.through, written, now);
        self.rules.wake_for_writes();
        self.speak();
        if is_stalled {
            // Who waits for entries that have no room had better ask again than wait for ever.
            let given_up = self.outbox.drain(..).map(|answer| answer.value.0);
            self.outputs.extend(given_up.map(|reply_to| Output::Silence { reply_to }));
        }
        self.set(Thread::Writer, Sleeping::Ready);
        self.settle(now);
        Ok(())
    }

    /// The machine dies while the log writer is at work: it does what it can, for nobody.
    pub fn abandon_write(&mut self) {
        if let Some(work) = self.writing.take() {
            drop(self.writer.write(work.steps));
        }
    }

    /// What the snapshot thread began is done: writes it, really. What cannot be written is not taken;
    /// the log stays.
    pub fn finish_snapshot(&mut self, now: Instant) {
        let frozen = self.frozen.take().expect("a snapshot was begun");
        let rules = &self.rules;
        let index = frozen.meta.last_included.index;
        match frozen.write_aside(&*self.stage, &mut |_| rules.wants_snapshot(index)) {
            Ok(Some(staged)) => drop(self.rules.snapshot_written(staged, frozen.why, true)),
            Ok(None) | Err(_) => self.rules.snapshot_failed(now),
        }
        self.settle(now);
    }

    /// The machine dies while the snapshot thread is at work: it does what it can, for nobody.
    pub fn abandon_snapshot(&mut self) {
        if let Some(frozen) = self.frozen.take() {
            drop(frozen.write_aside(&*self.stage, &mut |_| true));
        }
    }

    /// Whether a snapshot of its own is under way: written, or being made current.
    pub fn is_taking_snapshot(&self) -> bool {
        self.rules.snapshot_is_under_way()
    }

    /// Whether the snapshot thread is at work.
    pub fn is_writing_state(&self) -> bool {
        self.frozen.is_some()
    }

    /// Whether the log writer is at work.
    pub fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    /// As [`crate::Replicated::submit_with`], for a command that is encoded already.
    pub fn submit_with(
        &mut self,
        command: Arc<[u8]>,
        now: Instant,
        done: impl FnOnce(Result<M::Output, SubmitError>) + Send + 'static,
    ) {
        match start(&mut self.rules, command.into(), now) {
            Ok(id) => self.served.expect(Waiting::Submit(id, SubmitDone::One(Box::new(done)))),
            Err(refused) => done(Err(refused)),
        }
        self.settle(now);
    }

    /// The connection by which `peer` spoke has ended.
    pub fn on_hang_up(&mut self, peer: PeerId, now: Instant) {
        self.rules.on_hang_up(peer, now);
        self.settle(now);
    }

    /// As [`crate::Replicated::read_vouched_with`].
    pub fn read_with(
        &mut self,
        vouch: Option<Vouch>,
        now: Instant,
        done: impl FnOnce(Result<ReadBy<'_, M>, ReadError>) + Send + 'static,
    ) {
        match self.rules.begin_read(vouch, now) {
            Some(Begun::Waits(id)) => {
                let done = move |state: Result<&M, ReadError>| done(state.map(ReadBy::Us));
                self.served.expect(Waiting::Read(id, Box::new(done)));
            }
            Some(Begun::ByVoucher) => done(Ok(ReadBy::Voucher)),
            None => done(Err(ReadError::NotLeader { leader: self.rules.leader() })),
        }
        self.settle(now);
    }

    /// As [`crate::Replicated::look_with`] for what is left to the applier.
    pub fn look_with(
        &mut self,
        now: Instant,
        done: impl FnOnce(Result<&M, ReadError>) + Send + 'static,
    ) {
        let id = self.rules.begin_look();
        self.served.expect(Waiting::Read(id, Box::new(done)));
        self.settle(now);
    }

    /// As [`crate::Replicated::vouch`].
    pub fn vouch(&self) -> Vouch {
        self.rules.vouch()
    }

    /// As [`crate::Raft::pursue_change`].
    pub fn pursue(&mut self, change: &Change, now: Instant) -> Result<ChangeState, ChangeError> {
        let state = self.rules.pursue(change, now);
        self.settle(now);
        state
    }

    /// As [`crate::Raft::change_membership`], but that whoever asks later takes the place of who waits,
    /// and that nothing comes of it after `until`.
    pub fn change_members(&mut self, number: u64, change: Change, until: Instant, now: Instant) {
        self.change = Some(WaitingChange { number, change, until });
        self.set(Thread::Changer, Sleeping::Ready);
        self.settle(now);
    }

    /// As [`crate::Raft::hand_over`], but for the waiting. Whether there is a successor.
    pub fn hand_over(&mut self, until: Instant, now: Instant) -> bool {
        let successor = self.rules.begin_hand_over(until, now);
        self.settle(now);
        successor.is_some()
    }

    /// Stops, as after a storage error: whoever waits is told.
    pub fn stop(mut self, error: &StorageError) {
        self.served.end(&Stopped::storage(error));
    }

    /// What the steps since the last call want done.
    pub fn take_outputs(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.outputs)
    }

    /// The next moment a thread wakes by itself.
    pub fn wakes_at(&self) -> Option<Instant> {
        self.threads.values().filter_map(Sleeping::deadline).min()
    }

    /// The identity of the entry at `index`, or of the log's base.
    pub fn id_at(&self, index: Index) -> Option<EntryId> {
        self.rules.log().id_at(index)
    }
}
