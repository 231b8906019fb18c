//! Disks without room: a leader takes no more entries than a majority can write, and gives way to a
//! peer that has room.
//!
//! Room is noticed to be gone while a reserve is left, and this file sees to it that the reserve
//! lasts: nothing new is begun. Nothing else of the protocol changes. What was begun is written to
//! the reserve; should that not do, it waits, as it would for a slow disk, and is not acknowledged
//! meanwhile. So none of this bears on safety: every promise is still made after the write it rests
//! on, and what is refused was never appended anywhere.
//!
//! Progress: a leader without room steps down once a follower with room holds its whole log, and
//! campaigns later than those that have some. If nobody else is better off it goes on leading, so
//! that reads go on; and if all are full they still elect somebody, since terms, votes and the new
//! leader's no-op fit the reserve.

use std::time::{Duration, Instant};

use oarlock_storage::Snapshot;

use super::{ApplyWork, Due, Progress, Role, Rules};
use crate::types::{Index, PeerId};

/// How often a disk without room is looked at again.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long after a snapshot that was to make room the next one is tried.
const COMPACT_AGAIN: Duration = Duration::from_secs(1);
/// Each wait is twice as long as the one before, up to this.
const COMPACT_AGAIN_MAX: Duration = Duration::from_secs(32);

/// The most that is sent to the reserve of one follower, in logical bytes: well below what it holds.
const FROM_RESERVE_BYTES_MAX: u64 = 1 << 20;

/// How far the log writer came with its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Everything is on disk.
    All,
    /// Terms and votes are; something else waits for room.
    HardState,
    /// Not even those fit.
    Nothing,
}

/// What the log writer did.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    pub(crate) reach: Reach,
    /// The newest snapshot it made current.
    pub(crate) snapshot: Option<Snapshot>,
    /// Whether the disk has room beyond the reserve.
    pub(crate) has_room: bool,
}

/// Why a leader takes no entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Another is about to lead: this one passes its leadership on, or has no room on its disk
    /// while a majority of the others have.
    GivesWay,
    /// The disks of a majority have none.
    DisksFull,
}

/// This peer's own disk.
#[derive(Debug, Default)]
pub(super) struct Space {
    /// When to look again; `None` as long as there is room.
    look_at: Option<Instant>,
    /// When to make room with a snapshot, unless there is room by then; and how long to wait after
    /// that one.
    compact_at: Option<(Instant, Duration)>,
}

impl Space {
    pub(super) fn has_room(&self) -> bool {
        self.look_at.is_none()
    }

    /// `work`, once it is time to look at the disk again.
    pub(super) fn look_due<T>(&self, now: Instant, work: impl FnOnce() -> T) -> Due<T> {
        match self.look_at {
            Some(at) if at <= now => Due::Now(work()),
            Some(at) => Due::At(at),
            None => Due::WhenWoken,
        }
    }

    /// A snapshot up to `applied`, once it is time to make room with one.
    pub(super) fn compaction_due(&mut self, now: Instant, applied: Index) -> Due<ApplyWork> {
        match self.compact_at {
            Some((at, wait)) if at <= now => {
                self.compact_at = Some((now + wait, (wait * 2).min(COMPACT_AGAIN_MAX)));
                Due::Now(ApplyWork::MakeRoom(applied))
            }
            Some((at, _)) => Due::At(at),
            None => Due::WhenWoken,
        }
    }
}

impl Rules {
    /// Whether this peer's disk has room for new entries.
    pub(crate) fn has_room(&self) -> bool {
        self.space.has_room()
    }

    /// The log writer looked at the disk.
    pub(super) fn on_room(&mut self, has_room: bool, now: Instant) {
        let before = self.space.has_room();
        self.space.look_at = (!has_room).then_some(now + LOOK_EVERY);
        if has_room == before {
            return;
        }
        crate::trace!(self, "PERS", "room={has_room} last={}", self.log.last());
        // Not before what is under way has come: only with nothing behind it a snapshot can replace
        // the whole log.
        self.space.compact_at = (!has_room).then_some((now + LOOK_EVERY, COMPACT_AGAIN));
        self.wake.committed = true;
        if self.is_leader() {
            self.give_way(now);
        } else {
            // How long it waits depends on its room.
            self.draw_election_timeout(now);
        }
    }

    /// Why this leader takes no new entries; `None` if it does.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        let Role::Leader { progress } = &self.role else { return None };
        if self.hands_over() {
            return Some(Refusal::GivesWay);
        }
        let own = self.space.has_room();
        if own && progress.values().all(|follower| follower.room() != Some(false)) {
            return None;
        }
        // Who has not answered yet is given the benefit of the doubt.
        let other = |peer| progress.get(&peer).is_some_and(|p: &Progress| p.room() != Some(false));
        let suffice = |own: bool| {
            self.configuration()
                .has_majority(|peer| if peer == self.me { own } else { other(peer) })
        };
        match (own, suffice(false)) {
            (false, true) => Some(Refusal::GivesWay),
            _ if own && suffice(true) => None,
            _ => Some(Refusal::DisksFull),
        }
    }

    /// From which index on entries are sent even to a follower without room for them: none while new
    /// ones are taken. Once none are, little is left to send, a new leader's no-op among it; it may
    /// be needed for a majority, and the follower's reserve is there for it.
    pub(super) fn sent_without_room(&self) -> Index {
        match self.refusal() {
            None => Index::MAX,
            Some(_) => self.log.first_index_of_last_bytes(FROM_RESERVE_BYTES_MAX),
        }
    }

    /// A leader without room steps down if a majority has room without it, and one of them holds
    /// its whole log: that one can win the election, whatever this peer voted or will vote.
    pub(super) fn give_way(&mut self, now: Instant) {
        let Role::Leader { progress } = &self.role else { return };
        if self.space.has_room() {
            return;
        }
        let last = self.log.last().index;
        let has_room = |peer: PeerId| progress.get(&peer).is_some_and(|p| p.room() == Some(true));
        let is_level = |peer: &PeerId| progress[peer].match_index() == last;
        let successor = progress
            .keys()
            .copied()
            .find(|peer| has_room(*peer) && is_level(peer) && self.configuration().is_voter(*peer));
        if let Some(successor) = successor
            && self.configuration().has_majority(has_room)
        {
            crate::trace!(self, "LEAD", "has no room and gives way, to S{successor} or another");
            self.become_follower(None, now);
        }
    }
}
