//! The RPCs of Figures 2 and 13, field by field, as they travel.

use std::sync::Arc;

use oarlock_rpc::Method;
use oarlock_rpc::codec::{self, CodecError, Wire};
use oarlock_storage::Payload;
use serde::{Deserialize, Serialize};

use crate::configuration::Configuration;
use crate::types::{Entry, EntryId, EntryKind, Index, PeerId, SnapshotMeta, Term};

/// `RequestVote`, for real and as a question (PreVote).
pub(crate) const REQUEST_VOTE: Method = Method::urgent("Raft.RequestVote");
/// `AppendEntries`.
pub(crate) const APPEND_ENTRIES: Method = Method::urgent("Raft.AppendEntries");
/// `TimeoutNow` (dissertation 3.10).
pub(crate) const TIMEOUT_NOW: Method = Method::urgent("Raft.TimeoutNow");
/// `InstallSnapshot`: large, and in its own lane, so that no heartbeat waits behind it.
pub(crate) const INSTALL_SNAPSHOT: Method = Method::bulk("Raft.InstallSnapshot");

/// The largest command that fits a message with room for the fields around it.
pub(crate) const COMMAND_BYTES_MAX: usize = 48 << 20;

/// What is around the entries in a message is a small part of one that is this long.
const KEPT_BYTES_MIN: usize = 512;

/// The arguments of `RequestVote` (Figure 2; PreVote is section 9.6 of the dissertation).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RequestVoteArgs {
    /// Only a question: *would you vote for me in this term?* Changes nothing at the receiver.
    pub pre_vote: bool,
    /// The leader asked for this candidacy: to be listened to though that leader is alive
    /// (dissertation 4.2.3).
    pub handed_over: bool,
    /// The candidate's term; of a pre-vote, the term it would campaign in.
    pub term: Term,
    /// Who asks.
    pub candidate_id: PeerId,
    /// The candidate's last entry.
    pub last_log: EntryId,
}

/// The answer to `RequestVote`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RequestVoteReply {
    /// The receiver's `current_term`.
    pub term: Term,
    /// Whether the candidate has (or would have) the vote.
    pub vote_granted: bool,
    /// The candidate was removed from the cluster, for good: that is committed.
    pub candidate_retired: bool,
}

/// The arguments of `AppendEntries` (Figure 2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AppendEntriesArgs {
    pub term: Term,
    pub leader_id: PeerId,
    /// The entry right before the new ones (`prev_log_index` and `prev_log_term`).
    pub prev_log: EntryId,
    /// The leader's `commit_index`.
    pub leader_commit: Index,
    /// The new entries; empty for a heartbeat.
    pub entries: Vec<Entry>,
}

/// [`AppendEntriesArgs`] as they lie in a message.
#[derive(Deserialize)]
struct AppendEntriesView<'a> {
    term: Term,
    leader_id: PeerId,
    prev_log: EntryId,
    leader_commit: Index,
    #[serde(borrow)]
    entries: Vec<EntryView<'a>>,
}

#[derive(Deserialize)]
struct EntryView<'a> {
    id: EntryId,
    tag: u8,
    data: &'a [u8],
}

impl AppendEntriesView<'_> {
    fn with(&self, entries: Vec<Entry>) -> AppendEntriesArgs {
        let &Self { term, leader_id, prev_log, leader_commit, .. } = self;
        AppendEntriesArgs { term, leader_id, prev_log, leader_commit, entries }
    }
}

impl EntryView<'_> {
    fn entry(&self, data: Payload) -> Entry {
        Entry { id: self.id, tag: self.tag, data }
    }
}

impl AppendEntriesArgs {
    /// Decodes a message. Entries that come together stay together in memory.
    pub(crate) fn decode(message: &[u8]) -> Result<Self, CodecError> {
        let view: AppendEntriesView<'_> = codec::decode_as::<Self, _>(message)?;
        let views = &view.entries[..];
        let entries = match views {
            [] | [_] => views.iter().map(|view| view.entry(view.data.into())).collect(),
            _ => {
                let data = Payload::within_one_copy(message, views.iter().map(|view| view.data));
                views.iter().zip(data).map(|(view, data)| view.entry(data)).collect()
            }
        };
        Ok(view.with(entries))
    }

    /// [`decode`](Self::decode), where the message can be kept: entries stay in it, if it is long.
    pub(crate) fn decode_owned(mut message: Vec<u8>) -> Result<Self, CodecError> {
        if message.len() < KEPT_BYTES_MIN {
            return Self::decode(&message);
        }
        message.shrink_to_fit();
        let message = Arc::new(message);
        let view: AppendEntriesView<'_> = codec::decode_as::<Self, _>(&message)?;
        let entry = |view: &EntryView<'_>| view.entry(Payload::within(&message, view.data));
        Ok(view.with(view.entries.iter().map(entry).collect()))
    }

    /// Whether the entries are a run right behind `prev_log` whose terms never fall or pass the
    /// sender's, of kinds this build knows. Checked once, where messages come in; the rules take
    /// it on trust.
    pub(crate) fn is_well_formed(&self) -> bool {
        let before = std::iter::once(self.prev_log).chain(self.entries.iter().map(|e| e.id));
        let is_run = before.zip(&self.entries).all(|(before, entry)| {
            before.index.checked_add(1) == Some(entry.id.index) && before.term <= entry.id.term
        });
        let last = self.entries.last().map_or(self.prev_log, |entry| entry.id);
        is_run && last.term <= self.term && self.entries.iter().all(is_known)
    }
}

/// Whether this build knows what the entry is, and, if it is a configuration, what it says.
fn is_known(entry: &Entry) -> bool {
    match EntryKind::from_tag(entry.tag) {
        Some(EntryKind::Command | EntryKind::NoOp) => true,
        Some(EntryKind::Configuration) => Configuration::decode(&entry.data).is_ok(),
        None => false,
    }
}

/// The answer to `AppendEntries`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AppendEntriesReply {
    /// The receiver's `current_term`.
    pub term: Term,
    pub outcome: AppendOutcome,
    /// Whether the receiver's disk has room for further entries.
    pub has_room: bool,
}

/// What became of the entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum AppendOutcome {
    /// The sender's term is over.
    StaleTerm,
    /// The receiver's log matches the leader's up to this index, durably.
    Matched { index: Index },
    /// `prev_log` is not in the receiver's log (section 5.3, the optimisation at its end).
    Conflict {
        /// The term of the entry in its place, if there is one.
        term: Option<Term>,
        /// The first index of that term, or the first index behind the receiver's log.
        first_index: Index,
    },
}

/// The arguments of `TimeoutNow`: the leader wants the receiver to succeed it (dissertation 3.10).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TimeoutNowArgs {
    pub term: Term,
    pub leader_id: PeerId,
}

/// The answer to `TimeoutNow`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TimeoutNowReply {
    /// The receiver's `current_term`.
    pub term: Term,
}

/// The arguments of `InstallSnapshot` (Figure 13): one piece.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct InstallSnapshotArgs {
    pub term: Term,
    pub leader_id: PeerId,
    /// `last_included_index` and `last_included_term`.
    pub last_included: EntryId,
    /// The configuration at that entry.
    #[serde(with = "serde_bytes")]
    pub configuration: Vec<u8>,
    /// Where in the snapshot the piece belongs, in bytes.
    pub offset: u64,
    #[serde(with = "serde_bytes")]
    pub data: Vec<u8>,
    /// Whether this is the last piece.
    pub done: bool,
}

impl InstallSnapshotArgs {
    /// The configuration in force at `last_included`. Checked once, where messages come in; the
    /// rules take it on trust.
    pub(crate) fn configuration(&self) -> Result<Configuration, CodecError> {
        Configuration::decode(&self.configuration)
    }

    /// What the snapshot stands for.
    pub(crate) fn meta(&self) -> SnapshotMeta {
        let configuration: Arc<[u8]> = self.configuration.as_slice().into();
        SnapshotMeta { last_included: self.last_included, configuration }
    }
}

/// The answer to `InstallSnapshot`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct InstallSnapshotReply {
    /// The receiver's `current_term`.
    pub term: Term,
    /// The offset of the piece the receiver wants next; `None` once it has everything up to
    /// `last_included`, durably.
    pub wants: Option<u64>,
}

impl Wire for RequestVoteArgs {
    const MAX_BYTES: usize = 256;
}

impl Wire for RequestVoteReply {
    const MAX_BYTES: usize = 256;
}

impl Wire for AppendEntriesArgs {
    const MAX_BYTES: usize = oarlock_rpc::codec::MAX_BYTES;

    fn len_hint(&self) -> usize {
        /// The fields around an entry's data, and around the entries.
        const FRAME: usize = 64;
        self.entries.iter().map(|entry| FRAME + entry.data.len()).sum::<usize>() + FRAME
    }
}

impl Wire for AppendEntriesReply {
    const MAX_BYTES: usize = 256;
}

impl Wire for TimeoutNowArgs {
    const MAX_BYTES: usize = 256;
}

impl Wire for TimeoutNowReply {
    const MAX_BYTES: usize = 256;
}

impl Wire for InstallSnapshotArgs {
    const MAX_BYTES: usize = oarlock_rpc::codec::MAX_BYTES;
}

impl Wire for InstallSnapshotReply {
    const MAX_BYTES: usize = 256;
}

#[cfg(test)]
#[path = "message_fuzz.rs"]
mod fuzz;

#[cfg(test)]
mod tests {
    use super::*;

    /// A message with entries of these lengths, in memory that is longer than needed.
    fn message(lens: &[usize]) -> Vec<u8> {
        let entry = |(index, len)| Entry {
            id: EntryId::new(index, 1),
            tag: EntryKind::Command.tag(),
            data: vec![index as u8; len].into(),
        };
        let entries = std::iter::zip(1.., lens.iter().copied()).map(entry).collect();
        let prev_log = EntryId::default();
        let args = AppendEntriesArgs {
            term: 1,
            leader_id: PeerId(1),
            prev_log,
            leader_commit: 0,
            entries,
        };
        let mut bytes = codec::encode(&args).expect("it is encoded");
        bytes.reserve_exact(10_000);
        bytes
    }

    /// Where each entry of a decoded message lies, from the first one on.
    fn places(args: &AppendEntriesArgs) -> Vec<usize> {
        let begin = |entry: &Entry| entry.data.as_ptr().addr();
        args.entries
            .iter()
            .map(|entry| begin(entry).wrapping_sub(begin(&args.entries[0])))
            .collect()
    }

    #[test]
    fn entries_of_a_long_message_that_is_given_stay_in_it() {
        let given = message(&[300, 400, 500]);
        let lent = AppendEntriesArgs::decode(&given).expect("a message");
        // So little before each entry that they stay together, in a copy as in the message.
        let expected = places(&lent);
        assert!(expected[1] > 300 && expected[2] < 800, "{expected:?}");
        let area = given.as_ptr().addr();
        let len = given.len();
        let kept = AppendEntriesArgs::decode_owned(given).expect("a message");
        assert_eq!((&kept, places(&kept)), (&lent, expected));
        // Memory that shrinks stays where it is, as a rule; a copy never lies there.
        let first = kept.entries[0].data.as_ptr().addr();
        assert!((area..area + len).contains(&first), "they were copied");
    }

    #[test]
    fn entries_of_a_short_message_are_copied_out_of_it() {
        let given = message(&[100]);
        let copy = given.clone();
        let area = copy.as_ptr_range();
        let area = area.start.addr()..area.end.addr();
        let kept = AppendEntriesArgs::decode_owned(copy).expect("a message");
        assert!(!area.contains(&kept.entries[0].data.as_ptr().addr()));
        assert_eq!(AppendEntriesArgs::decode(&given).expect("a message"), kept);
    }
}
