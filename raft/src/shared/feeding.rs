//! How messages get to the followers: the lock's side of [`crate::lines`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use oarlock_rpc::End;
use oarlock_sync::planted;

use super::{Shared, State};
use crate::cluster::Peers;
use crate::lines::Outbound;
use crate::rules::{Due, Send};
use crate::sending;
use crate::threads::replication::Feeding;
use crate::types::PeerId;

impl Shared {
    /// A replication thread sleeps here until there is a message for its follower that is left to it;
    /// `None` once there will be none. `has_sent` says that it has sent the one before.
    pub(crate) fn take_send(&self, feeding: &Feeding, mut has_sent: bool) -> Option<Send> {
        let mut guard = self.running().ok()?;
        loop {
            if feeding.ended.load(Ordering::Relaxed) {
                return None;
            }
            let state = &mut *guard;
            let now = oarlock_sync::now();
            let due = state.lines.due(feeding.peer, has_sent, &mut state.rules, now);
            has_sent = false;
            self.end_step(state);
            match due {
                Due::Now(send) => return Some(send),
                Due::At(deadline) => {
                    debug_assert!(deadline > now, "a wait for a moment that has passed is a spin");
                    self.entries_to_send.wait_until(&mut guard, deadline);
                }
                Due::WhenWoken => self.entries_to_send.wait(&mut guard),
            }
            if guard.stopped.is_some() {
                return None;
            }
        }
    }

    /// Has the replication thread that looks at `ended` end.
    pub(crate) fn end_feeding(&self, ended: &AtomicBool) {
        let state = self.state.lock();
        ended.store(true, Ordering::Relaxed);
        drop(state);
        if !planted("who is fed no more has its thread sleep on") {
            self.entries_to_send.notify_all();
        }
    }

    /// Keeps the end to a member, or none any more. Returns the one before: it is not to be dropped
    /// under a lock that its completions take.
    pub(crate) fn set_end(
        &self,
        member: PeerId,
        end: Option<Arc<dyn End>>,
    ) -> Option<Arc<dyn End>> {
        self.state.lock().lines.set(member, end)
    }

    /// The end to a member.
    pub(crate) fn end_to(&self, member: PeerId) -> Option<Arc<dyn End>> {
        self.state.lock().lines.end_to(member)
    }

    /// The ends to all members that are fed.
    pub(crate) fn ends(&self) -> Peers {
        self.state.lock().lines.ends()
    }

    /// Ends a step, and takes the messages that this thread is to [`send`](Self::send).
    pub(super) fn end_step_sending(&self, state: &mut State, now: Instant) -> Vec<Outbound> {
        let has_news = state.rules.take_news();
        let outbound = if has_news { state.lines.take(&mut state.rules, now) } else { Vec::new() };
        self.end_step(state);
        outbound
    }

    /// Sends what was taken, and gives the lines back.
    pub(super) fn send(&self, outbound: Vec<Outbound>) {
        if outbound.is_empty() {
            return;
        }
        let shared = self.this.upgrade().expect("whoever borrows it has it from an owner");
        let lines = outbound.iter().map(|out| (out.peer, Arc::clone(&out.end))).collect();
        let _taken = TakenLines { shared: self, lines };
        for Outbound { peer, end, send } in outbound {
            sending::start(&shared, peer, &*end, send);
        }
    }
}

/// Lines to followers that a thread has taken; given back with this value.
struct TakenLines<'a> {
    shared: &'a Shared,
    lines: Vec<(PeerId, Arc<dyn End>)>,
}

impl Drop for TakenLines<'_> {
    fn drop(&mut self) {
        let mut guard = self.shared.state.lock();
        let state = &mut *guard;
        state.lines.give_back(&self.lines, &mut state.rules, oarlock_sync::now());
        self.shared.end_step(state);
    }
}
