//! Seeded clusters in one thread: virtual time, a network that loses, delays, duplicates and
//! reorders, disks that take their time and lose what was not finished in a crash.
//!
//! Goal: the paper's Figure 3 holds after every event, whatever the seed, and once the faults end
//! the cluster makes progress. Method: whole peers are the rules plus the real log writer on a
//! memory persister; what the threads do is done here by events. `OARLOCK_SIM_SEED=n` replays one
//! seed, `OARLOCK_SIM_SEEDS=n` runs that many.

mod check;
mod far;
mod faults;
mod links;
mod members;
mod network;
mod peer;
mod stalls;
mod world;

use self::world::World;

/// The seeds a plain test run takes.
const SEEDS: u64 = 200;

fn number_from(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

/// Runs `world` for each seed, and returns how many changes of voters there were; a failure names the
/// seed that replays it.
fn for_each_seed(run: impl Fn(u64) -> World + std::panic::RefUnwindSafe) -> u64 {
    let seeds = match number_from("OARLOCK_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 1..number_from("OARLOCK_SIM_SEEDS").unwrap_or(SEEDS) + 1,
    };
    let (mut commits, mut elections, mut crashes, mut installs, mut reads) = (0, 0, 0, 0, 0);
    let mut stalls = 0;
    let mut changes = 0;
    for seed in seeds {
        let world = std::panic::catch_unwind(|| run(seed)).unwrap_or_else(|panic| {
            eprintln!("replay this failure with OARLOCK_SIM_SEED={seed}");
            std::panic::resume_unwind(panic)
        });
        commits += world.check.committed_count();
        elections += world.check.elections();
        crashes += world.crashes;
        installs += world.installs;
        reads += world.check.reads_served;
        stalls += world.stalls;
        changes += world.check.changes;
    }
    eprintln!(
        "{commits} commits, {elections} elections, {crashes} crashes, {installs} installed \
         snapshots, {reads} reads, {stalls} writes without room, {changes} changes of voters"
    );
    // A simulation in which these never happen would prove nothing.
    if number_from("OARLOCK_SIM_SEED").is_none() {
        assert!(commits > 0 && elections > 0 && crashes > 0 && installs > 0 && reads > 0);
        assert!(stalls > 0);
    }
    changes
}

#[test]
fn figure_3_holds_under_faults_and_progress_follows_healing() {
    for_each_seed(|seed| {
        let size = [3, 5, 3, 4, 1, 2][(seed % 6) as usize];
        let mut world = World::new(seed, size);
        world.run_with_faults();
        world.heal_and_demand_progress();
        world
    });
}

#[test]
fn figure_3_holds_while_the_members_change_and_no_change_is_stuck() {
    let changes = for_each_seed(|seed| {
        let size = [3, 4, 5, 1, 3, 2][(seed % 6) as usize];
        let mut world = World::new(seed, size).with_changes();
        world.run_with_faults();
        world.heal_and_demand_progress();
        world
    });
    assert!(changes > 0 || number_from("OARLOCK_SIM_SEED").is_some(), "nothing was changed");
}

#[test]
fn the_same_seed_is_the_same_run() {
    let digest = |seed| {
        let mut world = World::new(seed, 3);
        world.run_with_faults();
        (world.events, world.check.committed_count(), world.check.elections())
    };
    for seed in 1..=5 {
        assert_eq!(digest(seed), digest(seed), "seed {seed}");
    }
}
