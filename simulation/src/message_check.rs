//! What must be true of what peers say to each other, and of what they make of it.

use std::time::{Duration, Instant};

use oarlock_raft::simulation::{Asked as What, Outcome, Reply, Request};
use oarlock_raft::{Index, PeerId, RoleName, Term};

use crate::invariant::Invariant;
use crate::node::{Asked, Leadership};
use crate::world::World;

/// A peer before a request was handled.
pub(crate) struct BeforeRequest {
    role: RoleName,
    term: Term,
    timer: (Instant, Duration),
}

/// A peer before it learned what came of a call.
pub(crate) struct BeforeOutcome {
    /// Nothing has come of it yet.
    pub(crate) is_awaited: bool,
    term: Term,
    is_leader: bool,
    sent_in: Option<Term>,
    progress: Option<(Index, Instant)>,
}

impl World {
    pub(crate) fn before_request(&self, node: PeerId) -> BeforeRequest {
        let peer = &self.nodes[&node].running.as_ref().expect("it was asked").peer;
        BeforeRequest { role: peer.role(), term: peer.current_term(), timer: peer.election_timer() }
    }

    /// A request was handled.
    pub(crate) fn see_request(
        &mut self,
        from: PeerId,
        to: PeerId,
        reply_to: u64,
        request: &Request,
        before: &BeforeRequest,
    ) {
        let now = self.time_at(to);
        let running = self.nodes.get_mut(&to).and_then(|node| node.running.as_mut());
        let running = running.expect("it was asked");
        let peer = &running.peer;
        let (term, asked) = (request.term(), request.asked());
        if !matches!(asked, What::Vote { .. }) {
            let heeded = peer.current_term() >= term;
            self.checks.require(Invariant::TermsAreHeeded, heeded, || {
                format!("S{to} stays in T{} though S{from} leads T{term}", peer.current_term())
            });
        }
        let same = peer.current_term() == before.term && peer.role() == before.role;
        let is_due = before.timer.0 <= now;
        if same && !is_due && before.role != RoleName::Leader {
            let moved = peer.election_timer().0 != before.timer.0;
            let by_leader = !matches!(asked, What::Vote { .. }) && term >= before.term;
            let by_vote = matches!(asked, What::Vote { pre_vote: false, .. });
            self.checks.require(Invariant::TimersAreHeeded, !moved || by_leader || by_vote, || {
                format!("S{to} in T{} puts off its election for {asked:?} of T{term}", before.term)
            });
            if let Some(asked) = running.asked.get_mut(&reply_to) {
                asked.postponed = moved && by_vote;
            }
        }
        self.note(
            "RECV",
            &[from.0, to.0, term, fingerprint(&asked)],
            format_args!("S{from} → S{to} T{term} {asked:?}"),
        );
    }

    /// A request leaves.
    pub(crate) fn see_call(&mut self, from: PeerId, to: PeerId, request: &Request) {
        self.counts.messages += 1;
        let node = self.nodes.get_mut(&from).expect("a known node");
        let (term, asked) = (request.term(), request.asked());
        let durable = node.witness.lock().acknowledged.hard_state;
        let spoken = match asked {
            What::Vote { pre_vote: true, .. } => term - 1,
            What::Vote { .. } => {
                let own = durable.current_term > term || durable.voted_for == Some(from.0);
                self.checks.require(Invariant::VoteDurableBeforeSpoken, own, || {
                    format!("S{from} campaigns in T{term}, its disk says {durable:?}")
                });
                self.terms.votes(from, term, from, &mut self.checks);
                term
            }
            What::Append { count, .. } => {
                self.counts.entries_sent += count;
                term
            }
            What::Piece { .. } | What::TimeoutNow => term,
        };
        self.checks.require(
            Invariant::VoteDurableBeforeSpoken,
            durable.current_term >= spoken,
            || format!("S{from} speaks of T{spoken} to S{to}, its disk says {durable:?}"),
        );
        node.spoken_term = node.spoken_term.max(spoken);
    }

    /// An answer leaves.
    pub(crate) fn see_answer(&mut self, id: PeerId, asked: &Asked, reply: &Reply) {
        let said = reply.said();
        let node = self.nodes.get_mut(&id).expect("a known node");
        let witness = node.witness.lock();
        let durable = &witness.acknowledged;
        let checks = &mut self.checks;
        let term = durable.hard_state.current_term;
        checks.require(Invariant::VoteDurableBeforeSpoken, term >= said.term, || {
            format!("S{id} speaks of T{}, its disk is in T{term}", said.term)
        });
        node.spoken_term = node.spoken_term.max(said.term);
        let request = &asked.request;
        match (request.asked(), said.outcome) {
            (What::Vote { pre_vote: false, candidate, .. }, Outcome::Granted) => {
                let kept =
                    term > request.term() || durable.hard_state.voted_for == Some(candidate.0);
                checks.require(Invariant::VoteDurableBeforeSpoken, kept, || {
                    format!(
                        "S{id} votes for S{candidate} in T{}: {:?}",
                        request.term(),
                        durable.hard_state
                    )
                });
                self.terms.votes(id, request.term(), candidate, checks);
            }
            (What::Vote { .. }, Outcome::Refused) => {
                checks.require(Invariant::TimersAreHeeded, !asked.postponed, || {
                    format!("S{id} refuses a vote and puts off its election")
                });
            }
            // A disk in a later term may have lost what an earlier leader sent: see the rules' own
            // simulation for why that is harmless.
            (_, Outcome::Matched(index)) if term <= said.term => {
                let sent = request.id_at(index);
                let has = sent.map_or(durable.last().index >= index, |id| durable.covers(id));
                checks.require(Invariant::AppendDurableBeforeSpoken, has, || {
                    format!(
                        "S{id} acknowledges {index} ({sent:?}), its disk ends at {}",
                        durable.last()
                    )
                });
                let newer = |(in_term, known): &(Term, oarlock_raft::EntryId)| {
                    *in_term < request.term() || known.index < index
                };
                if let Some(sent) = sent
                    && node.promised.as_ref().is_none_or(newer)
                {
                    node.promised = Some((request.term(), sent));
                }
            }
            (What::Piece { last_included, .. }, Outcome::Installed) if term <= said.term => {
                let has = durable.last().index >= last_included.index;
                checks.require(Invariant::AppendDurableBeforeSpoken, has, || {
                    format!(
                        "S{id} has installed {last_included}, its disk ends at {}",
                        durable.last()
                    )
                });
            }
            _ => {}
        }
    }

    pub(crate) fn before_outcome(&self, node: PeerId, from: PeerId, call: u64) -> BeforeOutcome {
        let peer = &self.nodes[&node].running.as_ref().expect("it called").peer;
        BeforeOutcome {
            is_awaited: peer.awaits(call),
            term: peer.current_term(),
            is_leader: peer.is_leader(),
            sent_in: peer.sent_in_term(call),
            progress: peer.progress(from),
        }
    }

    /// A caller learned what came of a call.
    pub(crate) fn see_outcome(
        &mut self,
        from: PeerId,
        to: PeerId,
        request: &Request,
        reply: Option<&Reply>,
        before: &BeforeOutcome,
    ) {
        let Some(said) = reply.map(Reply::said) else { return };
        let now = self.now;
        let numbers = [from.0, to.0, said.term, outcome_number(said.outcome)];
        self.note(
            "BACK",
            &numbers,
            format_args!("S{to} ← S{from} T{} {:?}", said.term, said.outcome),
        );
        let peer = &self.nodes[&to].running.as_ref().expect("it called").peer;
        let term = peer.current_term();
        // Who learns that it was removed has nothing left to heed.
        let heeded = term >= said.term || peer.is_removed();
        self.checks.require(Invariant::TermsAreHeeded, heeded, || {
            format!("S{to} stays in T{term} though S{from} answers in T{}", said.term)
        });
        let is_old = before.sent_in.is_some_and(|sent_in| sent_in < before.term);
        if is_old && before.is_leader && peer.is_leader() {
            let same = peer.progress(from) == before.progress;
            self.checks.require(Invariant::OldRepliesIgnored, same, || {
                format!(
                    "S{to} in T{term} believes a reply of S{from} to a request of an older term"
                )
            });
        }
        if !peer.is_leader() || before.sent_in != Some(term) {
            return;
        }
        self.check_match(from, to);
        let leads = self.running(to).leads.as_mut().filter(|leads| leads.term == term);
        let Some(leads) = leads else { return };
        leads.heard.insert(from, now);
        match (request.asked(), said.outcome) {
            (What::Append { prev, .. }, Outcome::Conflict) => {
                self.check_conflicts(from, to, prev);
            }
            _ => drop(leads.conflicts.remove(&from)),
        }
    }

    /// What the leader `to` believes of the follower `from`.
    fn check_match(&mut self, from: PeerId, to: PeerId) {
        let peer = &self.nodes[&to].running.as_ref().expect("it leads").peer;
        let Some((matched, _)) = peer.progress(from).filter(|(matched, _)| *matched > 0) else {
            return;
        };
        let Some(id) = peer.id_at(matched).or_else(|| self.book.committed_at(matched)) else {
            return;
        };
        let witness = self.nodes[&from].witness.lock();
        let durable = &witness.acknowledged;
        let moved_on = durable.hard_state.current_term > peer.current_term();
        self.checks.require(Invariant::MatchIsTrue, moved_on || durable.covers(id), || {
            format!(
                "S{to} believes that S{from} holds {id}; its disk has {:?}",
                durable.id_at(matched)
            )
        });
    }

    fn check_conflicts(&mut self, from: PeerId, to: PeerId, prev: oarlock_raft::EntryId) {
        let terms = |id: PeerId| {
            self.nodes[&id].running.as_ref().map_or(0, |running| running.mirror.terms())
        };
        let most = 4 + 2 * (terms(from) + terms(to));
        let Some(Leadership { conflicts, .. }) = &mut self.running(to).leads else { return };
        let at = conflicts.entry(from).or_default();
        // Messages that follow each other conflict where the first of them does.
        if at.last().is_none_or(|last| prev.index < last.index) {
            at.push(prev);
        }
        let count = at.len();
        self.checks.require(Invariant::ConflictsAreShort, count <= most, || {
            format!("S{to} has tried {count} places in the log of S{from}, last {prev}")
        });
    }
}

fn fingerprint(asked: &What) -> u64 {
    match *asked {
        What::Vote { pre_vote, candidate, last } => {
            last.index << 20 | candidate.0 << 1 | u64::from(pre_vote)
        }
        What::Append { prev, count, commit } => prev.index << 32 | commit << 8 | count,
        What::Piece { last_included, offset } => last_included.index << 32 | offset,
        What::TimeoutNow => 1,
    }
}

fn outcome_number(outcome: Outcome) -> u64 {
    match outcome {
        Outcome::Granted => 1,
        Outcome::Refused => 2,
        Outcome::Conflict => 3,
        Outcome::Stale => 4,
        Outcome::Installed => 5,
        Outcome::Heard => 8,
        Outcome::Matched(index) => index << 4 | 6,
        Outcome::Wants(offset) => offset << 4 | 7,
    }
}
