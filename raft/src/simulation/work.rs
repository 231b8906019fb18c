//! What the threads of a peer do, one body at a time, and when each sleeps.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::{Output, Peer, Request, Sent, WaitingChange};
use crate::change::{ChangeError, ChangeState};
use crate::configuration::Configuration;
use crate::machine_sink::{Taken, taken_from};
use crate::mutation::AfterDurable;
use crate::rules::{ApplyWork, Due, VoteRound, Wake, Why};
use crate::state_machine::StateMachine;
use crate::threads::snapshots::FrozenState;
use crate::types::{Index, PeerId};

/// A thread of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Thread {
    Election,
    Writer,
    Applier,
    Members,
    /// Whoever called and waits for a change of members.
    Changer,
    To(PeerId),
}

impl Thread {
    /// Whether the condition variable it waits on is notified.
    fn is_woken_by(self, wake: Wake) -> bool {
        match self {
            Self::Election => wake.election,
            Self::Writer => wake.log_writer,
            Self::Applier => wake.committed,
            Self::Members | Self::Changer => wake.members,
            Self::To(_) => wake.entries_to_send,
        }
    }
}

/// What a thread waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sleeping {
    /// Nothing: it is about to look for work.
    Ready,
    /// A notification, or this moment.
    Until(Option<Instant>),
    /// The disk.
    OnDisk,
}

impl Sleeping {
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Until(deadline) => *deadline,
            Self::Ready | Self::OnDisk => None,
        }
    }

    fn can_run(self, now: Instant) -> bool {
        match self {
            Self::Ready => true,
            Self::Until(deadline) => deadline.is_some_and(|deadline| deadline <= now),
            Self::OnDisk => false,
        }
    }
}

/// The threads of a peer that feeds `others`, about to run.
pub(super) fn threads(others: impl Iterator<Item = PeerId>) -> BTreeMap<Thread, Sleeping> {
    [Thread::Election, Thread::Writer, Thread::Applier, Thread::Members, Thread::Changer]
        .into_iter()
        .chain(others.map(Thread::To))
        .map(|thread| (thread, Sleeping::Ready))
        .collect()
}

impl<M: StateMachine> Peer<M> {
    pub(super) fn set(&mut self, thread: Thread, sleeping: Sleeping) {
        self.threads.insert(thread, sleeping);
    }

    /// Ends a step, and lets every thread run that can, until all sleep.
    pub(super) fn settle(&mut self, now: Instant) {
        loop {
            self.notify(None);
            self.speak();
            self.go_on_after_disk(now);
            let ready: Vec<Thread> = self
                .threads
                .iter()
                .filter(|(_, sleeping)| sleeping.can_run(now))
                .map(|(thread, _)| *thread)
                .collect();
            if ready.is_empty() || self.is_removed {
                break;
            }
            let thread = ready[self.draw() as usize % ready.len()];
            self.run(thread, now);
        }
        self.rules.check_invariants();
    }

    fn run(&mut self, thread: Thread, now: Instant) {
        match thread {
            Thread::Election => {
                let due = self.rules.election_due(now);
                if let Some(round) = self.found(thread, due, now) {
                    self.round = Some(round);
                    self.set(thread, Sleeping::OnDisk);
                }
            }
            Thread::Writer => {
                let due = self.rules.writes_due(now);
                if let Some(work) = self.found(thread, due, now) {
                    self.writing = Some(work);
                    self.set(thread, Sleeping::OnDisk);
                    self.outputs.push(Output::Write);
                }
            }
            Thread::Applier => {
                let due = self.rules.apply_due(self.applied, now);
                if let Some(work) = self.found(thread, due, now) {
                    self.apply(work, now);
                }
            }
            Thread::Members => {
                let due = self.members_due();
                match self.found(thread, due, now) {
                    Some(Some(wanted)) => self.feed(&wanted),
                    Some(None) => {
                        self.is_removed = true;
                        self.outputs.push(Output::Removed);
                    }
                    None => {}
                }
            }
            Thread::Changer => {
                let due = self.change_due(now);
                if let Some(result) = self.found(thread, due, now)
                    && let Some(WaitingChange { number, .. }) = self.change.take()
                {
                    self.outputs.push(Output::Changed { number, result });
                }
            }
            Thread::To(peer) => {
                let due = self.rules.replication_due(peer, now);
                if let Some(send) = self.found(thread, due, now) {
                    let (request, sent) = Request::of(send);
                    self.call(peer, request, sent);
                }
            }
        }
    }

    /// Whether the change that is waited for is made, or never will be.
    fn change_due(&mut self, now: Instant) -> Due<Result<Configuration, ChangeError>> {
        self.change.take_if(|waiting| waiting.until <= now);
        let Some(WaitingChange { change, until, .. }) = &self.change else { return Due::WhenWoken };
        match self.rules.pursue(change, now) {
            Ok(ChangeState::Done(configuration)) => Due::Now(Ok(configuration)),
            Ok(_) => Due::At(*until),
            Err(error) => Due::Now(Err(error)),
        }
    }

    /// Whom the members thread finds that it must feed, if that has changed; nobody at all, if this
    /// peer was removed.
    fn members_due(&self) -> Due<Option<BTreeSet<PeerId>>> {
        if self.rules.is_removed() {
            return Due::Now(None);
        }
        let wanted: BTreeSet<PeerId> = self.rules.other_members().into_keys().collect();
        let fed = self.threads.keys().filter_map(|thread| match thread {
            Thread::To(peer) => Some(peer),
            _ => None,
        });
        if fed.eq(&wanted) { Due::WhenWoken } else { Due::Now(Some(wanted)) }
    }

    /// Feeds `wanted`, and nobody else.
    fn feed(&mut self, wanted: &BTreeSet<PeerId>) {
        self.threads.retain(|thread, _| match thread {
            Thread::To(peer) => wanted.contains(peer),
            _ => true,
        });
        for &peer in wanted {
            self.threads.entry(Thread::To(peer)).or_insert(Sleeping::Ready);
        }
    }

    /// What a thread found: work, or until when it sleeps. It does not hear its own notification.
    fn found<T>(&mut self, thread: Thread, due: Due<T>, now: Instant) -> Option<T> {
        self.notify(Some(thread));
        let sleeping = match due {
            Due::Now(work) => {
                self.set(thread, Sleeping::Ready);
                return Some(work);
            }
            Due::At(deadline) => {
                assert!(deadline > now, "{thread:?} waits for a moment that has passed: a spin");
                Sleeping::Until(Some(deadline))
            }
            Due::WhenWoken => Sleeping::Until(None),
        };
        self.set(thread, sleeping);
        None
    }

    fn notify(&mut self, except: Option<Thread>) {
        let wake = self.rules.take_wake();
        for (thread, sleeping) in &mut self.threads {
            if Some(*thread) != except
                && matches!(sleeping, Sleeping::Until(_))
                && thread.is_woken_by(wake)
            {
                *sleeping = Sleeping::Ready;
            }
        }
    }

    /// Answers whatever no longer has to wait for the disk.
    pub(super) fn speak(&mut self) {
        let mutations = self.rules.mutations();
        let answers = self.outbox.extract_if(.., |answer| mutations.has(answer.until));
        self.outputs.extend(answers.map(|AfterDurable { value: (reply_to, reply), .. }| {
            Output::Answer { reply_to, reply }
        }));
    }

    /// Lets the election thread go on if its own vote is on disk.
    fn go_on_after_disk(&mut self, now: Instant) {
        let mutations = self.rules.mutations();
        if let Some(AfterDurable { value, .. }) =
            self.round.take_if(|round| mutations.has(round.until))
        {
            self.set(Thread::Election, Sleeping::Ready);
            self.send_round(&value, now);
        }
    }

    fn send_round(&mut self, round: &VoteRound, now: Instant) {
        self.rules.on_own_vote(&round.args, now);
        self.notify(None);
        for &voter in &round.voters {
            self.call(voter, Request::vote(round.args.clone()), Sent::Vote(round.args.clone()));
        }
    }

    fn call(&mut self, to: PeerId, request: Request, sent: Sent) {
        let call = self.next_call;
        self.next_call += 1;
        self.calls.insert(call, (to, sent));
        self.outputs.push(Output::Call { to, call, request });
    }

    fn apply(&mut self, work: ApplyWork, now: Instant) {
        match work {
            ApplyWork::Entries(entries) => {
                self.served.apply_all(&entries);
                self.applied = entries.last().map_or(self.applied, |entry| entry.id.index);
                self.snapshot_if_log_is_long(now);
            }
            ApplyWork::Restore(snapshot) => {
                self.served.restore(&snapshot);
                self.applied = snapshot.meta.last_included.index;
            }
            ApplyWork::MakeRoom(applied) if self.snapshot_log_bytes.is_some() => {
                self.snapshot(applied, Why::DiskIsFull, now);
            }
            ApplyWork::MakeRoom(_) => {}
            ApplyWork::Published(snapshot, _) => {
                drop(self.served.machine.published(&snapshot));
                self.snapshot_if_log_is_long(now);
            }
            ApplyWork::ServeReads { through } => self.served.serve_reads(through),
            ApplyWork::FailReads { through } => {
                self.served.fail_reads(through, self.rules.leader());
            }
        }
    }

    fn snapshot_if_log_is_long(&mut self, now: Instant) {
        if let Some(limit) = self.snapshot_log_bytes {
            self.snapshot(self.applied, Why::LogIsLong { limit }, now);
        }
    }

    fn snapshot(&mut self, applied: Index, why: Why, now: Instant) {
        let Some(meta) = self.rules.begin_snapshot(applied, why, now) else { return };
        match taken_from(&mut self.served.machine) {
            // One that cannot be written is not taken; the log stays.
            Taken::Small(content) => match self.stage.write_all(meta, &content) {
                Ok(staged) => drop(self.rules.snapshot_written(staged, why, false)),
                Err(_) => self.rules.snapshot_failed(now),
            },
            Taken::Large(state) => {
                self.frozen = Some(FrozenState { meta, why, state });
                self.outputs.push(Output::WriteState);
            }
        }
    }

    /// The next number that decides an order (Marsaglia's xorshift, 2003).
    fn draw(&mut self) -> u64 {
        self.order ^= self.order << 13;
        self.order ^= self.order >> 7;
        self.order ^= self.order << 17;
        self.order
    }
}
