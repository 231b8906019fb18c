//! Figure 2, as the toy has it: plain state and a method for each rule. Nothing here waits.

use std::time::{Duration, Instant};

use oarlock_raft::{Index, Term};
use oarlock_rpc::codec::Wire;
use serde::{Deserialize, Serialize};

use crate::harness::Random;

/// The labs allow about ten heartbeats a second.
const HEARTBEAT: Duration = Duration::from_millis(100);
/// A follower that hears nothing for a random time from this range, in milliseconds, campaigns:
/// longer than a busy machine keeps a thread waiting, short enough for a few elections in the five
/// seconds that the labs give them.
const ELECTION_TIMEOUT_MS: (u64, u64) = (600, 1200);

/// Work for a thread; without any, the time to look again, if there is one.
pub(super) type Due<T> = Result<T, Option<Instant>>;

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct LogEntry {
    pub(super) term: Term,
    pub(super) command: Vec<u8>,
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct RequestVoteArgs {
    term: Term,
    pub(super) candidate: usize,
    last_log_term: Term,
    last_log_index: Index,
}

#[derive(Serialize, Deserialize)]
pub(super) struct RequestVoteReply {
    term: Term,
    granted: bool,
}

#[derive(Serialize, Deserialize)]
pub(super) struct AppendEntriesArgs {
    term: Term,
    prev_log_index: Index,
    prev_log_term: Term,
    entries: Vec<LogEntry>,
    leader_commit: Index,
}

#[derive(Serialize, Deserialize)]
pub(super) struct AppendEntriesReply {
    term: Term,
    success: bool,
    /// After a refusal: the first index the leader should send.
    try_from: Index,
}

impl Wire for RequestVoteArgs {}
impl Wire for RequestVoteReply {}
impl Wire for AppendEntriesReply {}
impl Wire for AppendEntriesArgs {
    // A log that is never shortened may be sent as a whole.
    const MAX_BYTES: usize = 16 << 20;
}

/// The state of a peer. Only who holds the lock gets at it.
pub(super) struct State {
    me: usize,
    random: Random,
    pub(super) killed: bool,
    pub(super) current_term: Term,
    voted_for: Option<usize>,
    /// The entry at index 0 is nobody's: any two logs agree there.
    log: Vec<LogEntry>,
    pub(super) commit_index: Index,
    pub(super) role: Role,
    election_deadline: Instant,
    /// What a leader knows of each peer; at its own place, nothing of use.
    peers: Vec<Progress>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Role {
    Follower,
    Candidate { votes: usize },
    Leader,
}

#[derive(Clone)]
struct Progress {
    next_index: Index,
    match_index: Index,
    /// The commit index it was told last.
    told_commit: Index,
    /// Whether it has answered since the last message to it. If not, the heartbeat brings the next
    /// try: before that, the same entries would only travel twice.
    answered: bool,
    heartbeat_at: Instant,
}

impl State {
    pub(super) fn new(me: usize, peers: usize, seed: u64) -> Self {
        let now = Instant::now();
        let progress = Progress {
            next_index: 1,
            match_index: 0,
            told_commit: 0,
            answered: true,
            heartbeat_at: now,
        };
        let mut state = Self {
            me,
            random: Random::new(seed),
            killed: false,
            current_term: 0,
            voted_for: None,
            log: vec![LogEntry { term: 0, command: Vec::new() }],
            commit_index: 0,
            role: Role::Follower,
            election_deadline: now,
            peers: vec![progress; peers],
        };
        state.put_off_election();
        state
    }

    pub(super) fn last_index(&self) -> Index {
        self.log.len() as Index - 1
    }

    /// Appends a command, if this peer leads; returns whether it does.
    pub(super) fn start(&mut self, command: Vec<u8>) -> bool {
        let leads = self.role == Role::Leader;
        if leads {
            self.log.push(LogEntry { term: self.current_term, command });
        }
        leads
    }

    /// The entries behind `last_applied` that may be applied.
    pub(super) fn apply_due(&self, last_applied: Index) -> Due<Vec<LogEntry>> {
        let entries = &self.log[last_applied as usize + 1..=self.commit_index as usize];
        if entries.is_empty() { Err(None) } else { Ok(entries.to_vec()) }
    }

    // Elections.

    pub(super) fn election_due(&mut self) -> Due<RequestVoteArgs> {
        if self.role == Role::Leader {
            return Err(None);
        }
        if Instant::now() < self.election_deadline {
            return Err(Some(self.election_deadline));
        }
        self.current_term += 1;
        self.voted_for = Some(self.me);
        self.role = Role::Candidate { votes: 1 };
        self.put_off_election();
        log::debug!(target: "VOTE", "S{} T{} campaigns", self.me, self.current_term);
        let (last_log_term, last_log_index) = self.last_entry();
        let (term, candidate) = (self.current_term, self.me);
        Ok(RequestVoteArgs { term, candidate, last_log_term, last_log_index })
    }

    pub(super) fn handle_request_vote(&mut self, args: RequestVoteArgs) -> RequestVoteReply {
        if args.term > self.current_term {
            self.follow(args.term);
        }
        let up_to_date = (args.last_log_term, args.last_log_index) >= self.last_entry();
        let free = self.voted_for.is_none_or(|candidate| candidate == args.candidate);
        let granted = args.term == self.current_term && free && up_to_date;
        if granted {
            self.voted_for = Some(args.candidate);
            self.put_off_election();
        }
        let (me, term, candidate) = (self.me, self.current_term, args.candidate);
        let answer = if granted { "grants" } else { "refuses" };
        log::debug!(target: "VOTE", "S{me} T{term} {answer} S{candidate} T{}", args.term);
        RequestVoteReply { term, granted }
    }

    pub(super) fn on_vote_reply(&mut self, args: &RequestVoteArgs, reply: &RequestVoteReply) {
        if reply.term > self.current_term {
            return self.follow(reply.term);
        }
        let Role::Candidate { votes } = &mut self.role else { return };
        // It may be the answer of an earlier election.
        if reply.granted && args.term == self.current_term {
            *votes += 1;
            if *votes > self.peers.len() / 2 {
                self.lead();
            }
        }
    }

    fn lead(&mut self) {
        log::debug!(target: "LEAD", "S{} T{} elected", self.me, self.current_term);
        self.role = Role::Leader;
        let progress = Progress {
            next_index: self.last_index() + 1,
            match_index: 0,
            told_commit: 0,
            answered: true,
            heartbeat_at: Instant::now(),
        };
        self.peers.fill(progress);
    }

    /// Follows, in `term` or in the present one if that is as late.
    fn follow(&mut self, term: Term) {
        if term > self.current_term {
            self.current_term = term;
            self.voted_for = None;
        }
        if self.role == Role::Leader {
            log::debug!(target: "LEAD", "S{} T{term} leads no longer", self.me);
            self.put_off_election();
        }
        self.role = Role::Follower;
    }

    fn put_off_election(&mut self) {
        let (least, most) = ELECTION_TIMEOUT_MS;
        let timeout = Duration::from_millis(self.random.range(least..=most));
        self.election_deadline = Instant::now() + timeout;
    }

    fn last_entry(&self) -> (Term, Index) {
        (self.log.last().expect("index 0 is there").term, self.last_index())
    }

    // Replication.

    pub(super) fn append_due(&mut self, peer: usize) -> Due<AppendEntriesArgs> {
        if self.role != Role::Leader {
            return Err(None);
        }
        let (now, last_index) = (Instant::now(), self.last_index());
        let progress = &mut self.peers[peer];
        let news = progress.next_index <= last_index || progress.told_commit < self.commit_index;
        if now < progress.heartbeat_at && !(news && progress.answered) {
            return Err(Some(progress.heartbeat_at));
        }
        progress.answered = false;
        progress.heartbeat_at = now + HEARTBEAT;
        progress.told_commit = self.commit_index;
        let next = progress.next_index as usize;
        Ok(AppendEntriesArgs {
            term: self.current_term,
            prev_log_index: next as Index - 1,
            prev_log_term: self.log[next - 1].term,
            entries: self.log[next..].to_vec(),
            leader_commit: self.commit_index,
        })
    }

    pub(super) fn handle_append_entries(&mut self, args: AppendEntriesArgs) -> AppendEntriesReply {
        let refusal = |term, try_from| AppendEntriesReply { term, success: false, try_from };
        if args.term < self.current_term {
            return refusal(self.current_term, args.prev_log_index + 1);
        }
        self.follow(args.term);
        self.put_off_election();
        let prev = args.prev_log_index as usize;
        if self.log.get(prev).map(|entry| entry.term) != Some(args.prev_log_term) {
            return refusal(self.current_term, self.first_to_try(prev));
        }
        let last_new = (prev + args.entries.len()) as Index;
        for (index, entry) in (prev + 1..).zip(args.entries) {
            // What agrees stays: the message may be late, and the log may have grown since.
            if self.log.get(index).is_none_or(|ours| ours.term != entry.term) {
                self.log.truncate(index);
                self.log.push(entry);
            }
        }
        self.commit_index = self.commit_index.max(args.leader_commit.min(last_new));
        AppendEntriesReply { term: self.current_term, success: true, try_from: last_new + 1 }
    }

    /// Where a leader whose log differs at `prev` should go on: a whole term back, not one entry.
    fn first_to_try(&self, prev: usize) -> Index {
        let Some(differs) = self.log.get(prev) else { return self.last_index() + 1 };
        let of_that_term = self.log[..prev].iter().rev().take_while(|e| e.term == differs.term);
        (prev - of_that_term.count()) as Index
    }

    pub(super) fn on_append_reply(
        &mut self,
        peer: usize,
        args: &AppendEntriesArgs,
        reply: &AppendEntriesReply,
    ) {
        if reply.term > self.current_term {
            return self.follow(reply.term);
        }
        // It may be the answer to a message of an earlier term.
        if self.role != Role::Leader || args.term != self.current_term {
            return;
        }
        let progress = &mut self.peers[peer];
        progress.answered = true;
        if reply.success {
            let matched = args.prev_log_index + args.entries.len() as Index;
            progress.match_index = progress.match_index.max(matched);
            progress.next_index = progress.next_index.max(progress.match_index + 1);
            self.advance_commit();
        } else {
            // A late refusal must not take back what is known to match.
            let earlier = reply.try_from.max(progress.match_index + 1);
            progress.next_index = progress.next_index.min(earlier);
        }
    }

    /// Commits what a majority has, if it is of this term (section 5.4.2).
    fn advance_commit(&mut self) {
        let mut reached: Vec<Index> = self.peers.iter().map(|peer| peer.match_index).collect();
        reached[self.me] = self.last_index();
        reached.sort_unstable();
        let by_majority = reached[(reached.len() - 1) / 2];
        if by_majority > self.commit_index
            && self.log[by_majority as usize].term == self.current_term
        {
            self.commit_index = by_majority;
            log::debug!(target: "CMIT", "S{} T{} commit={by_majority}", self.me, self.current_term);
        }
    }
}
