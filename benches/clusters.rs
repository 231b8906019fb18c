//! Whole clusters on this machine, beside etcd and ZooKeeper if they are installed, by the same load
//! (`oarlock bench`).
//!
//! `cargo bench --bench clusters -- [puts|floors|pings|latency|shapes|failover|distance|state|stages …] [--rounds N] [--write] [--test]`
//!
//! The systems take turns of some seconds, and each figure is the median of the rounds (5). Load and
//! servers share the machine. `--write` puts the table of each part that was run in
//! `docs/performance.md`, between the two lines that mark its place; `--test` runs everything once, in small. Data goes below
//! `target/`; `OARLOCK_BENCH_DIR` moves it to the disk that is to be measured. `stages` is there with the
//! feature of that name (`--features stages`).

#[path = "clusters/bare.rs"]
mod bare;
#[path = "clusters/distance.rs"]
mod distance;
#[path = "document.rs"]
mod document;
#[path = "clusters/failover.rs"]
mod failover;
#[path = "storage/floor.rs"]
mod floor;
#[path = "clusters/floors.rs"]
mod floors;
#[cfg(feature = "stages")]
#[path = "clusters/ground.rs"]
mod ground;
#[path = "clusters/load.rs"]
mod load;
#[path = "clusters/nodes.rs"]
mod nodes;
#[path = "clusters/shapes.rs"]
mod shapes;
#[path = "clusters/skeleton.rs"]
mod skeleton;
#[cfg(feature = "stages")]
#[path = "clusters/stages.rs"]
mod stages;
#[path = "clusters/state.rs"]
mod state;
#[path = "clusters/turns.rs"]
mod turns;
#[path = "clusters/versus.rs"]
mod versus;
#[path = "clusters/way.rs"]
mod way;

use std::path::PathBuf;

/// A part: its name, and what makes its table.
type Part = (&'static str, fn(&Plan) -> String);

const PARTS: &[Part] = &[
    ("puts", versus::puts_and_gets),
    ("floors", floors::beside_a_skeleton),
    ("pings", shapes::pings_and_pipelines),
    ("latency", shapes::latency_at_half_the_peak),
    ("shapes", shapes::values_and_sizes),
    ("failover", failover::pauses),
    ("distance", distance::far_apart),
    ("state", state::tables),
    #[cfg(feature = "stages")]
    ("stages", stages::budget),
];

/// What the command line asked for.
pub(crate) struct Plan {
    /// Everything once and in small, to see that it runs.
    pub(crate) is_test: bool,
    pub(crate) rounds: usize,
    /// How long one measurement takes, in seconds.
    pub(crate) seconds: f64,
    /// Where data goes.
    pub(crate) dir: PathBuf,
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    skeleton::run_if_asked(&words);
    let has = |flag: &str| words.iter().any(|word| word == flag);
    assert!(cfg!(feature = "stages") || !has("stages"), "stages: with --features stages, please");
    let is_test = has("--test");
    let rounds = words.iter().position(|word| word == "--rounds").map(|at| {
        let number = words.get(at + 1).and_then(|word| word.parse().ok());
        number.expect("--rounds takes a number")
    });
    let parent = std::env::var_os("OARLOCK_BENCH_DIR").map(PathBuf::from);
    let parent = parent.unwrap_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")));
    let dir = tempfile::tempdir_in(parent).expect("a folder for data");
    let plan = Plan {
        is_test,
        rounds: if is_test { 1 } else { rounds.unwrap_or(5) },
        seconds: if is_test { 0.3 } else { 3.0 },
        dir: dir.path().to_owned(),
    };
    let named = PARTS.iter().any(|(name, _)| has(name));
    for &(name, run) in PARTS {
        if !named || has(name) {
            let machine = document::machine();
            let table = format!("{machine}\n\n{}", run(&plan));
            println!("{table}");
            if has("--write") {
                document::write(&format!("clusters {name}"), &table);
            }
        }
    }
}

/// The value in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
