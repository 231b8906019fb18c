//! The events of a run: messages, disk writes, timers, faults, and their order in virtual time.

use std::collections::{BTreeMap, BinaryHeap};
use std::time::{Duration, Instant};

use oarlock_storage::MemoryRoom;

use super::check::{Before, Check};
use super::peer::{Reply, Request, SimPeer, Unspoken};
use crate::configuration::Configuration;
use crate::message::{AppendEntriesReply, AppendOutcome};
use crate::mutation::AfterDurable;
use crate::rules::rng::Rng;
use crate::rules::{ApplyWork, Due, Reach, Rules};
use crate::types::PeerId;

/// How long faults go on, in simulated time.
const FAULTS_LAST: Duration = Duration::from_secs(30);
/// How long a healed cluster may take to commit something new everywhere.
const PROGRESS_WITHIN: Duration = Duration::from_secs(10);
/// The longest delay of a slow message, in microseconds, and the time after which a call that is
/// lost is over for its caller, in milliseconds; one pair a seed.
const PATIENCE: [(u64, u64); 3] = [(600_000, 400), (600_000, 5_000), (4_000_000, 5_000)];

pub(super) enum Event {
    Request { from: PeerId, to: PeerId, life: u64, call: u64, request: Request },
    Reply { from: PeerId, to: PeerId, life: u64, call: u64, request: Request, reply: Option<Reply> },
    Written { peer: PeerId, life: u64 },
    Timer { peer: PeerId, life: u64 },
    Propose,
    Fault,
    Reconfigure,
    EagerChange { leader: PeerId },
}

struct Scheduled {
    at: Instant,
    number: u64,
    event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        // The heap gives the greatest: the earliest, and among those the first scheduled.
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

pub(super) struct World {
    pub(super) seed: u64,
    pub(super) patience: (u64, u64),
    pub(super) rng: Rng,
    pub(super) start: Instant,
    pub(super) now: Instant,
    heap: BinaryHeap<Scheduled>,
    pub(super) peers: BTreeMap<PeerId, SimPeer>,
    /// Directed links that are cut.
    pub(super) cut: Vec<(PeerId, PeerId)>,
    /// How many peers the cluster began with; later ones start without a configuration.
    pub(super) founders: u64,
    /// Until when a disk finishes nothing.
    stalled: BTreeMap<PeerId, Instant>,
    pub(super) members_change: bool,
    pub(super) healed: bool,
    /// Whether the peers are far from each other, and have quick disks and the default options.
    pub(super) far: bool,
    /// Calls whose outcome was delivered already: the first one counts.
    pub(super) answered: std::collections::BTreeSet<u64>,
    pub(super) next_call: u64,
    pub(super) proposals: u64,
    pub(super) events: u64,
    pub(super) crashes: u64,
    pub(super) installs: u64,
    /// Writes that found no room.
    pub(super) stalls: u64,
    pub(super) check: Check,
}

impl World {
    pub(super) fn new(seed: u64, size: u64) -> Self {
        #[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
        let start = Instant::now();
        let ids = (1..=size).map(PeerId);
        let mut world = Self {
            seed,
            patience: PATIENCE[(seed / 7 % 3) as usize],
            rng: Rng::new(seed.wrapping_mul(0x9e37_79b9), PeerId(99)),
            start,
            now: start,
            heap: BinaryHeap::new(),
            peers: ids.clone().map(|id| (id, SimPeer::new())).collect(),
            cut: Vec::new(),
            founders: size,
            stalled: BTreeMap::new(),
            members_change: false,
            healed: false,
            far: false,
            answered: std::collections::BTreeSet::new(),
            next_call: 0,
            proposals: 0,
            events: 0,
            crashes: 0,
            installs: 0,
            stalls: 0,
            check: Check::default(),
        };
        ids.for_each(|id| world.start_peer(id));
        world.schedule(Duration::ZERO, Event::Propose);
        world.schedule(Duration::ZERO, Event::Fault);
        world
    }

    /// Lets membership change too.
    pub(super) fn with_changes(mut self) -> Self {
        self.members_change = true;
        self.schedule(Duration::from_secs(1), Event::Reconfigure);
        self
    }

    pub(super) fn run_with_faults(&mut self) {
        self.run_until(self.start + FAULTS_LAST);
    }

    /// Ends every fault; then a leader must be found, and everything must be applied everywhere.
    pub(super) fn heal_and_demand_progress(&mut self) {
        self.healed = true;
        self.cut.clear();
        self.peers.values().for_each(|peer| peer.disk.set_room(MemoryRoom::Enough));
        let down: Vec<_> = self.ids().filter(|id| self.peers[id].running.is_none()).collect();
        for id in down {
            self.start_peer(id);
        }
        let before = self.check.last_committed();
        self.run_until(self.now + PROGRESS_WITHIN);
        let committed = self.check.last_committed();
        assert!(committed > before, "nothing is committed after healing: {committed}");
        let running = |id: PeerId| self.peers[&id].running.as_ref().expect("all run");
        let leaders = self.ids().filter(|&id| running(id).rules.is_leader());
        let leader = leaders.max_by_key(|&id| running(id).rules.current_term()).expect("a leader");
        let configuration = running(leader).rules.configuration();
        assert!(!configuration.is_joint(), "stuck in {configuration}");
        for id in configuration.members() {
            let applied = running(id).applied;
            assert!(applied > before, "S{id} applied {applied} of {before} before healing");
        }
    }

    pub(super) fn run_until(&mut self, end: Instant) {
        while let Some(next) = self.heap.peek().filter(|next| next.at <= end) {
            self.now = next.at;
            let next = self.heap.pop().expect("just peeked");
            self.events += 1;
            self.handle(next.event);
        }
        self.now = end;
    }

    pub(super) fn handle(&mut self, event: Event) {
        match event {
            Event::Request { from, to, life, call, request } => {
                self.deliver_request(from, to, life, call, request);
            }
            Event::Reply { from, to, life, call, request, reply } => {
                if self.answered.insert(call) && self.is_alive(to, life) {
                    self.deliver_reply(from, to, &request, reply);
                }
            }
            Event::Written { peer, life } if self.is_alive(peer, life) => self.finish_write(peer),
            Event::Timer { peer, life } if self.is_alive(peer, life) => {
                self.running(peer).timer = None;
                self.pump(peer);
            }
            Event::Written { .. } | Event::Timer { .. } => {}
            Event::Propose => self.propose(),
            Event::Fault => self.fault(),
            Event::Reconfigure => self.reconfigure(),
            Event::EagerChange { leader } => self.change_at_once(leader),
        }
    }

    // Peers.

    pub(super) fn start_peer(&mut self, id: PeerId) {
        let options = self.options();
        let founders = (1..=self.founders).map(PeerId);
        // Who joins knows nobody.
        let initial = if id.0 <= self.founders {
            Configuration::of_voters(founders)
        } else {
            Configuration::default()
        };
        let now = self.now;
        let peer = self.peers.get_mut(&id).expect("a known peer");
        peer.start(|recovered| {
            Rules::recovered(id, initial, recovered, options, now).expect("its own state")
        });
        self.pump(id);
    }

    pub(super) fn crash(&mut self, id: PeerId) {
        // A write under way may have reached the disk, unknown to anybody.
        let finished = self.chance(50);
        let peer = self.peers.get_mut(&id).expect("a known peer");
        if let Some(mut running) = peer.running.take() {
            if let (true, Some(work)) = (finished, running.writing.take()) {
                running.writer.write(work.steps).expect("memory does not fail");
            }
            self.crashes += 1;
        }
    }

    pub(super) fn is_alive(&self, id: PeerId, life: u64) -> bool {
        self.peers[&id].running.is_some() && self.peers[&id].life == life
    }

    pub(super) fn running(&mut self, id: PeerId) -> &mut super::peer::Running {
        let peer = self.peers.get_mut(&id).expect("a known peer");
        peer.running.as_mut().expect("only asked of a running peer")
    }

    /// Does what all threads of a peer would do until each sleeps again.
    pub(super) fn pump(&mut self, id: PeerId) {
        let now = self.now;
        let mut deadline: Option<Instant> = None;
        let mut sleep_until = |due: Instant| {
            deadline = Some(deadline.map_or(due, |known| known.min(due)));
        };
        loop {
            let running = self.running(id);
            match running.rules.election_due(now) {
                Due::Now(AfterDurable { value, until }) => {
                    running.unspoken.push_back((until, Unspoken::Round(value.args, value.voters)));
                }
                Due::At(at) => break sleep_until(at),
                Due::WhenWoken => break,
            }
            self.speak(id);
        }
        for to in self.ids().filter(|&to| to != id).collect::<Vec<_>>() {
            loop {
                match self.running(id).rules.replication_due(to, now) {
                    Due::Now(send) => self.send(id, to, send),
                    Due::At(at) => break sleep_until(at),
                    Due::WhenWoken => break,
                }
            }
        }
        if let Some(at) = self.begin_write(id) {
            sleep_until(at);
        }
        self.apply(id);
        self.speak(id);
        self.check_peer(id);
        if let Some(at) = deadline {
            let life = self.peers[&id].life;
            let running = self.running(id);
            if running.timer.is_none_or(|timer| at < timer) {
                running.timer = Some(at);
                self.schedule(at.saturating_duration_since(now), Event::Timer { peer: id, life });
            }
        }
    }

    pub(super) fn check_peer(&mut self, id: PeerId) {
        let peer = self.peers.get_mut(&id).expect("a known peer");
        let running = peer.running.as_mut().expect("it was just pumped");
        running.rules.check_invariants();
        let term = running.rules.current_term();
        if running.rules.is_leader() && running.led != Some(term) {
            running.led = Some(term);
            self.check.leads(&running.rules);
            let rules = &self.peers[&id].running.as_ref().expect("it runs").rules;
            for other in self.peers.values().filter_map(|peer| peer.running.as_ref()) {
                Check::logs_match(rules, &other.rules);
            }
            if self.members_change && !self.healed && self.chance(50) {
                self.schedule(Duration::ZERO, Event::EagerChange { leader: id });
            }
        }
    }

    // The disk.

    /// Begins what the log writer has to do, or says when to ask again.
    pub(super) fn begin_write(&mut self, id: PeerId) -> Option<Instant> {
        let (life, now) = (self.peers[&id].life, self.now);
        let running = self.running(id);
        if running.writing.is_some() {
            return None;
        }
        match running.rules.writes_due(now) {
            Due::Now(work) => running.writing = Some(work),
            Due::At(at) => return Some(at),
            Due::WhenWoken => return None,
        }
        let stalls = !self.healed && self.chance(2);
        let usual_us = if self.far { 300 } else { 5_000 };
        let takes_us = if stalls { self.below(900_000) } else { 100 + self.below(usual_us) };
        let until = self.stalled.get(&id).map_or(now, |&until| until.max(now));
        let after = until - now + Duration::from_micros(takes_us);
        self.schedule(after, Event::Written { peer: id, life });
        None
    }

    /// What its disk begins from now on is not finished for as long.
    pub(super) fn stall(&mut self, id: PeerId, lasts: Duration) {
        self.stalled.insert(id, self.now + lasts);
    }

    pub(super) fn finish_write(&mut self, id: PeerId) {
        let disks = self.disks();
        let now = self.now;
        let running = self.running(id);
        let work = running.writing.take().expect("a write was under way");
        let written = running.writer.write(work.steps).expect("memory does not fail");
        let before = Before::of(&running.rules);
        if written.reach != Reach::All {
            self.stalls += 1;
        }
        let running = self.running(id);
        running.rules.on_written(work.through, written, now);
        self.check_commit(id, &before, &disks);
        self.pump(id);
    }

    pub(super) fn disks(&self) -> BTreeMap<PeerId, oarlock_storage::MemoryPersister> {
        self.peers.iter().map(|(&id, peer)| (id, peer.disk.clone())).collect()
    }

    pub(super) fn check_commit(
        &mut self,
        id: PeerId,
        before: &Before,
        disks: &BTreeMap<PeerId, oarlock_storage::MemoryPersister>,
    ) {
        let peer = self.peers.get_mut(&id).expect("a known peer");
        let rules = &peer.running.as_ref().expect("it runs").rules;
        if rules.commit_index() > before.commit_index && before.leads {
            self.check.commits(rules, before, disks);
        }
    }

    /// Speaks what waited for the disk and no longer has to.
    pub(super) fn speak(&mut self, id: PeerId) {
        loop {
            let now = self.now;
            let running = self.running(id);
            let mutations = running.rules.mutations();
            let spoken = running.unspoken.iter().position(|(until, _)| mutations.has(*until));
            let Some((_, unspoken)) = spoken.and_then(|at| running.unspoken.remove(at)) else {
                return;
            };
            match unspoken {
                Unspoken::Round(args, voters) => {
                    running.rules.on_own_vote(&args, now);
                    if !args.pre_vote {
                        self.check.votes(id, args.term, id, &self.peers[&id].disk);
                    }
                    for to in voters {
                        self.call(id, to, Request::Vote(args.clone()));
                    }
                    self.pump(id);
                }
                Unspoken::Answer { to, call, request, reply } => {
                    self.check_spoken(id, &request, &reply);
                    self.reply(id, to, call, request, Some(reply));
                }
            }
        }
    }

    pub(super) fn check_spoken(&mut self, id: PeerId, request: &Request, reply: &Reply) {
        let disk = &self.peers[&id].disk;
        match (request, reply) {
            (Request::Vote(args), Reply::Vote(reply)) if reply.vote_granted && !args.pre_vote => {
                self.check.votes(id, args.term, args.candidate_id, disk);
            }
            (
                _,
                Reply::Append(AppendEntriesReply {
                    term,
                    outcome: AppendOutcome::Matched { index },
                    ..
                }),
            ) => Check::matched(id, *term, *index, disk),
            (Request::Piece(args, _), Reply::Piece(reply)) if reply.wants.is_none() => {
                Check::matched(id, reply.term, args.last_included.index, disk);
            }
            _ => {}
        }
    }

    // The state machine.

    pub(super) fn apply(&mut self, id: PeerId) {
        loop {
            let now = self.now;
            let running = self.running(id);
            let Due::Now(work) = running.rules.apply_due(running.applied, now) else { return };
            match work {
                ApplyWork::Entries(entries) => {
                    for entry in entries {
                        let running = self.running(id);
                        assert_eq!(entry.id.index, running.applied + 1, "S{id} applies in order");
                        running.applied = entry.id.index;
                        running.state.extend(entry.id.index.to_le_bytes());
                        self.check.applied(id, entry.id, &entry.data);
                    }
                    if self.chance(10) {
                        self.snapshot(id);
                    }
                }
                ApplyWork::Restore(snapshot) => {
                    running.applied = snapshot.meta.last_included.index;
                    running.state = snapshot.to_vec();
                    assert_eq!(
                        running.state.len() as u64,
                        8 * running.applied,
                        "S{id}: a torn one"
                    );
                    self.installs += 1;
                }
                ApplyWork::ServeReads { through } => {
                    let applied = running.applied;
                    let later = running.reads.split_off(&(through.number + 1));
                    let served = std::mem::replace(&mut running.reads, later);
                    for (read, committed) in served {
                        assert!(applied >= committed, "S{id} serves stale read {read}");
                        self.check.reads_served += 1;
                    }
                }
                ApplyWork::Published(..) => unreachable!("it does not ask to be told"),
                ApplyWork::MakeRoom(applied) => {
                    assert_eq!(applied, running.applied, "everything is in it");
                    self.snapshot(id);
                }
                ApplyWork::FailReads { through } => {
                    running.reads = running.reads.split_off(&(through.number + 1));
                }
            }
        }
    }

    pub(super) fn snapshot(&mut self, id: PeerId) {
        let running = self.running(id);
        let Some(meta) = running.rules.snapshot_meta(running.applied) else { return };
        let staged = running.stage.write_all(meta, &running.state).expect("memory does not fail");
        // Nobody waits for it here.
        let AfterDurable { .. } = running.rules.compact(staged);
    }

    pub(super) fn schedule(&mut self, after: Duration, event: Event) {
        self.next_call += 1;
        let number = self.next_call;
        self.heap.push(Scheduled { at: self.now + after, number, event });
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = PeerId> + Clone + use<> {
        (1..=self.peers.len() as u64).map(PeerId)
    }

    pub(super) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.rng.next() % limit
    }
}
