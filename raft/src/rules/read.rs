//! Linearizable reads that never touch the log (dissertation 6.4): a read takes the commit index,
//! and waits for one round of messages that proves its leader was one after the read began.

use std::collections::VecDeque;
use std::time::Instant;

use super::{Role, Rules};
use crate::mistake;
use crate::types::Index;

/// The number of a read at this peer; grows by one each.
pub(crate) type ReadId = u64;

#[derive(Debug)]
struct Read {
    id: ReadId,
    /// The round that confirms it.
    round: u64,
    /// What must be applied before it is served; not known before the leader has committed an
    /// entry of its own term, since until then its commit index may be behind.
    index: Option<Index>,
}

/// Reads that wait, oldest first. Rounds and indexes rise with ids, so the reads that are ready are
/// always those up to some id.
///
/// All reads that begin before a round's first message leaves share it.
#[derive(Debug, Default)]
pub(super) struct Reads {
    waiting: VecDeque<Read>,
    next_id: ReadId,
    latest_round: u64,
    /// When the latest round may start, if it lingers for more reads.
    round_after: Option<Instant>,
    /// Whether a message of the latest round has left: then it is too late to join.
    started: bool,
    confirmed_round: u64,
    /// Reads up to this one are lost: the leadership they relied on is over.
    failed_through: Option<ReadId>,
}

impl Reads {
    pub(super) fn latest_round(&self) -> u64 {
        self.latest_round
    }

    /// When the latest round may start by a message of its own.
    pub(super) fn round_after(&self, now: Instant) -> Instant {
        self.round_after.unwrap_or(now)
    }

    pub(super) fn round_started(&mut self) {
        self.started = true;
    }
}

impl Rules {
    /// Begins a read, if this peer leads.
    pub(crate) fn begin_read(&mut self, now: Instant) -> Option<ReadId> {
        if !self.is_leader() {
            return None;
        }
        if self.reads.started || self.reads.latest_round == self.reads.confirmed_round {
            self.reads.latest_round += 1;
            self.reads.started = false;
            self.reads.round_after = Some(now + self.options.linger);
            self.wake.entries_to_send = true;
        }
        let known = self.has_committed_in_term() || mistake!(ReadsBeforeOwnCommit);
        let index = known.then_some(self.commit_index);
        let id = self.reads.next_id;
        self.reads.next_id += 1;
        self.reads.waiting.push_back(Read { id, round: self.reads.latest_round, index });
        self.wake.committed |= mistake!(ReadsWithoutRound);
        self.confirm_reads();
        Some(id)
    }

    /// Sees how far the rounds have come.
    pub(super) fn confirm_reads(&mut self) {
        let Role::Leader { progress } = &self.role else { return };
        let (me, latest) = (self.me, self.reads.latest_round);
        let confirmed = self.configuration().majority_value(|peer| {
            if peer == me { latest } else { progress.get(&peer).map_or(0, |p| p.round_acked) }
        });
        if confirmed > self.reads.confirmed_round {
            self.reads.confirmed_round = confirmed;
            self.wake.committed = true;
        }
    }

    /// Something of the leader's own term is committed: reads that waited for it know their index.
    pub(super) fn on_commit_for_reads(&mut self) {
        let commit_index = self.commit_index;
        for read in self.reads.waiting.iter_mut().filter(|read| read.index.is_none()) {
            read.index = Some(commit_index);
        }
    }

    /// Leadership is over, and with it every read that waits.
    pub(super) fn fail_reads(&mut self) {
        if let Some(last) = self.reads.waiting.back() {
            self.reads.failed_through = Some(last.id);
            self.reads.waiting.clear();
            self.wake.committed = true;
        }
    }

    /// The last of the reads that failed since the last call.
    pub(super) fn take_failed_reads(&mut self) -> Option<ReadId> {
        self.reads.failed_through.take()
    }

    /// The last of the reads that may be served now; they are waiting no longer.
    pub(super) fn take_ready_reads(&mut self) -> Option<ReadId> {
        let (confirmed, applied) = (self.reads.confirmed_round, self.last_applied);
        let ready = |read: &Read| {
            (read.round <= confirmed || mistake!(ReadsWithoutRound))
                && read.index.is_some_and(|index| index <= applied)
        };
        let count = self.reads.waiting.iter().take_while(|read| ready(read)).count();
        self.reads.waiting.drain(..count).next_back().map(|read| read.id)
    }

    /// Whether an entry of the current term is committed, as far as this peer knows.
    pub(super) fn has_committed_in_term(&self) -> bool {
        self.log.id_at(self.commit_index).is_some_and(|id| id.term == self.current_term)
    }
}
