//! Peers that are far from each other: 25 ms each way, with the default options and quick disks.
//!
//! Goal: commands that come one by one, faster than answers do, are each committed little more than a
//! round trip after they came: none waits for the answer to another. And time-outs that were chosen for
//! peers next to each other make nobody campaign. Method: no faults; commands so close that they gather,
//! and just not, when each is a message of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use super::world::World;
use crate::options::Options;

/// How long a message takes.
pub(super) const ONE_WAY: Duration = Duration::from_millis(25);
const ROUND_TRIP: Duration = ONE_WAY.saturating_mul(2);
/// Between a command and the next.
const GAPS: [Duration; 2] = [Duration::from_micros(100), Duration::from_micros(400)];
const COMMANDS: u64 = 5_000;
/// How long a command takes at the most, gathering and writes included.
const COMMITTED_WITHIN: Duration = ROUND_TRIP.saturating_mul(23).checked_div(20).unwrap();

impl World {
    /// A cluster without faults whose peers are far from each other.
    fn far(seed: u64, size: u64) -> Self {
        let mut world = Self::new(seed, size);
        world.healed = true;
        world.far = true;
        for id in world.ids().collect::<Vec<_>>() {
            world.crash(id);
            world.start_peer(id);
        }
        world
    }

    /// What a peer is started with. Where messages are quick everything is small, so that everything
    /// happens often.
    pub(super) fn options(&mut self) -> Options {
        let seed = self.rng.next() | 1;
        if self.far {
            return Options { seed, ..Options::default() };
        }
        Options {
            seed,
            append_entries_max: 8,
            in_flight_max: 4,
            snapshot_chunk_bytes: 64,
            probe_bytes_max: 64,
            no_op_on_election: !self.seed.is_multiple_of(3),
            ..Options::default()
        }
    }
}

#[test]
fn over_a_long_way_no_command_waits_for_the_answer_to_another() {
    for seed in 1..=4 {
        let gap = GAPS[(seed % 2) as usize];
        let mut world = World::far(seed, [3, 5][(seed / 2 % 2) as usize]);
        world.run_until(world.now + Duration::from_secs(3));
        assert_eq!(world.check.elections(), 1, "seed {seed}: the first elects a leader for good");
        let ids: Vec<_> = world.ids().collect();
        let leads = |id: &_| world.peers[id].running.as_ref().is_some_and(|r| r.rules.is_leader());
        let leader = ids.into_iter().find(leads).expect("one was elected");
        let mut came = BTreeMap::new();
        let mut took = Vec::new();
        for number in 0..COMMANDS {
            let now = world.now;
            let rules = &mut world.running(leader).rules;
            let entry = rules.start(number.to_le_bytes().to_vec().into(), now).expect("it leads");
            came.insert(entry.index, now);
            world.pump(leader);
            world.run_until(now + gap);
            let committed = world.running(leader).rules.commit_index();
            let open = came.split_off(&(committed + 1));
            took.extend(came.values().map(|&came| world.now - came));
            came = open;
        }
        assert_eq!(world.check.elections(), 1, "seed {seed}: nobody else campaigns");
        assert!(took.len() as u64 > COMMANDS / 2, "seed {seed}: {} are committed", took.len());
        took.sort_unstable();
        let (median, longest) = (took[took.len() / 2], took[took.len() - 1]);
        eprintln!("seed {seed}, {gap:?}: median {median:?}, longest {longest:?}");
        assert!(longest <= COMMITTED_WITHIN, "seed {seed}: median {median:?}, longest {longest:?}");
    }
}
