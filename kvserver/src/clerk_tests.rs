//! A clerk against one server that loses replies and forgets sessions when it is told to.

use std::collections::VecDeque;

use oarlock_rpc::codec::Wire;
use oarlock_rpc::{Completion, Method};
use parking_lot::Mutex;

use super::*;
use crate::machine::KvMachine;
use crate::op::OpError;
use crate::session::Limits;

/// What becomes of a call.
#[derive(Clone, Copy)]
enum Fate {
    /// It is executed, but the reply is lost.
    LoseReply,
    /// It is executed, the reply is lost, and then another client evicts the session.
    LoseReplyAndSession,
    /// It is not executed, and this is said.
    NotLeader,
}

/// A server that remembers one session only.
struct Server {
    state: Mutex<State>,
}

struct State {
    machine: KvMachine,
    index: u64,
    fates: VecDeque<Fate>,
}

impl Server {
    fn new(fates: &[Fate]) -> Arc<Self> {
        let machine = KvMachine::new(Limits { sessions: 1, ..Limits::default() });
        let state = State { machine, index: 0, fates: fates.iter().copied().collect() };
        Arc::new(Self { state: Mutex::new(state) })
    }

    fn clerk(self: &Arc<Self>) -> Clerk {
        Clerk::new(vec![Arc::clone(self) as Arc<dyn End>])
    }

    /// Another client writes, which evicts whoever wrote before.
    fn evict(&self) {
        self.state.lock().evict();
    }
}

impl State {
    fn evict(&mut self) {
        let client = ClientId::random(self.index);
        self.execute(Request { client, seq: 1, acked_below: 1, ops: vec![] });
    }

    fn execute(&mut self, request: Request) -> KvReply {
        self.index += 1;
        match self.machine.apply_at(self.index, request) {
            Ok(answers) => KvReply::Answers(answers),
            Err(refused) => KvReply::Refused(refused),
        }
    }
}

impl End for Server {
    fn start(&self, method: Method, args: Vec<u8>, done: Completion) {
        assert_eq!(method, KV_REQUEST);
        let call: KvCall = codec::decode(&args).unwrap();
        let mut state = self.state.lock();
        let fate = state.fates.pop_front();
        let reply = match fate {
            Some(Fate::NotLeader) => KvReply::NotLeader { leader: None },
            _ if call.is_read() => KvReply::Answers(state.machine.read(&call.request.ops)),
            _ => state.execute(call.request),
        };
        if matches!(fate, Some(Fate::LoseReplyAndSession)) {
            state.evict();
        }
        drop(state);
        let lost = matches!(fate, Some(Fate::LoseReply | Fate::LoseReplyAndSession));
        done.complete((!lost).then(|| codec::encode(&reply).unwrap()));
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(5)
}

fn at_once() -> Instant {
    Instant::now() + Duration::from_millis(10)
}

#[test]
fn a_lost_reply_is_asked_for_again_and_nothing_executes_twice() {
    let server = Server::new(&[Fate::LoseReply, Fate::LoseReply]);
    let mut clerk = server.clerk();
    assert_eq!(clerk.append_until(b"k", b"ab", soon()), Ok(2));
    assert_eq!(clerk.append_until(b"k", b"c", soon()), Ok(3));
    assert_eq!(clerk.get("k"), "abc");
}

#[test]
fn at_the_deadline_the_error_says_whether_it_may_have_taken_effect() {
    let mut clerk = Server::new(&[Fate::NotLeader; 9]).clerk();
    assert_eq!(clerk.put_until(b"k", b"v", at_once()), Err(ClerkError::NotExecuted));
    let mut clerk = Server::new(&[Fate::LoseReply; 9]).clerk();
    let error = clerk.put_until(b"k", b"v", at_once()).unwrap_err();
    assert!(error.may_have_taken_effect() && error.is_retry_useful(), "{error}");
    assert_eq!(clerk.get_until(b"k", at_once()), Err(ClerkError::NotExecuted), "reads never do");
}

#[test]
fn a_session_lost_between_calls_is_renewed() {
    let server = Server::new(&[]);
    let mut clerk = server.clerk();
    assert_eq!(clerk.append_until(b"k", b"a", soon()), Ok(1));
    server.evict();
    assert_eq!(clerk.append_until(b"k", b"b", soon()), Ok(2));
    assert_eq!(clerk.append_until(b"k", b"c", soon()), Ok(3));
}

#[test]
fn a_session_lost_in_the_middle_of_a_call_is_not_renewed_behind_the_callers_back() {
    let server = Server::new(&[Fate::LoseReplyAndSession]);
    let mut clerk = server.clerk();
    assert_eq!(clerk.append_until(b"k", b"a", soon()), Err(ClerkError::UnknownResult));
    assert_eq!(clerk.get("k"), "a", "it did take effect, once");
    assert_eq!(clerk.append_until(b"k", b"b", soon()), Ok(2), "the next call begins anew");
}

#[test]
fn what_the_store_refuses_is_told_and_not_tried_again() {
    let mut clerk = Server::new(&[]).clerk();
    clerk.put("k", "text");
    let add = vec![Op::IncrBy { key: bytes("k"), by: 1 }];
    let answers = clerk.execute_until(add, soon()).unwrap();
    assert_eq!(answers[0], Answer::Error(OpError::NotAnInteger));
    let long = vec![b'x'; crate::op::KEY_BYTES_MAX + 1];
    let error = clerk.put_until(&long, b"", soon()).unwrap_err();
    assert_eq!(error, ClerkError::Op(OpError::KeyTooLong));
    let large = vec![b'x'; KvCall::MAX_BYTES];
    assert_eq!(clerk.put_until(b"k", &large, soon()), Err(ClerkError::TooLarge));
}
