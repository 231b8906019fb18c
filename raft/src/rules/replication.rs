//! Log replication (section 5.3): both sides of `AppendEntries`.

use std::time::{Duration, Instant};

use oarlock_sync::stages::{self, Stage};

use super::progress::{Moment, Wanted};
use super::snapshot::SentPiece;
use super::{Due, Role, Rules};
use crate::message::{AppendEntriesArgs, AppendEntriesReply, AppendOutcome, TimeoutNowArgs};
use crate::mistake;
use crate::mutation::AfterDurable;
use crate::types::{Entry, EntryId, Index, PeerId, Snapshot, Term};

/// What a replication thread sends.
#[derive(Debug)]
pub(crate) enum Send {
    Append {
        args: AppendEntriesArgs,
        sent: SentAppend,
    },
    /// A piece of `snapshot`; the thread cuts it out after the lock is gone.
    Piece {
        snapshot: Snapshot,
        sent: SentPiece,
    },
    /// To a successor.
    TimeoutNow(TimeoutNowArgs),
}

/// What was sent, to be compared when the reply comes. The term is the sender's of that time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SentAppend {
    /// Before it left.
    pub(super) at: Instant,
    pub(super) epoch: u64,
    pub(super) round: u64,
    pub(super) prev: EntryId,
    pub(super) last_index: Index,
    pub(super) with_entries: bool,
    /// The payload bytes of the entries.
    pub(super) bytes: usize,
}

impl Rules {
    /// The next message for `peer`.
    pub(crate) fn replication_due(&mut self, peer: PeerId, now: Instant) -> Due<Send> {
        let ask_at = match self.timeout_now_due(peer, now) {
            Due::Now(args) => return Due::Now(Send::TimeoutNow(args)),
            Due::At(at) => Some(at),
            Due::WhenWoken => None,
        };
        let at = self.moment(now);
        let Role::Leader { progress } = &mut self.role else { return Due::WhenWoken };
        let Some(follower) = progress.get_mut(&peer) else { return Due::WhenWoken };
        let wanted = match follower.wanted(&at) {
            Due::Now(wanted) => wanted,
            Due::At(deadline) => return Due::At(ask_at.map_or(deadline, |at| at.min(deadline))),
            Due::WhenWoken => return ask_at.map_or(Due::WhenWoken, Due::At),
        };
        match wanted {
            Wanted::Append { probe } => Due::Now(self.append_to(peer, probe, &at)),
            Wanted::BareHeartbeat => Due::Now(self.append_from(peer, at.base, Vec::new(), &at)),
            Wanted::BeginSnapshot => self.begin_snapshot_to(peer, &at),
            Wanted::Piece => Due::Now(self.piece_to(peer, now)),
        }
    }

    /// A message for `peer` that any thread may send: it is short, and the follower's log is known
    /// to match.
    pub(crate) fn quick_append(&mut self, peer: PeerId, now: Instant) -> Option<Send> {
        if self.hands_over() {
            return None;
        }
        let at = self.moment(now);
        let Role::Leader { progress } = &self.role else { return None };
        let follower = progress.get(&peer).filter(|follower| follower.is_ready(&at))?;
        let sent_last = follower.next_index() - 1;
        let on_disk = self.gather.shares_syncs();
        let entries_max = if on_disk { QUICK_ENTRIES_MAX } else { QUICK_ENTRIES_MAX_IN_MEMORY };
        let is_short = at.last_index - sent_last <= entries_max
            && self.log.bytes_between(sent_last, at.last_index) <= QUICK_BYTES_MAX;
        is_short.then(|| self.append_to(peer, false, &at))
    }

    /// When the replication thread of `peer` has to look for something to send.
    pub(crate) fn next_look(&mut self, peer: PeerId, now: Instant) -> Due<()> {
        if self.hands_over() {
            return Due::Now(());
        }
        let at = self.moment(now);
        let Role::Leader { progress } = &mut self.role else { return Due::WhenWoken };
        let Some(follower) = progress.get_mut(&peer) else { return Due::WhenWoken };
        match follower.wanted(&at) {
            Due::Now(_) => Due::Now(()),
            Due::At(deadline) => Due::At(deadline),
            Due::WhenWoken => Due::WhenWoken,
        }
    }

    /// The follower answered, or nothing came back.
    pub(crate) fn on_append_reply(
        &mut self,
        peer: PeerId,
        term: Term,
        sent: &SentAppend,
        reply: Option<&AppendEntriesReply>,
        now: Instant,
    ) {
        if let Some(reply) = reply.filter(|reply| reply.term > self.current_term) {
            if mistake!(IgnoresHigherTerm) {
                return;
            }
            return self.step_up_to(reply.term, now);
        }
        let at = self.moment(now);
        if term != self.current_term && !mistake!(BelievesOldReplies) {
            return;
        }
        let next_index = reply.map(|reply| self.next_index_after(sent.prev, &reply.outcome));
        let Role::Leader { progress } = &mut self.role else { return };
        let Some(follower) = progress.get_mut(&peer) else { return };
        if let Some(reply) = reply {
            follower.on_room(reply.has_room);
        }
        match reply.map(|reply| reply.outcome) {
            None => follower.on_lost(sent, RETRY_AFTER, &at),
            // A peer of our term cannot think it stale.
            Some(AppendOutcome::StaleTerm) => return,
            Some(AppendOutcome::Matched { index }) => {
                follower.on_heeded(sent, now);
                stages::mark(Stage::Replied, index, now);
                let caught_up = follower.on_match(sent, index.min(sent.last_index), &at);
                self.wake.members |= caught_up;
            }
            Some(AppendOutcome::Conflict { .. }) => {
                follower.on_heeded(sent, now);
                follower.on_conflict(sent, next_index.unwrap_or(1), now);
            }
        }
        self.advance_commit(now);
        self.confirm_reads();
        let at = self.moment(now);
        if let Role::Leader { progress } = &self.role
            && let Some(follower) = progress.get(&peer)
        {
            self.wake.entries_to_send |= follower.has_news(&at) || self.hands_over();
        }
        self.give_way(now);
    }

    /// A leader's entries, or its heartbeat (Figure 2, `AppendEntries`, receiver).
    pub(crate) fn handle_append_entries(
        &mut self,
        args: AppendEntriesArgs,
        now: Instant,
    ) -> AfterDurable<AppendEntriesReply> {
        let mutations_before = self.mutations.last_log();
        let outcome = if args.term < self.current_term {
            if mistake!(StaleAppendResetsTimer) && !self.is_leader() {
                self.postpone_election(now);
            }
            AppendOutcome::StaleTerm
        } else {
            self.follow(args.term, args.leader_id, now);
            self.append_from_leader(args, now)
        };
        let (term, has_room) = (self.current_term, self.space.has_room());
        let reply = |outcome| AppendEntriesReply { term, outcome, has_room };
        let says_nothing_new = self.mutations.last_log() == mutations_before;
        match outcome {
            // A heartbeat, or entries that came before: answered at once, for what is on disk
            // already. A slow disk must not look like a dead peer to the leader, nor hold up its
            // reads.
            AppendOutcome::Matched { index } if says_nothing_new => {
                let index = index.min(self.mutations.durable_index());
                self.mutations.after_hard_state(reply(AppendOutcome::Matched { index }))
            }
            AppendOutcome::Matched { .. } if mistake!(RepliesBeforeSync) => {
                self.mutations.after_hard_state(reply(outcome))
            }
            AppendOutcome::Matched { .. } => self.mutations.after_durable(reply(outcome)),
            AppendOutcome::Conflict { .. } | AppendOutcome::StaleTerm => {
                self.mutations.after_hard_state(reply(outcome))
            }
        }
    }

    /// A message of a leader of `term`, which is not behind ours: we follow it.
    pub(super) fn follow(&mut self, term: Term, leader: PeerId, now: Instant) {
        if term > self.current_term {
            self.step_up_to(term, now);
        }
        assert!(!self.is_leader(), "election safety: S{leader} also leads term {term}");
        self.become_follower(Some(leader), now);
        self.heard_from_leader = Some(now);
        self.promise(now);
        self.postpone_election(now);
    }

    fn append_from_leader(&mut self, args: AppendEntriesArgs, now: Instant) -> AppendOutcome {
        let AppendEntriesArgs { prev_log, mut entries, leader_commit, .. } = args;
        let base = self.log.base();
        let matched = prev_log.index + entries.len() as Index;
        let index_only = mistake!(ChecksIndexOnly) && self.log.id_at(prev_log.index).is_some();
        if prev_log.index >= base.index && !self.log.holds(prev_log) && !index_only {
            return self.conflict_at(prev_log.index);
        }
        // What the snapshot covers is committed, so it is the same here and there.
        entries.retain(|entry| entry.id.index > base.index);
        self.append_new(entries, now);
        let vouched_for =
            if mistake!(CommitsBeyondMatch) { self.log.last().index } else { matched };
        self.set_commit_index(leader_commit.min(vouched_for).max(self.commit_index), now);
        AppendOutcome::Matched { index: matched }
    }

    /// Appends what is not there yet, and truncates what conflicts (Figure 2, steps 3 and 4). A
    /// message that says nothing new changes nothing: it may be an old one.
    fn append_new(&mut self, mut entries: Vec<Entry>, now: Instant) {
        let mut held = entries.iter().take_while(|entry| self.log.holds(entry.id)).count();
        if mistake!(TruncatesOnOldAppend) && held > 0 && held == entries.len() {
            let uncommitted = |entry: &Entry| entry.id.index > self.commit_index;
            held -= usize::from(entries.last().is_some_and(uncommitted));
        }
        let new = entries.split_off(held);
        let Some(first) = new.first().map(|entry| entry.id.index) else { return };
        self.rest.came(new.len(), now);
        let mut reconfigured = false;
        if first <= self.log.last().index {
            assert!(first > self.commit_index, "truncate {first}, commit {}", self.commit_index);
            crate::trace!(self, "REPL", "truncates from {first}, last={}", self.log.last());
            self.log.truncate_from(first);
            self.mutations.truncate_from(first);
            reconfigured |= self.configurations.truncated_from(first);
        }
        for entry in &new {
            self.log.append(entry.clone());
            let appended = self.configurations.appended(entry);
            reconfigured |= appended.expect("checked where messages come in");
        }
        self.mutations.append(new);
        stages::mark(Stage::Received, self.log.last().index, now);
        if reconfigured {
            self.configuration_changed(now);
        }
        self.wake.log_writer = true;
    }

    fn conflict_at(&self, index: Index) -> AppendOutcome {
        let last = self.log.last();
        match self.log.id_at(index) {
            None => AppendOutcome::Conflict { term: None, first_index: last.index + 1 },
            Some(id) => AppendOutcome::Conflict {
                term: Some(id.term),
                first_index: self.log.first_index_of_term_at(index),
            },
        }
    }

    /// Where to try next after a conflict at `prev` (section 5.3), which skips a term a round: the
    /// follower's run of the conflicting term begins at its hint, and the logs can only meet behind
    /// our last entry, before `prev`, that is of this term or an older one.
    fn next_index_after(&self, prev: EntryId, outcome: &AppendOutcome) -> Index {
        let AppendOutcome::Conflict { term, first_index } = *outcome else { return 1 };
        let next_index = match term {
            Some(term) => {
                let ours = self.log.last_index_up_to_term(term).min(prev.index.saturating_sub(1));
                let same_term = self.log.id_at(ours).is_some_and(|id| id.term == term);
                if same_term { ours + 1 } else { first_index.min(ours + 1) }
            }
            None => first_index,
        };
        let next_index = if mistake!(BacksUpOneByOne) { prev.index } else { next_index };
        // Before `prev` at any rate: so every conflict brings the search nearer to its end.
        next_index.clamp(1, prev.index.max(1))
    }

    fn append_to(&mut self, peer: PeerId, probe: bool, at: &Moment) -> Send {
        let next_index = self.progress_of(peer).next_index();
        let prev = self.log.id_at(next_index - 1).expect("next_index is behind the base");
        let bytes_max =
            if probe { self.options.probe_bytes_max } else { self.options.append_bytes_max };
        let mut entries = self.log.slice(next_index, self.options.append_entries_max, bytes_max);
        if probe && entries.first().is_some_and(|entry| entry.data.len() > bytes_max) {
            // Too much to send to somebody who may not be there, again and again.
            entries.clear();
        }
        let follower = self.progress_of(peer);
        if (!probe && follower.is_window_full(at)) || follower.is_held_back(at) {
            // Only a heartbeat: the entries wait for replies, or for room.
            entries.clear();
        }
        self.append_from(peer, prev, entries, at)
    }

    fn append_from(
        &mut self,
        peer: PeerId,
        prev_log: EntryId,
        entries: Vec<Entry>,
        at: &Moment,
    ) -> Send {
        let sent = self.progress_of(peer).on_send(prev_log, &entries, at);
        if sent.with_entries {
            stages::mark(Stage::Sent, sent.last_index, at.now);
        }
        self.reads.round_started();
        let args = AppendEntriesArgs {
            term: self.current_term,
            leader_id: self.me,
            prev_log,
            leader_commit: self.commit_index,
            entries,
        };
        Send::Append { args, sent }
    }

    pub(super) fn moment(&self, now: Instant) -> Moment {
        Moment {
            now,
            base: self.log.base(),
            last_index: self.log.last().index,
            taken_index: self.gather.taken_index(),
            gathers: self.gather.gathers(),
            held_until: self.gather.held_until(),
            commit_index: self.commit_index,
            read_round: self.reads.latest_round(),
            round_after: self.reads.round_after(now),
            heartbeat_interval: self.options.heartbeat_interval,
            patience: self.election_timeout_min(),
            in_flight_max: self.options.in_flight_max,
            in_flight_bytes_max: self.options.in_flight_bytes_max,
            sent_without_room: self.sent_without_room(),
        }
    }

    pub(super) fn progress_of(&mut self, peer: PeerId) -> &mut super::Progress {
        match &mut self.role {
            Role::Leader { progress } => progress.get_mut(&peer).expect("asked for a follower"),
            _ => panic!("only a leader has followers"),
        }
    }
}

/// How soon a message is sent again when the first one is lost: well below any time-out, and far
/// from a busy loop.
const RETRY_AFTER: Duration = Duration::from_millis(10);
/// More entries than these are not put into a message by whoever happens to come by.
const QUICK_ENTRIES_MAX: Index = 256;
/// The same for their bytes.
const QUICK_BYTES_MAX: u64 = 64 << 10;
/// The same for entries where writes cost nothing: who comes by is mostly the applier then, with callers
/// to answer while another thread sends.
const QUICK_ENTRIES_MAX_IN_MEMORY: Index = 16;
