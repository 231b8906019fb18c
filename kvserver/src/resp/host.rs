//! What a thread does for one of its connections when there is something to do: finding out whose it
//! is, reading, executing, replying, parting. None of it waits.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::ask::Ask;
use super::batch::Batches;
use super::conversation::{Conversation, Next};
use super::front_end::FrontEnd;
use super::listener::OtherProtocol;
use super::poller::Ready;
use super::wire::{Input, Stage, Wire, is_passing};
use crate::error::ExecuteError;
use crate::op::Answer;

/// What one read takes at most, in bytes.
const READ_BYTES: usize = 64 << 10;

const TOO_MANY: &[u8] = b"-ERR max number of clients reached\r\n";

/// What a port's threads have in common.
pub(super) struct Common {
    pub(super) front: Arc<FrontEnd>,
    pub(super) other: Option<OtherProtocol>,
    /// How many connections there are.
    pub(super) connections: AtomicUsize,
}

/// What is to become of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Stays,
    /// It is of the other protocol.
    GoesOver,
    Ends,
}

/// What a thread has to serve its connections with. An error of any of its methods means that the
/// client is gone.
pub(super) struct Host {
    pub(super) common: Arc<Common>,
    pub(super) batches: Batches,
    /// The moment this round began.
    pub(super) now: Instant,
    input: Vec<u8>,
}

impl Host {
    pub(super) fn new(common: Arc<Common>, batches: Batches) -> Self {
        Self { common, batches, now: Instant::now(), input: vec![0; READ_BYTES] }
    }

    /// The socket is ready.
    pub(super) fn on_ready(
        &mut self,
        token: u64,
        wire: &mut Wire,
        ready: Ready,
    ) -> io::Result<Fate> {
        if ready.gone && !wire.interest.read {
            return Ok(Fate::Ends);
        }
        let can_read = (ready.read || ready.gone) && wire.interest.read;
        match wire.stage {
            Stage::Undecided { .. } => self.tell_apart(token, wire),
            Stage::Talking(_) => {
                if can_read {
                    self.read(wire)?;
                }
                self.go_on(token, wire)
            }
            Stage::Leaving { .. } => self.wait_out(wire),
        }
    }

    /// The store has answered.
    pub(super) fn on_answers(
        &mut self,
        token: u64,
        wire: &mut Wire,
        result: Result<&[Answer], &ExecuteError>,
    ) -> io::Result<Fate> {
        if let Some(again) = wire.answer(result) {
            self.ask(token, wire, again);
        }
        self.go_on(token, wire)
    }

    /// Patience has ended.
    pub(super) fn on_deadline(&mut self, token: u64, wire: &mut Wire) -> io::Result<Fate> {
        match wire.stage {
            Stage::Undecided { .. } => {
                self.welcome(wire)?;
                self.go_on(token, wire)
            }
            Stage::Talking(_) | Stage::Leaving { .. } => Ok(Fate::Ends),
        }
    }

    /// Finds out whose connection this is, and begins to serve it if it is a client's.
    fn tell_apart(&mut self, token: u64, wire: &mut Wire) -> io::Result<Fate> {
        let Stage::Undecided { crowded } = wire.stage else { return Ok(Fate::Stays) };
        let first = match wire.peek_first() {
            Ok(first) => first,
            Err(error) if is_passing(&error) => return Ok(Fate::Stays),
            Err(error) => return Err(error),
        };
        if let (Some(other), Some(first)) = (&self.common.other, first)
            && first == other.first_byte
        {
            return Ok(Fate::GoesOver);
        }
        if first.is_none() && !crowded {
            return Ok(Fate::Ends);
        }
        self.welcome(wire)?;
        if matches!(wire.stage, Stage::Talking(_)) {
            self.read(wire)?;
        }
        self.go_on(token, wire)
    }

    /// Begins a conversation, if there may be one more.
    fn welcome(&mut self, wire: &mut Wire) -> io::Result<()> {
        let front = &self.common.front;
        wire.tune()?;
        let addrs = (wire.stream.peer_addr()?, wire.stream.local_addr()?);
        let stream = Arc::clone(&wire.stream);
        let Some(client) = front.clients.add(front.options.clients_max, Some(addrs), Some(stream))
        else {
            front.stats.rejected_connections.fetch_add(1, Ordering::Relaxed);
            wire.say(TOO_MANY);
            wire.write(front, self.now)?;
            return wire.leave(self.now);
        };
        front.stats.connections.fetch_add(1, Ordering::Relaxed);
        wire.deadline = None;
        wire.stage = Stage::Talking(Box::new(Conversation::new(Arc::clone(front), client)));
        Ok(())
    }

    fn read(&mut self, wire: &mut Wire) -> io::Result<()> {
        if let Input::Bytes(len) = wire.read(&mut self.input)?
            && let Stage::Talking(conversation) = &mut wire.stage
        {
            conversation.feed(&self.input[..len]);
        }
        Ok(())
    }

    /// Executes what has come, until something is missing: answers, bytes, or a client that takes its
    /// replies.
    fn go_on(&mut self, token: u64, wire: &mut Wire) -> io::Result<Fate> {
        loop {
            wire.write(&self.common.front, self.now)?;
            if wire.has_replies() {
                return Ok(Fate::Stays);
            }
            match wire.advance() {
                Some(Next::More) => {}
                Some(Next::Ask(ask)) => self.ask(token, wire, ask),
                Some(next) if wire.has_replies() => {
                    wire.write(&self.common.front, self.now)?;
                    let is_over = matches!(next, Next::Close) || wire.ended;
                    if wire.has_replies() || !is_over {
                        return Ok(Fate::Stays);
                    }
                }
                Some(_) if wire.ended => return Ok(Fate::Ends),
                Some(Next::Close) => {
                    wire.leave(self.now)?;
                    return Ok(Fate::Stays);
                }
                Some(Next::NeedsInput) | None => return Ok(Fate::Stays),
            }
        }
    }

    /// Asks the store; if too much is asked already, that is the answer.
    fn ask(&mut self, token: u64, wire: &mut Wire, ask: Ask) {
        if let Err(error) = self.batches.push(token, ask, self.now) {
            let again = wire.answer(Err(&error));
            assert!(again.is_none(), "after an error nothing is asked again");
        }
    }

    /// Takes in what a client sends that has been told goodbye.
    fn wait_out(&mut self, wire: &mut Wire) -> io::Result<Fate> {
        match wire.read(&mut self.input)? {
            Input::End => return Ok(Fate::Ends),
            Input::Nothing => {}
            Input::Bytes(_) => wire.be_patient(self.now),
        }
        Ok(Fate::Stays)
    }
}
