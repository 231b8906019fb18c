//! What goes wrong, and when.

use std::io::ErrorKind;
use std::time::Duration;

use oarlock_raft::PeerId;
use oarlock_storage::SimFault;

use crate::disk::Stop;
use crate::node::Running;
use crate::schedule::Event;
use crate::world::World;

/// The longest a cut link stays cut, in microseconds.
const CUT_MAX_US: u64 = 5_000_000;
/// The longest a process pauses, in microseconds.
const PAUSE_MAX_US: u64 = 2_500_000;
/// The longest a disk stays full, in microseconds, and the most that still fits.
const FULL_MAX_US: u64 = 6_000_000;
const STILL_FITS_MAX: u64 = 40_000;
/// A disk's error comes within so many operations.
const ERROR_WITHIN: u64 = 30;
/// The longest a leader tries to pass its leadership on, in microseconds.
const HAND_OVER_MAX_US: u64 = 500_000;

/// The kinds of fault, in the order of [`crate::character::Character::faults`].
const KINDS: [fn(&mut World, PeerId); 11] = [
    |world, victim| world.stop_node(victim, Stop::Kill),
    |world, victim| world.stop_node(victim, Stop::PowerCut),
    |world, victim| world.doom_running(victim),
    World::isolate,
    World::cut_one_way,
    |world, _| world.split(),
    |world, _| world.cut_some(),
    World::pause,
    World::fail_disk,
    |world, victim| world.fill_disks(victim),
    World::hand_over,
];

impl World {
    /// Something goes wrong, and something else will.
    pub(crate) fn fault(&mut self) {
        if self.healed {
            return;
        }
        let gap = self.character.fault_gap.as_micros() as u64;
        let pause = self.random.micros(gap / 20, gap);
        self.after(pause, Event::Fault);
        let faults = self.character.faults;
        let sum = faults.iter().sum::<u64>();
        if sum == 0 {
            return;
        }
        let mut drawn = self.random.below(sum);
        let mut kind = 0;
        while drawn >= faults[kind] {
            drawn -= faults[kind];
            kind += 1;
        }
        let victim = self.victim();
        self.note("FAULT", &[kind as u64, victim.0], format_args!("kind {kind}, S{victim}"));
        KINDS[kind](self, victim);
        self.try_leases(victim);
    }

    /// A leader has just changed the members: it dies, or its messages stop.
    pub(crate) fn strike(&mut self, victim: PeerId) {
        if self.healed {
            return;
        }
        let kinds: [fn(&mut Self, PeerId); 6] = [
            |world, victim| world.stop_node(victim, Stop::Kill),
            |world, victim| world.stop_node(victim, Stop::PowerCut),
            Self::isolate,
            |world, _| world.split(),
            |world, _| world.cut_some(),
            Self::pause,
        ];
        let kind = self.random.below(kinds.len() as u64) as usize;
        self.note("FAULT", &[kind as u64, victim.0], format_args!("strike {kind}, S{victim}"));
        kinds[kind](self, victim);
    }

    /// Whom it hits: often somebody who leads.
    fn victim(&mut self) -> PeerId {
        let leads = |id: &PeerId| {
            self.nodes[id].running.as_ref().is_some_and(|running| running.peer.is_leader())
        };
        let leader = self.ids().into_iter().find(leads);
        let anybody = self.any_node();
        leader.filter(|_| self.random.chance(400)).unwrap_or(anybody)
    }

    fn doom_running(&mut self, victim: PeerId) {
        if self.nodes[&victim].running.is_some() {
            self.doom(victim);
        }
    }

    fn reconnect_later(&mut self) {
        let pause = self.random.micros(50_000, CUT_MAX_US);
        self.after(pause, Event::Reconnect);
    }

    pub(crate) fn isolate(&mut self, victim: PeerId) {
        for other in self.ids() {
            self.cut.extend([(victim, other), (other, victim)]);
        }
        self.reconnect_later();
    }

    fn cut_one_way(&mut self, victim: PeerId) {
        let other = self.any_node();
        let link = if self.random.chance(500) { (victim, other) } else { (other, victim) };
        self.cut.insert(link);
        self.reconnect_later();
    }

    /// Two parts that do not hear each other.
    fn split(&mut self) {
        let parts = self.random.next();
        let ids = self.ids();
        for &a in &ids {
            let others = ids.iter().filter(|b| (parts >> a.0 ^ parts >> b.0) & 1 == 1);
            self.cut.extend(others.map(|&b| (a, b)));
        }
        self.reconnect_later();
    }

    /// Pairs that do not hear each other, though others hear both.
    fn cut_some(&mut self) {
        for a in self.ids() {
            for b in self.ids() {
                if a < b && self.random.chance(400) {
                    self.cut.extend([(a, b), (b, a)]);
                }
            }
        }
        self.reconnect_later();
    }

    fn pause(&mut self, victim: PeerId) {
        let for_ = self.random.micros(10_000, PAUSE_MAX_US);
        let until = self.now + for_;
        if let Some(running) = &mut self.node(victim).running {
            running.paused_until = Some(until);
        }
    }

    /// No fault, but it comes as suddenly: a leader is asked to pass its leadership on.
    fn hand_over(&mut self, victim: PeerId) {
        let patience = self.random.micros(1_000, HAND_OVER_MAX_US);
        let (moment, now) = (self.now, self.time_at(victim));
        let is_there = |running: &Running| running.paused_until.is_none_or(|until| until <= moment);
        if self.nodes[&victim].running.as_ref().is_some_and(is_there) {
            let begun = self.running(victim).peer.hand_over(now + patience, now);
            self.counts.hand_overs += u64::from(begun);
            self.after_step(victim);
        }
    }

    /// The disk fails, once or for good.
    fn fail_disk(&mut self, victim: PeerId) {
        let dead = self.nodes.values().filter(|node| node.is_dead).count();
        if dead < self.character.dead_disks_max && self.random.chance(300) {
            self.node(victim).is_dead = true;
            return self.stop_node(victim, Stop::PowerCut);
        }
        let node = &self.nodes[&victim];
        if node.doomed || node.running.is_none() {
            return;
        }
        let kind = self.random.pick(&[ErrorKind::Other, ErrorKind::StorageFull]);
        let fault = if self.random.chance(800) { SimFault::Error(kind) } else { SimFault::Short };
        let operation = self.random.below(ERROR_WITHIN);
        self.nodes[&victim].disk.plan(operation, fault);
    }

    /// A disk is full for a while, or all are.
    fn fill_disks(&mut self, victim: PeerId) {
        let all = self.random.chance(300);
        for node in self.ids() {
            // A node that is down does not start before there is room.
            if (all || node == victim) && self.nodes[&node].running.is_some() {
                let fits = self.random.below(STILL_FITS_MAX) as usize;
                let disk = &self.nodes[&node].disk;
                disk.set_capacity(Some(disk.used_bytes() + fits));
                let pause = self.random.micros(100_000, FULL_MAX_US);
                self.after(pause, Event::Room { node });
            }
        }
    }

    /// Ends every fault.
    pub(crate) fn end_faults(&mut self) {
        self.healed = true;
        self.cut.clear();
        let now = self.now;
        for id in self.ids() {
            // A machine that went down while nobody looked at its disk has gone down.
            if self.nodes[&id].doomed && self.nodes[&id].disk.has_failed() {
                self.stop_node(id, Stop::Kill);
            }
            let node = self.node(id);
            node.doomed = false;
            node.disk.plan_nothing();
            node.disk.set_capacity(None);
            if let Some(running) = &mut node.running
                && running.paused_until.take().is_some_and(|until| now < until)
            {
                // What came meanwhile comes when the pause would have ended; its own clock need not.
                running.timer = None;
                self.set_timer(id);
            }
            self.after(Duration::ZERO, Event::Start { node: id });
        }
    }
}
