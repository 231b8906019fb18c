//! The one door to the network's state: a lock, the steps behind it, and what they ask for outside.
//!
//! The lock is held for one step and never across a handler, a completion, or the drop of a server.
//!
//! **Where user code runs.** Handlers run on workers. A completion runs on the worker whose handler
//! has just returned, or on a worker of its own when the slot is filled later (never on the filler's
//! thread, which may hold locks), or on the delivery thread when time alone ends the call. A prompt
//! service ([`Service::is_prompt`](oarlock_rpc::Service::is_prompt)) needs no workers: its handlers
//! run on the thread that calls or delivers, and completions on the thread that fills the slot.

use std::io::{self, Write};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use oarlock_rpc::{Completion, Method, ReplySlot};
use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::calls::{Action, Calls, Due};
use crate::pending::{CallId, Request};
use crate::topology::EndId;
use crate::workers::{Panic, Workers};

/// How long a worker stays without work. Longer than the pause between two heartbeats, so that an
/// idle cluster keeps its few threads.
const WORKER_IDLE_MAX: Duration = Duration::from_secs(1);

/// What all handles, ends and threads of one network share.
pub(crate) struct Shared {
    calls: Mutex<Calls>,
    /// The earliest deadline has moved forward, or the network has stopped; the delivery thread
    /// waits for it.
    wake_delivery: Condvar,
    workers: Workers,
}

impl Shared {
    /// The state of a new network.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            calls: Mutex::new(Calls::new(seed)),
            wake_delivery: Condvar::new(),
            workers: Workers::new(WORKER_IDLE_MAX),
        }
    }

    /// One step of the network's state.
    pub(crate) fn step<T>(&self, f: impl FnOnce(&mut Calls, Instant) -> T) -> T {
        let mut calls = self.calls.lock();
        let out = f(&mut calls, Instant::now());
        let earlier = calls.take_earlier();
        drop(calls);
        if earlier {
            self.wake_delivery.notify_all();
        }
        out
    }

    /// Starts a call.
    pub(crate) fn start(
        self: &Arc<Self>,
        end: EndId,
        method: Method,
        args: Vec<u8>,
        done: Completion,
    ) {
        let action = self.step(|calls, now| calls.begin(end, method, args, done, now));
        self.perform(action);
    }

    /// The delivery thread: takes the steps that time brings, until the network stops.
    pub(crate) fn deliver(self: &Arc<Self>) {
        let _stop_if_panicking = StopIfPanicking(self);
        let mut calls = self.calls.lock();
        loop {
            match calls.due(Instant::now()) {
                Due::Now(action) => MutexGuard::unlocked(&mut calls, || self.perform(Some(action))),
                Due::At(deadline) => drop(self.wake_delivery.wait_until(&mut calls, deadline)),
                Due::WhenWoken => self.wake_delivery.wait(&mut calls),
                Due::Stopped => return,
            }
        }
    }

    /// Ends the network, except for its threads: fails what is in flight, drops the servers, and
    /// sends the threads home without waiting for them.
    pub(crate) fn stop(&self) {
        let remains = self.step(|calls, _| calls.stop());
        self.wake_delivery.notify_all();
        self.workers.dismiss();
        for done in remains.unfinished {
            done.complete(None);
        }
        drop((remains.undelivered, remains.topology));
    }

    /// The threads that handlers run on.
    pub(crate) fn workers(&self) -> &Workers {
        &self.workers
    }

    fn perform(self: &Arc<Self>, action: Option<Action>) {
        match action {
            Some(Action::Handle(call, request)) if request.server.service.is_prompt() => {
                if let Err(panic) = self.handle(call, request) {
                    self.workers.keep_panic(panic);
                }
            }
            Some(Action::Handle(call, request)) => {
                let shared = Arc::clone(self);
                // Refused after the network has stopped, and stopping has failed the call.
                drop(self.workers.run(Box::new(move || {
                    if let Err(panic) = shared.handle(call, request) {
                        // The crew keeps it for whoever joins it.
                        panic::resume_unwind(panic);
                    }
                })));
            }
            Some(Action::Complete(done, outcome)) => done.complete(outcome),
            None => {}
        }
    }

    /// Runs a handler. `Err` is what it panicked with; its call has failed then.
    fn handle(self: &Arc<Self>, call: CallId, request: Request) -> Result<(), Panic> {
        let Request { server, method, args } = request;
        let (shared, is_prompt) = (Arc::clone(self), server.service.is_prompt());
        let slot = ReplySlot::new(move |answer| shared.answered(call, answer, is_prompt));
        let handled = panic::catch_unwind(AssertUnwindSafe(|| {
            server.service.handle_owned(method.name, args, slot)
        }));
        if let Ok(Err(unknown)) = &handled {
            abort(&format!("server {:?}: {unknown}", server.name));
        }
        self.perform(self.step(|calls, now| calls.returned(call, now)));
        handled.map(drop)
    }

    /// A reply slot has been filled or dropped, on whatever thread.
    fn answered(&self, call: CallId, answer: Option<Vec<u8>>, is_prompt: bool) {
        let action = self.step(|calls, now| calls.answered(call, answer, now));
        let Some(Action::Complete(done, outcome)) = action else { return };
        if is_prompt {
            return done.complete(outcome);
        }
        if let Err(job) = self.workers.run(Box::new(move || done.complete(outcome))) {
            // The network stopped in between; nobody else can deliver this outcome.
            job();
        }
    }
}

/// Stops the network when its delivery thread dies of a panic in a completion: calls then fail at
/// once instead of waiting for ever.
struct StopIfPanicking<'a>(&'a Shared);

impl Drop for StopIfPanicking<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.stop();
        }
    }
}

/// Ends the process: the caller and the server were not built for each other.
fn abort(why: &str) -> ! {
    // Past the capture of the test harness, which would be lost with the process.
    drop(writeln!(io::stderr(), "labrpc: {why}; aborting"));
    std::process::abort()
}
