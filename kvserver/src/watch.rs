//! Who waits for an answer, and is to be told when the leader changes.
//!
//! A request that was sent to a leader which then vanished may never hear of it; a change of leader
//! is what makes it worth sending again. One thread waits for changes and tells all that wait.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use parking_lot::Mutex;

use crate::node::Node;
use crate::request::KvReply;

/// What somebody who waits for an answer can hear.
#[derive(Debug)]
pub(crate) enum Event {
    /// An attempt ended with this reply.
    Reply(KvReply),
    /// An attempt ended without a reply.
    Nothing,
    /// A leader is known, and it is not the one of before.
    NewLeader,
    /// This node has stopped.
    Stopped,
}

/// All who wait.
#[derive(Default)]
pub(crate) struct Watch {
    waiting: Mutex<Waiting>,
    stopped: AtomicBool,
}

#[derive(Default)]
struct Waiting {
    next: u64,
    events: BTreeMap<u64, Sender<Event>>,
}

impl Watch {
    /// Tells `events` of each change of leader until the guard is dropped.
    pub(crate) fn register(&self, events: Sender<Event>) -> Registered<'_> {
        let mut waiting = self.waiting.lock();
        let key = waiting.next;
        waiting.next += 1;
        waiting.events.insert(key, events);
        Registered { watch: self, key }
    }

    /// Whether the node has stopped. Once true it stays so; whoever registers first and asks then
    /// does not miss it.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    fn tell(&self, event: fn() -> Event) {
        for events in self.waiting.lock().events.values() {
            // Unbounded, so this does not wait; who is gone needs no news.
            drop(events.send(event()));
        }
    }

    /// The thread: returns when the peer stops.
    pub(crate) fn run(&self, node: &Arc<Node>) {
        // Long enough to be idle; the loop goes on after it.
        const LONG: Duration = Duration::from_secs(3600);
        let mut known = (0, None);
        while node.replicated.raft().stopped().is_none() {
            let now_known = node.replicated.wait_for_leader(known, Instant::now() + LONG);
            if now_known.1.is_some() && now_known != known {
                known = now_known;
                self.tell(|| Event::NewLeader);
            }
        }
        self.stopped.store(true, Ordering::SeqCst);
        self.tell(|| Event::Stopped);
    }
}

/// Somebody who waits.
pub(crate) struct Registered<'a> {
    watch: &'a Watch,
    key: u64,
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.watch.waiting.lock().events.remove(&self.key);
    }
}
