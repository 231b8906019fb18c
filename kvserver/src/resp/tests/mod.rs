//! The front end on a store in this process: conversations byte by byte, and real clients on real
//! sockets.

mod conversations;
mod handshakes;
mod sockets;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use oarlock_raft::PeerId;
use parking_lot::Mutex;

use super::*;
use crate::machine::KvMachine;
use crate::request::{ClientId, Request};
use crate::status::{MemberRole, MemberStatus, NodeRole};

/// A store of one machine, that can be told to fail.
#[derive(Default)]
struct TestStore {
    state: Mutex<TestState>,
}

#[derive(Default)]
struct TestState {
    machine: KvMachine,
    index: u64,
    /// How many operations each request had.
    requests: Vec<usize>,
    failures: VecDeque<ExecuteError>,
    delay: Option<Duration>,
    /// Where the next request and its caller are held: it is met there twice.
    gate: Option<Arc<std::sync::Barrier>>,
    /// On which threads requests came.
    callers: Vec<String>,
}

impl Store for TestStore {
    fn execute_with(&self, ops: Vec<Op>, done: Done) {
        let caller = std::thread::current().name().unwrap_or_default().to_owned();
        self.state.lock().callers.push(caller);
        let gate = self.state.lock().gate.take();
        if let Some(gate) = gate {
            gate.wait();
            gate.wait();
        }
        let delay = self.state.lock().delay;
        let result = self.execute_now(ops);
        let Some(delay) = delay else { return done(result) };
        let bringer = std::thread::Builder::new().name("bringer".to_owned());
        let bringing = bringer.spawn(move || {
            // A wait that nobody ends.
            let (call, unanswered) = oarlock_rpc::Call::pair();
            assert!(call.wait_until(std::time::Instant::now() + delay).is_err());
            drop(unanswered);
            done(result);
        });
        bringing.expect("one more thread");
    }

    fn status(&self) -> NodeStatus {
        let state = self.state.lock();
        let gauges = state.machine.gauges();
        let member = |id: u64| MemberStatus {
            id: PeerId(id),
            role: MemberRole::Voter,
            peer_addr: None,
            client_addr: Some(format!("10.0.0.{id}:6379")),
            match_index: None,
            last_contact: None,
        };
        NodeStatus {
            id: PeerId(2),
            role: NodeRole::Follower,
            term: 7,
            leader: Some(PeerId(3)),
            commit_index: state.index,
            last_applied: state.index,
            last_index: state.index,
            first_index: 1,
            raft_state_bytes: 100,
            has_room: true,
            keys: gauges.keys.load(std::sync::atomic::Ordering::Relaxed),
            data_bytes: gauges.data_bytes.load(std::sync::atomic::Ordering::Relaxed),
            sessions: 1,
            members: vec![member(1), member(2), member(3)],
        }
    }
}

impl TestStore {
    fn execute_now(&self, ops: Vec<Op>) -> Result<Answers, ExecuteError> {
        let mut state = self.state.lock();
        if let Some(error) = state.failures.pop_front() {
            return Err(error);
        }
        state.requests.push(ops.len());
        if ops.iter().all(Op::is_read) {
            return Ok(state.machine.read(&ops));
        }
        state.index += 1;
        let index = state.index;
        let client = ClientId { born: 0, nonce: 1 };
        let request = Request { client, seq: index, acked_below: index, ops };
        Ok(state.machine.apply_at(index, request).expect("one client, in order"))
    }
}

/// A front end, its store, and one conversation.
struct Talk {
    store: Arc<TestStore>,
    connection: Connection,
    front: Arc<FrontEnd>,
}

impl Talk {
    fn new() -> Self {
        Self::with(RespOptions::default())
    }

    fn with(options: RespOptions) -> Self {
        let store = Arc::new(TestStore::default());
        let front = FrontEnd::new(Arc::clone(&store) as Arc<dyn Store>, options);
        let connection = front.connect().unwrap();
        Self { store, connection, front }
    }

    /// Sends lines, each a command; all that comes back.
    fn say(&mut self, lines: &str) -> String {
        let bytes: String = lines.lines().map(|line| line.trim().to_owned() + "\r\n").collect();
        self.send(bytes.as_bytes()).0
    }

    fn send(&mut self, bytes: &[u8]) -> (String, Flow) {
        self.connection.feed(bytes);
        let mut replies = Vec::new();
        loop {
            let mut out = Vec::new();
            let flow = self.connection.advance(&mut out);
            replies.append(&mut out);
            if flow != Flow::More {
                return (String::from_utf8(replies).unwrap(), flow);
            }
        }
    }

    fn fail_next(&self, error: ExecuteError) {
        self.store.state.lock().failures.push_back(error);
    }

    /// How many operations each request to the store had, since asked last.
    fn requests(&self) -> Vec<usize> {
        std::mem::take(&mut self.store.state.lock().requests)
    }
}
