//! A toy: the least Raft that elects leaders and replicates a log, laid out as the labs advise.
//!
//! One mutex around the state of Figure 2, one condition variable, and a thread for each thing that
//! takes time: the elections, the messages to each peer, the apply channel. No thread holds the
//! lock while it calls or delivers, and none waits for a reply: that is handed in when it comes.
//!
//! **It is wrong, on purpose:** it persists nothing and takes no snapshots. The suites 2A and 2B do
//! not notice; 2C and 2D must. It is also the place to start from: copy it, see
//! [`rafts`](super), and make it right.

mod state;

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crossbeam_channel::Sender;
use oarlock_raft::{ApplyMsg, Index, Start, Term};
use oarlock_rpc::codec::{self, Wire};
use oarlock_rpc::{Completion, End, Method, ReplySlot, Service, UnknownMethod};
use oarlock_storage::Persister;
use parking_lot::{Condvar, Mutex};

use self::state::{Due, LogEntry, Role, State};
use crate::harness::LabRaft;

const REQUEST_VOTE: Method = Method::urgent("Raft.RequestVote");
const APPEND_ENTRIES: Method = Method::urgent("Raft.AppendEntries");

/// A handle on one peer.
pub(super) struct Toy {
    me: usize,
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// What the threads of a peer share.
struct Shared {
    ends: Vec<Arc<dyn End>>,
    state: Mutex<State>,
    /// The state has changed: whoever sleeps looks again.
    changed: Condvar,
}

impl LabRaft for Toy {
    fn make(
        ends: Vec<Arc<dyn End>>,
        me: usize,
        persister: Box<dyn Persister>,
        apply_ch: Sender<ApplyMsg>,
        seed: u64,
    ) -> Self {
        // What a predecessor knew is lost, and so will be what this one learns.
        drop(persister);
        let n = ends.len();
        let state = Mutex::new(State::new(me, n, seed));
        let shared = Arc::new(Shared { ends, state, changed: Condvar::new() });
        let toy = Self { me, shared, threads: Mutex::default() };
        toy.spawn("ticker", ticker);
        toy.spawn("applier", move |shared| applier(shared, &apply_ch));
        for peer in (0..n).filter(|&peer| peer != me) {
            toy.spawn(&format!("to-{peer}"), move |shared| sender(shared, peer));
        }
        toy
    }

    fn start(&self, command: Vec<u8>) -> Start {
        self.shared.step(|state| {
            let is_leader = state.start(command);
            Start { index: state.last_index(), term: state.current_term, is_leader }
        })
    }

    fn get_state(&self) -> (Term, bool) {
        self.shared.step(|state| (state.current_term, state.role == Role::Leader))
    }

    fn snapshot(&self, _index: Index, _bytes: &[u8]) {}

    fn kill(&self) {
        self.shared.step(|state| state.killed = true);
        for thread in self.threads.lock().drain(..) {
            if let Err(panic) = thread.join()
                && !thread::panicking()
            {
                std::panic::resume_unwind(panic);
            }
        }
    }

    fn service(&self) -> Arc<dyn Service> {
        Arc::new(ToyService(Arc::clone(&self.shared)))
    }

    fn describe(&self) -> String {
        self.shared.step(|state| {
            let (term, role, commit) = (state.current_term, &state.role, state.commit_index);
            format!("T{term} {role:?} commit={commit} last={}", state.last_index())
        })
    }
}

impl Toy {
    fn spawn(&self, duty: &str, body: impl FnOnce(&Arc<Shared>) + Send + 'static) {
        let shared = Arc::clone(&self.shared);
        let name = format!("raft-{}-{duty}", self.me);
        let thread = thread::Builder::new().name(name).spawn(move || body(&shared));
        self.threads.lock().push(thread.expect("the system has room for another thread"));
    }
}

impl Shared {
    /// Changes the state, and wakes everybody.
    fn step<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.state.lock());
        self.changed.notify_all();
        result
    }

    /// Sleeps until `due` takes work from the state; `None` once the peer is killed.
    fn take<T>(&self, mut due: impl FnMut(&mut State) -> Due<T>) -> Option<T> {
        let mut state = self.state.lock();
        while !state.killed {
            match due(&mut state) {
                Ok(work) => return Some(work),
                Err(None) => self.changed.wait(&mut state),
                Err(Some(deadline)) => drop(self.changed.wait_until(&mut state, deadline)),
            }
        }
        None
    }

    /// Calls `peer`, and returns at once; a reply, if one comes, is handed in with the arguments.
    fn call<A: Wire + Send + 'static, R: Wire>(
        self: &Arc<Self>,
        peer: usize,
        method: Method,
        args: A,
        on_reply: impl FnOnce(&mut State, &A, &R) + Send + 'static,
    ) {
        let bytes = codec::encode(&args).expect("the logs of the suites are short enough");
        let shared = Arc::clone(self);
        let done = Completion::new(move |reply| {
            if let Some(reply) = reply.and_then(|bytes| codec::decode(&bytes).ok()) {
                shared.step(|state| on_reply(state, &args, &reply));
            }
        });
        self.ends[peer].start(method, bytes, done);
    }
}

/// Campaigns whenever the election time-out has passed.
fn ticker(shared: &Arc<Shared>) {
    while let Some(args) = shared.take(State::election_due) {
        for peer in (0..shared.ends.len()).filter(|&peer| peer != args.candidate) {
            shared.call(peer, REQUEST_VOTE, args.clone(), State::on_vote_reply);
        }
    }
}

/// Sends `peer` what it should know, whenever this peer leads.
fn sender(shared: &Arc<Shared>, peer: usize) {
    while let Some(args) = shared.take(|state| state.append_due(peer)) {
        shared.call(peer, APPEND_ENTRIES, args, move |state, args, reply| {
            state.on_append_reply(peer, args, reply);
        });
    }
}

/// Delivers what is committed, in order.
fn applier(shared: &Arc<Shared>, apply_ch: &Sender<ApplyMsg>) {
    let mut last_applied = 0;
    while let Some(entries) = shared.take(|state| state.apply_due(last_applied)) {
        for LogEntry { term, command } in entries {
            last_applied += 1;
            let command = command.into();
            if apply_ch.send(ApplyMsg::Command { index: last_applied, term, command }).is_err() {
                return;
            }
        }
    }
}

struct ToyService(Arc<Shared>);

impl Service for ToyService {
    fn handle(&self, method: &str, args: &[u8], reply: ReplySlot) -> Result<(), UnknownMethod> {
        if method == REQUEST_VOTE.name {
            self.answer(args, reply, State::handle_request_vote);
        } else if method == APPEND_ENTRIES.name {
            self.answer(args, reply, State::handle_append_entries);
        } else {
            return Err(UnknownMethod(method.to_owned()));
        }
        Ok(())
    }
}

impl ToyService {
    fn answer<A: Wire, R: Wire>(
        &self,
        args: &[u8],
        reply: ReplySlot,
        handle: impl FnOnce(&mut State, A) -> R,
    ) {
        let args = codec::decode(args).expect("all peers are of one build");
        let answer = self.0.step(|state| handle(state, args));
        reply.reply(codec::encode(&answer).expect("replies are short"));
    }
}
