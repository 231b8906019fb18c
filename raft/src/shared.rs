//! The mutex around the rules and its condition variables: the only module that locks.
//!
//! | condition variable | predicate | changed by | waited for by |
//! |---|---|---|---|
//! | `election` | a round of votes to send, or the election deadline came | election rules | election thread |
//! | `entries_to_send` | a follower wants a message that nobody sends on the way | appends, replies, commits, reads | replication threads |
//! | `log_writer` | a mutation is queued and nobody writes, nor is it left to the applier; or nobody ever will | every rule that changes durable state, whoever wrote | log writer |
//! | `durable` | the durable sequence number passed one | log writer | whoever may not speak yet |
//! | `committed` | something to apply, a read to serve or to fail | commits, rounds, log writer | applier |
//! | `members` | the members differ from those connected to; a change has come further | configurations appended, truncated, committed; members that caught up | members thread, `change_membership` |
//! | `leader` | another leader is known, or none | role changes | requests that wait for one |
//! | `jobs` | a snapshot is to be written | the applier | snapshot thread |
//! | `joined` | nobody is joining threads | whoever kills the peer | whoever else does |
//!
//! Every predicate includes *stopped*. Rules only note what changed; every step ends by notifying
//! those variables, so no wake-up can be forgotten in one of twenty places. Nothing that can wait
//! happens under the lock.
#![expect(clippy::disallowed_methods, reason = "this is the module that locks and reads the clock")]

mod applying;
mod feeding;
mod jobs;
mod writing;

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded};
use oarlock_rpc::ReplySlot;
use oarlock_rpc::codec::{self, Wire};
use oarlock_sync::thread::{self, JoinHandle};
use oarlock_sync::{Condvar, Mutex, MutexGuard, planted};

use self::writing::Writer;
use crate::answer::Answer;
use crate::error::Stopped;
use crate::lines::Lines;
use crate::mutation::AfterDurable;
use crate::rules::{Due, Rules};
use crate::threads::log_writer::LogWriter;
use crate::threads::snapshots::Job;

struct State {
    rules: Rules,
    writer: Writer,
    /// The applier is awake, or woken: it looks for what was left to it before it sleeps.
    applier_looks: bool,
    /// Replies that wait for the disk, oldest first.
    outbox: Vec<Answer>,
    stopped: Option<Stopped>,
    threads: Vec<JoinHandle<()>>,
    /// How many are joining threads.
    joining: usize,
    /// The ways to the members that are fed.
    lines: Lines,
    /// What the snapshot thread is to do, in order.
    jobs: VecDeque<Job>,
    /// Dropped when the peer stops, which every receiver of [`Shared::stop_signal`] sees.
    stop_signal: Option<Sender<()>>,
}

/// What the threads of one peer share.
pub(crate) struct Shared {
    /// For the answers to what is sent.
    this: Weak<Self>,
    state: Mutex<State>,
    pub(crate) election: Condvar,
    pub(crate) entries_to_send: Condvar,
    pub(crate) log_writer: Condvar,
    pub(crate) committed: Condvar,
    pub(crate) members: Condvar,
    durable: Condvar,
    leader: Condvar,
    joined: Condvar,
    jobs: Condvar,
    stop_signal: Receiver<()>,
}

impl Shared {
    /// The rules of a peer that starts now.
    pub(crate) fn new(mut rules: Rules, writer: LogWriter) -> Arc<Self> {
        if writer.is_instant() {
            rules.writes_are_instant();
        }
        let (sender, receiver) = bounded(0);
        let state = State {
            rules,
            writer: Writer::Here(writer),
            applier_looks: false,
            outbox: Vec::new(),
            stopped: None,
            threads: Vec::new(),
            joining: 0,
            lines: Lines::default(),
            jobs: VecDeque::new(),
            stop_signal: Some(sender),
        };
        Arc::new_cyclic(|this| Self {
            this: Weak::clone(this),
            state: Mutex::new(state),
            election: Condvar::new(),
            entries_to_send: Condvar::new(),
            log_writer: Condvar::new(),
            committed: Condvar::new(),
            members: Condvar::new(),
            durable: Condvar::new(),
            leader: Condvar::new(),
            joined: Condvar::new(),
            jobs: Condvar::new(),
            stop_signal: receiver,
        })
    }

    /// The moment the rules of a new peer begin at.
    pub(crate) fn now() -> Instant {
        oarlock_sync::now()
    }

    /// One step of the protocol: the only mutable access to the rules.
    pub(crate) fn step<T>(&self, f: impl FnOnce(&mut Rules, Instant) -> T) -> Result<T, Stopped> {
        let mut state = self.running()?;
        let now = oarlock_sync::now();
        let value = f(&mut state.rules, now);
        self.end_step_working(state, now);
        Ok(value)
    }

    /// A look at the rules that changes nothing; works after the peer has stopped too.
    pub(crate) fn look<T>(&self, f: impl FnOnce(&Rules, Instant) -> T) -> T {
        f(&self.state.lock().rules, oarlock_sync::now())
    }

    /// [`look`](Self::look), with whether the peer still runs.
    pub(crate) fn look_while_running<T>(&self, f: impl FnOnce(&Rules, bool) -> T) -> T {
        let state = self.state.lock();
        f(&state.rules, state.stopped.is_none())
    }

    /// A step whose result answers a request, once it is durable. The caller does not wait: if the
    /// disk is behind, the log writer sends the answer.
    pub(crate) fn answer<R: Wire>(
        &self,
        slot: ReplySlot,
        f: impl FnOnce(&mut Rules, Instant) -> AfterDurable<R>,
    ) {
        let Ok(mut state) = self.running() else { return };
        let now = oarlock_sync::now();
        let AfterDurable { value, until } = f(&mut state.rules, now);
        let bytes = codec::encode(&value).expect("replies are far below their limit");
        let answer = Answer { until, slot, bytes };
        let speak_now =
            state.rules.mutations().has(until) || planted("an answer does not wait for the disk");
        let answer = if speak_now {
            Some(answer)
        } else {
            state.outbox.push(answer);
            None
        };
        self.end_step_working(state, now);
        if let Some(answer) = answer {
            answer.send();
        }
    }

    /// Sleeps until the rules have work of this kind or their deadline comes; `None` once the peer
    /// stops.
    pub(crate) fn take<T>(
        &self,
        wake: &Condvar,
        mut due: impl FnMut(&mut Rules, Instant) -> Due<T>,
    ) -> Option<T> {
        let mut state = self.running().ok()?;
        loop {
            let now = oarlock_sync::now();
            let due = due(&mut state.rules, now);
            self.end_step(&mut state);
            match due {
                Due::Now(work) => return Some(work),
                Due::At(deadline) => {
                    debug_assert!(deadline > now, "a wait for a moment that has passed is a spin");
                    state = self.sleep(state, wake, Some(deadline));
                }
                Due::WhenWoken => state = self.sleep(state, wake, None),
            }
            if state.stopped.is_some() {
                return None;
            }
        }
    }

    /// Sleeps until somebody notifies `wake`, at the latest until `deadline`.
    fn sleep<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        wake: &Condvar,
        deadline: Option<Instant>,
    ) -> MutexGuard<'a, State> {
        if let Some(deadline) = deadline {
            wake.wait_until(&mut state, deadline);
            return state;
        }
        if planted("a thread looks for work, lets go, and then falls asleep") {
            drop(state);
            state = self.state.lock();
        }
        wake.wait(&mut state);
        state
    }

    /// Blocks until everything `out` rests on is on disk.
    pub(crate) fn durable<T>(&self, out: AfterDurable<T>) -> Result<T, Stopped> {
        let mut state = self.running()?;
        while !state.rules.mutations().has(out.until) {
            self.durable.wait(&mut state);
            if let Some(stopped) = &state.stopped {
                return Err(stopped.clone());
            }
            if planted("whoever waits for the disk looks once") {
                break;
            }
        }
        Ok(out.value)
    }

    /// Waits until `done` finds what it looks for, at the latest until `deadline`; asked again
    /// whenever another leader is known.
    pub(crate) fn wait_for_leader<T>(
        &self,
        deadline: Instant,
        mut done: impl FnMut(&Rules) -> Option<T>,
    ) -> Option<T> {
        let mut state = self.running().ok()?;
        loop {
            if let Some(found) = done(&state.rules) {
                return Some(found);
            }
            let timed_out = self.leader.wait_until(&mut state, deadline).timed_out();
            if timed_out || state.stopped.is_some() {
                return None;
            }
        }
    }

    /// Takes steps until one finds what it looks for, whenever the members may have changed, at the
    /// latest until `deadline`.
    pub(crate) fn wait_for_members<T>(
        &self,
        deadline: Instant,
        mut step: impl FnMut(&mut Rules, Instant) -> Option<T>,
    ) -> Result<Option<T>, Stopped> {
        let mut state = self.running()?;
        loop {
            let now = oarlock_sync::now();
            let found = step(&mut state.rules, now);
            self.end_step(&mut state);
            if found.is_some() || now >= deadline {
                return Ok(found);
            }
            self.members.wait_until(&mut state, deadline);
            if let Some(stopped) = &state.stopped
                && !planted("a change of members does not see the stop")
            {
                return Err(stopped.clone());
            }
        }
    }

    /// Stops the peer, for `reason` if it still runs: wakes every thread and whoever waits. Replies
    /// that wait for the disk are never sent.
    pub(crate) fn stop(&self, reason: Stopped) {
        let mut state = self.state.lock();
        if state.stopped.is_some() {
            return;
        }
        state.stopped = Some(reason);
        let unspoken = std::mem::take(&mut state.outbox);
        let undone = std::mem::take(&mut state.jobs);
        state.stop_signal = None;
        let unspoken = if planted("unspoken answers are dropped under the lock") {
            drop(unspoken);
            Vec::new()
        } else {
            unspoken
        };
        drop(state);
        for wake in [
            &self.election,
            &self.entries_to_send,
            &self.log_writer,
            &self.committed,
            &self.members,
            &self.leader,
            &self.jobs,
        ] {
            wake.notify_all();
        }
        if !planted("the stop does not wake those who wait for the disk") {
            self.durable.notify_all();
        }
        // Their callers hear nothing: that runs the network's code, so not under the lock.
        drop(unspoken);
        // As large as the state.
        drop(undone);
    }

    /// Why the peer stopped, if it has.
    pub(crate) fn stopped(&self) -> Option<Stopped> {
        self.state.lock().stopped.clone()
    }

    /// Disconnected once the peer stops, for threads that wait on channels.
    pub(crate) fn stop_signal(&self) -> Receiver<()> {
        self.stop_signal.clone()
    }

    /// Keeps a thread of this peer, to be joined when it is killed.
    pub(crate) fn keep_thread(&self, thread: JoinHandle<()>) {
        self.state.lock().threads.push(thread);
    }

    /// Joins all threads; whoever else does so at the same time waits too, so that nobody finds a
    /// peer that is still about to end. `Err` with what one of them panicked with.
    pub(crate) fn join_threads(&self) -> thread::Result<()> {
        let threads = {
            let mut state = self.state.lock();
            state.joining += 1;
            std::mem::take(&mut state.threads)
        };
        let joined = threads.into_iter().map(JoinHandle::join).fold(Ok(()), Result::and);
        let mut state = self.state.lock();
        state.joining -= 1;
        self.joined.notify_all();
        while state.joining > 0 && !planted("a second kill does not wait") {
            self.joined.wait(&mut state);
        }
        joined
    }

    fn running(&self) -> Result<MutexGuard<'_, State>, Stopped> {
        let state = self.state.lock();
        match &state.stopped {
            Some(stopped) => Err(stopped.clone()),
            None => Ok(state),
        }
    }

    /// Ends a step: the invariants hold, and whoever has something to do now is woken.
    fn end_step(&self, state: &mut State) {
        if cfg!(debug_assertions) {
            state.rules.check_invariants();
        }
        let mut wake = state.rules.take_wake();
        wake.log_writer &= matches!(state.writer, Writer::Here(_)) && state.rules.has_writes();
        wake.log_writer &= !state.is_left_to_applier();
        let woken = [
            (wake.election, &self.election),
            (wake.entries_to_send, &self.entries_to_send),
            (wake.log_writer, &self.log_writer),
            (wake.committed, &self.committed),
            (wake.members, &self.members),
            (wake.leader, &self.leader),
        ];
        for (_, condvar) in woken.into_iter().filter(|(wake, _)| *wake) {
            if !planted("a step wakes nobody") {
                condvar.notify_all();
            }
        }
    }
}
