//! Who is to be told when the leader changes.
//!
//! A request that was sent to a leader which then vanished may never hear of it; a change of leader
//! is what makes it worth sending again. One thread waits for changes and tells all desks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::local::Desk;
use crate::node::Node;

/// All who are to be told.
#[derive(Default)]
pub(crate) struct Watch {
    told: Mutex<Told>,
    /// Somebody found no leader, and wants to hear of the next one even if it is the one of before.
    wanted: AtomicBool,
}

#[derive(Default)]
struct Told {
    desks: Vec<Arc<Desk>>,
    stopped: bool,
}

impl Watch {
    /// Tells `desk` of each change of leader, and of the end of this node.
    pub(crate) fn add(&self, desk: Arc<Desk>) {
        let mut told = self.told.lock();
        if told.stopped {
            drop(told);
            return desk.stopped();
        }
        told.desks.push(desk);
    }

    /// Tells `desk` nothing more.
    pub(crate) fn remove(&self, desk: &Arc<Desk>) {
        self.told.lock().desks.retain(|other| !Arc::ptr_eq(other, desk));
    }

    /// Asks to be told of the next leader, whoever it is; true if there is one by now.
    pub(crate) fn wants_leader(&self, node: &Node) -> bool {
        // In this order: a leader that is found after the look is seen with the flag.
        self.wanted.store(true, Ordering::SeqCst);
        node.leader().1.is_some()
    }

    /// The thread: returns when the peer stops.
    pub(crate) fn run(&self, node: &Arc<Node>) {
        // Long enough to be idle; the loop goes on after it.
        const LONG: Duration = Duration::from_secs(3600);
        let mut known = (0, None);
        while node.replicated.raft().stopped().is_none() {
            let deadline = Instant::now() + LONG;
            let is_wanted = || self.wanted.load(Ordering::SeqCst);
            let now_known = node.replicated.wait_for_leader_or(known, is_wanted, deadline);
            // The deadline, or the end.
            if now_known.1.is_none() {
                continue;
            }
            let was_wanted = self.wanted.swap(false, Ordering::SeqCst);
            if now_known != known || was_wanted {
                known = now_known;
                self.desks().iter().for_each(|desk| desk.new_leader());
            }
        }
        self.told.lock().stopped = true;
        self.desks().iter().for_each(|desk| desk.stopped());
    }

    fn desks(&self) -> Vec<Arc<Desk>> {
        self.told.lock().desks.clone()
    }
}
