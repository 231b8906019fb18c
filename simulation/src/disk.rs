//! Disks: how long a write takes, what a crash leaves of it, and starting from what is left.

use std::sync::Arc;

use oarlock_raft::simulation::Peer;
use oarlock_raft::{Configuration, PeerId};
use oarlock_storage::{DiskPersister, Persister, SimFault, SimFs, StorageError};

use crate::invariant::Invariant;
use crate::mistake::Mistake;
use crate::node::{Node, Running, peer_options};
use crate::schedule::Event;
use crate::store::Store;
use crate::witness::{Durable, Witnessed};
use crate::world::World;

/// A write without faults takes at most this long, in microseconds.
const GOOD_WRITE_MAX_US: u64 = 1_500;
/// A large state takes at most so long: the log grows, and is replaced, in the meantime.
const SLOW_SNAPSHOT_MAX_US: u64 = 2_000_000;
/// A crash that is planned comes within so many operations of the disk.
const DOOM_WITHIN: u64 = 24;

/// How a node stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The process dies; what it wrote is in the page cache.
    Kill,
    /// The power goes; what was not synced may be lost, in any part.
    PowerCut,
}

impl World {
    /// The log writer of `node` begins: the disk takes its time.
    pub(crate) fn begin_write(&mut self, node: PeerId) {
        let life = self.nodes[&node].life;
        let takes = if self.healed {
            self.random.micros(100, GOOD_WRITE_MAX_US)
        } else if self.random.chance(self.character.stalls) {
            self.random.micros(1_000, self.character.stall_max.as_micros() as u64)
        } else {
            self.random.micros(50, self.character.write_max.as_micros() as u64)
        };
        self.after(takes, Event::Written { node, life });
    }

    /// What was begun is done, unless the disk fails.
    pub(crate) fn finish_write(&mut self, node: PeerId) {
        let now = self.time_at(node);
        match self.running(node).peer.finish_write(now) {
            Ok(()) => self.after_step(node),
            Err(error) => self.disk_failed(node, &error),
        }
    }

    /// The snapshot thread of `node` begins: other things go on meanwhile.
    pub(crate) fn begin_snapshot(&mut self, node: PeerId) {
        let life = self.nodes[&node].life;
        let is_slow = !self.healed && self.random.chance(300);
        let longest = if is_slow { SLOW_SNAPSHOT_MAX_US } else { GOOD_WRITE_MAX_US };
        let takes = self.random.micros(0, longest);
        self.after(takes, Event::StateWritten { node, life });
    }

    /// What was begun is done; if the disk fails, the log writer will notice.
    pub(crate) fn finish_snapshot(&mut self, node: PeerId) {
        let now = self.time_at(node);
        self.running(node).peer.finish_snapshot(now);
        self.counts.frozen += 1;
        self.after_step(node);
    }

    /// An error of the disk stops a node: one that was planned as a fault, or as a crash.
    fn disk_failed(&mut self, node: PeerId, error: &StorageError) {
        if self.nodes[&node].doomed {
            self.counts.torn_writes += 1;
            let how = if self.random.chance(500) { Stop::PowerCut } else { Stop::Kill };
            return self.stop_node(node, how);
        }
        self.counts.disk_errors += 1;
        self.note("DISK", &[node.0], format_args!("S{node} stops: {error}"));
        let running = self.node(node).running.take().expect("it ran until now");
        running.peer.stop(error);
        let said = std::mem::take(&mut *self.said.lock());
        for (node, op, attempt, reply) in said {
            let delay = self.delay();
            self.after(delay, Event::Answered { node, op, attempt, reply });
        }
        self.stopped(node, Stop::Kill);
    }

    /// Plans a crash at one of the next operations of the disk.
    pub(crate) fn doom(&mut self, node: PeerId) {
        let operation = self.random.below(DOOM_WITHIN);
        self.node(node).doomed = true;
        self.nodes[&node].disk.plan(operation, SimFault::Crash);
        self.note("DOOM", &[node.0, operation], format_args!("S{node} in {operation} operations"));
    }

    /// Stops a node now; a write under way gets as far as it gets.
    pub(crate) fn stop_node(&mut self, node: PeerId, how: Stop) {
        let Some(mut running) = self.node(node).running.take() else { return };
        if running.peer.is_writing() {
            let operation = self.random.below(DOOM_WITHIN);
            self.nodes[&node].disk.plan(operation, SimFault::Crash);
            running.peer.abandon_write();
            self.counts.torn_writes += 1;
        }
        if running.peer.is_writing_state() && self.random.chance(500) {
            let operation = self.random.below(DOOM_WITHIN);
            self.nodes[&node].disk.plan(operation, SimFault::Crash);
            running.peer.abandon_snapshot();
        }
        drop(running);
        self.stopped(node, how);
    }

    fn stopped(&mut self, node: PeerId, how: Stop) {
        self.said.lock().clear();
        self.counts.crashes += 1;
        self.counts.power_cuts += u64::from(how == Stop::PowerCut);
        let disk = self.disk_after(node, how);
        // Nobody starts a node on a full disk.
        disk.set_capacity(None);
        let stopped = self.node(node);
        stopped.disk = disk;
        stopped.life += 1;
        stopped.doomed = false;
        self.note("STOP", &[node.0, how as u64], format_args!("S{node} {how:?}"));
        if !self.nodes[&node].is_dead && !self.nodes[&node].is_gone {
            let pause = self.random.micros(1_000, 4_000_000);
            self.after(pause, Event::Start { node });
        }
    }

    fn disk_after(&mut self, node: PeerId, how: Stop) -> SimFs {
        if self.mistake == Some(Mistake::ComesBackEmpty) && self.random.chance(200) {
            let node = self.node(node);
            node.witness.lock().opened(Durable::default());
            return SimFs::new();
        }
        let old = self.nodes[&node].disk.clone();
        match how {
            Stop::Kill => old.after_kill(),
            Stop::PowerCut => {
                let survive = self.random.pick(&[0, 100, 500, 900, 1000]);
                let random = &mut self.random;
                old.after_power_cut(|| random.chance(survive))
            }
        }
    }

    /// Starts a node from what its disk holds, if it is down.
    pub(crate) fn start_node(&mut self, id: PeerId) {
        let Node { running, is_dead, is_gone, .. } = &self.nodes[&id];
        if running.is_some() || *is_dead || *is_gone {
            return;
        }
        // Recovery can be cut short as well.
        if !self.healed && self.random.chance(100) {
            self.doom(id);
        }
        match self.nodes[&id].open_disk(self.character.segment_bytes) {
            Ok(inner) => {
                self.checks.require(Invariant::StartsAfterCrash, true, String::new);
                self.run_node(id, inner);
            }
            Err(error) => {
                let was_planned = self.nodes[&id].disk.has_failed();
                self.checks.require(Invariant::StartsAfterCrash, was_planned, || {
                    format!("S{id}: {error}")
                });
                let how = if self.random.chance(500) { Stop::PowerCut } else { Stop::Kill };
                self.stopped(id, how);
            }
        }
    }

    fn run_node(&mut self, id: PeerId, mut inner: DiskPersister) {
        let recovered = inner.load();
        self.check_recovered(id, Durable::of(&recovered));
        // Who joins knows nobody.
        let founders =
            (1..=self.character.size).map(PeerId).filter(|_| id.0 <= self.character.size);
        let initial = Configuration::of_voters(founders);
        let store = Store::new(self.character.limits, self.mistake);
        let options = peer_options(&self.character, &mut self.random);
        let now = self.time_at(id);
        let node = self.node(id);
        node.life += 1;
        let witness = Arc::clone(&node.witness);
        let persister = Witnessed { inner, witness, loaded: Some(recovered) };
        let peer = Peer::open(id, initial, Box::new(persister), store, options, now);
        let peer = peer.unwrap_or_else(|error| panic!("S{id} does not start: {error}"));
        let (term, base, last) = (peer.current_term(), peer.base(), peer.last());
        self.terms.draws(peer.election_timer().1);
        self.node(id).running = Some(Running::new(peer));
        self.note(
            "START",
            &[id.0, term, base.index, last.index],
            format_args!("S{id} T{term} base={base} last={last}"),
        );
        self.after_step(id);
    }
}
