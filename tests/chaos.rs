//! Two minutes of chaos on real processes: a fixed row of seeds of the campaign that
//! `cargo run --release -p oarlock-chaos -- --minutes 60` runs for as long as one likes; in network
//! namespaces where this machine has them, and a shorter one on proxies everywhere.

use std::path::{Path, PathBuf};
use std::time::Duration;

use oarlock_chaos::{Campaign, Kind, Network, Start, Summary, Wanted, choose, recover_from_outage};

#[test]
fn clusters_survive_two_minutes_of_chaos() {
    on_the_best_network("clusters_survive_two_minutes_of_chaos", |network| {
        let summary = run("chaos", network, Duration::from_secs(80));
        assert!(summary.rounds >= 2, "{summary}");
    });
}

#[test]
fn a_cluster_survives_chaos_on_proxies() {
    let why = "as this test has it".to_owned();
    run("chaos-on-proxies", Network::Proxies { why }, Duration::ZERO);
}

/// After 8 s without a network, connections that are still open would be tried again 5 s later.
#[test]
fn a_mended_network_is_used_at_once_and_not_when_tcp_tries_again() {
    let test = "a_mended_network_is_used_at_once_and_not_when_tcp_tries_again";
    on_the_best_network(test, |network| {
        let dir = tempfile::tempdir().expect("a directory");
        let (binary, outage) = (Path::new(env!("CARGO_BIN_EXE_oarlock")), Duration::from_secs(8));
        let took = recover_from_outage(binary, dir.path(), &network, outage).expect("it goes on");
        println!("network: {network}; went on after {took:?}");
        assert!(took < Duration::from_secs(4), "{took:?}");
    });
}

/// Runs the rest of a test where `choose` says, and that may be another process.
fn on_the_best_network(test: &str, run: impl FnOnce(Network)) {
    match choose(Wanted::Auto).expect("there is always a network") {
        Start::Here(network) => run(network),
        Start::Again(mut command) => {
            let output = command.args(["--exact", test, "--nocapture"]).output().expect("unshare");
            let said = String::from_utf8_lossy(&output.stdout);
            println!("{said}");
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{said}\n{error}");
            assert!(said.contains("1 passed"), "{test} is not what it is called");
        }
    }
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
