//! A slice of the simulation: some seeds, all invariants, and the same run each time.

use std::process::Command;

use oarlock_simulation::{Invariant, Mistake, run_campaign, run_seed};

/// How many seeds a plain test run takes; `OARLOCK_SIM_SEEDS` asks for more.
fn seeds() -> u64 {
    std::env::var("OARLOCK_SIM_SEEDS").map_or(100, |count| count.parse().expect("a number"))
}

/// Goal: every invariant holds through thirty seconds of faults, and progress follows healing.
/// Method: whole clusters, from seeds; see docs/testing.md.
#[test]
fn every_invariant_holds_whatever_the_seed() {
    let campaign = run_campaign(1..seeds() + 1, 2, None, 5, |_| {});
    for failure in &campaign.failures {
        eprintln!("replay with `cargo run -p oarlock-simulation -- replay {}`", failure.seed);
    }
    assert_eq!(campaign.failures, []);
    let counts = campaign.counts;
    println!("{counts}");
    // A simulation in which these never happen would prove nothing.
    for invariant in Invariant::ALL {
        assert!(counts.checks.of(*invariant) > 0, "{invariant:?} was never checked");
    }
    let happened = [counts.power_cuts, counts.torn_writes, counts.disk_errors, counts.duplicates];
    assert!(happened.iter().all(|count| *count > 0), "{counts}");
    let changed = [counts.changes, counts.changes_refused, counts.changes_given_up, counts.removed];
    assert!(changed.iter().all(|count| *count > counts.seeds / 10), "{counts}");
    assert!(counts.elections > counts.seeds && counts.installs > 0, "{counts}");
    assert!(counts.left_reads > 0, "{counts}");
    assert!(counts.published > 0 && counts.frozen > counts.published, "{counts}");
}

/// The fingerprint of a run's trace, as a process of its own prints it.
fn trace_of_a_fresh_process(seed: u64) -> String {
    let program = env!("CARGO_BIN_EXE_oarlock-sim");
    let output = Command::new(program).args(["replay", &seed.to_string()]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().last().expect("it prints the trace last").to_owned()
}

#[test]
fn a_seed_is_the_same_run_in_every_process() {
    for seed in [1, 2, 3, 4, 5, 60, 700] {
        let first = run_seed(seed, None, false).expect("it holds");
        // Whatever ran before on this thread makes no difference.
        let second = run_seed(seed, None, false).expect("it holds");
        assert_eq!(first.trace, second.trace, "seed {seed}");
        assert_eq!(trace_of_a_fresh_process(seed), format!("trace {:016x}", first.trace));
    }
}

#[test]
fn a_seed_that_fails_fails_again_in_the_same_way() {
    let fails = |seed| run_seed(seed, Some(Mistake::AppliesDuplicates), false).err();
    let failure = (1..100).find_map(fails).expect("one of them finds it");
    assert_eq!(fails(failure.seed), Some(failure));
}

#[test]
fn mistakes_of_the_disk_and_the_service_are_found() {
    for mistake in Mistake::ALL {
        let campaign = run_campaign(1..301, 2, Some(*mistake), 1, |_| {});
        assert!(!campaign.failures.is_empty(), "{mistake:?} is not found");
    }
}
