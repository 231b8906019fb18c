//! Two minutes of chaos on real processes: a fixed row of seeds of the campaign that
//! `cargo run --release -p oarlock-chaos -- --minutes 60` runs for as long as one likes.

use std::path::PathBuf;
use std::time::Duration;

use oarlock_chaos::{Campaign, Kind};

#[test]
fn clusters_survive_two_minutes_of_chaos() {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("chaos");
    let summary = Campaign {
        binary: PathBuf::from(env!("CARGO_BIN_EXE_oarlock")),
        dir,
        seed: 1,
        nodes: None,
        round: Duration::from_secs(35),
        duration: Duration::from_secs(80),
        kinds: Kind::ALL.to_vec(),
    }
    .run()
    .expect("clusters of processes can be run here");
    println!("{summary}");
    assert!(summary.failed.is_empty(), "{summary}");
    assert!(summary.rounds >= 2 && summary.single_writes > 0, "{summary}");
}
