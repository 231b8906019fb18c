//! Every way in which the six directed links between three peers can be broken: 64 patterns, each
//! from a settled cluster and from a fresh start.
//!
//! Goal: where two peers hear each other, a majority can work, so a write is committed within five
//! election time-outs, and leadership changes at most twice, whatever the third peer hears or says.
//! Where no two do, nothing is committed, nobody goes on leading, and once the links are back the
//! cluster goes on. Method: no other fault; messages take up to 3 ms, a write to the disk up to 5 ms.
//! `OARLOCK_SIM_SEEDS=n` plays each pattern that often.

use std::time::Duration;

use super::number_from;
use super::world::World;
use crate::types::PeerId;

/// How often each pattern is played in a plain test run.
const SEEDS: u64 = 2;
/// The longest election time-out of the default options.
const ELECTION_TIMEOUT: Duration = Duration::from_millis(500);
const COMMITS_WITHIN: Duration = ELECTION_TIMEOUT.saturating_mul(5);
/// By then messages and writes that were under way are over.
const UNDER_WAY: Duration = Duration::from_millis(50);
const LEADER_CHANGES_MAX: u64 = 2;

type Links = Vec<(PeerId, PeerId)>;

/// The links that a pattern cuts: one bit each.
fn links(pattern: u32) -> Links {
    let ids = [1, 2, 3].map(PeerId);
    let all = ids.iter().flat_map(|&from| ids.iter().map(move |&to| (from, to)));
    let all = all.filter(|(from, to)| from != to).enumerate();
    all.filter(|(bit, _)| pattern & (1 << bit) != 0).map(|(_, link)| link).collect()
}

/// Whether two peers hear each other: in a cluster of three they are a majority.
fn has_majority(cut: &Links) -> bool {
    let whole =
        |a, b| !cut.contains(&(PeerId(a), PeerId(b))) && !cut.contains(&(PeerId(b), PeerId(a)));
    whole(1, 2) || whole(2, 3) || whole(1, 3)
}

/// What happened behind a cut.
struct Outcome {
    /// How long it took until something new was committed.
    committed_after: Option<Duration>,
    leader_changes: u64,
}

/// Plays `pattern`: behind the cut, then healed.
fn play(pattern: u32, seed: u64, is_settled: bool) -> Outcome {
    let mut world = World::new(seed, 3);
    world.healed = true;
    if is_settled {
        world.run_until(world.now + ELECTION_TIMEOUT * 3);
        assert!(world.check.last_committed() > 0, "a whole cluster works");
    }
    let cut = links(pattern);
    let can_work = has_majority(&cut);
    world.cut = cut;
    let elections = world.check.elections();
    let began = world.now;
    world.run_until(began + UNDER_WAY);
    let before = world.check.last_committed();
    let mut committed_after = None;
    while committed_after.is_none() && world.now < began + COMMITS_WITHIN {
        world.run_until(world.now + Duration::from_millis(5));
        committed_after = (world.check.last_committed() > before).then(|| world.now - began);
    }
    // What holds once it works, holds for a while.
    world.run_until(began + COMMITS_WITHIN + ELECTION_TIMEOUT * 3);
    let leader_changes = world.check.elections() - elections;
    if !can_work {
        assert_eq!(world.check.last_committed(), before, "no two hear each other");
        let leads =
            |id: &PeerId| world.peers[id].running.as_ref().is_some_and(|r| r.rules.is_leader());
        assert_eq!(world.ids().find(leads), None, "it leads nobody");
    }
    heal(&mut world);
    Outcome { committed_after, leader_changes }
}

/// Whole again, it commits what comes, everywhere, within five time-outs.
pub(super) fn heal(world: &mut World) {
    world.cut.clear();
    let before = world.check.last_committed();
    world.run_until(world.now + COMMITS_WITHIN);
    for (id, peer) in &world.peers {
        let applied = peer.running.as_ref().expect("all run").applied;
        assert!(applied > before, "S{id} applied {applied} of {before} before healing");
    }
}

fn check_patterns(is_settled: bool) {
    let seeds = number_from("OARLOCK_SIM_SEEDS").unwrap_or(SEEDS);
    let (mut slowest, mut changes) = (Duration::ZERO, 0);
    for pattern in 0..64 {
        for seed in 1..=seeds {
            let run = || play(pattern, seed * 64 + u64::from(pattern), is_settled);
            let outcome = std::panic::catch_unwind(run).unwrap_or_else(|panic| {
                eprintln!("pattern {pattern} (cut: {:?}), seed {seed}", links(pattern));
                std::panic::resume_unwind(panic)
            });
            if !has_majority(&links(pattern)) {
                continue;
            }
            let at = format!("pattern {pattern} (cut: {:?}), seed {seed}", links(pattern));
            let took = outcome.committed_after.unwrap_or_else(|| panic!("{at}: nothing committed"));
            let allowed = LEADER_CHANGES_MAX;
            assert!(outcome.leader_changes <= allowed, "{at}: {} leaders", outcome.leader_changes);
            slowest = slowest.max(took);
            changes = changes.max(outcome.leader_changes);
        }
    }
    eprintln!(
        "64 patterns, {seeds} seeds: committed within {slowest:?}, at most {changes} leaders"
    );
}

#[test]
fn a_settled_cluster_survives_every_pattern_of_broken_links() {
    check_patterns(true);
}

#[test]
fn a_cluster_starts_in_every_pattern_of_broken_links() {
    check_patterns(false);
}

#[test]
fn in_37_patterns_of_64_two_peers_hear_each_other() {
    assert_eq!((0..64).filter(|&pattern| has_majority(&links(pattern))).count(), 37);
}
