//! What is known of one request, and what follows from each thing that is heard of it.
//!
//! A request may have several attempts on their way: another one is made whenever a new leader
//! appears, and after a pause when one ended without a result. All carry the same number, so it
//! does not matter which of them is executed, or how many arrive.

use std::sync::Arc;
use std::time::Instant;

use oarlock_raft::{EntryId, Index, PeerId, Term};

use crate::error::ExecuteError;
use crate::node::Standing;
use crate::numbering::{Number, Numbering};
use crate::op::{Answers, Op};
use crate::request::{ClientId, KvCall, KvReply};
use crate::session::Refused;

/// Who is told how a request ended.
pub(super) type Done = Box<dyn FnOnce(Result<Answers, ExecuteError>) + Send>;

/// A term, and who leads it as far as this peer knows.
pub(super) type Leader = (Term, Option<PeerId>);

/// What to do next.
#[derive(Debug)]
pub(super) enum Step {
    /// Nothing: something else will be heard.
    Wait,
    /// Try again after a pause.
    Pause,
    /// Try again.
    Again,
    /// It is over.
    End(ExecuteError),
    /// It was surely not executed, and its session is gone: it is to be numbered anew, by an
    /// identity born at this index.
    Renew(Index),
}

/// What is known of the attempts that have ended.
#[derive(Clone, Copy)]
enum Fate {
    NotExecuted,
    Unknown(Option<EntryId>),
}

/// One request that has not ended.
pub(super) struct Pursuit {
    pub(super) call: Arc<KvCall>,
    /// When it is given up.
    pub(super) deadline: Instant,
    done: Done,
    /// Whether it changes nothing, and so has no number.
    is_read: bool,
    number: Option<Number>,
    /// Who was asked last.
    asked: Leader,
    sent: u32,
    outstanding: u32,
    fate: Fate,
}

impl Pursuit {
    /// A request of which nobody has been told.
    pub(super) fn new(ops: Vec<Op>, done: Done) -> Self {
        let call = KvCall::reading(ops);
        Self {
            is_read: call.is_read(),
            call: Arc::new(call),
            deadline: Instant::now(),
            done,
            number: None,
            asked: (0, None),
            sent: 0,
            outstanding: 0,
            fate: Fate::NotExecuted,
        }
    }

    /// Whether it may be sent.
    pub(super) fn is_numbered(&self) -> bool {
        self.is_read || self.number.is_some()
    }

    /// Takes a number, if it needs one; false if none is free.
    pub(super) fn take_number(&mut self, numbering: &Arc<Numbering>) -> bool {
        if self.is_numbered() {
            return true;
        }
        let Some((number, acked_below)) = Numbering::open(numbering) else { return false };
        let (client, seq) = (number.client, number.seq);
        self.number = Some(number);
        // Nobody else has it: it is not sent without a number.
        let call = Arc::make_mut(&mut self.call);
        call.request.client = client;
        call.request.seq = seq;
        call.request.acked_below = acked_below;
        true
    }

    /// Notes that an attempt at `leader` is about to be made by this peer, which vouches for it since
    /// the request came.
    pub(super) fn count_attempt(&mut self, (vouch, leader): Standing) {
        debug_assert!(self.is_numbered(), "only a numbered request can be sent twice");
        Arc::make_mut(&mut self.call).forwarded = Some(vouch);
        self.asked = (vouch.term, leader);
        self.sent += 1;
        self.outstanding += 1;
    }

    /// Whether an attempt may still be answered.
    pub(super) fn has_attempts(&self) -> bool {
        self.outstanding > 0
    }

    /// `leader` is news to somebody; it may be older than the latest attempt.
    pub(super) fn on_leader(&self, leader: Leader) -> Step {
        if self.outstanding > 0 && self.asked == leader { Step::Wait } else { Step::Again }
    }

    /// An attempt ended with this reply, or without one. `term` is the latest one known.
    pub(super) fn on_reply(&mut self, reply: Option<KvReply>, term: Term) -> Step {
        self.outstanding -= 1;
        let Some(reply) = reply else {
            self.may_be_executed(None);
            return Step::Pause;
        };
        match reply {
            KvReply::Answers(_) => unreachable!("whoever has the answers delivers them"),
            KvReply::Refused(Refused::NoSession { renew_at }) if self.sent == 1 => {
                Step::Renew(renew_at)
            }
            KvReply::Refused(_) => {
                self.may_be_executed(None);
                Step::End(self.unknown(term))
            }
            KvReply::NotLeader { .. } | KvReply::Superseded | KvReply::ReadThere => Step::Pause,
            KvReply::Unknown { id } => {
                self.may_be_executed(Some(id));
                Step::Pause
            }
            KvReply::Stopped { may_have_taken_effect } => {
                if may_have_taken_effect {
                    self.may_be_executed(None);
                }
                Step::Pause
            }
            KvReply::Busy | KvReply::NoSpace if self.outstanding > 0 => Step::Wait,
            KvReply::Busy => Step::End(self.error_or_unknown(ExecuteError::Busy, term)),
            KvReply::NoSpace => Step::End(self.error_or_unknown(ExecuteError::NoSpace, term)),
            KvReply::TooLarge => Step::End(ExecuteError::TooLarge),
        }
    }

    /// Gives back its number: it was not executed, and begins again under another. Returns whose
    /// number it was.
    pub(super) fn begin_again(&mut self) -> ClientId {
        let number = self.number.take().expect("only a numbered request has a session");
        self.sent = 0;
        self.fate = Fate::NotExecuted;
        number.client
    }

    /// The error that ends it if nothing more is done: `error`, unless an attempt may have been, or
    /// may yet be, executed.
    pub(super) fn error_or_unknown(&self, error: ExecuteError, term: Term) -> ExecuteError {
        let surely_not = self.outstanding == 0 && matches!(self.fate, Fate::NotExecuted);
        if surely_not || self.is_read { error } else { self.unknown(term) }
    }

    /// Tells how it ended. Its number is closed before, so that what is asked next knows.
    pub(super) fn end(self, result: Result<Answers, ExecuteError>) {
        let Self { number, call, done, .. } = self;
        drop((number, call));
        done(result);
    }

    fn may_be_executed(&mut self, id: Option<EntryId>) {
        let known = match self.fate {
            Fate::NotExecuted => None,
            Fate::Unknown(id) => id,
        };
        self.fate = Fate::Unknown(id.or(known));
    }

    fn unknown(&self, term: Term) -> ExecuteError {
        let id = match self.fate {
            Fate::NotExecuted => None,
            Fate::Unknown(id) => id,
        };
        ExecuteError::UnknownResult { id, term }
    }
}
