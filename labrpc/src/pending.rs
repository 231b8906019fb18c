//! One call in flight: who waits for it, how far it has come, when it wants to be looked at.

use std::sync::Arc;
use std::time::{Duration, Instant};

use oarlock_rpc::{Completion, Method};

use crate::delivery::Fate;
use crate::topology::{EndId, Incarnation, Server, Topology};

/// While a handler runs, its caller looks this often whether the server is still there.
const DEADNESS_CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// One call, for the life of the network. Later calls have larger numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CallId(pub(crate) u64);

/// A request that has, or had, a server to go to.
pub(crate) struct Request {
    /// Where to: this very object, whatever its name stands for by then.
    pub(crate) server: Arc<Server>,
    /// What is called.
    pub(crate) method: Method,
    /// With what.
    pub(crate) args: Vec<u8>,
}

/// Who made a call.
pub(crate) struct Caller {
    /// From where: if it is cut off, so is the call.
    pub(crate) end: EndId,
    /// Where the outcome goes.
    pub(crate) done: Completion,
}

/// A call between its start and its outcome.
pub(crate) struct Pending {
    /// Who waits.
    pub(crate) caller: Caller,
    /// When it next wants a step, if time alone can bring one.
    pub(crate) deadline: Option<Instant>,
    /// How far it has come.
    pub(crate) stage: Stage,
}

/// How far a call has come.
pub(crate) enum Stage {
    /// It has no target, or its request will be lost: it fails at its deadline.
    Doomed,
    /// Its request reaches the server at its deadline.
    Travelling(Request, Fate),
    /// The handler has it. Its deadline, if any, is a deadness check.
    Running(Running),
    /// Its reply is held back until its deadline.
    Held(Vec<u8>),
}

/// A call that its server has got.
pub(crate) struct Running {
    /// Who got it: only that object's reply counts.
    pub(crate) server: Incarnation,
    /// When it was dispatched.
    pub(crate) since: Instant,
    /// What becomes of the reply.
    pub(crate) fate: Fate,
    /// The handler has returned; the reply leaves when it has, and the slot is filled.
    pub(crate) returned: bool,
    /// The place for the reply.
    pub(crate) slot: Slot,
}

/// The reply slot of a running call.
pub(crate) enum Slot {
    /// The service has it, or keeps it for later.
    Open,
    /// With the reply, or dropped.
    Filled(Option<Vec<u8>>),
}

impl Pending {
    /// Plans the next deadness check, if the handler runs and the call would not survive a check
    /// now; returns its time if that is news.
    ///
    /// The labs' callers look every 100 ms. Looking only at the first multiple of 100 ms after the
    /// connection was cut finds the same: what was cut is seen then, unless it is mended before.
    pub(crate) fn plan_check(&mut self, topology: &Topology, now: Instant) -> Option<Instant> {
        let Stage::Running(running) = &self.stage else { return None };
        if self.deadline.is_some() || topology.reaches(self.caller.end, running.server) {
            return None;
        }
        self.deadline = Some(running.next_check(now));
        self.deadline
    }
}

impl Running {
    /// The first check after `now`: they happen at multiples of the interval since the dispatch.
    fn next_check(&self, now: Instant) -> Instant {
        let passed = now.saturating_duration_since(self.since).as_nanos();
        let checks = passed / DEADNESS_CHECK_INTERVAL.as_nanos() + 1;
        let checks = u32::try_from(checks).expect("a call runs for less than 13 years");
        self.since + DEADNESS_CHECK_INTERVAL * checks
    }
}
