//! How commands are submitted: encoded, appended in one step of the peer, and answered by the applier.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Instant;

use oarlock_rpc::{codec, promise};
use oarlock_sync::stages;

use super::{Replicated, deadline_in};
use crate::error::SubmitError;
use crate::rules::{Refusal, Rules};
use crate::served::{OfMany, SubmitDone, Waiting};
use crate::state_machine::StateMachine;
use crate::types::EntryId;

/// A thread keeps no more room than this to encode commands in.
const ROOM_BYTES_KEPT: usize = 64 << 10;

/// Who is refused, and why.
type Refused<M> = (SubmitError, SubmitDone<M>);

impl<M: StateMachine> Replicated<M> {
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
        let bytes = self.encode_one(command)?;
        let (promise, answer) = promise();
        let id = self.start(bytes, SubmitDone::Waits(promise)).map_err(|(error, _)| error)?;
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
        let done = SubmitDone::One(Box::new(done));
        let refused = match self.encode_one(command) {
            Ok(bytes) => self.start(bytes, done).err(),
            Err(error) => Some((error, done)),
        };
        if let Some((error, done)) = refused {
            done.tell(Err(error));
        }
    }

    /// [`submit_with`](Self::submit_with), for several commands: those that are taken are appended in
    /// this order, with no others in between, at much less cost than one by one. `done` gets the
    /// answer to each, exactly once, with its place among `commands`: on the thread that applies,
    /// in order, or on this one for those that were not appended.
    pub fn submit_all_with(
        &self,
        commands: &[M::Command],
        done: impl Fn(usize, Result<M::Output, SubmitError>) + Send + Sync + 'static,
    ) {
        let done: Arc<OfMany<M>> = Arc::new(done);
        let mut encoded = Vec::with_capacity(commands.len());
        let mut room = Vec::new();
        for (nth, command) in commands.iter().enumerate() {
            match self.encode(command, &mut room) {
                Ok(bytes) => encoded.push((bytes, SubmitDone::OfMany(Arc::clone(&done), nth))),
                Err(error) => done(nth, Err(error)),
            }
        }
        for (error, done) in self.start_all(encoded) {
            done.tell(Err(error));
        }
    }

    /// Encodes `command`, in room that this thread has kept for that.
    fn encode_one(&self, command: &M::Command) -> Result<Arc<[u8]>, SubmitError> {
        thread_local! {
            static ROOM: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
        }
        let mut room = ROOM.take();
        let encoded = self.encode(command, &mut room);
        if room.capacity() <= ROOM_BYTES_KEPT {
            ROOM.set(room);
        }
        encoded
    }

    /// Encodes `command`, in `room`, which may be used again.
    fn encode(&self, command: &M::Command, room: &mut Vec<u8>) -> Result<Arc<[u8]>, SubmitError> {
        codec::encode_into(command, room).map_err(SubmitError::Encode)?;
        let (len, limit) = (room.len(), self.command_bytes_max);
        if len > limit {
            return Err(SubmitError::TooLarge { len, limit });
        }
        Ok(Arc::from(room.as_slice()))
    }

    /// Appends, and tells the applier who waits, in one step. In company, the writing may be left to
    /// the applier.
    fn start(&self, bytes: Arc<[u8]>, done: SubmitDone<M>) -> Result<EntryId, Refused<M>> {
        let waits = matches!(done, SubmitDone::Waits(_));
        let mut done = Some(done);
        let started = self.raft.shared().step(|rules, now| {
            rules.in_company(waits);
            let id = start(rules, bytes, now)?;
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

    /// Appends all of these, and tells the applier who waits, in one step. Returns who is refused.
    fn start_all(&self, encoded: Vec<(Arc<[u8]>, SubmitDone<M>)>) -> Vec<Refused<M>> {
        let mut encoded = Some(encoded);
        let mut refused = Vec::new();
        let stepped = self.raft.shared().step(|rules, now| {
            rules.in_company(false);
            for (bytes, done) in encoded.take().into_iter().flatten() {
                match start(rules, bytes, now) {
                    Ok(id) => self.expect(Waiting::Submit(id, done)),
                    Err(error) => refused.push((error, done)),
                }
            }
        });
        if let Err(stopped) = stepped {
            let error = SubmitError::Stopped { stopped, id: None };
            let unstarted = encoded.into_iter().flatten();
            refused.extend(unstarted.map(|(_, done)| (error.clone(), done)));
        }
        refused
    }
}

/// Appends a command, if this peer may.
fn start(rules: &mut Rules, command: Arc<[u8]>, now: Instant) -> Result<EntryId, SubmitError> {
    if rules.is_leader() && rules.is_overloaded() {
        return Err(SubmitError::Busy);
    }
    match rules.refusal() {
        Some(Refusal::DisksFull) => return Err(SubmitError::NoSpace),
        Some(Refusal::GivesWay) => return Err(SubmitError::NotLeader { leader: None }),
        None => {}
    }
    let leader = rules.leader();
    let id = rules.start(command, now).ok_or(SubmitError::NotLeader { leader })?;
    stages::submitted(id.index, now);
    Ok(id)
}
