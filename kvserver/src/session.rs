//! Exactly once: which requests of which clients have been executed, and what they were answered.
//!
//! A client may have several requests on their way, each may be sent and appended any number of
//! times, and they may arrive in any order. Each is executed at most once, and a client that asks
//! again gets the answer of that one time. The table is part of the replicated state, so every rule
//! here depends on nothing but the log.
//!
//! # The rules
//!
//! Per client there is a *floor* and the answers to executed requests at or above it. For a request
//! `(client, seq, acked_below)`:
//!
//! 1. The floor rises to `acked_below`, and answers below the floor are dropped.
//! 2. A `seq` below the floor is refused ([`Refused::Forgotten`]).
//! 3. A `seq` that has an answer gets that answer.
//! 4. Any other is executed and its answer kept.
//!
//! *Why it is safe.* A request is executed only by rule 4. Afterwards its answer is there until the
//! floor passes it, so a repetition meets rule 3, and then rule 2 for ever, since the floor never
//! falls. That the floor passes only what the client has been answered, or has given up, is what
//! `acked_below` promises; a given-up request that is still on its way is executed, or refused if
//! the floor was quicker, and nobody is left to ask.
//!
//! # Memory is bounded
//!
//! At most [`Limits::answers_per_session`] answers are kept for a client: beyond it the floor rises
//! above the lowest. Answers of more than [`Limits::bytes_per_session`] together are replaced by the
//! mere fact of their execution, lowest first; asking for such a one again is refused. And at most
//! [`Limits::sessions`] clients are remembered, with [`Limits::bytes`] of answers: beyond it the
//! session used least recently, by log index, is evicted.
//!
//! *The trouble with eviction.* An unknown client is either new or evicted, and a request of an
//! evicted one may have been executed already. Taking "new" to mean `seq == 1` would not do: the
//! first request may itself have been executed before the eviction, and the first few requests of a
//! pipelining client may arrive in any order.
//!
//! *The rule.* The table remembers its *horizon*: the highest log index at which a session that was
//! evicted later was used. A client's identity says when it was [born](ClientId::born): some index
//! applied before its first request was made. An unknown client is new, and gets a session, exactly
//! if `born ≥ horizon`; else it is refused ([`Refused::NoSession`]).
//!
//! *Why it is sound.* Each use of a session is at an index above its client's birth (checked: an
//! entry at or below it is refused). If it was evicted, the horizon rose to at least that index, so
//! `born < horizon` from then on: it never gets a second session, whatever is still on its way. It
//! does not depend on `seq`, so the order of the first requests does not matter. A new client that
//! knows no index says `born = 0`, which serves until the first eviction ever; after that it is
//! refused once, told an index to be born at, and starts again under a new identity. It may do so
//! without asking anyone if it has sent that request only once: the one refusal is then the
//! request's whole fate.

use std::collections::BTreeMap;
use std::sync::Arc;

use oarlock_raft::Index;
use serde::{Deserialize, Serialize};

use crate::op::Answers;
use crate::request::ClientId;

/// How much the table may hold. Part of the replicated state's definition: every peer must use the
/// same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most sessions.
    pub sessions: usize,
    /// The most answers kept for one client.
    pub answers_per_session: usize,
    /// The most bytes of answers kept for one client.
    pub bytes_per_session: usize,
    /// The most bytes of answers kept for all clients together.
    pub bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sessions: 10_000,
            answers_per_session: 4096,
            bytes_per_session: 1 << 20,
            bytes: 256 << 20,
        }
    }
}

/// Why a request was not executed this time, and never will be under its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refused {
    /// The client has no session, and is too old for a new one. If this is the only time the
    /// request was ever sent, it has not been executed.
    #[error("the session was evicted; begin a new one born at index {renew_at}")]
    NoSession {
        /// A good birth for a new identity.
        renew_at: Index,
    },
    /// The request may have been executed before, and its answer is not kept.
    #[error("the request is older than what its session remembers")]
    Forgotten,
}

/// What the table says to a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Execute it, then [`SessionTable::remember`] the answers.
    Execute,
    /// It was executed before, with these answers.
    Remembered(Answers),
    /// Do not execute it.
    Refused(Refused),
}

/// What is known of one client.
///
/// Invariants: every key of `answers` is at least `floor`; `bytes` is the sum of the answers' cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Session {
    /// The log index of the latest request; no two sessions have the same.
    pub(crate) last_used: Index,
    /// Requests numbered below this one are refused.
    pub(crate) floor: u64,
    /// What was executed at or above the floor; `None` where only that fact is kept.
    pub(crate) answers: BTreeMap<u64, Option<Answers>>,
    bytes: usize,
}

impl Session {
    /// A session as a snapshot describes it.
    pub(crate) fn new(last_used: Index, floor: u64) -> Self {
        Self { last_used, floor, answers: BTreeMap::new(), bytes: 0 }
    }

    /// Adds what was executed as `seq`, without any regard to limits.
    pub(crate) fn insert(&mut self, seq: u64, answers: Option<Answers>) {
        assert!(seq >= self.floor, "seq {seq} is below the floor {}", self.floor);
        self.bytes += cost_bytes(answers.as_ref());
        let previous = self.answers.insert(seq, answers);
        assert!(previous.is_none(), "seq {seq} is remembered twice");
    }

    fn raise_floor(&mut self, to: u64) {
        if to <= self.floor {
            return;
        }
        self.floor = to;
        while let Some(lowest) = self.answers.first_entry() {
            if *lowest.key() >= to {
                break;
            }
            self.bytes -= cost_bytes(lowest.remove().as_ref());
        }
    }

    fn enforce(&mut self, limits: &Limits) {
        while self.answers.len() > limits.answers_per_session {
            let lowest = self.answers.first_key_value().map_or(self.floor, |(&seq, _)| seq);
            self.raise_floor(lowest + 1);
        }
        if self.bytes > limits.bytes_per_session {
            for answers in self.answers.values_mut() {
                self.bytes -= cost_bytes(answers.take().as_ref());
                if self.bytes <= limits.bytes_per_session {
                    break;
                }
            }
        }
    }
}

fn cost_bytes(answers: Option<&Answers>) -> usize {
    answers.map_or(0, Answers::cost_bytes)
}

/// What is known of each client; shared with whoever writes it down while it changes.
pub(crate) type Sessions = BTreeMap<ClientId, Arc<Session>>;

/// All sessions.
///
/// Invariants: `by_use` holds exactly each session under its `last_used`; `bytes` is the sum of
/// the sessions' bytes; no limit is exceeded between two requests.
#[derive(Debug, Default)]
pub(crate) struct SessionTable {
    sessions: Sessions,
    by_use: BTreeMap<Index, ClientId>,
    horizon: Index,
    bytes: usize,
    limits: Limits,
}

impl SessionTable {
    /// An empty table.
    pub(crate) fn new(limits: Limits) -> Self {
        assert!(limits.sessions > 0 && limits.answers_per_session > 0, "a table of nothing");
        Self { limits, ..Self::default() }
    }

    /// What to do with a request found in the log at `index`.
    pub(crate) fn admit(
        &mut self,
        index: Index,
        client: ClientId,
        seq: u64,
        acked_below: u64,
    ) -> Admission {
        if client.born >= index {
            return Admission::Refused(Refused::NoSession { renew_at: index });
        }
        if !self.sessions.contains_key(&client) {
            if client.born < self.horizon {
                return Admission::Refused(Refused::NoSession { renew_at: index });
            }
            self.insert(client, Session::new(index, acked_below));
            self.evict();
        }
        self.touch(client, index);
        let session = self.session(client);
        let before = session.bytes;
        session.raise_floor(acked_below);
        let freed = before - session.bytes;
        self.bytes -= freed;
        let session = &self.sessions[&client];
        if seq < session.floor {
            return Admission::Refused(Refused::Forgotten);
        }
        match session.answers.get(&seq) {
            None => Admission::Execute,
            Some(Some(answers)) => Admission::Remembered(answers.clone()),
            Some(None) => Admission::Refused(Refused::Forgotten),
        }
    }

    /// Keeps the answers to a request that [`SessionTable::admit`] let through just now.
    pub(crate) fn remember(&mut self, client: ClientId, seq: u64, answers: Answers) {
        let limits = self.limits;
        let session = self.session(client);
        let before = session.bytes;
        session.insert(seq, Some(answers));
        session.enforce(&limits);
        let after = session.bytes;
        self.bytes = self.bytes - before + after;
        self.evict();
    }

    /// The highest index at which a session that is gone was used.
    pub(crate) fn horizon(&self) -> Index {
        self.horizon
    }

    /// Every session. A copy of the map shares them, so that it costs some 20 ns for each: a session
    /// is copied by its next use, if anybody still looks at it then.
    pub(crate) fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// How many bytes of answers there are.
    pub(crate) fn len_bytes(&self) -> usize {
        self.bytes
    }

    /// How many sessions there are.
    pub(crate) fn len(&self) -> usize {
        self.sessions.len()
    }

    /// The table a snapshot describes; an error says what about it cannot be.
    pub(crate) fn from_parts(
        limits: Limits,
        horizon: Index,
        sessions: impl Iterator<Item = Result<(ClientId, Session), String>>,
    ) -> Result<Self, String> {
        let mut table = Self { horizon, ..Self::new(limits) };
        for entry in sessions {
            let (client, session) = entry?;
            if table.sessions.last_key_value().is_some_and(|(last, _)| *last >= client) {
                return Err(format!("client {client} is out of order"));
            }
            if table.by_use.contains_key(&session.last_used) {
                return Err(format!("two sessions were used at index {}", session.last_used));
            }
            if session.last_used <= client.born {
                return Err(format!("client {client} was used at index {}", session.last_used));
            }
            table.insert(client, session);
        }
        Ok(table)
    }

    fn insert(&mut self, client: ClientId, session: Session) {
        self.bytes += session.bytes;
        self.by_use.insert(session.last_used, client);
        self.sessions.insert(client, Arc::new(session));
    }

    fn touch(&mut self, client: ClientId, index: Index) {
        let session = self.session(client);
        assert!(session.last_used <= index, "index {} → {index}", session.last_used);
        let before = std::mem::replace(&mut session.last_used, index);
        self.by_use.remove(&before);
        self.by_use.insert(index, client);
    }

    /// A session that is known, to be changed: here alone, if it is shared.
    fn session(&mut self, client: ClientId) -> &mut Session {
        Arc::make_mut(self.sessions.get_mut(&client).expect("only a known client is asked for"))
    }

    /// Drops the least recently used until the limits hold. The one in use is never among them:
    /// it is the most recent, and alone it is within the limits.
    fn evict(&mut self) {
        while self.sessions.len() > self.limits.sessions
            || (self.bytes > self.limits.bytes && self.sessions.len() > 1)
        {
            let (last_used, client) = self.by_use.pop_first().expect("one for each session");
            let session = self.sessions.remove(&client).expect("both hold the same sessions");
            assert!(last_used > client.born, "{client} was used at {last_used}");
            self.bytes -= session.bytes;
            self.horizon = self.horizon.max(last_used);
        }
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
