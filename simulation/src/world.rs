//! A whole cluster, its clerks and its clock, and what each event does.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use oarlock_kvserver::KvReply;
use oarlock_linearizability::History;
use oarlock_raft::simulation::Output;
use oarlock_raft::{Configuration, Index, PeerId};
use parking_lot::Mutex;

use crate::administrator::Administrator;
use crate::character::Character;
use crate::clerk::{Asking, Clerk};
use crate::clock::Clock;
use crate::counts::Counts;
use crate::invariant::Checks;
use crate::log_check::LogBook;
use crate::mistake::Mistake;
use crate::node::{Node, Running};
use crate::oracle::Oracle;
use crate::random::Random;
use crate::schedule::{Event, Schedule};
use crate::term_check::TermBook;
use crate::trace::Trace;

/// Within so many microseconds a process that was paused does what came meanwhile.
const RESUME_MAX_US: u64 = 300;

/// A reply of a node, on its way out: node, request, attempt.
pub(crate) type Said = (PeerId, u64, u32, KvReply);

/// Everything there is.
pub(crate) struct World {
    pub(crate) character: Character,
    pub(crate) mistake: Option<Mistake>,
    pub(crate) random: Random,
    pub(crate) start: Instant,
    pub(crate) now: Instant,
    pub(crate) schedule: Schedule,
    pub(crate) nodes: BTreeMap<PeerId, Node>,
    /// Directed links that are cut.
    pub(crate) cut: BTreeSet<(PeerId, PeerId)>,
    /// When the last message on each link arrives, once faults are over.
    pub(crate) last_arrival: BTreeMap<(PeerId, PeerId), Instant>,
    /// Faults are over.
    pub(crate) healed: bool,
    pub(crate) clerks: Vec<Clerk>,
    pub(crate) asking: BTreeMap<u64, Asking>,
    pub(crate) next_op: u64,
    pub(crate) administrator: Administrator,
    /// The last index that any clerk has seen the effect of.
    pub(crate) seen: Index,
    pub(crate) said: Arc<Mutex<Vec<Said>>>,
    pub(crate) history: History,
    pub(crate) oracle: Oracle,
    pub(crate) book: LogBook,
    pub(crate) terms: TermBook,
    pub(crate) checks: Checks,
    pub(crate) counts: Counts,
    pub(crate) trace: Trace,
}

impl World {
    pub(crate) fn new(seed: u64, mistake: Option<Mistake>, prints: bool) -> Self {
        // The storage engine draws its salts from this generator of the thread.
        fastrand::seed(seed);
        let start = Instant::now();
        let character = Character::of(seed);
        let mut random = Random::new(seed);
        let founders = Configuration::of_voters((1..=character.size).map(PeerId));
        let clerks =
            (0..character.clerks).map(|_| Clerk::new(random.next(), character.think)).collect();
        let mut world = Self {
            character,
            mistake,
            random,
            start,
            now: start,
            schedule: Schedule::default(),
            nodes: BTreeMap::new(),
            cut: BTreeSet::new(),
            last_arrival: BTreeMap::new(),
            healed: false,
            clerks,
            asking: BTreeMap::new(),
            next_op: 1,
            administrator: Administrator::default(),
            seen: 0,
            said: Arc::default(),
            history: History::default(),
            oracle: Oracle::default(),
            book: LogBook::new(founders),
            terms: TermBook::default(),
            checks: Checks::default(),
            counts: Counts::default(),
            trace: Trace::new(prints),
        };
        world.note("SEED", &[seed], format_args!("seed {seed}: {:?}", world.character.clone()));
        world.begin();
        world
    }

    fn begin(&mut self) {
        for id in (1..=self.character.size).map(PeerId) {
            self.add_node(id);
            let pause = self.random.micros(0, 20_000);
            self.after(pause, Event::Start { node: id });
        }
        for clerk in 0..self.clerks.len() {
            let pause = self.random.micros(0, 200_000);
            self.after(pause, Event::ClerkActs { clerk });
        }
        self.after(Duration::ZERO, Event::Fault);
        self.after(Duration::ZERO, Event::AdministratorActs);
    }

    /// A node that has not started yet, with an empty disk.
    pub(crate) fn add_node(&mut self, id: PeerId) {
        let mut random = Random::new(self.character.clocks.wrapping_add(id.0));
        let drift_ppm = self.character.lease_drift_ppm.unwrap_or(0);
        let node = Node::new(id, Clock::drawn(self.start, drift_ppm, &mut random));
        if let Some(unmade) = self.mistake.and_then(Mistake::unmade) {
            node.disk.leave_unmade(unmade);
        }
        self.nodes.insert(id, node);
    }

    /// Lets everything happen until `end`.
    pub(crate) fn run_until(&mut self, end: Instant) {
        while let Some((at, event)) = self.schedule.pop(end) {
            self.now = self.now.max(at);
            self.happen(event);
        }
        self.now = end;
    }

    fn happen(&mut self, event: Event) {
        // What comes to a paused process waits for it.
        if let Some(node) = self.concerns(&event)
            && self.nodes[&node].is_paused(self.now)
        {
            let running = self.nodes[&node].running.as_ref().expect("only who runs is paused");
            let until = running.paused_until.expect("it is paused");
            // All its threads wake at once, and whichever comes first goes first.
            let turn = self.random.micros(0, RESUME_MAX_US);
            return self.schedule.at(until + turn, event);
        }
        self.counts.events += 1;
        match event {
            Event::Request { from, to, life, call, until, request } => {
                self.request_arrives((from, life, call), to, until, request);
            }
            Event::Outcome { from, to, life, call, request, reply } => {
                if self.is_alive(to, life) {
                    self.outcome_arrives(from, to, call, &request, reply.as_ref());
                }
            }
            Event::Written { node, life } if self.is_alive(node, life) => self.finish_write(node),
            Event::Timer { node, life } if self.is_alive(node, life) => self.timer_rings(node),
            Event::StateWritten { node, life } if self.is_alive(node, life) => {
                self.finish_snapshot(node);
            }
            Event::Written { .. } | Event::Timer { .. } | Event::StateWritten { .. } => {}
            Event::ClerkActs { clerk } => self.clerk_acts(clerk),
            Event::Asked { node, op, attempt, request, by } => {
                if self.nodes[&node].running.is_some() {
                    self.node_is_asked(node, op, attempt, &request, by);
                }
            }
            Event::AskedToPassOn { via, node, op, attempt, request } => {
                if self.nodes[&via].running.is_some() {
                    self.pass_on(via, Event::Asked { node, op, attempt, request, by: None });
                }
            }
            Event::LeftToVoucher { via, life, op, attempt, request } => {
                if self.is_alive(via, life) {
                    self.voucher_reads(via, op, attempt, &request);
                }
            }
            Event::Answered { node, op, attempt, reply } => {
                self.clerk_hears(node, op, attempt, &reply);
            }
            Event::Impatient { op, attempt } => self.clerk_is_impatient(op, attempt),
            Event::AdministratorActs => self.administrator_acts(),
            Event::AskForChange { attempt } => self.ask_for_change_again(attempt),
            Event::ChangeAsked { node, number, change } => {
                if self.nodes[&node].running.is_some() {
                    self.node_is_asked_for_change(node, number, &change);
                }
            }
            Event::ChangeAnswered { number, answer } => self.administrator_hears(number, answer),
            Event::Fault => self.fault(),
            Event::Strike { victim } => self.strike(victim),
            Event::FallSilent { leader } => self.fall_silent(leader),
            Event::Start { node } => self.start_node(node),
            Event::Reconnect => self.cut.clear(),
            Event::Room { node } => self.nodes[&node].disk.set_capacity(None),
        }
    }

    /// Whose process an event happens in, if that runs.
    fn concerns(&self, event: &Event) -> Option<PeerId> {
        match *event {
            Event::Request { to, .. } => Some(to),
            Event::Outcome { to, life, .. } if self.is_alive(to, life) => Some(to),
            Event::Written { node, life }
            | Event::Timer { node, life }
            | Event::StateWritten { node, life }
            | Event::LeftToVoucher { via: node, life, .. }
                if self.is_alive(node, life) =>
            {
                Some(node)
            }
            Event::Asked { node, .. }
            | Event::AskedToPassOn { via: node, .. }
            | Event::ChangeAsked { node, .. } => Some(node),
            _ => None,
        }
    }

    /// Does what a peer wants done after a step, and checks it.
    pub(crate) fn after_step(&mut self, node: PeerId) {
        self.check_step(node);
        for output in self.running(node).peer.take_outputs() {
            match output {
                Output::Call { to, call, request } => self.call(node, to, call, request),
                Output::Answer { reply_to, reply } => self.answer(node, reply_to, reply),
                Output::Silence { reply_to } => self.keep_silent(node, reply_to),
                Output::Write => self.begin_write(node),
                Output::WriteState => self.begin_snapshot(node),
                Output::Changed { number, result } => self.change_ends(node, number, result),
                Output::Removed => return self.peer_leaves(node),
            }
        }
        let said = std::mem::take(&mut *self.said.lock());
        for (node, op, attempt, reply) in said {
            for _ in 0..self.copies() {
                let delay = self.delay();
                let reply = reply.clone();
                self.after(delay, Event::Answered { node, op, attempt, reply });
            }
        }
        self.set_timer(node);
    }

    fn timer_rings(&mut self, node: PeerId) {
        let (now, shown) = (self.now, self.time_at(node));
        let running = self.running(node);
        // One that is earlier was set after it, and rang instead.
        if running.timer.is_some_and(|timer| timer <= now) {
            running.timer = None;
            running.peer.wake(shown);
            self.after_step(node);
        }
    }

    /// Has a peer wake when its next thread does by itself.
    pub(crate) fn set_timer(&mut self, node: PeerId) {
        let (now, life, clock) = (self.now, self.nodes[&node].life, self.nodes[&node].clock);
        let running = self.running(node);
        let Some(at) = running.peer.wakes_at().map(|at| clock.when(at)) else { return };
        if running.timer.is_none_or(|timer| at < timer) {
            running.timer = Some(at);
            self.schedule.at(at.max(now), Event::Timer { node, life });
        }
    }

    /// What the clock of a node shows.
    pub(crate) fn time_at(&self, node: PeerId) -> Instant {
        self.nodes[&node].clock.at(self.now)
    }

    pub(crate) fn is_alive(&self, node: PeerId, life: u64) -> bool {
        self.nodes[&node].running.is_some() && self.nodes[&node].life == life
    }

    pub(crate) fn node(&mut self, node: PeerId) -> &mut Node {
        self.nodes.get_mut(&node).expect("a known node")
    }

    pub(crate) fn running(&mut self, node: PeerId) -> &mut Running {
        self.node(node).running.as_mut().expect("only asked of a node that runs")
    }

    pub(crate) fn ids(&self) -> Vec<PeerId> {
        self.nodes.keys().copied().collect()
    }

    /// Any node that was not stopped for good.
    pub(crate) fn any_node(&mut self) -> PeerId {
        let there: Vec<PeerId> =
            self.nodes.values().filter(|node| !node.is_gone).map(|node| node.id).collect();
        self.random.pick(&there)
    }

    /// Of those who believe they lead, the one of the earliest term.
    pub(crate) fn oldest_leader(&self) -> Option<PeerId> {
        let running =
            self.nodes.values().filter_map(|node| Some((node.id, node.running.as_ref()?)));
        let leaders = running.filter(|(_, running)| running.peer.is_leader());
        leaders.min_by_key(|(_, running)| running.peer.current_term()).map(|(id, _)| id)
    }

    /// Who leads by itself, while another leads a later term.
    pub(crate) fn deposed_leader(&self) -> Option<PeerId> {
        let running = self.nodes.values().filter_map(|node| node.running.as_ref());
        let leaders = running.filter(|running| running.peer.is_leader()).count();
        self.oldest_leader().filter(|_| leaders > 1)
    }

    /// Another node, whose term compares like this to that of `node`, if both run.
    pub(crate) fn another_of_term(&mut self, node: PeerId, compares: Ordering) -> Option<PeerId> {
        let term_of =
            |node: &Node| node.running.as_ref().map(|running| running.peer.current_term());
        let term = term_of(&self.nodes[&node])?;
        let is_wanted = |other: &&Node| {
            other.id != node && term_of(other).is_some_and(|its| its.cmp(&term) == compares)
        };
        let others: Vec<PeerId> =
            self.nodes.values().filter(is_wanted).map(|other| other.id).collect();
        (!others.is_empty()).then(|| self.random.pick(&others))
    }

    /// Whom to ask who knows nothing: any node; once faults are over, a member that is there, since
    /// nothing is to depend on luck then.
    pub(crate) fn anybody(&mut self) -> PeerId {
        if !self.healed {
            return self.any_node();
        }
        let members: Vec<PeerId> = self.members().map(|node| node.id).collect();
        self.random.pick(&members)
    }

    pub(crate) fn after(&mut self, pause: Duration, event: Event) {
        self.schedule.at(self.now + pause, event);
    }

    pub(crate) fn note(&mut self, topic: &str, numbers: &[u64], text: std::fmt::Arguments<'_>) {
        self.trace.note(self.now - self.start, topic, numbers, text);
    }
}
