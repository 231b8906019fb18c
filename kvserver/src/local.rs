//! This node's own client: what its front end calls. It executes at the leader, wherever that is,
//! through elections and lost messages, exactly once.
//!
//! A request may have several attempts on their way: another one is made whenever a new leader
//! appears, and after a pause when one ended without a result. All carry the same number, so it
//! does not matter which of them is executed, or how many arrive.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, unbounded};
use oarlock_raft::{EntryId, PeerId, Term};

use crate::error::ExecuteError;
use crate::node::{Node, Route};
use crate::numbering::{Number, Numbering};
use crate::op::{Answers, Op};
use crate::request::{KvCall, KvReply, Request};
use crate::session::Refused;
use crate::status::NodeStatus;
use crate::watch::{Event, Watch};

/// How long after an attempt that came to nothing the next one is made, if no new leader appears.
const PAUSE: Duration = Duration::from_millis(30);

/// A member that has not answered for this long is called silent.
const SILENT_AFTER: Duration = Duration::from_secs(1);

/// Executes operations on behalf of this process. Any number of threads may do so at once.
pub struct LocalClient {
    node: Arc<Node>,
    pub(crate) watch: Arc<Watch>,
    numbering: Numbering,
    request_timeout: Duration,
}

impl LocalClient {
    pub(crate) fn new(node: Arc<Node>, watch: Arc<Watch>, request_timeout: Duration) -> Self {
        Self { node, watch, numbering: Numbering::new(), request_timeout }
    }

    /// Executes `ops` together, in order, and exactly once if at all. Waits for a leader and for
    /// the answers no longer than the request time-out.
    ///
    /// If they all only read, they do not go through the log.
    pub fn execute(&self, ops: Vec<Op>) -> Result<Answers, ExecuteError> {
        let deadline = Instant::now() + self.request_timeout;
        let mut call = KvCall { forwarded: true, ..KvCall::reading(ops) };
        if call.is_read() {
            return match self.attempts(None, call, deadline) {
                Ended::With(result) => result,
                Ended::NeedsNewNumber(_) => unreachable!("a read has no session"),
            };
        }
        loop {
            let number = self.numbering.open(deadline).ok_or(ExecuteError::Busy)?;
            match self.attempts(Some(&number), call, deadline) {
                Ended::With(result) => return result,
                Ended::NeedsNewNumber(again) => call = again,
            }
        }
    }

    /// What there is to say of this node now.
    pub fn status(&self) -> NodeStatus {
        self.node.status()
    }

    /// Tries until there is an outcome.
    fn attempts(&self, number: Option<&Number<'_>>, mut call: KvCall, deadline: Instant) -> Ended {
        if let Some(number) = number {
            let (client, seq, acked_below) = (number.client, number.seq, number.acked_below());
            call.request = Request { client, seq, acked_below, ..call.request };
        }
        let (sender, events) = unbounded();
        let _registered = self.watch.register(sender.clone());
        let mut waiting = Attempts {
            node: &self.node,
            call: Arc::new(call),
            sender,
            asked: (0, None),
            sent: 0,
            outstanding: 0,
            fate: Fate::NotExecuted,
        };
        if self.watch.is_stopped() {
            return Ended::With(Err(ExecuteError::Stopped));
        }
        let mut again_at = waiting.send(deadline);
        loop {
            let until = again_at.map_or(deadline, |at| at.min(deadline));
            // We hold a sender ourselves, so an error is never a closed channel.
            let step = match events.recv_deadline(until).ok() {
                None if Instant::now() < deadline => Step::Again,
                None => Step::End(Err(waiting.error_at_deadline())),
                Some(event) => waiting.on_event(event),
            };
            match step {
                Step::Wait => {}
                Step::Pause => again_at = Some(Instant::now() + PAUSE),
                Step::Again => again_at = waiting.send(deadline),
                Step::End(result) => return Ended::With(result),
                Step::Renew { born } => {
                    let number = number.expect("only a numbered request has a session");
                    self.numbering.renew(number.client, born);
                    return Ended::NeedsNewNumber(waiting.into_call());
                }
            }
        }
    }
}

/// What trying came to.
enum Ended {
    With(Result<Answers, ExecuteError>),
    /// It was surely not executed, and its session is gone: it is to be numbered anew.
    NeedsNewNumber(KvCall),
}

/// What to do next.
enum Step {
    Wait,
    Pause,
    Again,
    End(Result<Answers, ExecuteError>),
    Renew { born: u64 },
}

/// What is known of the attempts that have ended.
#[derive(Clone, Copy)]
enum Fate {
    NotExecuted,
    Unknown(Option<EntryId>),
}

/// The attempts at one request.
struct Attempts<'a> {
    node: &'a Arc<Node>,
    call: Arc<KvCall>,
    sender: Sender<Event>,
    /// Who was asked last, as the leader of which term.
    asked: (Term, Option<PeerId>),
    sent: u32,
    outstanding: u32,
    fate: Fate,
}

impl Attempts<'_> {
    /// Makes one more. Without a leader to send it to it waits for one, unless an earlier attempt
    /// may still be answered: then it says when to try again, if no news comes before.
    fn send(&mut self, deadline: Instant) -> Option<Instant> {
        let mut leader = self.node.leader();
        if leader.1.is_none() {
            if self.outstanding > 0 {
                return Some(Instant::now() + PAUSE);
            }
            leader = self.node.replicated.wait_for_leader((0, None), deadline);
        }
        let sender = self.sender.clone();
        match self.node.route_to(leader.1) {
            Route::Here => {
                let done = move |reply| drop(sender.send(Event::Reply(reply)));
                self.node.execute_here(Arc::clone(&self.call), done);
            }
            Route::Peer(end) => {
                let done = move |reply: Option<KvReply>| {
                    drop(sender.send(reply.map_or(Event::Nothing, Event::Reply)));
                };
                Node::execute_there(&*end, &self.call, done);
            }
            // The deadline, or the end of this node, or a leader that was lost at once.
            Route::Nowhere => return Some(Instant::now() + PAUSE),
        }
        self.asked = leader;
        self.sent += 1;
        self.outstanding += 1;
        None
    }

    fn on_event(&mut self, event: Event) -> Step {
        let reply = match event {
            // The news may be older than the latest attempt.
            Event::NewLeader if self.outstanding > 0 && self.asked == self.node.leader() => {
                return Step::Wait;
            }
            Event::NewLeader => return Step::Again,
            Event::Stopped => return Step::End(Err(self.error_when_stopped())),
            Event::Nothing => {
                self.outstanding -= 1;
                self.may_be_executed(None);
                return Step::Pause;
            }
            Event::Reply(reply) => reply,
        };
        self.outstanding -= 1;
        match reply {
            KvReply::Answers(answers) => Step::End(Ok(answers)),
            KvReply::Refused(Refused::NoSession { renew_at }) if self.sent == 1 => {
                Step::Renew { born: renew_at }
            }
            KvReply::Refused(_) => {
                self.may_be_executed(None);
                Step::End(Err(self.unknown()))
            }
            KvReply::NotLeader { .. } | KvReply::Superseded => Step::Pause,
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
            KvReply::Busy => Step::End(Err(self.error_or_unknown(ExecuteError::Busy))),
            KvReply::NoSpace => Step::End(Err(self.error_or_unknown(ExecuteError::NoSpace))),
            KvReply::TooLarge => Step::End(Err(ExecuteError::TooLarge)),
        }
    }

    fn may_be_executed(&mut self, id: Option<EntryId>) {
        let known = match self.fate {
            Fate::NotExecuted => None,
            Fate::Unknown(id) => id,
        };
        self.fate = Fate::Unknown(id.or(known));
    }

    /// `error`, unless an attempt may have been, or may yet be, executed.
    fn error_or_unknown(&self, error: ExecuteError) -> ExecuteError {
        let surely_not = self.outstanding == 0 && matches!(self.fate, Fate::NotExecuted);
        if surely_not || self.call.is_read() { error } else { self.unknown() }
    }

    fn unknown(&self) -> ExecuteError {
        let id = match self.fate {
            Fate::NotExecuted => None,
            Fate::Unknown(id) => id,
        };
        ExecuteError::UnknownResult { id, term: self.node.leader().0 }
    }

    fn error_at_deadline(&self) -> ExecuteError {
        let reason = self.node.status().why_no_leader(SILENT_AFTER);
        self.error_or_unknown(ExecuteError::NoLeader { reason })
    }

    fn error_when_stopped(&self) -> ExecuteError {
        self.error_or_unknown(ExecuteError::Stopped)
    }

    /// The call, to be made again under another number.
    fn into_call(self) -> KvCall {
        let call = self.call;
        Arc::try_unwrap(call).unwrap_or_else(|shared| (*shared).clone())
    }
}
