//! What all connections of a thread ask of the store, put together: one request for many commands
//! costs one trip to the majority's disks, one message to each, and one wake-up at the end.
//!
//! While requests are on their way, what comes gathers, and goes when one is answered; but no question
//! is held back for longer than [`HELD_MAX`], so that a request that takes long keeps no others. Where
//! even the quickest take so long that waiting for one would be felt (`trips.rs`), what comes gathers for
//! a moment only, however many are on their way.
//!
//! Clients that are answered together ask again almost together. If the first of them set out at
//! once, the others would wait for it to come home; so whoever comes then waits for those who are
//! likely to come too: until all have, or none has for a moment ([`QUIET`]), or it has been long
//! enough ([`RETURN_MAX`]). A client alone never waits.
//!
//! Company does not show but by speed. The operations of a question stay together, in order, and
//! those of a transaction are still one entry of the log. Operations fail one by one, as they would
//! alone; only a request that fails as a whole fails for all in it, as each would have failed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use oarlock_sync::stages;

use super::Store;
use super::ask::{Ask, BYTES_MAX, COMMANDS_MAX, Company};
use super::mailbox::Mailbox;
use super::trips::Trips;
use crate::error::ExecuteError;
use crate::op::{ANSWER_BYTES_MAX, Answer, Answers, Op};

/// So many requests of a kind are on their way before others wait for company.
const BUSY_AT: usize = 2;

/// How long a question is held back at most while requests are on their way.
const HELD_MAX: Duration = Duration::from_millis(10);

/// How long it is held back at most where requests always take long: little beside the time they take,
/// and enough to gather many if many come.
const HELD_MAX_FAR: Duration = Duration::from_millis(2);

/// The same, when nobody has come for so long.
const QUIET_FAR: Duration = Duration::from_micros(500);

/// When nobody has come for so long, nobody else is waited for.
const QUIET: Duration = Duration::from_micros(150);

/// How long a question waits at most for clients that were just answered.
const RETURN_MAX: Duration = Duration::from_millis(1);

/// The most requests of a kind on their way.
const IN_FLIGHT_MAX: usize = 256;

/// The most bytes of questions that wait; more is not taken.
const WAITING_BYTES_MAX: usize = 64 << 20;

/// What the store answered to a request, and whose questions were in it.
pub(super) struct Answered {
    kind: Kind,
    asked_at: Instant,
    pub(super) write: stages::Answering,
    parts: Vec<Part>,
    result: Result<Answers, ExecuteError>,
}

/// One question's part of a request.
struct Part {
    token: u64,
    ops: usize,
}

impl Answered {
    /// How many questions it answers.
    pub(super) fn clients(&self) -> usize {
        self.parts.len()
    }

    /// Each who asked, and the answers.
    pub(super) fn parts(&self) -> impl Iterator<Item = (u64, Result<&[Answer], &ExecuteError>)> {
        let mut rest = self.result.as_deref();
        self.parts.iter().map(move |part| {
            let Ok(answers) = rest else { return (part.token, rest) };
            let (mine, others) = answers.split_at(part.ops);
            rest = Ok(others);
            (part.token, Ok(mine))
        })
    }
}

/// Reads stay out of the log, so they do not travel with writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Reads,
    Writes,
}

/// The questions of one thread's connections.
pub(super) struct Batches {
    store: Arc<dyn Store>,
    mailbox: Arc<Mailbox>,
    reads: Lane,
    writes: Lane,
}

impl Batches {
    /// No questions. Answers go to `mailbox`.
    pub(super) fn new(store: Arc<dyn Store>, mailbox: Arc<Mailbox>) -> Self {
        Self { store, mailbox, reads: Lane::default(), writes: Lane::default() }
    }

    /// Takes a question of the connection `token`, unless too many wait.
    pub(super) fn push(&mut self, token: u64, ask: Ask, now: Instant) -> Result<(), ExecuteError> {
        let reads = ask.ops.iter().all(Op::is_read);
        let lane = if reads { &mut self.reads } else { &mut self.writes };
        if lane.bytes > WAITING_BYTES_MAX {
            return Err(ExecuteError::Busy);
        }
        lane.bytes += ask.bytes;
        lane.waiting.push_back(Waiting { token, ask, since: now });
        lane.returning = lane.returning.saturating_sub(1);
        lane.last_news = Some(now);
        Ok(())
    }

    /// Notes that a request is answered: others may go, and those who asked are likely to come
    /// again.
    pub(super) fn note(&mut self, answered: &Answered, now: Instant) {
        let lane = self.lane(answered.kind);
        lane.in_flight -= 1;
        lane.returning += answered.parts.len();
        lane.last_news = Some(now);
        lane.trips.note(now.saturating_duration_since(answered.asked_at));
    }

    /// Sends what need not wait.
    pub(super) fn submit(&mut self, now: Instant) {
        for kind in [Kind::Writes, Kind::Reads] {
            while let Some((ops, parts)) = self.lane(kind).next(now) {
                let mailbox = Arc::clone(&self.mailbox);
                let delivery = Delivery { mailbox, kind, asked_at: now, parts };
                self.store.execute_with(ops, Box::new(move |result| delivery.deliver(result)));
            }
        }
    }

    /// When something is to be sent, though nothing is answered until then.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.reads.deadline().into_iter().chain(self.writes.deadline()).min()
    }

    fn lane(&mut self, kind: Kind) -> &mut Lane {
        match kind {
            Kind::Reads => &mut self.reads,
            Kind::Writes => &mut self.writes,
        }
    }
}

/// Questions of one kind, oldest first.
#[derive(Default)]
struct Lane {
    waiting: VecDeque<Waiting>,
    /// Of all that wait together.
    bytes: usize,
    in_flight: usize,
    /// How many were answered lately and have not come again.
    returning: usize,
    /// When somebody came, or was answered.
    last_news: Option<Instant>,
    /// How long requests took.
    trips: Trips,
}

struct Waiting {
    token: u64,
    ask: Ask,
    since: Instant,
}

impl Lane {
    /// When the next request goes, if nothing happens before.
    fn deadline(&self) -> Option<Instant> {
        let first = self.waiting.front().filter(|_| self.in_flight < IN_FLIGHT_MAX)?;
        let news = self.last_news.unwrap_or(first.since);
        Some(if self.in_flight < BUSY_AT {
            let others_come = self.returning > 0;
            if others_come { (news + QUIET).min(first.since + RETURN_MAX) } else { first.since }
        } else if self.trips.are_far() {
            (news + QUIET_FAR).min(first.since + HELD_MAX_FAR)
        } else {
            first.since + HELD_MAX
        })
    }

    /// The next request, if one may go.
    fn next(&mut self, now: Instant) -> Option<(Vec<Op>, Vec<Part>)> {
        if self.deadline()? > now {
            return None;
        }
        // Who has not come by now may not come at all.
        self.returning = 0;
        let Waiting { token, ask: first, since } = self.waiting.pop_front()?;
        stages::asked(since);
        self.bytes -= first.bytes;
        self.in_flight += 1;
        let (mut bytes, mut answer_bytes_max) = (first.bytes, first.answer_bytes_max);
        let company = first.company;
        let mut parts = vec![Part { token, ops: first.ops.len() }];
        let mut ops = first.ops;
        while let Some(Waiting { ask, .. }) = self.waiting.front() {
            bytes += ask.bytes;
            answer_bytes_max = answer_bytes_max.saturating_add(ask.answer_bytes_max);
            let fits = ops.len() + ask.ops.len() <= COMMANDS_MAX
                && bytes <= BYTES_MAX
                && (company == Company::Reads || answer_bytes_max <= ANSWER_BYTES_MAX);
            if company == Company::None || ask.company != company || !fits {
                break;
            }
            let Some(Waiting { token, ask, .. }) = self.waiting.pop_front() else { break };
            self.bytes -= ask.bytes;
            parts.push(Part { token, ops: ask.ops.len() });
            ops.extend(ask.ops);
        }
        Some((ops, parts))
    }
}

/// What brings a request's answers home, whatever happens.
struct Delivery {
    mailbox: Arc<Mailbox>,
    kind: Kind,
    asked_at: Instant,
    parts: Vec<Part>,
}

impl Delivery {
    fn deliver(mut self, result: Result<Answers, ExecuteError>) {
        self.put(result);
    }

    fn put(&mut self, result: Result<Answers, ExecuteError>) {
        let parts = std::mem::take(&mut self.parts);
        if !parts.is_empty() {
            let (kind, asked_at) = (self.kind, self.asked_at);
            let write = stages::answering();
            let answered = Answered { kind, asked_at, write, parts, result };
            // Nobody to tell is what a closed port is about.
            let _ = self.mailbox.put(|mail| mail.answered.push(answered));
        }
    }
}

impl Drop for Delivery {
    /// A store that forgot about it has stopped.
    fn drop(&mut self) {
        self.put(Err(ExecuteError::Stopped));
    }
}

#[cfg(test)]
#[path = "batch_tests.rs"]
mod tests;
