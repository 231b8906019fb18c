//! Events and their order in virtual time.

use std::collections::BinaryHeap;
use std::rc::Rc;
use std::time::Instant;

use oarlock_kvserver::{KvReply, Request as KvRequest};
use oarlock_raft::simulation::{Reply, Request};
use oarlock_raft::{Change, PeerId, Vouch};

use crate::administrator::Answer;

/// Who passed a request on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PassedOn {
    pub(crate) vouch: Vouch,
    /// The life it did so in; another knows nothing of it.
    pub(crate) life: u64,
}

/// Something that happens to the world.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A request arrives at `to`; its caller waits until `until`.
    Request { from: PeerId, to: PeerId, life: u64, call: u64, until: Instant, request: Rc<Request> },
    /// The outcome of a call arrives at its caller `to`.
    Outcome {
        from: PeerId,
        to: PeerId,
        life: u64,
        call: u64,
        request: Rc<Request>,
        reply: Option<Reply>,
    },
    /// The disk is done.
    Written { node: PeerId, life: u64 },
    /// The snapshot thread is done.
    StateWritten { node: PeerId, life: u64 },
    /// A thread of a peer wakes by itself.
    Timer { node: PeerId, life: u64 },
    /// A clerk thinks of something to ask.
    ClerkActs { clerk: usize },
    /// A clerk's request arrives at a node.
    Asked { node: PeerId, op: u64, attempt: u32, request: Rc<KvRequest>, by: Option<PassedOn> },
    /// A clerk's request arrives at `via`, which passes it on to a node.
    AskedToPassOn { via: PeerId, node: PeerId, op: u64, attempt: u32, request: Rc<KvRequest> },
    /// A leader leaves a read to the node that passed it on, and its word arrives there.
    LeftToVoucher { via: PeerId, life: u64, op: u64, attempt: u32, request: Rc<KvRequest> },
    /// A node's reply arrives at a clerk.
    Answered { node: PeerId, op: u64, attempt: u32, reply: KvReply },
    /// A clerk has waited long enough.
    Impatient { op: u64, attempt: u32 },
    /// The administrator thinks of a change of the members.
    AdministratorActs,
    /// It asks for the change again.
    AskForChange { attempt: u64 },
    /// Its question arrives at a node.
    ChangeAsked { node: PeerId, number: u64, change: Rc<Change> },
    /// A node's answer arrives.
    ChangeAnswered { number: u64, answer: Answer },
    /// Something goes wrong.
    Fault,
    /// Something goes wrong with a leader that has just changed the members.
    Strike { victim: PeerId },
    /// A leader that some have not heard for a while is heard by nobody any more.
    FallSilent { leader: PeerId },
    /// A node starts, if it is down.
    Start { node: PeerId },
    /// A disk that was full no longer is.
    Room { node: PeerId },
    /// Every cut link works again.
    Reconnect,
}

struct Scheduled {
    at: Instant,
    number: u64,
    event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        // The heap gives the greatest: the earliest, and among those the first scheduled.
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

/// What is still to happen.
#[derive(Default)]
pub(crate) struct Schedule {
    heap: BinaryHeap<Scheduled>,
    next: u64,
}

impl Schedule {
    pub(crate) fn at(&mut self, at: Instant, event: Event) {
        self.next += 1;
        self.heap.push(Scheduled { at, number: self.next, event });
    }

    /// The next event, if it is not after `end`.
    pub(crate) fn pop(&mut self, end: Instant) -> Option<(Instant, Event)> {
        if self.heap.peek()?.at > end {
            return None;
        }
        self.heap.pop().map(|next| (next.at, next.event))
    }
}
