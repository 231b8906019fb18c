//! A state machine and those who wait for what it says: the applier's side of [`crate::Replicated`],
//! without its thread.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use oarlock_rpc::Promise;
use oarlock_sync::{Together, stages};

use crate::error::{ReadError, Stopped, SubmitError};
use crate::rules::{Proof, ReadId};
use crate::state_machine::StateMachine;
use crate::types::{Entry, EntryId, EntryKind, PeerId, Snapshot};

/// What comes of a command.
pub(crate) type Answer<M> = Result<<M as StateMachine>::Output, SubmitError>;
/// Who waits for the answers to many commands, each with its place among them.
pub(crate) type OfMany<M> = dyn Fn(usize, Answer<M>) + Send + Sync + 'static;

/// Who waits for a command's answer.
pub(crate) enum SubmitDone<M: StateMachine> {
    /// A thread that sleeps.
    Waits(Promise<Answer<M>>),
    One(Box<dyn FnOnce(Answer<M>) + Send + 'static>),
    /// One who waits for the answers to several commands in a row, which have these places.
    OfMany(Arc<OfMany<M>>, Range<usize>),
}

/// Who waits to look at the state.
pub(crate) type ReadDone<M> = Box<dyn FnOnce(Result<&M, ReadError>) + Send + 'static>;

/// What the applier must know of callers.
pub(crate) enum Waiting<M: StateMachine> {
    /// Who waits for a command, or for this one and those right behind it.
    Submit(EntryId, SubmitDone<M>),
    Read(ReadId, ReadDone<M>),
}

/// Nothing more is begun while somebody who is answered has waited so long for those who wake together
/// with it. What was begun before, if it is slow, keeps that one waiting all its time.
const WAITS_TOGETHER_MAX: Duration = Duration::from_micros(50);

/// Owns the state machine, and knows who waits for what.
pub(crate) struct Served<M: StateMachine> {
    pub(crate) machine: M,
    /// Whether something is about to change it, or was when it panicked.
    is_changing: bool,
    /// Oldest first: a leader appends in order. Of several, the id of the first who still waits.
    submits: VecDeque<(EntryId, SubmitDone<M>)>,
    /// Of either kind, oldest first.
    reads_by_round: VecDeque<(u64, ReadDone<M>)>,
    proved_reads: VecDeque<(u64, ReadDone<M>)>,
}

impl<M: StateMachine> Served<M> {
    /// A machine nobody waits for.
    pub(crate) fn new(machine: M) -> Self {
        Self {
            machine,
            is_changing: false,
            submits: VecDeque::new(),
            reads_by_round: VecDeque::new(),
            proved_reads: VecDeque::new(),
        }
    }

    /// Somebody waits.
    pub(crate) fn expect(&mut self, waiting: Waiting<M>) {
        match waiting {
            Waiting::Submit(id, done) => {
                let is_empty = matches!(&done, SubmitDone::OfMany(_, nths) if nths.is_empty());
                debug_assert!(!is_empty, "somebody waits");
                self.submits.push_back((id, done));
            }
            Waiting::Read(id, done) => self.reads(id.proof).push_back((id.number, done)),
        }
    }

    /// Applies the next committed entries, and answers whoever waits for them. Those who sleep wake
    /// together.
    pub(crate) fn apply_all(&mut self, entries: &[Entry]) {
        let mut together = Together::new();
        for entry in entries {
            self.apply(entry, &mut together);
            together.wake_after(WAITS_TOGETHER_MAX);
        }
    }

    /// Does what may change the state. If that panics, nobody looks at it any more.
    pub(crate) fn change<T>(&mut self, f: impl FnOnce(&mut Self) -> T) -> T {
        self.is_changing = true;
        let value = f(self);
        self.is_changing = false;
        value
    }

    /// The state, unless it was left half changed.
    pub(crate) fn look(&self) -> Option<&M> {
        (!self.is_changing).then_some(&self.machine)
    }

    fn apply(&mut self, entry: &Entry, together: &mut Together) {
        let output = match EntryKind::from_tag(entry.tag) {
            Some(EntryKind::Command) => {
                let output = self.machine.apply_encoded(entry.id, &entry.data);
                Some(output.unwrap_or_else(|error| {
                    panic!("log entry {} cannot be applied: {error}", entry.id)
                }))
            }
            Some(EntryKind::NoOp | EntryKind::Configuration) | None => None,
        };
        self.answer_superseded(entry.id);
        stages::applied(entry.id.index);
        if let Some(output) = output
            && self.next_submit() == Some(entry.id)
        {
            together.gather(|| self.answer_next(Ok(output)));
        }
    }

    /// Replaces the state by a leader's snapshot.
    pub(crate) fn restore(&mut self, snapshot: &Snapshot) {
        let last_included = snapshot.meta.last_included;
        if let Err(error) = self.machine.restore_from(snapshot) {
            panic!("the snapshot at {last_included} cannot be restored: {error}");
        }
        // Whether the entries they wait for are among those it covers cannot be told.
        while let Some(id) = self.next_submit().filter(|id| id.index <= last_included.index) {
            self.answer_next(Err(SubmitError::Unknown { id }));
        }
        self.answer_superseded(last_included);
    }

    /// Serves every read of its kind up to `through`. Those who sleep wake together.
    pub(crate) fn serve_reads(&mut self, through: ReadId) {
        let mut together = Together::new();
        while let Some(done) = self.next_read(through) {
            together.gather(|| done(Ok(&self.machine)));
            together.wake_after(WAITS_TOGETHER_MAX);
        }
    }

    /// Fails every read of its kind up to `through`; `leader` may serve them.
    pub(crate) fn fail_reads(&mut self, through: ReadId, leader: Option<PeerId>) {
        while let Some(done) = self.next_read(through) {
            done(Err(ReadError::NotLeader { leader }));
        }
    }

    /// Nobody will be answered any more: they are told why.
    pub(crate) fn end(&mut self, stopped: &Stopped) {
        while let Some(id) = self.next_submit() {
            self.answer_next(Err(SubmitError::Stopped { stopped: stopped.clone(), id: Some(id) }));
        }
        let reads = self.reads_by_round.drain(..).chain(self.proved_reads.drain(..));
        for (_, done) in reads {
            done(Err(ReadError::Stopped(stopped.clone())));
        }
    }

    /// Answers whoever waits for a command of a former leadership of ours, in whose place other
    /// entries came or will come: behind `committed`, no log ever again has an entry of an older
    /// term, so nobody waits until the log has grown as far as it once had.
    fn answer_superseded(&mut self, committed: EntryId) {
        while self.next_submit().is_some_and(|id| {
            id.term < committed.term || (id.index <= committed.index && id != committed)
        }) {
            self.answer_next(Err(SubmitError::Superseded));
        }
    }

    /// The oldest command that somebody waits for.
    fn next_submit(&self) -> Option<EntryId> {
        self.submits.front().map(|(id, _)| *id)
    }

    /// Answers whoever waits for that one.
    fn answer_next(&mut self, answer: Answer<M>) {
        if let Some((id, SubmitDone::OfMany(done, nths))) = self.submits.front_mut()
            && nths.len() > 1
        {
            let nth = nths.start;
            nths.start += 1;
            id.index += 1;
            return done(nth, answer);
        }
        match self.submits.pop_front().map(|(_, done)| done) {
            Some(SubmitDone::Waits(promise)) => promise.keep(answer),
            Some(SubmitDone::One(done)) => done(answer),
            Some(SubmitDone::OfMany(done, nths)) => done(nths.start, answer),
            None => {}
        }
    }

    fn next_read(&mut self, through: ReadId) -> Option<ReadDone<M>> {
        let reads = self.reads(through.proof);
        let is_wanted = reads.front().is_some_and(|(number, _)| *number <= through.number);
        if is_wanted { reads.pop_front().map(|(_, done)| done) } else { None }
    }

    fn reads(&mut self, proof: Proof) -> &mut VecDeque<(u64, ReadDone<M>)> {
        match proof {
            Proof::Round => &mut self.reads_by_round,
            Proof::AtHand => &mut self.proved_reads,
        }
    }
}

#[cfg(all(test, not(feature = "interleavings")))]
#[path = "served_tests.rs"]
mod tests;
