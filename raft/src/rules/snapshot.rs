//! Snapshots (section 7): log compaction, and both sides of `InstallSnapshot`.

use std::time::Instant;

use oarlock_storage::{SnapshotMeta, StagedSnapshot};

use super::progress::{Feed, Moment};
use super::replication::Send;
use super::{Due, Incoming, Role, Rules};
use crate::log::Discarded;
use crate::message::{InstallSnapshotArgs, InstallSnapshotReply};
use crate::mistake;
use crate::mutation::AfterDurable;
use crate::types::{Index, PeerId, Term};

/// Which piece was sent, to be compared when the reply comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SentPiece {
    pub(crate) term: Term,
    pub(crate) leader_id: PeerId,
    pub(crate) last_included: Index,
    pub(crate) offset: u64,
    /// The most bytes the piece may have.
    pub(crate) len_max: usize,
}

impl Rules {
    /// What a snapshot of everything up to `index` stands for; `None` if there is one already that
    /// reaches as far. The state machine must have been given everything up to `index`.
    pub(crate) fn snapshot_meta(&self, index: Index) -> Option<SnapshotMeta> {
        assert!(index <= self.commit_index, "snapshot {index}, commit {}", self.commit_index);
        let last_included = self.log.id_at(index).filter(|id| id.index > self.log.base().index)?;
        Some(SnapshotMeta { last_included, configuration: self.configurations.at(index).encode() })
    }

    /// Discards the log that `staged` covers, to be dropped without the lock. A newer snapshot may have
    /// come meanwhile: then `staged` is dropped.
    pub(crate) fn compact(&mut self, staged: StagedSnapshot) -> AfterDurable<Discarded> {
        let last_included = staged.meta.last_included;
        let mut gone = Discarded::default();
        if last_included.index > self.log.base().index && !mistake!(NeverCompacts) {
            let (held, discarded) = self.log.compact(last_included);
            gone = discarded;
            assert!(held, "the snapshot at {last_included} is of another log");
            self.configurations.compacted(last_included.index);
            self.incoming = None;
            self.mutations.compact(staged);
            self.wake.log_writer = true;
            crate::trace!(self, "SNAP", "compacts up to {last_included}");
        }
        self.mutations.after_durable(gone)
    }

    /// A piece of a leader's snapshot (Figure 13, receiver).
    pub(crate) fn handle_install_snapshot(
        &mut self,
        args: InstallSnapshotArgs,
        now: Instant,
    ) -> AfterDurable<InstallSnapshotReply> {
        let wants = if args.term < self.current_term {
            Some(args.offset)
        } else {
            self.follow(args.term, args.leader_id, now);
            self.take_piece(args, now)
        };
        self.mutations.after_durable(InstallSnapshotReply { term: self.current_term, wants })
    }

    /// Takes a piece if it is the next one; returns the offset wanted then, if any.
    fn take_piece(&mut self, args: InstallSnapshotArgs, now: Instant) -> Option<u64> {
        let last_included = args.last_included;
        if last_included.index <= self.commit_index {
            return None;
        }
        let same = |incoming: &Incoming| {
            (incoming.term, incoming.last_included) == (args.term, last_included)
        };
        let wants = self.incoming.as_ref().filter(|i| same(i)).map_or(0, |i| i.wants);
        if args.offset != wants {
            return Some(wants);
        }
        let configuration = args.configuration().expect("checked where messages come in");
        let meta = args.meta();
        let wants = wants + args.data.len() as u64;
        self.mutations.receive(meta, args.offset == 0, args.data);
        self.wake.log_writer = true;
        self.incoming = Some(Incoming { term: args.term, last_included, wants });
        if !args.done {
            return Some(wants);
        }
        self.incoming = None;
        let (log_kept, _) = self.log.compact(last_included);
        if mistake!(InstallDropsTail) && self.log.last().index > last_included.index {
            self.log.truncate_from(last_included.index + 1);
            self.mutations.truncate_from(last_included.index + 1);
            self.configurations.truncated_from(last_included.index + 1);
        }
        // Only what was committed is known to be the same in the log that goes and in the one that
        // comes.
        let same_through = (!log_kept).then_some(self.commit_index);
        self.mutations.install(last_included.index, same_through);
        self.configurations.installed(last_included.index, configuration, log_kept);
        self.configuration_changed(now);
        // The applier gets it from `snapshot` once the log writer has published it.
        self.set_commit_index(last_included.index, now);
        crate::trace!(self, "SNAP", "installs {last_included} log kept={log_kept}");
        None
    }

    /// The follower answered a piece, or nothing came back.
    pub(crate) fn on_piece_reply(
        &mut self,
        peer: PeerId,
        sent: &SentPiece,
        reply: Option<&InstallSnapshotReply>,
        now: Instant,
    ) {
        if let Some(reply) = reply.filter(|reply| reply.term > self.current_term) {
            return self.step_up_to(reply.term, now);
        }
        if sent.term != self.current_term {
            return;
        }
        let pause = self.options.heartbeat_interval;
        let Role::Leader { progress } = &mut self.role else { return };
        let Some(follower) = progress.get_mut(&peer) else { return };
        match reply {
            Some(reply) => follower.on_piece_reply(sent.last_included, reply.wants, now),
            None => follower.on_piece_lost(sent.last_included, now, pause),
        }
        self.wake.entries_to_send = true;
        self.advance_commit(now);
    }

    pub(super) fn begin_snapshot_to(&mut self, peer: PeerId, at: &Moment) -> Due<Send> {
        // While the newest snapshot is on its way to the disk there is nothing to send that would
        // bring the follower as far as our log goes back: the log writer wakes us.
        let current = self.snapshot.clone().filter(|s| s.meta.last_included == at.base);
        let Some(snapshot) = current else { return Due::At(at.now + at.heartbeat_interval) };
        crate::trace!(self, "SNAP", "→ S{peer} begins {}", snapshot.meta.last_included);
        self.progress_of(peer).begin_transfer(snapshot);
        Due::Now(self.piece_to(peer, at.now))
    }

    pub(super) fn piece_to(&mut self, peer: PeerId, now: Instant) -> Send {
        let (term, leader_id) = (self.current_term, self.me);
        let len_max = self.options.snapshot_chunk_bytes;
        let Feed::Snapshot(transfer) = &mut self.progress_of(peer).feed else {
            panic!("a piece of a snapshot is only sent while one is under way");
        };
        transfer.sent_at = Some(now);
        let last_included = transfer.snapshot.meta.last_included.index;
        let sent = SentPiece { term, leader_id, last_included, offset: transfer.offset, len_max };
        Send::Piece { snapshot: transfer.snapshot.clone(), sent }
    }
}

#[cfg(test)]
mod tests {
    use oarlock_storage::{Entry, EntryId, HardState, Recovered};

    use super::*;
    use crate::configuration::Configuration;
    use crate::message::{AppendEntriesArgs, AppendOutcome};
    use crate::options::Options;
    use crate::types::Term;

    fn entry(index: Index, term: Term) -> Entry {
        Entry { id: EntryId::new(index, term), tag: 0, data: [].into() }
    }

    /// S1 led term 1, was cut off, and has entries 3 to 6 on its disk that were never committed. S2
    /// sends it a snapshot up to `5@2`, in which it finds its log to be another, and a heartbeat right
    /// behind the last piece, while S1's disk is still busy with the pieces. S1 must not say that it
    /// has entry 5: its disk has another one there.
    #[test]
    fn a_heartbeat_behind_a_snapshot_is_not_answered_for_the_old_log() {
        let now = crate::shared::Shared::now();
        let recovered = Recovered {
            hard_state: HardState { current_term: 1, voted_for: Some(1) },
            snapshot: None,
            entries: (1..=6).map(|index| entry(index, 1)).collect(),
        };
        let everyone = Configuration::of_voters([1, 2, 3].map(PeerId));
        let options = Options { seed: 1, ..Options::default() };
        let mut rules =
            Rules::recovered(PeerId(1), everyone.clone(), recovered, options, now).unwrap();
        let piece = InstallSnapshotArgs {
            term: 2,
            leader_id: PeerId(2),
            last_included: EntryId::new(5, 2),
            configuration: everyone.encode().to_vec(),
            offset: 0,
            data: vec![7],
            done: true,
        };
        let installed = rules.handle_install_snapshot(piece, now);
        assert_eq!(installed.value.wants, None);
        let heartbeat = AppendEntriesArgs {
            term: 2,
            leader_id: PeerId(2),
            prev_log: EntryId::new(5, 2),
            leader_commit: 5,
            entries: Vec::new(),
        };
        let AfterDurable { value, until } = rules.handle_append_entries(heartbeat, now);
        assert_ne!(until, installed.until, "a heartbeat waits for no snapshot");
        assert_eq!(
            value.outcome,
            AppendOutcome::Matched { index: 0 },
            "nothing was committed here"
        );
    }
}
