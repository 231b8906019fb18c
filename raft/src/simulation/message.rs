//! Messages as a simulated network carries them: opaque, but for what checks and traces must know.

use std::time::Instant;

use oarlock_rpc::codec::{self, Wire};

use super::Sent;
use crate::message::{
    AppendEntriesArgs, AppendEntriesReply, AppendOutcome, InstallSnapshotArgs,
    InstallSnapshotReply, RequestVoteArgs, RequestVoteReply, TimeoutNowArgs, TimeoutNowReply,
};
use crate::mutation::AfterDurable;
use crate::rules::{Rules, Send};
use crate::types::{Entry, EntryId, Index, PeerId, Term};

/// A request to a peer.
#[derive(Clone, Debug)]
pub struct Request(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Vote(RequestVoteArgs),
    Append(AppendEntriesArgs),
    Piece(InstallSnapshotArgs),
    TimeoutNow(TimeoutNowArgs),
}

/// A peer's answer.
#[derive(Clone, Debug)]
pub struct Reply(ReplyKind);

#[derive(Clone, Debug)]
enum ReplyKind {
    Vote(RequestVoteReply),
    Append(AppendEntriesReply),
    Piece(InstallSnapshotReply),
    TimeoutNow(TimeoutNowReply),
}

/// What a request asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// `RequestVote`.
    Vote {
        /// Only a question.
        pre_vote: bool,
        /// Whose candidacy it is.
        candidate: PeerId,
        /// The candidate's last entry.
        last: EntryId,
    },
    /// `AppendEntries`.
    Append {
        /// The entry before the new ones.
        prev: EntryId,
        /// How many there are.
        count: u64,
        /// The leader's commit index.
        commit: Index,
    },
    /// `InstallSnapshot`.
    Piece {
        /// What the snapshot covers.
        last_included: EntryId,
        /// Where the piece belongs.
        offset: u64,
    },
    /// `TimeoutNow`.
    TimeoutNow,
}

/// What a reply says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    /// The replier's term.
    pub term: Term,
    /// And what became of the request.
    pub outcome: Outcome,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The vote was given, or would be.
    Granted,
    /// It was not.
    Refused,
    /// The logs match up to this index, durably.
    Matched(Index),
    /// They do not match where the leader thought.
    Conflict,
    /// The sender's term is over.
    Stale,
    /// This offset of the snapshot is wanted next.
    Wants(u64),
    /// The snapshot is installed, or was not needed.
    Installed,
    /// The wish to be succeeded was heard.
    Heard,
}

impl Request {
    pub(super) fn vote(args: RequestVoteArgs) -> Self {
        Self(Kind::Vote(args))
    }

    /// What a replication thread sends, and what it must remember.
    pub(super) fn of(send: Send) -> (Self, Sent) {
        match send {
            Send::Append { args, sent } => {
                assert!(args.is_well_formed(), "entries that are no run: {args:?}");
                let term = args.term;
                (Self(Kind::Append(args)), Sent::Append(term, sent))
            }
            Send::Piece { snapshot, sent } => {
                let from = usize::try_from(sent.offset).unwrap_or(usize::MAX).min(snapshot.len());
                let to = from.saturating_add(sent.len_max).min(snapshot.len());
                let args = InstallSnapshotArgs {
                    term: sent.term,
                    leader_id: sent.leader_id,
                    last_included: snapshot.meta.last_included,
                    configuration: snapshot.meta.configuration.to_vec(),
                    offset: from as u64,
                    data: snapshot[from..to].to_vec(),
                    done: to == snapshot.len(),
                };
                (Self(Kind::Piece(args)), Sent::Piece(sent))
            }
            Send::TimeoutNow(args) => {
                let term = args.term;
                (Self(Kind::TimeoutNow(args)), Sent::TimeoutNow(term))
            }
        }
    }

    pub(super) fn handle(&self, rules: &mut Rules, now: Instant) -> AfterDurable<Reply> {
        match &self.0 {
            Kind::Vote(args) => map(rules.handle_request_vote(args, now), ReplyKind::Vote),
            Kind::Append(args) => {
                map(rules.handle_append_entries(args.clone(), now), ReplyKind::Append)
            }
            Kind::Piece(args) => {
                map(rules.handle_install_snapshot(args.clone(), now), ReplyKind::Piece)
            }
            Kind::TimeoutNow(args) => {
                map(rules.handle_timeout_now(args, now), ReplyKind::TimeoutNow)
            }
        }
    }

    /// The sender's term; of a pre-vote, the one it would campaign in.
    pub fn term(&self) -> Term {
        match &self.0 {
            Kind::Vote(args) => args.term,
            Kind::Append(args) => args.term,
            Kind::Piece(args) => args.term,
            Kind::TimeoutNow(args) => args.term,
        }
    }

    /// What it asks.
    pub fn asked(&self) -> Asked {
        match &self.0 {
            Kind::Vote(args) => Asked::Vote {
                pre_vote: args.pre_vote,
                candidate: args.candidate_id,
                last: args.last_log,
            },
            Kind::Append(args) => Asked::Append {
                prev: args.prev_log,
                count: args.entries.len() as u64,
                commit: args.leader_commit,
            },
            Kind::Piece(args) => {
                Asked::Piece { last_included: args.last_included, offset: args.offset }
            }
            Kind::TimeoutNow(_) => Asked::TimeoutNow,
        }
    }

    /// The entry that the sender has at `index`, as far as the request says.
    pub fn id_at(&self, index: Index) -> Option<EntryId> {
        match &self.0 {
            Kind::Append(args) if args.prev_log.index == index => Some(args.prev_log),
            Kind::Append(args) => {
                args.entries.iter().map(|e: &Entry| e.id).find(|id| id.index == index)
            }
            Kind::Piece(args) => Some(args.last_included).filter(|id| id.index == index),
            Kind::Vote(_) | Kind::TimeoutNow(_) => None,
        }
    }

    /// The request after its way through the codec.
    ///
    /// # Panics
    ///
    /// If that is not the same.
    #[must_use]
    pub fn through_codec(&self) -> Self {
        Self(match &self.0 {
            Kind::Vote(args) => Kind::Vote(round_trip(args)),
            Kind::Append(args) => Kind::Append(round_trip(args)),
            Kind::Piece(args) => Kind::Piece(round_trip(args)),
            Kind::TimeoutNow(args) => Kind::TimeoutNow(round_trip(args)),
        })
    }
}

impl Reply {
    /// What it says.
    pub fn said(&self) -> Said {
        match &self.0 {
            ReplyKind::Vote(reply) => Said {
                term: reply.term,
                outcome: if reply.vote_granted { Outcome::Granted } else { Outcome::Refused },
            },
            ReplyKind::Append(reply) => Said {
                term: reply.term,
                outcome: match reply.outcome {
                    AppendOutcome::Matched { index } => Outcome::Matched(index),
                    AppendOutcome::Conflict { .. } => Outcome::Conflict,
                    AppendOutcome::StaleTerm => Outcome::Stale,
                },
            },
            ReplyKind::Piece(reply) => Said {
                term: reply.term,
                outcome: reply.wants.map_or(Outcome::Installed, Outcome::Wants),
            },
            ReplyKind::TimeoutNow(reply) => Said { term: reply.term, outcome: Outcome::Heard },
        }
    }
}

fn map<T>(answer: AfterDurable<T>, kind: impl FnOnce(T) -> ReplyKind) -> AfterDurable<Reply> {
    AfterDurable { value: Reply(kind(answer.value)), until: answer.until }
}

fn round_trip<T: Wire + PartialEq + std::fmt::Debug>(message: &T) -> T {
    let bytes = codec::encode(message).expect("a peer's messages fit their limit");
    let decoded = codec::decode(&bytes).expect("what was encoded can be read");
    assert_eq!(&decoded, message, "the codec changes a message");
    decoded
}

/// Hands a reply, or nothing, to the rules of the sender.
pub(super) fn on_reply(
    rules: &mut Rules,
    peer: PeerId,
    sent: &Sent,
    reply: Option<&Reply>,
    now: Instant,
) {
    match (sent, reply.map(|reply| &reply.0)) {
        (Sent::Vote(args), Some(ReplyKind::Vote(reply))) => {
            rules.on_vote_reply(peer, args, reply, now);
        }
        (Sent::Vote(_), None) => {}
        (Sent::Append(term, sent), Some(ReplyKind::Append(reply))) => {
            rules.on_append_reply(peer, *term, sent, Some(reply), now);
        }
        (Sent::Append(term, sent), None) => rules.on_append_reply(peer, *term, sent, None, now),
        (Sent::Piece(sent), Some(ReplyKind::Piece(reply))) => {
            rules.on_piece_reply(peer, sent, Some(reply), now);
        }
        (Sent::Piece(sent), None) => rules.on_piece_reply(peer, sent, None, now),
        (Sent::TimeoutNow(term), Some(ReplyKind::TimeoutNow(reply))) => {
            rules.on_timeout_now_reply(*term, Some(reply), now);
        }
        (Sent::TimeoutNow(term), None) => rules.on_timeout_now_reply(*term, None, now),
        (sent, reply) => unreachable!("{reply:?} answers {sent:?}"),
    }
}
