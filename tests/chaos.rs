//! Two minutes of chaos on real processes: a fixed row of seeds of the campaign that
//! `cargo run --release -p oarlock-chaos -- --minutes 60` runs for as long as one likes; in network
//! namespaces where this machine has them, and a shorter one on proxies everywhere.

use std::path::PathBuf;
use std::time::Duration;

use oarlock_chaos::{Campaign, Kind, Network, Start, Summary, Wanted, choose};

#[test]
fn clusters_survive_two_minutes_of_chaos() {
    match choose(Wanted::Auto).expect("there is always a network") {
        Start::Here(network) => {
            let summary = run("chaos", network, Duration::from_secs(80));
            assert!(summary.rounds >= 2, "{summary}");
        }
        Start::Again(mut command) => {
            // A process of its own, that runs this test only.
            let test = "clusters_survive_two_minutes_of_chaos";
            let output = command.args(["--exact", test, "--nocapture"]).output().expect("unshare");
            let said = String::from_utf8_lossy(&output.stdout);
            println!("{said}");
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{said}\n{error}");
            assert!(said.contains("1 passed"), "{test} is not what it is called");
        }
    }
}

#[test]
fn a_cluster_survives_chaos_on_proxies() {
    let why = "as this test has it".to_owned();
    run("chaos-on-proxies", Network::Proxies { why }, Duration::ZERO);
}

fn run(dir: &str, network: Network, duration: Duration) -> Summary {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(dir);
    let summary = Campaign {
        binary: PathBuf::from(env!("CARGO_BIN_EXE_oarlock")),
        dir,
        seed: 1,
        nodes: None,
        round: Duration::from_secs(if duration.is_zero() { 15 } else { 35 }),
        duration,
        kinds: Kind::ALL.to_vec(),
        network,
    }
    .run()
    .expect("clusters of processes can be run here");
    println!("{summary}");
    assert!(summary.failed.is_empty(), "{summary}");
    assert!(summary.single_writes > 0, "{summary}");
    summary
}
