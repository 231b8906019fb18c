//! Somebody who changes who the members are, as `oarlock member` does: asks any node, asks again until
//! it is done or refused, gives up after a while, and then withdraws what was only begun.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::{Duration, Instant};

use oarlock_raft::{Change, ChangeError, ChangeState, Configuration, PeerId};

use crate::disk::Stop;
use crate::invariant::Invariant;
use crate::node::Node;
use crate::schedule::Event;
use crate::world::World;

/// The most nodes there ever are, those included that have left.
const NODES_MAX: u64 = 24;
/// The most voters that are asked for.
const VOTERS_MAX: usize = 5;
/// How long a node that shall join takes to start, in microseconds.
const JOINS_WITHIN_US: u64 = 300_000;
/// How long it takes until the same is asked again, in microseconds.
const ASK_AGAIN_US: (u64, u64) = (20_000, 400_000);
/// How long it waits for the answer of a node that is to answer when all is done.
const WAIT_MAX: Duration = Duration::from_secs(2);
/// The same without faults: longer than it may take.
const GOOD_WAIT_MAX: Duration = Duration::from_secs(10);
/// How long one change is asked for while there are faults.
const PATIENCE: Duration = Duration::from_secs(4);
/// A new leader is asked within so many microseconds: before it can have committed anything, or later.
const EAGER_US: [u64; 2] = [500, 20_000];

/// What became of a question.
pub(crate) type Answer = Result<ChangeState, ChangeError>;

/// The change that is asked for now.
#[derive(Debug)]
struct Goal {
    change: Rc<Change>,
    since: Instant,
    /// Members that it waits for.
    catching_up: bool,
}

/// Who changes the members.
#[derive(Debug, Default)]
pub(crate) struct Administrator {
    goal: Option<Goal>,
    /// The number of the goal, and of the question about it.
    number: u64,
    attempt: u64,
    /// Who is asked next, if a node has said who leads.
    hint: Option<PeerId>,
    /// Voters of configurations that were called done, and who had retired.
    pub(crate) voters: BTreeSet<PeerId>,
    pub(crate) retired: BTreeSet<PeerId>,
}

impl Administrator {
    /// Whether everything that was asked for is done, or was refused.
    pub(crate) fn is_content(&self) -> bool {
        self.goal.is_none()
    }
}

impl World {
    /// The administrator thinks of something, and of when to think again.
    pub(crate) fn administrator_acts(&mut self) {
        let Some(gap) = self.character.changes_gap else { return };
        if self.healed {
            return;
        }
        let gap = gap.as_micros() as u64;
        let pause = self.random.micros(gap / 10, gap);
        self.after(pause, Event::AdministratorActs);
        if self.administrator.is_content()
            && let Some(change) = self.think_of_change()
        {
            self.pursue(change);
        }
    }

    fn pursue(&mut self, change: Change) {
        self.note("ADMIN", &[], format_args!("asks for {change:?}"));
        self.administrator.number += 1;
        let goal = Goal { change: Rc::new(change), since: self.now, catching_up: false };
        self.administrator.goal = Some(goal);
        self.ask_for_change(None);
    }

    /// Some change of the members there seem to be.
    fn think_of_change(&mut self) -> Option<Change> {
        let view = self.view_of_members()?;
        let voters: Vec<PeerId> = view.voters().iter().copied().collect();
        let room = VOTERS_MAX.saturating_sub(voters.len());
        let aimed = self.character.voters_aimed;
        let (comes, leaves) = match self.random.below(16) {
            0..6 if voters.len() < aimed => ((aimed - voters.len()) as u64, 0),
            0..6 if voters.len() > aimed => (0, 1),
            0..6 => (1, 1),
            6..9 => (1, 0),
            9..11 => (0, 1),
            11 => (self.random.below(3), 0),
            12 => (0, self.random.below(3)),
            13 | 14 => (1 + self.random.below(3), 1 + self.random.below(3)),
            _ => return Some(self.think_of_nonsense(&view)),
        };
        let mut change = Change::default();
        for _ in 0..leaves {
            change = change.removing(self.one_who_leaves(&voters));
        }
        let left = voters.iter().filter(|voter| !change.remove.contains(voter)).count();
        for _ in 0..(comes as usize).min(room + voters.len() - left) {
            let Some(peer) = self.newcomer(&view, &change) else { break };
            change = change.adding(peer, format!("S{peer}"));
        }
        let is_empty = left + change.add.len() == 0 || change == Change::default();
        (!is_empty).then_some(change)
    }

    /// What must be refused: somebody who has left comes again, or nobody stays.
    fn think_of_nonsense(&mut self, view: &Configuration) -> Change {
        match view.retired().first() {
            Some(&retired) if self.random.chance(500) => Change::default().adding(retired, ""),
            _ => {
                let remove = view.voters().iter().chain(view.outgoing()).copied().collect();
                Change { remove, ..Change::default() }
            }
        }
    }

    /// What some node that runs says of the members, most often a leader.
    fn view_of_members(&mut self) -> Option<Configuration> {
        let views = self.nodes.values().filter_map(|node| node.running.as_ref()).map(|running| {
            let term = running.peer.current_term();
            (running.peer.is_leader(), term, running.peer.configuration())
        });
        let (.., view) = views.max_by_key(|(leads, term, _)| (*leads, *term))?;
        (!view.voters().is_empty()).then(|| view.clone())
    }

    /// Often who leads.
    fn one_who_leaves(&mut self, voters: &[PeerId]) -> PeerId {
        let leads = |id: &&PeerId| {
            self.nodes[id].running.as_ref().is_some_and(|running| running.peer.is_leader())
        };
        let leader = voters.iter().find(leads).copied();
        let anybody = self.random.pick(voters);
        leader.filter(|_| self.random.chance(300)).unwrap_or(anybody)
    }

    /// A node that is no member: a new one, or one that was to join and did not.
    fn newcomer(&mut self, view: &Configuration, change: &Change) -> Option<PeerId> {
        let is_free = |node: &&Node| {
            !node.is_gone
                && !view.is_voter(node.id)
                && !view.is_retired(node.id)
                && !change.add.contains_key(&node.id)
        };
        let known: Vec<PeerId> = self.nodes.values().filter(is_free).map(|node| node.id).collect();
        if !known.is_empty() {
            return Some(self.random.pick(&known));
        }
        let id = PeerId(self.nodes.len() as u64 + 1);
        if id.0 > NODES_MAX {
            return None;
        }
        self.add_node(id);
        let pause = self.random.micros(0, JOINS_WITHIN_US);
        self.after(pause, Event::Start { node: id });
        Some(id)
    }

    /// Asks, and plans to ask again.
    fn ask_for_change(&mut self, hint: Option<PeerId>) {
        let anybody = self.anybody();
        let administrator = &mut self.administrator;
        let Some(goal) = &administrator.goal else { return };
        administrator.attempt += 1;
        administrator.hint = hint.or(administrator.hint);
        // Who is not there any more refuses the connection.
        let is_there = |id: &PeerId| !self.healed || self.nodes[id].running.is_some();
        let node = administrator.hint.filter(is_there).unwrap_or(anybody);
        let (number, attempt) = (administrator.number, administrator.attempt);
        let change = Rc::clone(&goal.change);
        self.send_change(node, number, &change);
        let pause = if self.character.changes_wait {
            self.wait_max()
        } else {
            self.random.micros(ASK_AGAIN_US.0, ASK_AGAIN_US.1)
        };
        self.after(pause, Event::AskForChange { attempt });
    }

    fn wait_max(&self) -> Duration {
        if self.healed { GOOD_WAIT_MAX } else { WAIT_MAX }
    }

    /// Asks again as who does not wait would.
    fn ask_for_change_soon(&mut self) {
        if self.character.changes_wait {
            self.administrator.attempt += 1;
            let attempt = self.administrator.attempt;
            let pause = self.random.micros(ASK_AGAIN_US.0, ASK_AGAIN_US.1);
            self.after(pause, Event::AskForChange { attempt });
        }
    }

    fn send_change(&mut self, node: PeerId, number: u64, change: &Rc<Change>) {
        for _ in 0..self.copies() {
            let delay = self.delay();
            let change = Rc::clone(change);
            self.after(delay, Event::ChangeAsked { node, number, change });
        }
    }

    /// It is time to ask again, or to give up.
    pub(crate) fn ask_for_change_again(&mut self, attempt: u64) {
        if self.administrator.attempt != attempt {
            return;
        }
        let Some(goal) = &self.administrator.goal else { return };
        if self.healed || self.now < goal.since + PATIENCE {
            // Whoever was thought to lead may be down.
            if self.random.chance(300) {
                self.administrator.hint = None;
            }
            return self.ask_for_change(None);
        }
        self.counts.changes_given_up += 1;
        let added: BTreeSet<PeerId> = goal.change.add.keys().copied().collect();
        let withdraws = goal.catching_up && !added.is_empty();
        self.note("ADMIN", &[], format_args!("gives up {:?}", goal.change.clone()));
        self.administrator.goal = None;
        if withdraws && self.random.chance(700) {
            self.pursue(Change { remove: added, ..Change::default() });
        }
    }

    /// Somebody leads: it is asked at once, now and then, before it has committed anything. Some other
    /// administrator asks for what need not wait for members that catch up, and never asks again: so
    /// changes meet that know nothing of each other.
    pub(crate) fn administrator_sees_leader(&mut self, leader: PeerId) {
        let eager = self.character.eager;
        if self.healed || self.character.changes_gap.is_none() || !self.random.chance(eager) {
            return;
        }
        let peer = &self.nodes[&leader].running.as_ref().expect("it leads").peer;
        let voters: Vec<PeerId> = peer.configuration().voters().iter().copied().collect();
        if voters.len() < 2 {
            return;
        }
        let leaves = self.random.pick(&voters);
        let change = Rc::new(Change::default().removing(leaves));
        let within = self.random.pick(&EAGER_US);
        let pause = self.random.micros(0, within);
        self.after(pause, Event::ChangeAsked { node: leader, number: 0, change });
    }

    /// A node that runs is asked for a change.
    pub(crate) fn node_is_asked_for_change(
        &mut self,
        node: PeerId,
        number: u64,
        change: &Rc<Change>,
    ) {
        let now = self.time_at(node);
        // Number 0 is of somebody who does not wait.
        if self.character.changes_wait && number > 0 {
            let (until, change) = (now + self.wait_max(), Change::clone(change));
            self.running(node).peer.change_members(number, change, until, now);
            return self.after_step(node);
        }
        let answer = self.running(node).peer.pursue(change, now);
        self.note("ADMIN", &[node.0, number], format_args!("S{node} says {answer:?}"));
        self.check_step(node);
        if let Ok(ChangeState::Done(configuration)) = &answer {
            self.check_done(node, change, configuration);
        }
        self.after_step(node);
        self.answer_about_change(number, &answer);
    }

    /// A node answers whoever waited there.
    pub(crate) fn change_ends(
        &mut self,
        node: PeerId,
        number: u64,
        result: Result<Configuration, ChangeError>,
    ) {
        self.note("ADMIN", &[node.0, number], format_args!("S{node} ends with {result:?}"));
        let goal = self.administrator.goal.as_ref().filter(|_| number == self.administrator.number);
        if let (Some(goal), Ok(configuration)) = (goal, &result) {
            let change = Rc::clone(&goal.change);
            self.check_done(node, &change, configuration);
        }
        self.answer_about_change(number, &result.map(ChangeState::Done));
    }

    fn answer_about_change(&mut self, number: u64, answer: &Answer) {
        for _ in 0..self.copies() {
            let (delay, answer) = (self.delay(), answer.clone());
            self.after(delay, Event::ChangeAnswered { number, answer });
        }
    }

    /// An answer arrives.
    pub(crate) fn administrator_hears(&mut self, number: u64, answer: Answer) {
        if number != self.administrator.number || self.administrator.goal.is_none() {
            return;
        }
        match answer {
            Ok(ChangeState::Done(configuration)) => self.change_is_done(&configuration),
            Ok(state) => {
                let goal = self.administrator.goal.as_mut().expect("just looked at");
                goal.catching_up = matches!(state, ChangeState::CatchingUp(_));
            }
            Err(ChangeError::NotLeader { leader }) => {
                let had = std::mem::replace(&mut self.administrator.hint, leader);
                if leader.is_some() && leader != had {
                    self.ask_for_change(leader);
                } else {
                    self.ask_for_change_soon();
                }
            }
            Err(ChangeError::InProgress { .. } | ChangeError::Unreachable { .. }) => {
                self.ask_for_change_soon();
            }
            Err(error) => {
                self.note("ADMIN", &[], format_args!("is refused: {error}"));
                self.counts.changes_refused += 1;
                let goal = self.administrator.goal.take().expect("just looked at");
                self.check_refused(&goal.change, &error);
            }
        }
    }

    fn change_is_done(&mut self, configuration: &Configuration) {
        self.note("ADMIN", &[], format_args!("done: {configuration}"));
        self.counts.changes += 1;
        let goal = self.administrator.goal.take().expect("just looked at");
        for &id in goal.change.remove.iter().filter(|&&id| configuration.is_retired(id)) {
            // It is safe to stop who has left, for good; others stay as a dead weight.
            if self.random.chance(500) && self.nodes.contains_key(&id) {
                self.retire(id);
            }
        }
    }

    /// Stops a node for good.
    pub(crate) fn retire(&mut self, id: PeerId) {
        self.node(id).is_gone = true;
        self.stop_node(id, Stop::Kill);
    }

    /// A peer has stopped because it was removed.
    pub(crate) fn peer_leaves(&mut self, id: PeerId) {
        self.counts.removed += 1;
        self.note("LEFT", &[id.0], format_args!("S{id} was removed"));
        let retired = self.book.configurations.committed().is_retired(id);
        self.checks.require(Invariant::RemovedPeersLeave, retired, || {
            let members = self.book.configurations.committed();
            format!("S{id} stops as removed from {members}")
        });
        // Somebody may start it again, who does not know.
        if self.healed || self.random.chance(600) {
            self.node(id).is_gone = true;
        }
        self.stop_node(id, Stop::Kill);
        if self.healed {
            // Whoever waited there is told.
            self.ask_for_change(None);
        }
    }
}
