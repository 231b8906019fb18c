//! Disks that stall: they lose nothing, and finish nothing for a while.
//!
//! Goal: a leader whose disk stalls for two election time-outs gives way to one whose disk works; one
//! whose disk stalls for less than one goes on leading, and so does one that nobody could replace.
//! Method: clusters of three and five without any other fault, commands all the time, and stalls
//! that begin at any moment.

use std::time::Duration;

use super::links::heal;
use super::number_from;
use super::world::World;
use crate::types::{PeerId, Term};

/// How many seeds a plain test run plays.
const SEEDS: u64 = 20;
/// The longest election time-out of the default options.
const ELECTION_TIMEOUT: Duration = Duration::from_millis(500);
/// How long elections may take: as behind a broken link.
const ELECTED_WITHIN: Duration = ELECTION_TIMEOUT.saturating_mul(5);

/// A cluster that has settled, whoever leads it, and its term.
fn settled(seed: u64, size: u64) -> (World, PeerId, Term) {
    let mut world = World::new(seed, size);
    world.healed = true;
    let some_time = Duration::from_millis(1_500 + world.below(1_000));
    world.run_until(world.now + some_time);
    let (leader, term) = leader(&world).expect("a whole cluster has a leader");
    (world, leader, term)
}

/// Who leads the highest term that anybody leads.
fn leader(world: &World) -> Option<(PeerId, Term)> {
    let running = world.peers.iter().filter_map(|(&id, peer)| Some((id, peer.running.as_ref()?)));
    let leaders = running.filter(|(_, running)| running.rules.is_leader());
    leaders.map(|(id, running)| (id, running.rules.current_term())).max_by_key(|(_, term)| *term)
}

fn for_each_seed(run: impl Fn(u64) + std::panic::RefUnwindSafe) {
    for seed in 1..=number_from("OARLOCK_SIM_SEEDS").unwrap_or(SEEDS) {
        std::panic::catch_unwind(|| run(seed)).unwrap_or_else(|panic| {
            eprintln!("seed {seed}");
            std::panic::resume_unwind(panic)
        });
    }
}

#[test]
fn a_leader_whose_disk_stalls_for_two_time_outs_gives_way() {
    for_each_seed(|seed| {
        let (mut world, old, term) = settled(seed, [3, 5][(seed % 2) as usize]);
        let began = world.now;
        world.stall(old, ELECTION_TIMEOUT * 4 + ELECTED_WITHIN);
        // A command comes within 62 ms; from then on something waits for the disk.
        world.run_until(began + Duration::from_millis(70) + ELECTION_TIMEOUT * 2);
        let leads = world.running(old).rules.is_leader();
        assert!(!leads, "S{old} leads T{term}, and its disk has stalled for two time-outs");
        world.run_until(began + ELECTION_TIMEOUT * 2 + ELECTED_WITHIN);
        let (new, _) = leader(&world).expect("another leads while the disk still stalls");
        assert_ne!(new, old);
        let before = world.check.last_committed();
        world.run_until(world.now + Duration::from_millis(500));
        assert!(world.check.last_committed() > before, "it commits");
        heal(&mut world);
    });
}

#[test]
fn a_leader_whose_disk_stalls_for_less_than_one_time_out_goes_on() {
    for_each_seed(|seed| {
        let (mut world, old, term) = settled(seed, [3, 5][(seed % 2) as usize]);
        for _ in 0..3 {
            let below_one = 50 + world.below(445);
            world.stall(old, Duration::from_millis(below_one));
            world.run_until(world.now + ELECTION_TIMEOUT * 3);
            assert_eq!(leader(&world), Some((old, term)), "after {below_one} ms");
        }
    });
}

#[test]
fn a_leader_that_nobody_could_replace_goes_on() {
    for_each_seed(|seed| {
        // With one disk of three that works, nothing can be committed, whoever leads.
        let (mut world, old, term) = settled(seed, 3);
        let ids: Vec<_> = world.ids().collect();
        let other = ids.into_iter().find(|&id| id != old).expect("there are three");
        for id in [old, other] {
            world.stall(id, ELECTION_TIMEOUT * 4);
        }
        world.run_until(world.now + ELECTION_TIMEOUT * 8);
        assert_eq!(leader(&world), Some((old, term)));
        heal(&mut world);
    });
}
