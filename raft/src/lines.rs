//! Who sends to the followers.
//!
//! A message that a step gives rise to is sent by the thread that took the step, if the message is
//! short and nobody sends to that follower at the moment: to wake its replication thread would take
//! longer than to send. All else is the replication thread's: probes, snapshots, what is due at some
//! moment, and what comes up while somebody sends.
//!
//! One thread at a time sends to a follower, so messages leave in the order they were made. A send
//! may be answered before it returns, on the same thread; the right to send, which that thread has
//! already, also keeps one send from leading to the next, ever deeper.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use oarlock_rpc::End;
use oarlock_sync::planted;

use crate::cluster::Peers;
use crate::rules::{Due, Rules, Send};
use crate::types::PeerId;

/// The ways to all members that are fed.
#[derive(Default)]
pub(crate) struct Lines(BTreeMap<PeerId, Line>);

struct Line {
    end: Arc<dyn End>,
    /// Some thread sends.
    is_taken: bool,
    /// What the replication thread sleeps for, if it sleeps.
    sleep: Option<Sleep>,
}

/// Until when a replication thread sleeps, if nobody wakes it.
#[derive(Clone, Copy)]
enum Sleep {
    Until(Instant),
    UntilWoken,
}

/// A message, and the line that was taken for it.
pub(crate) struct Outbound {
    pub(crate) peer: PeerId,
    pub(crate) end: Arc<dyn End>,
    pub(crate) send: Send,
}

impl Lines {
    /// Keeps the end to a member, or none any more. Returns the one before.
    pub(crate) fn set(&mut self, peer: PeerId, end: Option<Arc<dyn End>>) -> Option<Arc<dyn End>> {
        let before = match end {
            Some(end) => self.0.insert(peer, Line { end, is_taken: false, sleep: None }),
            None => self.0.remove(&peer),
        };
        before.map(|line| line.end)
    }

    pub(crate) fn end_to(&self, peer: PeerId) -> Option<Arc<dyn End>> {
        self.0.get(&peer).map(|line| Arc::clone(&line.end))
    }

    pub(crate) fn ends(&self) -> Peers {
        self.0.iter().map(|(&peer, line)| (peer, Arc::clone(&line.end))).collect()
    }

    /// Takes the messages that any thread may send, and the lines for them. Replication threads are
    /// woken only for what is left to them.
    pub(crate) fn take(&mut self, rules: &mut Rules, now: Instant) -> Vec<Outbound> {
        let mut outbound = Vec::new();
        let mut wake = false;
        // Whoever has a line looks again when that is done.
        for (&peer, line) in self.0.iter_mut().filter(|(_, line)| !line.is_taken) {
            if let Some(send) = rules.quick_append(peer, now) {
                line.is_taken = true;
                outbound.push(Outbound { peer, end: Arc::clone(&line.end), send });
            } else {
                wake |= line.oversleeps(rules.next_look(peer, now));
            }
        }
        if wake {
            rules.wake_replication();
        }
        outbound
    }

    /// Gives lines back. What has come up meanwhile is left to the replication threads.
    pub(crate) fn give_back(
        &mut self,
        sent: &[(PeerId, Arc<dyn End>)],
        rules: &mut Rules,
        now: Instant,
    ) {
        for (peer, end) in sent {
            // The member may have left, and be back by another line.
            if let Some(line) = self.0.get_mut(peer).filter(|line| Arc::ptr_eq(&line.end, end)) {
                line.is_taken = planted("whoever has sent keeps the line");
                let forgotten = planted("what comes up while somebody sends is forgotten");
                if !forgotten && line.oversleeps(rules.next_look(*peer, now)) {
                    rules.wake_replication();
                }
            }
        }
    }

    /// The replication thread's work: the next message for `peer`, and the line for it. It gives
    /// back the line of the last one, if it has sent any.
    pub(crate) fn due(
        &mut self,
        peer: PeerId,
        gives_back: bool,
        rules: &mut Rules,
        now: Instant,
    ) -> Due<Send> {
        let Some(line) = self.0.get_mut(&peer) else { return Due::WhenWoken };
        line.is_taken &= !gives_back;
        let due = if line.is_taken { Due::WhenWoken } else { rules.replication_due(peer, now) };
        line.is_taken |= matches!(due, Due::Now(_));
        line.sleep = match due {
            Due::Now(_) => None,
            Due::At(deadline) => Some(Sleep::Until(deadline)),
            Due::WhenWoken => Some(Sleep::UntilWoken),
        };
        due
    }
}

impl Line {
    /// Whether the replication thread has to look earlier than it will.
    fn oversleeps(&self, look: Due<()>) -> bool {
        match (self.sleep, look) {
            (None, _) | (_, Due::WhenWoken) => false,
            (Some(_), Due::Now(())) | (Some(Sleep::UntilWoken), Due::At(_)) => true,
            (Some(Sleep::Until(wakes_at)), Due::At(at)) => at < wakes_at,
        }
    }
}
