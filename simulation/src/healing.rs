//! After the faults: progress, within bounded time, and everything in its place. Invariants 29 to 34,
//! 40 and 41.

use std::time::Duration;

use oarlock_kvserver::{Answer, Op};
use oarlock_linearizability::{Verdict, check};
use oarlock_raft::{Index, PeerId, Term};

use crate::clerk::keys;
use crate::invariant::Invariant;
use crate::node::Node;
use crate::world::World;

/// How long faults go on.
pub(crate) const FAULTS_LAST: Duration = Duration::from_secs(30);
/// How long a healed cluster may be without a leader that everybody knows.
const LEADER_WITHIN: Duration = Duration::from_secs(5);
/// How long the change of members may take that is under way then.
const CHANGED_WITHIN: Duration = Duration::from_secs(6);
/// How long it may take until every request is answered and everything is applied everywhere.
const SETTLED_WITHIN: Duration = Duration::from_secs(6);
/// How long the last messages of the time before are on their way, at most.
const OLD_MESSAGES: Duration = Duration::from_millis(3_500);
/// How long the clerks ask as fast as they can.
const BURST_LASTS: Duration = Duration::from_millis(400);
/// How long nothing is asked, and nothing may change.
const QUIET_LASTS: Duration = Duration::from_millis(1_500);
/// How often it is looked whether something has come about.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long a history may be thought about.
const THINK_MAX: Duration = Duration::from_secs(2);

impl World {
    /// Thirty seconds of faults, and then none.
    pub(crate) fn run(&mut self) {
        self.run_until(self.start + FAULTS_LAST);
        self.end_faults();
        self.note("HEAL", &[], format_args!("faults end"));
        self.counts.leader_after =
            self.wait(Invariant::LeaderAfterHealing, LEADER_WITHIN, |world| {
                world.agreed_leader().is_some()
            });
        self.wait(Invariant::ChangesAreDone, CHANGED_WITHIN, |world| {
            world.administrator.is_content()
        });
        for clerk in &mut self.clerks {
            clerk.rests = true;
        }
        self.counts.settled_after = self.settle();
        self.run_until(self.now + OLD_MESSAGES);
        self.settle();
        let leader = self.agreed_leader();
        self.burst();
        self.ask_every_key();
        self.settle();
        self.run_until(self.now + QUIET_LASTS);
        let still = self.agreed_leader();
        self.checks.require(
            Invariant::LeaderAfterHealing,
            leader.is_some() && leader == still,
            || format!("without any fault the leader changes from {leader:?} to {still:?}"),
        );
        self.check_ends();
        self.check_members();
        self.check_history();
        self.count();
    }

    /// Runs until `done`, which must come within `limit`; returns how long it took.
    fn wait(
        &mut self,
        invariant: Invariant,
        limit: Duration,
        done: impl Fn(&Self) -> bool,
    ) -> Duration {
        let began = self.now;
        while !done(self) {
            let waited = self.now - began;
            let state = |world: &Self| world.describe();
            let text = (waited >= limit).then(|| state(self));
            self.checks.require(invariant, text.is_none(), || {
                format!("not within {limit:?}: {}", text.clone().unwrap_or_default())
            });
            self.run_until(self.now + LOOK_EVERY);
        }
        self.checks.require(invariant, true, String::new);
        self.now - began
    }

    fn settle(&mut self) -> Duration {
        let began = self.now;
        let is_settled = |world: &Self| {
            world.asking.is_empty()
                && world.is_caught_up()
                && world.members().all(|node| !node.is_taking_snapshot())
                && world.book.configurations.is_settled()
        };
        loop {
            if !self.character.no_op_on_election {
                // What earlier leaders left is committed with the first entry of this one (section
                // 5.4.2).
                self.ask_every_key();
            }
            let term = self.latest_term();
            self.wait(Invariant::ProgressAfterHealing, SETTLED_WITHIN, |world| {
                let next_leader = !world.character.no_op_on_election && world.latest_term() > term;
                is_settled(world) || next_leader
            });
            if is_settled(self) {
                return self.now - began;
            }
            // A message of the time before has made another lead, which needs an entry too.
        }
    }

    fn latest_term(&self) -> Term {
        let running = self.nodes.values().filter_map(|node| node.running.as_ref());
        running.map(|running| running.peer.current_term()).max().unwrap_or(0)
    }

    /// The members that work.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Node> {
        let members = self.book.configurations.committed().members();
        members.into_iter().map(|id| &self.nodes[&id]).filter(|node| !node.is_dead)
    }

    /// The term and the leader that all members know.
    fn agreed_leader(&self) -> Option<(Term, PeerId)> {
        let mut known = None;
        for node in self.members() {
            let peer = &node.running.as_ref()?.peer;
            let here = (peer.current_term(), peer.leader()?);
            if *known.get_or_insert(here) != here {
                return None;
            }
        }
        known
    }

    fn is_caught_up(&self) -> bool {
        let through = self.book.committed_through();
        let caught_up = |applied: Index| applied == through;
        self.members()
            .all(|node| node.running.as_ref().is_some_and(|r| caught_up(r.peer.applied())))
    }

    fn describe(&self) -> String {
        let of_node = |node: &Node| match &node.running {
            Some(running) => format!(
                "S{} T{} {:?} of {:?} applied={} last={} in {}",
                node.id,
                running.peer.current_term(),
                running.peer.role(),
                running.peer.leader().map(|leader| leader.0),
                running.peer.applied(),
                running.peer.last(),
                running.configuration
            ),
            None => format!("S{} down, dead={}", node.id, node.is_dead),
        };
        let nodes: Vec<String> = self.nodes.values().map(of_node).collect();
        let (open, commit) = (self.asking.len(), self.book.committed_through());
        let members = self.book.configurations.committed();
        format!("{open} requests open, commit={commit}, members={members}; {}", nodes.join("; "))
    }

    /// Many requests at once: each entry must travel about once.
    fn burst(&mut self) {
        let (sent, committed) = (self.counts.entries_sent, self.book.committed_through());
        for clerk in &mut self.clerks {
            clerk.rests = false;
            clerk.think = Duration::from_millis(2);
        }
        self.run_until(self.now + BURST_LASTS);
        for clerk in &mut self.clerks {
            clerk.rests = true;
        }
        self.settle();
        let members = self.book.configurations.committed().members().len() as u64;
        let alive = self.members().count() as u64;
        let sent = self.counts.entries_sent - sent;
        let needed = (self.book.committed_through() - committed) * (alive - 1);
        if alive == members {
            let few = sent <= needed + needed / 4 + 40;
            self.checks.require(Invariant::EntriesSentOnce, few, || {
                format!("{sent} entries were sent where {needed} were needed")
            });
        }
    }

    /// Asks for every key once more, or writes to it where nobody reads.
    fn ask_every_key(&mut self) {
        for key in keys() {
            let key = key.into();
            let op = if self.character.no_op_on_election {
                Op::Get { key }
            } else {
                Op::Append { key, value: b"end.".to_vec().into() }
            };
            self.ask(0, op);
        }
    }

    fn check_ends(&mut self) {
        let limit = self.character.snapshot_log_bytes;
        let mut first = None;
        let members = self.book.configurations.committed().members();
        for node in members.iter().map(|id| &self.nodes[id]).filter(|node| !node.is_dead) {
            let peer = &node.running.as_ref().expect("it is caught up").peer;
            let (id, bytes) = (node.id, peer.log_bytes());
            self.checks.require(Invariant::LogIsCompacted, bytes <= limit, || {
                format!("the log of S{id} has {bytes} bytes, more than {limit}")
            });
            let state = peer.machine().fingerprint();
            let same = *first.get_or_insert(state) == state;
            self.checks.require(Invariant::StatesEqual, same, || {
                format!("S{id} has another state at {} than others", peer.applied())
            });
            for key in keys() {
                let answers = peer.machine().read(&[Op::Get { key: key.clone().into() }]);
                let found: &[u8] = match &answers[0] {
                    Answer::Bytes(value) => value,
                    _ => &[],
                };
                let right = found == self.oracle.value(&key);
                self.checks.require(Invariant::AcknowledgedIsReadable, right, || {
                    format!("S{id} has {} at {}", found.escape_ascii(), key.escape_ascii())
                });
            }
        }
    }

    fn check_history(&mut self) {
        match check(&self.history, THINK_MAX) {
            Verdict::Linearizable => {
                self.checks.require(Invariant::HistoryLinearizable, true, String::new);
            }
            Verdict::Unknown(_) => self.counts.undecided += 1,
            Verdict::Illegal(violations) => {
                self.checks.require(Invariant::HistoryLinearizable, false, || {
                    violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
                });
            }
        }
    }

    fn count(&mut self) {
        self.counts.seeds = 1;
        self.counts.simulated = self.now - self.start;
        self.counts.commits = self.book.committed_through();
        self.counts.configurations = self.book.configurations.committed_count();
        self.counts.duplicates = self.oracle.duplicates;
        self.counts.checks = self.checks.clone();
        let end = [self.counts.commits, self.counts.events, self.checks.total()];
        self.note("END", &end, format_args!("{end:?}"));
    }
}
