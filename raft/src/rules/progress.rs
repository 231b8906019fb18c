//! What a leader knows of one follower (`nextIndex` and `matchIndex` of Figure 2), and when it has
//! something to send there.

use std::time::{Duration, Instant};

use super::Due;
use super::replication::SentAppend;
use crate::mistake;
use crate::types::{Entry, EntryId, Index, PeerId, Snapshot};

/// How long the news of a commit waits for entries to travel with: longer than a command takes, so
/// that one client after another costs no message of its own; too short for anybody to notice.
const COMMIT_NEWS_DELAY: Duration = Duration::from_millis(5);

/// How a follower is being fed.
#[derive(Debug)]
pub(super) enum Feed {
    /// Where its log meets ours is not known, or it may not be there: one message at a time, at
    /// the heartbeat's pace, until it answers.
    Probe,
    /// Its log matches: messages follow each other without waiting for replies.
    Replicate,
    /// It needs entries we no longer have: a snapshot is on its way, piece by piece.
    Snapshot(Transfer),
}

/// A snapshot on its way to one follower. The handle keeps it readable though a newer one comes.
#[derive(Debug)]
pub(super) struct Transfer {
    pub(super) snapshot: Snapshot,
    /// The offset of the piece to send next, in bytes.
    pub(super) offset: u64,
    /// When the piece under way was sent, if one is.
    pub(super) sent_at: Option<Instant>,
}

/// What the leader's state says at the moment a replication thread asks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) now: Instant,
    pub(super) base: EntryId,
    pub(super) last_index: Index,
    /// The last entry that the log writer has taken.
    pub(super) taken_index: Index,
    /// Whether the entries behind it wait for more, and how long they may be held back.
    pub(super) gathers: bool,
    pub(super) held_until: Option<Instant>,
    pub(super) commit_index: Index,
    pub(super) read_round: u64,
    /// No message for a round of read confirmations alone before this moment.
    pub(super) round_after: Instant,
    pub(super) heartbeat_interval: Duration,
    /// A message that is not answered for this long counts as lost.
    pub(super) patience: Duration,
    pub(super) in_flight_max: usize,
    pub(super) in_flight_bytes_max: usize,
    /// A follower without room is sent entries from this index on.
    pub(super) sent_without_room: Index,
}

/// What to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// `AppendEntries`; `probe` limits its size.
    Append { probe: bool },
    /// `AppendEntries` without entries, from the log's base: the follower is behind it.
    BareHeartbeat,
    /// The next piece of the snapshot.
    Piece,
    /// The current snapshot, from its beginning.
    BeginSnapshot,
}

/// One follower, as its leader sees it.
#[derive(Debug)]
pub(crate) struct Progress {
    match_index: Index,
    next_index: Index,
    pub(super) feed: Feed,
    /// Messages sent before this many changes of `feed` say nothing about the present.
    epoch: u64,
    /// Messages with entries, of this epoch, that are not answered.
    in_flight: usize,
    /// Their payload bytes.
    in_flight_bytes: usize,
    /// Since when messages are under way without any answer.
    unanswered_since: Option<Instant>,
    /// Losses in a row.
    losses: u32,
    /// Nothing but heartbeats before this moment.
    send_after: Instant,
    last_sent: Instant,
    /// When the follower last answered anything.
    pub(super) last_contact: Instant,
    /// When the latest message left that the follower heeded, if any has.
    answered_from: Option<Instant>,
    /// The greatest `leader_commit` sent.
    commit_sent: Index,
    /// No message for the news of a commit alone before this moment.
    news_after: Instant,
    /// The latest round of read confirmations sent, and the latest answered.
    round_sent: u64,
    pub(super) round_acked: u64,
    /// Whether its disk has room, by its last answer to this leader.
    room: Option<bool>,
    /// A round of catching up (dissertation 4.2.1): what our log had when it began, and when.
    catching_up: (Index, Instant),
    /// When it last caught up with a whole round in less than an election time-out.
    caught_up_at: Option<Instant>,
}

impl Progress {
    /// A follower as a new leader assumes it: up to date, to be probed at once.
    pub(super) fn new(next_index: Index, now: Instant) -> Self {
        Self {
            match_index: 0,
            next_index,
            feed: Feed::Probe,
            epoch: 0,
            in_flight: 0,
            in_flight_bytes: 0,
            unanswered_since: None,
            losses: 0,
            send_after: now,
            last_sent: now,
            last_contact: now,
            answered_from: None,
            commit_sent: 0,
            news_after: now,
            round_sent: 0,
            round_acked: 0,
            room: None,
            catching_up: (next_index - 1, now),
            caught_up_at: None,
        }
    }

    /// Whether the follower's disk has room, as far as it is known.
    pub(crate) fn room(&self) -> Option<bool> {
        self.room
    }

    pub(super) fn on_room(&mut self, has_room: bool) {
        self.room = Some(has_room);
    }

    /// Whether entries are kept from a follower without room for them.
    pub(super) fn is_held_back(&self, at: &Moment) -> bool {
        self.room == Some(false) && self.next_index < at.sent_without_room
    }

    pub(crate) fn match_index(&self) -> Index {
        self.match_index
    }

    pub(crate) fn last_contact(&self) -> Instant {
        self.last_contact
    }

    /// When the latest message left that the follower heeded.
    pub(super) fn answered_from(&self) -> Option<Instant> {
        self.answered_from
    }

    /// It answered as a follower of ours. Older messages may be answered later.
    pub(super) fn on_heeded(&mut self, sent: &SentAppend, now: Instant) {
        let from = if mistake!(LeaseFromArrival) { now } else { sent.at };
        self.answered_from = self.answered_from.max(Some(from));
    }

    /// When it was last as good as level with our log.
    pub(super) fn caught_up_at(&self) -> Option<Instant> {
        self.caught_up_at
    }

    /// Whether as much is under way as may be.
    pub(super) fn is_window_full(&self, at: &Moment) -> bool {
        self.in_flight >= at.in_flight_max || self.in_flight_bytes >= at.in_flight_bytes_max
    }

    pub(super) fn next_index(&self) -> Index {
        self.next_index
    }

    /// What to send now, or when to ask again.
    pub(super) fn wanted(&mut self, at: &Moment) -> Due<Wanted> {
        if self.unanswered_since.is_some_and(|since| at.now >= since + at.patience) {
            self.probe_from(self.match_index + 1, at.now);
        }
        if self.next_index <= at.base.index {
            return self.wanted_of_snapshot(at);
        }
        match self.feed {
            Feed::Probe if at.now >= self.send_after => Due::Now(Wanted::Append { probe: true }),
            Feed::Probe => Due::At(self.send_after),
            Feed::Replicate => self.wanted_of_log(at),
            Feed::Snapshot(_) => {
                // The log reaches back to it after all.
                self.probe_from(self.next_index, at.now);
                Due::Now(Wanted::Append { probe: true })
            }
        }
    }

    /// How long the next message with entries had better wait for more of them: as long as the log
    /// writer gathers, or is busy while this follower is too. Then both go together; if our disk
    /// is slow, followers do not wait for it.
    fn gathers_until(&self, at: &Moment) -> Option<Instant> {
        let waits = self.next_index > at.taken_index && (at.gathers || self.in_flight > 0);
        at.held_until.filter(|&until| waits && at.now < until)
    }

    /// Whether there is something to say before the next heartbeat.
    pub(super) fn has_news(&self, at: &Moment) -> bool {
        let pending = self.next_index <= at.last_index;
        let held = pending && self.gathers_until(at).is_some();
        let entries = pending && !held && !self.is_window_full(at) && !self.is_held_back(at);
        let commit = self.has_commit_news(at) && self.in_flight == 0 && !held;
        let round = self.wants_round(at) && at.now >= at.round_after;
        entries || commit || round || !matches!(self.feed, Feed::Replicate)
    }

    /// Whether there is something to say at once, to a follower whose log matches and that answers.
    pub(super) fn is_ready(&self, at: &Moment) -> bool {
        matches!(self.feed, Feed::Replicate)
            && self.next_index > at.base.index
            && at.now >= self.send_after
            && self.unanswered_since.is_none_or(|since| at.now < since + at.patience)
            && self.has_news(at)
    }

    /// Whether it is to confirm a round, and no other is under way.
    fn wants_round(&self, at: &Moment) -> bool {
        self.round_sent < at.read_round && self.round_sent == self.round_acked
    }

    /// Whether the follower had better be told what is committed. The news travels with entries, or
    /// alone when none have been for a while: where one command follows another, it is free.
    pub(super) fn has_commit_news(&self, at: &Moment) -> bool {
        self.commit_sent < at.commit_index && at.now >= self.news_after
    }

    fn wanted_of_log(&self, at: &Moment) -> Due<Wanted> {
        let news = self.has_news(at);
        let heartbeat_at = self.last_sent + at.heartbeat_interval;
        if (news && at.now >= self.send_after) || at.now >= heartbeat_at {
            return Due::Now(Wanted::Append { probe: false });
        }
        let lost_at = self.unanswered_since.map(|since| since + at.patience);
        let retry_at = news.then_some(self.send_after);
        let more_at = self.gathers_until(at).filter(|_| self.next_index <= at.last_index);
        // By then, what was sent may be committed. If that takes longer, the commit wakes us.
        let news_at = Some(self.news_after)
            .filter(|&news_at| at.now < news_at && self.commit_sent + 1 < self.next_index);
        let round_at =
            Some(at.round_after).filter(|&round_at| at.now < round_at && self.wants_round(at));
        let earliest = [lost_at, retry_at, more_at, news_at, round_at].into_iter().flatten();
        Due::At(earliest.fold(heartbeat_at, Instant::min))
    }

    fn wanted_of_snapshot(&mut self, at: &Moment) -> Due<Wanted> {
        let heartbeat_at = self.last_sent + at.heartbeat_interval;
        if at.now >= heartbeat_at {
            return Due::Now(Wanted::BareHeartbeat);
        }
        let (wanted, ready_at) = match &self.feed {
            Feed::Snapshot(transfer) => {
                // A piece is large: it gets twice the patience of a message.
                let lost_at = transfer.sent_at.map(|sent_at| sent_at + at.patience * 2);
                (Wanted::Piece, lost_at.unwrap_or(self.send_after))
            }
            Feed::Probe | Feed::Replicate => (Wanted::BeginSnapshot, self.send_after),
        };
        if at.now >= ready_at { Due::Now(wanted) } else { Due::At(ready_at.min(heartbeat_at)) }
    }

    /// An `AppendEntries` leaves with `entries`, which follow `prev`.
    pub(super) fn on_send(&mut self, prev: EntryId, entries: &[Entry], at: &Moment) -> SentAppend {
        let with_entries = !entries.is_empty();
        let last_index = prev.index + entries.len() as Index;
        let bytes = entries.iter().map(|entry| entry.data.len()).sum();
        self.last_sent = at.now;
        self.commit_sent = at.commit_index;
        self.round_sent = at.read_round;
        match self.feed {
            Feed::Probe => self.send_after = at.now + at.heartbeat_interval,
            Feed::Replicate if with_entries => {
                self.news_after = at.now + COMMIT_NEWS_DELAY;
                if !mistake!(SendsAllAgain) {
                    self.next_index = last_index + 1;
                }
                self.in_flight += 1;
                self.in_flight_bytes += bytes;
                self.unanswered_since.get_or_insert(at.now);
            }
            Feed::Replicate | Feed::Snapshot(_) => {}
        }
        let (epoch, round) = (self.epoch, at.read_round);
        SentAppend { at: at.now, epoch, round, prev, last_index, with_entries, bytes }
    }

    /// A follower's log matches up to `index`. Returns whether it has just caught up.
    pub(super) fn on_match(&mut self, sent: &SentAppend, index: Index, at: &Moment) -> bool {
        let now = at.now;
        self.answered(sent, now);
        self.match_index = self.match_index.max(index);
        self.next_index = self.next_index.max(self.match_index + 1);
        if matches!(self.feed, Feed::Probe) && sent.epoch == self.epoch {
            self.feed = Feed::Replicate;
            self.epoch += 1;
            self.send_after = now;
            // Its log holds what was sent, though perhaps not on disk yet.
            self.next_index = self.next_index.max(sent.last_index + 1);
            self.in_flight = 0;
            self.in_flight_bytes = 0;
            self.unanswered_since = None;
        }
        self.end_round_of_catching_up(at)
    }

    /// Ends the round if everything our log had when it began has arrived, and begins the next: the
    /// entries that came meanwhile. Returns whether this round was quick enough, and the one before it was not, or long ago.
    fn end_round_of_catching_up(&mut self, at: &Moment) -> bool {
        let (wanted, began) = self.catching_up;
        if self.match_index < wanted {
            return false;
        }
        self.catching_up = (at.last_index, at.now);
        let quick = at.now < began + at.patience;
        let first = quick && self.caught_up_at.is_none_or(|last| at.now >= last + at.patience);
        self.caught_up_at = if quick { Some(at.now) } else { None };
        first
    }

    /// A follower's log does not hold what came before the entries; `next_index` is the best guess
    /// where it does.
    pub(super) fn on_conflict(&mut self, sent: &SentAppend, next_index: Index, now: Instant) {
        self.answered(sent, now);
        let stale = sent.epoch != self.epoch || sent.prev.index <= self.match_index;
        if !stale && !matches!(self.feed, Feed::Snapshot(_)) {
            self.probe_from(next_index, now);
        }
    }

    /// Nothing came back for this message.
    pub(super) fn on_lost(&mut self, sent: &SentAppend, retry_after: Duration, at: &Moment) {
        if sent.epoch != self.epoch {
            return;
        }
        self.losses = self.losses.saturating_add(1);
        // One loss may be chance; several in a row mean that nobody is there.
        let pause = if self.losses == 1 { retry_after } else { at.heartbeat_interval };
        self.round_sent = self.round_acked;
        if matches!(self.feed, Feed::Replicate) && sent.with_entries {
            self.probe_from(self.match_index + 1, at.now);
        }
        self.send_after = at.now + pause;
    }

    /// The follower's answer to a piece: the offset it wants next, or nothing more.
    pub(super) fn on_piece_reply(
        &mut self,
        last_included: Index,
        wants: Option<u64>,
        now: Instant,
    ) {
        self.last_contact = now;
        self.losses = 0;
        if wants.is_none() {
            self.match_index = self.match_index.max(last_included);
            self.probe_from(self.next_index.max(self.match_index + 1), now);
        } else if let (Feed::Snapshot(transfer), Some(offset)) = (&mut self.feed, wants)
            && transfer.snapshot.meta.last_included.index == last_included
        {
            transfer.offset = offset.min(transfer.snapshot.len() as u64);
            transfer.sent_at = None;
            self.send_after = now;
        }
    }

    /// Nothing came back for a piece.
    pub(super) fn on_piece_lost(&mut self, last_included: Index, now: Instant, pause: Duration) {
        if let Feed::Snapshot(transfer) = &mut self.feed
            && transfer.snapshot.meta.last_included.index == last_included
        {
            transfer.sent_at = None;
            self.send_after = now + pause;
        }
    }

    /// Begins to send `snapshot`.
    pub(super) fn begin_transfer(&mut self, snapshot: Snapshot) {
        self.feed = Feed::Snapshot(Transfer { snapshot, offset: 0, sent_at: None });
        self.forget_in_flight();
    }

    /// Starts over from `next_index`, in probes.
    fn probe_from(&mut self, next_index: Index, now: Instant) {
        self.feed = Feed::Probe;
        self.next_index = next_index.max(self.match_index + 1);
        self.send_after = now;
        self.forget_in_flight();
    }

    fn forget_in_flight(&mut self) {
        self.epoch += 1;
        self.in_flight = 0;
        self.in_flight_bytes = 0;
        self.unanswered_since = None;
    }

    fn answered(&mut self, sent: &SentAppend, now: Instant) {
        self.last_contact = now;
        self.losses = 0;
        self.round_acked = self.round_acked.max(sent.round);
        self.round_sent = self.round_sent.max(self.round_acked);
        if sent.epoch == self.epoch && sent.with_entries && matches!(self.feed, Feed::Replicate) {
            self.in_flight = self.in_flight.saturating_sub(1);
            self.in_flight_bytes = self.in_flight_bytes.saturating_sub(sent.bytes);
            self.unanswered_since = (self.in_flight > 0).then_some(now);
        }
    }

    pub(super) fn check_invariants(&self, peer: PeerId, last_index: Index) {
        let (matched, next) = (self.match_index, self.next_index);
        assert!(matched < next, "4: S{peer} match_index {matched}, next_index {next}");
        assert!(next <= last_index + 1, "4: S{peer} next_index {next}, last {last_index}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(now: Instant) -> Moment {
        Moment {
            now,
            base: EntryId::default(),
            last_index: 100,
            taken_index: 100,
            gathers: false,
            held_until: None,
            commit_index: 0,
            read_round: 0,
            round_after: now,
            heartbeat_interval: Duration::from_millis(50),
            patience: Duration::from_millis(250),
            in_flight_max: 3,
            in_flight_bytes_max: 1000,
            sent_without_room: 0,
        }
    }

    fn entries(after: EntryId, count: u64, bytes: usize) -> Vec<Entry> {
        let id = |number| EntryId::new(after.index + number, 1);
        (1..=count)
            .map(|number| Entry { id: id(number), tag: 0, data: vec![7; bytes].into() })
            .collect()
    }

    /// Sends as many messages of `bytes` as may be under way, and returns them.
    fn fill(follower: &mut Progress, bytes: usize, at: &Moment) -> Vec<SentAppend> {
        let mut sent = Vec::new();
        while !follower.is_window_full(at) {
            let prev = EntryId::new(follower.next_index() - 1, 1);
            sent.push(follower.on_send(prev, &entries(prev, 2, bytes / 2), at));
        }
        sent
    }

    #[test]
    fn what_is_under_way_is_bounded_in_messages_and_in_bytes() {
        #[expect(clippy::disallowed_methods, reason = "an origin for stated times")]
        let at = moment(Instant::now());
        let mut follower = Progress::new(1, at.now);
        let probe = follower.on_send(EntryId::default(), &[], &at);
        follower.on_match(&probe, 0, &at);
        for (bytes, messages) in [(10, 3), (500, 2), (4000, 1)] {
            let sent = fill(&mut follower, bytes, &at);
            assert_eq!(sent.len(), messages, "of {bytes} bytes");
            assert!(!follower.has_news(&at), "they wait for an answer");
            follower.on_match(&sent[0], sent[0].last_index, &at);
            assert!(follower.has_news(&at), "there is room for one more");
            for sent in &sent[1..] {
                follower.on_match(sent, sent.last_index, &at);
            }
            assert_eq!((follower.in_flight, follower.in_flight_bytes), (0, 0));
        }
        // What was under way before a loss counts no more.
        let sent = fill(&mut follower, 500, &at);
        follower.on_lost(&sent[0], Duration::ZERO, &at);
        assert_eq!((follower.in_flight, follower.in_flight_bytes), (0, 0));
        follower.on_match(&sent[1], sent[1].last_index, &at);
        assert_eq!((follower.in_flight, follower.in_flight_bytes), (0, 0), "nor does its answer");
    }
}
