//! The clerks: clients with sessions, who number their requests and send them again, to any node,
//! until they are answered or lose patience.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{self, AtomicBool};
use std::time::{Duration, Instant};

use oarlock_kvserver::{Answer, Answers, ClientId, KvReply, Op, Refused, Request};
use oarlock_linearizability::{Action, Operation};
use oarlock_raft::{Index, PeerId, ReadBy};

use crate::invariant::Invariant;
use crate::mistake::Mistake;
use crate::schedule::{Event, PassedOn};
use crate::world::World;

/// How long a clerk waits for one node.
const TRY_MAX_US: u64 = 700_000;
/// How long a clerk goes on with one request while there are faults.
const PATIENCE: Duration = Duration::from_secs(6);
const KEYS: u64 = 4;

/// A client of the store.
#[derive(Debug)]
pub(crate) struct Clerk {
    client: ClientId,
    next_seq: u64,
    /// Numbers whose requests are under way.
    open: BTreeMap<u64, u64>,
    leader: PeerId,
    /// Whether it begins no new requests.
    pub(crate) rests: bool,
    /// How long it pauses between requests at most.
    pub(crate) think: Duration,
}

impl Clerk {
    pub(crate) fn new(nonce: u64, think: Duration) -> Self {
        Self {
            client: ClientId { born: 0, nonce },
            next_seq: 1,
            open: BTreeMap::new(),
            leader: PeerId(1),
            rests: false,
            think,
        }
    }
}

/// A request of a clerk that has not been answered.
#[derive(Clone, Debug)]
pub(crate) struct Asking {
    clerk: usize,
    client: ClientId,
    seq: u64,
    op: Op,
    called: Instant,
    /// What anybody had seen when it was asked.
    seen: Index,
    attempt: u32,
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn key_of(op: &Op) -> &[u8] {
    match op {
        Op::Get { key } | Op::Put { key, .. } | Op::Append { key, .. } => key,
        other => unreachable!("no clerk asks {other:?}"),
    }
}

/// The key of this number.
fn key(number: u64) -> Vec<u8> {
    format!("k{number}").into_bytes()
}

/// All keys there are.
pub(crate) fn keys() -> impl Iterator<Item = Vec<u8>> {
    (0..KEYS).map(key)
}

impl World {
    /// A clerk thinks of something to ask, and of when to think again.
    pub(crate) fn clerk_acts(&mut self, clerk: usize) {
        let think = self.clerks[clerk].think.as_micros() as u64;
        let pause = self.random.micros(think / 10, think + 1);
        self.after(pause, Event::ClerkActs { clerk });
        let Clerk { rests, open, .. } = &self.clerks[clerk];
        if *rests || open.len() >= self.character.window {
            return;
        }
        let key = key(self.random.below(KEYS)).into();
        let number = self.next_op;
        let value = || format!("{number}.").into_bytes().into();
        let mostly_reads = self.character.mostly_reads;
        let reads = mostly_reads > 0 && !self.healed && self.random.chance(mostly_reads);
        let op = match self.random.below(10) {
            _ if reads => Op::Get { key },
            0..4 if self.character.no_op_on_election => Op::Get { key },
            4..6 => Op::Put { key, value: value() },
            _ => Op::Append { key, value: value() },
        };
        self.ask(clerk, op);
    }

    /// A clerk asks for the first time.
    pub(crate) fn ask(&mut self, clerk: usize, op: Op) {
        let number = self.next_op;
        self.next_op += 1;
        let (called, seen) = (self.now, self.seen);
        let Clerk { client, next_seq, open, .. } = &mut self.clerks[clerk];
        let seq = *next_seq;
        *next_seq += 1;
        open.insert(seq, number);
        let asking = Asking { clerk, client: *client, seq, op, called, seen, attempt: 0 };
        self.asking.insert(number, asking);
        self.counts.requests += 1;
        self.try_again(number, None);
    }

    /// Sends a request, perhaps not for the first time, perhaps where a node said it should go.
    fn try_again(&mut self, number: u64, hint: Option<PeerId>) {
        let anybody = self.anybody();
        let wanders = self.random.chance(300);
        let Some(asking) = self.asking.get(&number) else { return };
        let is_read = matches!(asking.op, Op::Get { .. });
        // Who has just been deposed is the one that must not be believed.
        let oldest = if is_read && self.random.chance(400) { self.oldest_leader() } else { None };
        let Some(asking) = self.asking.get_mut(&number) else { return };
        asking.attempt += 1;
        let (attempt, clerk) = (asking.attempt, &mut self.clerks[asking.clerk]);
        if attempt > 1 && (wanders || hint.is_none()) {
            clerk.leader = anybody;
        }
        let guess = hint.filter(|_| !wanders).unwrap_or(clerk.leader);
        clerk.leader = guess;
        let node = oldest.unwrap_or(guess);
        if self.mistake == Some(Mistake::RetriesUnderNewNumber) && attempt > 1 {
            clerk.open.remove(&asking.seq);
            asking.seq = clerk.next_seq;
            clerk.next_seq += 1;
            clerk.open.insert(asking.seq, number);
        }
        let asking = self.asking[&number].clone();
        let clerk = asking.clerk;
        self.note("CLNT", &[number, node.0], format_args!("C{clerk} asks S{node} for {number}"));
        let request = Rc::new(self.request_of(&asking));
        // One that is cut off together with a leader proves little, and one that follows the next
        // leader proves the contrary.
        let via = match self.random.below(4) {
            0 if is_read => Some(self.anybody()),
            1 if is_read => self.another_of_term(node, Ordering::Equal),
            2 if is_read => self.another_of_term(node, Ordering::Greater),
            _ => None,
        };
        let copies = self.copies();
        for _ in 0..copies {
            let delay = self.delay();
            let request = Rc::clone(&request);
            let asked = match via {
                Some(via) => Event::AskedToPassOn { via, node, op: number, attempt, request },
                None => Event::Asked { node, op: number, attempt, request, by: None },
            };
            self.after(delay, asked);
        }
        let wait = self.random.micros(TRY_MAX_US / 4, TRY_MAX_US);
        self.after(wait, Event::Impatient { op: number, attempt });
    }

    /// The request as it is sent now.
    fn request_of(&self, asking: &Asking) -> Request {
        let clerk = &self.clerks[asking.clerk];
        let acked_below = if clerk.client == asking.client {
            clerk.open.first_key_value().map_or(clerk.next_seq, |(seq, _)| *seq)
        } else {
            1
        };
        let ops = vec![asking.op.clone()];
        Request { client: asking.client, seq: asking.seq, acked_below, ops }
    }

    /// A node that runs passes a read on, and vouches for whomever it goes to; which need not be
    /// whom it takes for the leader.
    pub(crate) fn pass_on(&mut self, via: PeerId, mut asked: Event) {
        let (mut vouch, life) = (self.running(via).peer.vouch(), self.nodes[&via].life);
        if self.random.chance(500) {
            // A clerk's own request, which it passes on for good.
            vouch.applied = 0;
        }
        if let Event::Asked { by, .. } = &mut asked {
            *by = Some(PassedOn { vouch, life });
        }
        let delay = self.delay();
        self.after(delay, asked);
    }

    /// A clerk's request arrives at a node that runs.
    pub(crate) fn node_is_asked(
        &mut self,
        node: PeerId,
        number: u64,
        attempt: u32,
        asked: &Rc<Request>,
        by: Option<PassedOn>,
    ) {
        let request = Request::clone(asked);
        let now = self.time_at(node);
        let said = Arc::clone(&self.said);
        let anybody_reads = self.mistake == Some(Mistake::ReadsFromAnybody);
        let (mut leased, left) = (false, Arc::new(AtomicBool::new(false)));
        let peer = &mut self.running(node).peer;
        if matches!(request.ops[..], [Op::Get { .. }]) {
            if anybody_reads {
                peer.wake(now);
                let answers = peer.machine().read(&request.ops);
                said.lock().push((node, number, attempt, KvReply::Answers(answers)));
            } else {
                leased = peer.lease_holds(now);
                let is_left = Arc::clone(&left);
                peer.read_with(by.map(|by| by.vouch), now, move |store| {
                    let reply = match store {
                        Ok(ReadBy::Us(store)) => KvReply::Answers(store.read(&request.ops)),
                        Ok(ReadBy::Voucher) => {
                            return is_left.store(true, atomic::Ordering::Relaxed);
                        }
                        Err(error) => error.into(),
                    };
                    said.lock().push((node, number, attempt, reply));
                });
            }
        } else {
            let bytes = oarlock_rpc::codec::encode(&request).expect("a small request");
            peer.submit_with(bytes.into(), now, move |result| {
                said.lock().push((node, number, attempt, result.into()));
            });
        }
        self.counts.leased_reads += u64::from(leased);
        self.after_step(node);
        if let Some(PassedOn { vouch, life }) = by.filter(|_| left.load(atomic::Ordering::Relaxed))
        {
            for _ in 0..self.copies() {
                let (via, request) = (vouch.peer, Rc::clone(asked));
                let left = Event::LeftToVoucher { via, life, op: number, attempt, request };
                let delay = self.delay();
                self.after(delay, left);
            }
        }
    }

    /// A node that passed a read on, and still runs, is told to serve it.
    pub(crate) fn voucher_reads(
        &mut self,
        via: PeerId,
        number: u64,
        attempt: u32,
        request: &Rc<Request>,
    ) {
        let request = Request::clone(request);
        let (now, said) = (self.time_at(via), Arc::clone(&self.said));
        self.running(via).peer.look_with(now, move |store| {
            let reply = match store {
                Ok(store) => KvReply::Answers(store.read(&request.ops)),
                Err(error) => error.into(),
            };
            said.lock().push((via, number, attempt, reply));
        });
        self.counts.left_reads += 1;
        self.after_step(via);
    }

    /// A node's reply arrives.
    pub(crate) fn clerk_hears(&mut self, node: PeerId, number: u64, attempt: u32, reply: &KvReply) {
        let Some(asking) = self.asking.get(&number).cloned() else { return };
        let is_latest = attempt == asking.attempt;
        if !matches!(reply, KvReply::Answers(_)) {
            self.note(
                "CLNT",
                &[number, node.0],
                format_args!("S{node} says {reply:?} to {number}"),
            );
        }
        match reply {
            KvReply::Answers(answers) => {
                self.clerks[asking.clerk].leader = node;
                self.answered(number, &asking, &answers[0], answers);
            }
            KvReply::Refused(refused) => self.refused(number, &asking, *refused),
            KvReply::NotLeader { leader } if is_latest => {
                self.pause_and_try(number, *leader);
            }
            KvReply::Superseded
            | KvReply::Busy
            | KvReply::NoSpace
            | KvReply::ReadThere
            | KvReply::Unknown { .. }
            | KvReply::Stopped { .. }
                if is_latest =>
            {
                self.pause_and_try(number, None);
            }
            KvReply::TooLarge => unreachable!("no clerk asks for anything large"),
            // Of an earlier try: the latest will have an end of its own.
            _ => {}
        }
    }

    fn pause_and_try(&mut self, number: u64, hint: Option<PeerId>) {
        if hint.is_some() && self.random.chance(800) {
            return self.try_again(number, hint);
        }
        // As if it had waited in vain.
        let Some(asking) = self.asking.get_mut(&number) else { return };
        asking.attempt += 1;
        let attempt = asking.attempt;
        let pause = self.random.micros(5_000, 60_000);
        self.after(pause, Event::Impatient { op: number, attempt });
    }

    /// A clerk has waited long enough for one node.
    pub(crate) fn clerk_is_impatient(&mut self, number: u64, attempt: u32) {
        let Some(asking) = self.asking.get(&number) else { return };
        if asking.attempt != attempt {
            return;
        }
        if !self.healed && self.now > asking.called + PATIENCE {
            return self.give_up(number);
        }
        self.try_again(number, None);
    }

    fn answered(&mut self, number: u64, asking: &Asking, answer: &Answer, answers: &Answers) {
        let checks = &mut self.checks;
        let (action, seen) = match &asking.op {
            Op::Get { key } => {
                let found: &[u8] = match answer {
                    Answer::Bytes(value) => value,
                    _ => &[],
                };
                let seen = self.oracle.read(key, found, asking.seen, checks);
                (Action::Get { found: text(found) }, seen)
            }
            op => {
                let numbered = (asking.client, asking.seq);
                let seen = self.oracle.written(numbered, answers, asking.seen, checks);
                let action = match op {
                    Op::Put { value, .. } => Action::Put(text(value)),
                    Op::Append { value, .. } => Action::Append(text(value)),
                    other => unreachable!("no clerk writes {other:?}"),
                };
                self.counts.writes += 1;
                (action, seen)
            }
        };
        self.seen = self.seen.max(seen);
        self.note(
            "CLNT",
            &[number, seen],
            format_args!("C{} request {number} answered: {answer:?}", asking.clerk),
        );
        let is_write = !matches!(action, Action::Get { .. });
        self.record(asking, action, Some(self.now));
        self.close(number);
        if is_write {
            self.doubt(asking);
        }
    }

    /// A write was answered. If somebody still leads an earlier term, which must not know of it, that is
    /// where its clerk reads next: a moment later there is only one who leads.
    fn doubt(&mut self, written: &Asking) {
        if self.healed || !self.character.no_op_on_election {
            return;
        }
        let Some(deposed) = self.deposed_leader() else { return };
        self.clerks[written.clerk].leader = deposed;
        self.ask(written.clerk, Op::Get { key: key_of(&written.op).to_vec().into() });
    }

    /// The session's rules forbid it.
    fn refused(&mut self, number: u64, asking: &Asking, refused: Refused) {
        let evicts = self.character.evicts();
        self.checks.require(Invariant::ExactlyOnce, evicts, || {
            format!(
                "request {} of {}, which is open, is refused: {refused}",
                asking.seq, asking.client
            )
        });
        let Refused::NoSession { renew_at } = refused else { return self.give_up(number) };
        let nonce = self.random.next();
        let clerk = &mut self.clerks[asking.clerk];
        if clerk.client == asking.client {
            clerk.client = ClientId { born: renew_at, nonce };
            clerk.next_seq = 1;
            clerk.open.clear();
        }
        // Sent more than once, an earlier copy may have been executed.
        self.give_up(number);
    }

    /// The request's fate will never be known.
    pub(crate) fn give_up(&mut self, number: u64) {
        let Some(asking) = self.asking.get(&number).cloned() else { return };
        match &asking.op {
            Op::Put { value, .. } => self.record(&asking, Action::Put(text(value)), None),
            Op::Append { value, .. } => self.record(&asking, Action::Append(text(value)), None),
            _ => {}
        }
        self.close(number);
    }

    fn close(&mut self, number: u64) {
        let Some(asking) = self.asking.remove(&number) else { return };
        let clerk = &mut self.clerks[asking.clerk];
        if clerk.client == asking.client {
            clerk.open.remove(&asking.seq);
        }
    }

    fn record(&mut self, asking: &Asking, action: Action, returned: Option<Instant>) {
        self.history.push(Operation {
            client: asking.clerk,
            key: text(key_of(&asking.op)),
            action,
            called: asking.called - self.start,
            returned: returned.map(|at| at - self.start),
        });
    }
}
