//! How commands are submitted: encoded, appended in one step of the peer, and answered by the applier.

use std::cell::Cell;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use oarlock_rpc::{codec, promise};
use oarlock_storage::Payload;
use oarlock_sync::stages;

use super::{Replicated, deadline_in};
use crate::error::SubmitError;
use crate::rules::{Refusal, Rules};
use crate::served::{OfMany, SubmitDone, Waiting};
use crate::state_machine::StateMachine;
use crate::types::EntryId;

/// Commands that are submitted together lie together, in pieces of about so many bytes: to find memory
/// for each would take longer. One that is kept for long keeps its piece; a longer one has its own.
const PIECE_BYTES: usize = 32 << 10;

/// A thread keeps no more room than this to encode commands in.
const ROOM_BYTES_KEPT: usize = 64 << 10;

thread_local! {
    static ROOM: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Does `f` with empty room that this thread keeps to encode in.
fn with_room<T>(f: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    let mut room = ROOM.take();
    room.clear();
    let result = f(&mut room);
    if room.capacity() <= ROOM_BYTES_KEPT {
        ROOM.set(room);
    }
    result
}

/// Commands that are encoded one behind the other, each with its place among those that were submitted.
#[derive(Default)]
struct Encoded {
    /// What lies in the room since the last piece was made, and where.
    since: Vec<(usize, Range<usize>)>,
    all: Vec<(usize, Payload)>,
}

impl Encoded {
    /// The command `nth` lies in `room` from `begin` to its end.
    fn push(&mut self, nth: usize, begin: usize, room: &mut Vec<u8>) {
        if room.len() - begin > PIECE_BYTES {
            let long = room[begin..].into();
            room.truncate(begin);
            self.make_piece(room);
            self.all.push((nth, long));
            return;
        }
        self.since.push((nth, begin..room.len()));
        if room.len() >= PIECE_BYTES {
            self.make_piece(room);
        }
    }

    /// Makes one piece of all that lies in `room`.
    fn make_piece(&mut self, room: &mut Vec<u8>) {
        let parts = self.since.iter().map(|(_, place)| &room[place.clone()]);
        let nths = self.since.iter().map(|(nth, _)| *nth);
        self.all.extend(nths.zip(Payload::within_one_copy(room, parts)));
        self.since.clear();
        room.clear();
    }
}

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
        match self.encode_one(command) {
            Ok(bytes) => match self.start(bytes, SubmitDone::One(Box::new(done))) {
                Ok(_) => {}
                Err((error, SubmitDone::One(done))) => done(Err(error)),
                Err((_, SubmitDone::Waits(_) | SubmitDone::OfMany(..))) => {
                    unreachable!("who is refused is who was to be told")
                }
            },
            Err(error) => done(Err(error)),
        }
    }

    /// [`submit_with`](Self::submit_with), for several commands: those that are taken are appended in
    /// this order, with no others in between, at much less cost than one by one. `done` gets the
    /// answer to each, exactly once, with its place among `commands`: on the thread that applies,
    /// in order, or on this one for those that were not appended. They lie together in memory, in
    /// pieces of some 32 KiB.
    pub fn submit_all_with(
        &self,
        commands: &[M::Command],
        done: impl Fn(usize, Result<M::Output, SubmitError>) + Send + Sync + 'static,
    ) {
        let done: Arc<OfMany<M>> = Arc::new(done);
        self.start_all(self.encode_all(commands, &*done), &done);
    }

    /// Encodes `commands`, each with its place; whoever cannot be is told here.
    fn encode_all(&self, commands: &[M::Command], done: &OfMany<M>) -> Vec<(usize, Payload)> {
        with_room(|room| {
            let mut encoded = Encoded::default();
            encoded.all.reserve(commands.len());
            for (nth, command) in commands.iter().enumerate() {
                let begin = room.len();
                match self.encode_behind(command, room) {
                    Ok(()) => encoded.push(nth, begin, room),
                    Err(error) => {
                        room.truncate(begin);
                        done(nth, Err(error));
                    }
                }
            }
            encoded.make_piece(room);
            encoded.all
        })
    }

    fn encode_one(&self, command: &M::Command) -> Result<Payload, SubmitError> {
        with_room(|room| self.encode_behind(command, room).map(|()| room.as_slice().into()))
    }

    /// Encodes `command` behind what `bytes` holds.
    fn encode_behind(&self, command: &M::Command, bytes: &mut Vec<u8>) -> Result<(), SubmitError> {
        let begin = bytes.len();
        codec::encode_behind(command, bytes).map_err(SubmitError::Encode)?;
        let (len, limit) = (bytes.len() - begin, self.command_bytes_max);
        if len > limit { Err(SubmitError::TooLarge { len, limit }) } else { Ok(()) }
    }

    /// Appends, and tells the applier who waits, in one step. In company, the writing may be left to
    /// the applier.
    fn start(&self, bytes: Payload, done: SubmitDone<M>) -> Result<EntryId, Refused<M>> {
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

    /// Appends all of these, and tells the applier who waits, in one step. Whoever is refused is told here.
    fn start_all(&self, encoded: Vec<(usize, Payload)>, done: &Arc<OfMany<M>>) {
        let mut rest = encoded.into_iter();
        let outcome = self.raft.shared().step(|rules, now| {
            rules.in_company(false);
            if let Some(refused) = refused(rules) {
                return Err(refused);
            }
            // Who waits, as far as their places follow each other.
            let mut runs: Vec<Range<usize>> = Vec::new();
            let mut commands = rest.by_ref().map(|(nth, bytes)| {
                match runs.last_mut() {
                    Some(run) if run.end == nth => run.end += 1,
                    _ => runs.push(nth..nth + 1),
                }
                bytes
            });
            let Some(first) = rules.start_all(&mut commands, now) else { return Ok(()) };
            stages::submitted(first.index, now);
            let mut id = first;
            for nths in runs {
                let next = id.index + nths.len() as u64;
                self.expect(Waiting::Submit(id, SubmitDone::OfMany(Arc::clone(done), nths)));
                id.index = next;
            }
            Ok(())
        });
        let error = match outcome {
            // It had no room for more.
            Ok(Ok(())) => SubmitError::Busy,
            Ok(Err(refused)) => refused,
            Err(stopped) => SubmitError::Stopped { stopped, id: None },
        };
        for (nth, _) in rest {
            done(nth, Err(error.clone()));
        }
    }
}

/// Why this peer takes no commands now, if it does not.
fn refused(rules: &Rules) -> Option<SubmitError> {
    if !rules.is_leader() {
        return Some(SubmitError::NotLeader { leader: rules.leader() });
    }
    if rules.is_overloaded() {
        return Some(SubmitError::Busy);
    }
    rules.refusal().map(|refusal| match refusal {
        Refusal::DisksFull => SubmitError::NoSpace,
        Refusal::GivesWay => SubmitError::NotLeader { leader: None },
    })
}

/// Appends a command, if this peer may.
pub(crate) fn start(
    rules: &mut Rules,
    command: Payload,
    now: Instant,
) -> Result<EntryId, SubmitError> {
    if let Some(refused) = refused(rules) {
        return Err(refused);
    }
    let id = rules.start(command, now).expect("a leader that refuses none");
    stages::submitted(id.index, now);
    Ok(id)
}

#[cfg(all(test, not(feature = "interleavings")))]
#[path = "submitting_tests.rs"]
mod tests;
