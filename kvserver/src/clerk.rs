//! The labs' clerk: a client with one call at a time, which tries every server until one answers.
//!
//! It has a session of its own and sends a request again under the same number, so that each call
//! takes effect once however often it was sent. Calls that only read need no number.

use std::sync::Arc;
use std::time::{Duration, Instant};

use oarlock_rpc::{Call, End, codec};

use crate::error::ClerkError;
use crate::op::{Answer, Answers, Op};
use crate::request::{ClientId, KV_REQUEST, KvCall, KvReply, Request};
use crate::session::Refused;

/// How long one server may take before the next is asked. A server that has lost its majority may
/// never answer.
const TRY_TIMEOUT: Duration = Duration::from_millis(500);

/// The pause after all servers were asked in vain.
const PAUSE: Duration = Duration::from_millis(30);

/// A client of the store.
pub struct Clerk {
    ends: Vec<Arc<dyn End>>,
    /// The server to ask first: the one that answered last.
    leader: usize,
    client: ClientId,
    next_seq: u64,
    try_timeout: Duration,
}

impl Clerk {
    /// A clerk of the servers behind `ends`, in any order.
    pub fn new(ends: Vec<Arc<dyn End>>) -> Self {
        assert!(!ends.is_empty(), "a clerk needs a server");
        let client = ClientId::random(0);
        Self { ends, leader: 0, client, next_seq: 1, try_timeout: TRY_TIMEOUT }
    }

    /// Gives a server `timeout` to answer before the next is asked. Default: 500 ms.
    #[must_use]
    pub fn with_try_timeout(mut self, timeout: Duration) -> Self {
        self.try_timeout = timeout;
        self
    }

    /// The value of `key`, or the empty string without one. Tries for ever.
    pub fn get(&mut self, key: &str) -> String {
        let answers = self.for_ever(vec![Op::Get { key: key.as_bytes().to_vec().into() }]);
        match answers.first() {
            Some(Answer::Bytes(value)) => String::from_utf8_lossy(value).into_owned(),
            Some(Answer::Nil) => String::new(),
            other => panic!("Get of {key:?} was answered {other:?}"),
        }
    }

    /// Sets `key` to `value`. Tries for ever.
    ///
    /// # Panics
    ///
    /// If the store refuses it (it is too large), or if its fate can never be known: the session
    /// was evicted in the middle of the call, by more clients than a store remembers.
    pub fn put(&mut self, key: &str, value: &str) {
        self.write_for_ever(Op::Put { key: bytes(key), value: bytes(value) });
    }

    /// Appends `value` to the value of `key`, or sets it. Tries for ever.
    ///
    /// # Panics
    ///
    /// As [`Clerk::put`].
    pub fn append(&mut self, key: &str, value: &str) {
        self.write_for_ever(Op::Append { key: bytes(key), value: bytes(value) });
    }

    /// The value of `key`, if there is one. Tries until `deadline`.
    pub fn get_until(
        &mut self,
        key: &[u8],
        deadline: Instant,
    ) -> Result<Option<Vec<u8>>, ClerkError> {
        match self.one_until(Op::Get { key: key.to_vec().into() }, deadline)? {
            Answer::Bytes(value) => Ok(Some(value.into_vec())),
            _ => Ok(None),
        }
    }

    /// Sets `key` to `value`. Tries until `deadline`.
    pub fn put_until(
        &mut self,
        key: &[u8],
        value: &[u8],
        deadline: Instant,
    ) -> Result<(), ClerkError> {
        let (key, value) = (key.to_vec().into(), value.to_vec().into());
        self.one_until(Op::Put { key, value }, deadline).map(drop)
    }

    /// Appends `value` to the value of `key`, or sets it; the new length. Tries until `deadline`.
    pub fn append_until(
        &mut self,
        key: &[u8],
        value: &[u8],
        deadline: Instant,
    ) -> Result<u64, ClerkError> {
        let (key, value) = (key.to_vec().into(), value.to_vec().into());
        match self.one_until(Op::Append { key, value }, deadline)? {
            Answer::Integer(len) => Ok(u64::try_from(len).unwrap_or(0)),
            other => unreachable!("an append is answered with a length, not {other:?}"),
        }
    }

    /// Executes `ops` together, in order, and at most once. Tries until `deadline`.
    pub fn execute_until(
        &mut self,
        ops: Vec<Op>,
        deadline: Instant,
    ) -> Result<Answers, ClerkError> {
        self.execute(ops, Some(deadline))
    }

    fn one_until(&mut self, op: Op, deadline: Instant) -> Result<Answer, ClerkError> {
        match self.execute(vec![op], Some(deadline))?.first() {
            Some(Answer::Error(error)) => Err((*error).into()),
            Some(answer) => Ok(answer.clone()),
            None => unreachable!("a server gives one answer for each operation"),
        }
    }

    fn write_for_ever(&mut self, op: Op) {
        if let Some(Answer::Error(error)) = self.for_ever(vec![op]).first() {
            panic!("the store refuses the request: {error}");
        }
    }

    fn for_ever(&mut self, ops: Vec<Op>) -> Answers {
        self.execute(ops, None).unwrap_or_else(|error| panic!("{error}"))
    }

    fn execute(&mut self, ops: Vec<Op>, deadline: Option<Instant>) -> Result<Answers, ClerkError> {
        let mut call = KvCall::reading(ops);
        if call.is_read() {
            return self.try_all(&call, deadline).or_else(Ended::into_error);
        }
        loop {
            let seq = self.next_seq;
            self.next_seq += 1;
            // One call at a time: whatever came before is answered or given up.
            let request = Request { client: self.client, seq, acked_below: seq, ..call.request };
            call.request = request;
            match self.try_all(&call, deadline) {
                Ok(answers) => return Ok(answers),
                Err(Ended::NeedsNewSession { born }) => {
                    self.client = ClientId::random(born);
                    self.next_seq = 1;
                }
                Err(ended) => return ended.into_error(),
            }
        }
    }

    /// Asks one server after the other until one has an outcome.
    fn try_all(&mut self, call: &KvCall, deadline: Option<Instant>) -> Result<Answers, Ended> {
        let args = codec::encode(call).map_err(|_| Ended::With(ClerkError::TooLarge))?;
        let mut may_have_taken_effect = false;
        for tries in 1u64.. {
            let now = Instant::now();
            if deadline.is_some_and(|deadline| now >= deadline) {
                break;
            }
            let until = earlier(now + self.try_timeout, deadline);
            let reply = self.ends[self.leader].call(KV_REQUEST, args.clone()).wait_until(until);
            match Heard::from(reply.ok().flatten()) {
                Heard::Answers(answers) => return Ok(answers),
                Heard::Refused(Refused::NoSession { renew_at }) if tries == 1 => {
                    return Err(Ended::NeedsNewSession { born: renew_at });
                }
                Heard::Refused(_) => return Err(Ended::With(ClerkError::UnknownResult)),
                Heard::TooLarge => return Err(Ended::With(ClerkError::TooLarge)),
                Heard::NotExecuted => {}
                Heard::Unknown => may_have_taken_effect = !call.is_read(),
            }
            self.leader = (self.leader + 1) % self.ends.len();
            if tries.is_multiple_of(self.ends.len() as u64) {
                pause_until(earlier(Instant::now() + PAUSE, deadline));
            }
        }
        Err(Ended::With(if may_have_taken_effect {
            ClerkError::UnknownResult
        } else {
            ClerkError::NotExecuted
        }))
    }
}

/// How trying ended without answers.
enum Ended {
    With(ClerkError),
    /// It was surely not executed, and its session is gone.
    NeedsNewSession {
        born: u64,
    },
}

impl Ended {
    fn into_error<T>(self) -> Result<T, ClerkError> {
        match self {
            Self::With(error) => Err(error),
            Self::NeedsNewSession { .. } => unreachable!("a read has no session"),
        }
    }
}

/// What one try came to.
enum Heard {
    Answers(Answers),
    Refused(Refused),
    TooLarge,
    /// This try is not executed.
    NotExecuted,
    /// This try may be executed, now or later.
    Unknown,
}

impl From<Option<Vec<u8>>> for Heard {
    fn from(reply: Option<Vec<u8>>) -> Self {
        let Some(Ok(reply)) = reply.map(|bytes| codec::decode::<KvReply>(&bytes)) else {
            return Self::Unknown;
        };
        match reply {
            KvReply::Answers(answers) => Self::Answers(answers),
            KvReply::Refused(refused) => Self::Refused(refused),
            KvReply::TooLarge => Self::TooLarge,
            KvReply::NotLeader { .. }
            | KvReply::Superseded
            | KvReply::Busy
            | KvReply::NoSpace
            | KvReply::ReadThere
            | KvReply::Stopped { may_have_taken_effect: false } => Self::NotExecuted,
            KvReply::Stopped { .. } | KvReply::Unknown { .. } => Self::Unknown,
        }
    }
}

fn bytes(text: &str) -> crate::op::Bytes {
    text.as_bytes().to_vec().into()
}

fn earlier(at: Instant, deadline: Option<Instant>) -> Instant {
    deadline.map_or(at, |deadline| deadline.min(at))
}

/// Waits for a call that nobody answers.
fn pause_until(deadline: Instant) {
    let (call, unanswered) = Call::pair();
    let waited = call.wait_until(deadline);
    assert!(waited.is_err(), "nobody can have answered");
    drop(unanswered);
}

#[cfg(test)]
#[path = "clerk_tests.rs"]
mod tests;
