//! The life of a call as a state machine: the network's whole state, with time stated by the caller.
//!
//! Plain data under one lock, stepped by [`Calls::begin`], [`Calls::due`], [`Calls::answered`] and
//! [`Calls::returned`]; each gives back what must be done *outside* the lock as an [`Action`].
//! Nothing here waits, runs a handler, or reads a clock.
//!
//! Every call in flight is in one table. It has at most one deadline at a time: the heap's entry for
//! it is stale, and ignored, if it is not the deadline that the table has.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use oarlock_rpc::{Completion, Method, Service};

use crate::deadlines::Deadlines;
use crate::delivery::{self, Fate, Knobs};
use crate::pending::{CallId, Caller, Pending, Request, Running, Slot, Stage};
use crate::rng::Rng;
use crate::topology::{EndId, Server, Topology};

/// What a step asks for, to be done without the lock.
#[must_use]
pub(crate) enum Action {
    /// Run the server's handler, on a thread that it may block.
    Handle(CallId, Request),
    /// The call is over: tell its caller.
    Complete(Completion, Option<Vec<u8>>),
}

/// What the delivery thread has to do.
pub(crate) enum Due {
    /// This, now.
    Now(Action),
    /// Nothing before that moment.
    At(Instant),
    /// Nothing before a call is made.
    WhenWoken,
    /// Nothing ever again: the network is torn down.
    Stopped,
}

/// What a network leaves behind: calls to fail, then ends and servers to drop, without the lock.
pub(crate) struct Remains {
    /// The calls that were in flight.
    pub(crate) unfinished: Vec<Completion>,
    /// Requests on their way, which may own the last handle of a server.
    pub(crate) undelivered: Vec<Request>,
    /// All that was registered.
    pub(crate) topology: Topology,
}

/// The state of a network.
pub(crate) struct Calls {
    /// How the network behaves towards calls that start from now on.
    pub(crate) knobs: Knobs,
    topology: Topology,
    total_count: u64,
    total_bytes: u64,
    rng: Rng,
    pending: BTreeMap<CallId, Pending>,
    deadlines: Deadlines,
    stopped: bool,
}

impl Calls {
    /// A network of nothing, with the default knobs.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            knobs: Knobs::default(),
            topology: Topology::default(),
            total_count: 0,
            total_bytes: 0,
            rng: Rng::new(seed),
            pending: BTreeMap::new(),
            deadlines: Deadlines::default(),
            stopped: false,
        }
    }

    /// The ends and servers.
    pub(crate) fn topology(&self) -> &Topology {
        &self.topology
    }

    /// Every call ever started.
    pub(crate) fn total_count(&self) -> u64 {
        self.total_count
    }

    /// The bytes of all calls' arguments, and of the replies that were delivered.
    pub(crate) fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// Whether the earliest deadline has moved forward since this was last asked.
    pub(crate) fn take_earlier(&mut self) -> bool {
        self.deadlines.take_earlier()
    }

    /// Starts a call: counts it, samples knobs and target once, together, and draws its fate.
    pub(crate) fn begin(
        &mut self,
        end: EndId,
        method: Method,
        args: Vec<u8>,
        done: Completion,
        now: Instant,
    ) -> Option<Action> {
        if self.stopped {
            return Some(Action::Complete(done, None));
        }
        self.total_count += 1;
        self.total_bytes += args.len() as u64;
        let call = CallId(self.total_count);
        let caller = Caller { end, done };
        let Some(server) = self.topology.target(end) else {
            let delay = delivery::unreachable_delay(self.knobs, &mut self.rng);
            self.wait_until(now + delay, call, caller, Stage::Doomed);
            return None;
        };
        let fate = delivery::fate(self.knobs, &mut self.rng);
        let arrival = now + fate.request_delay;
        if fate.drop_request {
            self.wait_until(arrival, call, caller, Stage::Doomed);
            return None;
        }
        let request = Request { server: Arc::clone(server), method, args };
        if fate.request_delay.is_zero() {
            return Some(self.dispatch(call, caller, request, fate, now));
        }
        self.wait_until(arrival, call, caller, Stage::Travelling(request, fate));
        None
    }

    /// What time has brought up by `now`.
    pub(crate) fn due(&mut self, now: Instant) -> Due {
        if self.stopped {
            return Due::Stopped;
        }
        while let Some((deadline, call)) = self.deadlines.pop_due(now) {
            if let Some(action) = self.deadline_came(deadline, call, now) {
                return Due::Now(action);
            }
        }
        self.deadlines.next().map_or(Due::WhenWoken, Due::At)
    }

    /// The handler has returned.
    pub(crate) fn returned(&mut self, call: CallId, now: Instant) -> Option<Action> {
        let running = self.running(call)?;
        running.returned = true;
        if matches!(running.slot, Slot::Filled(_)) { self.conclude(call, now) } else { None }
    }

    /// The reply slot has been filled, or dropped.
    pub(crate) fn answered(
        &mut self,
        call: CallId,
        answer: Option<Vec<u8>>,
        now: Instant,
    ) -> Option<Action> {
        let running = self.running(call)?;
        running.slot = Slot::Filled(answer);
        if running.returned { self.conclude(call, now) } else { None }
    }

    /// Ends the network: nothing is in flight or registered after this.
    pub(crate) fn stop(&mut self) -> Remains {
        self.stopped = true;
        self.deadlines.clear();
        let mut unfinished = Vec::new();
        let mut undelivered = Vec::new();
        for pending in std::mem::take(&mut self.pending).into_values() {
            unfinished.push(pending.caller.done);
            if let Stage::Travelling(request, _) = pending.stage {
                undelivered.push(request);
            }
        }
        Remains { unfinished, undelivered, topology: std::mem::take(&mut self.topology) }
    }

    /// Puts a call in the table, to be looked at again at `deadline`.
    fn wait_until(&mut self, deadline: Instant, call: CallId, caller: Caller, stage: Stage) {
        self.deadlines.push(deadline, call);
        self.pending.insert(call, Pending { caller, deadline: Some(deadline), stage });
    }

    fn running(&mut self, call: CallId) -> Option<&mut Running> {
        match &mut self.pending.get_mut(&call)?.stage {
            Stage::Running(running) => Some(running),
            _ => None,
        }
    }

    /// Hands a request to its server, whatever has happened to the connection since it was sent.
    fn dispatch(
        &mut self,
        call: CallId,
        caller: Caller,
        request: Request,
        fate: Fate,
        now: Instant,
    ) -> Action {
        request.server.count_request();
        let server = request.server.incarnation;
        let running = Running { server, since: now, fate, returned: false, slot: Slot::Open };
        let mut pending = Pending { caller, deadline: None, stage: Stage::Running(running) };
        // It may have been cut off on the way.
        if let Some(check) = pending.plan_check(&self.topology, now) {
            self.deadlines.push(check, call);
        }
        self.pending.insert(call, pending);
        Action::Handle(call, request)
    }

    /// One step of a call whose deadline came, if it is still its deadline.
    fn deadline_came(&mut self, deadline: Instant, call: CallId, now: Instant) -> Option<Action> {
        let pending = self.pending.get_mut(&call).filter(|p| p.deadline == Some(deadline))?;
        if let Stage::Running(running) = &pending.stage
            && self.topology.reaches(pending.caller.end, running.server)
        {
            pending.deadline = None;
            return None;
        }
        let Pending { caller, stage, .. } = self.pending.remove(&call)?;
        Some(match stage {
            Stage::Doomed | Stage::Running(_) => Action::Complete(caller.done, None),
            Stage::Travelling(request, fate) => self.dispatch(call, caller, request, fate, now),
            Stage::Held(reply) => self.deliver(caller, reply),
        })
    }

    /// A handler has returned and its slot is filled: does the reply get back, and when?
    fn conclude(&mut self, call: CallId, now: Instant) -> Option<Action> {
        let Pending { caller, stage, .. } = self.pending.remove(&call)?;
        let Stage::Running(Running { server, fate, slot: Slot::Filled(answer), .. }) = stage else {
            unreachable!("call {call:?} is concluded before it is answered");
        };
        let alive = self.topology.reaches(caller.end, server);
        let reply = answer.filter(|_| alive && !fate.drop_reply);
        match (reply, fate.hold_reply) {
            (None, _) => Some(Action::Complete(caller.done, None)),
            (Some(reply), None) => Some(self.deliver(caller, reply)),
            (Some(reply), Some(hold)) => {
                self.wait_until(now + hold, call, caller, Stage::Held(reply));
                None
            }
        }
    }

    fn deliver(&mut self, caller: Caller, reply: Vec<u8>) -> Action {
        self.total_bytes += reply.len() as u64;
        Action::Complete(caller.done, Some(reply))
    }

    /// Plans a check of every running call that has just been cut off from its server.
    fn plan_checks(&mut self, now: Instant) {
        for (call, pending) in &mut self.pending {
            if let Some(check) = pending.plan_check(&self.topology, now) {
                self.deadlines.push(check, *call);
            }
        }
    }
}

/// What changes the topology, and so may cut calls off from their servers.
impl Calls {
    /// A new end, disabled and not connected.
    pub(crate) fn make_end(&mut self, name: String) -> EndId {
        self.topology.make_end(name)
    }

    /// Connects an end to a server's name, once.
    pub(crate) fn connect(&mut self, end: &str, server: String) {
        if !self.stopped {
            self.topology.connect(end, server);
        }
    }

    /// Enables or disables an end.
    pub(crate) fn enable(&mut self, end: &str, enabled: bool, now: Instant) {
        if !self.stopped {
            self.topology.enable(end, enabled);
            self.plan_checks(now);
        }
    }

    /// Takes an end away.
    pub(crate) fn delete_end(&mut self, end: &str, now: Instant) {
        if !self.stopped {
            self.topology.delete_end(end);
            self.plan_checks(now);
        }
    }

    /// Puts a new server object under a name. Gives back what is to be dropped without the lock:
    /// the object it replaces, and the service itself if the network is torn down.
    #[must_use]
    pub(crate) fn add_server(
        &mut self,
        name: String,
        service: Arc<dyn Service>,
        now: Instant,
    ) -> (Option<Arc<Server>>, Option<Arc<dyn Service>>) {
        if self.stopped {
            return (None, Some(service));
        }
        let replaced = self.topology.add_server(name, service);
        self.plan_checks(now);
        (replaced, None)
    }

    /// Takes the server object under a name away; it is to be dropped without the lock.
    #[must_use]
    pub(crate) fn delete_server(&mut self, name: &str, now: Instant) -> Option<Arc<Server>> {
        let deleted = self.topology.delete_server(name);
        self.plan_checks(now);
        deleted
    }
}

#[cfg(test)]
mod tests;
