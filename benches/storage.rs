//! The storage engine beside the raw floor: a file full of zeros, one write and one `fdatasync` a
//! batch, nothing else. Both take turns of a few milliseconds in the same run, so that whatever else
//! the machine does hurts both alike; what counts is the ratio.
//!
//! `cargo bench --bench storage -- [append|rotation|open|snapshot …] [--mib N] [--write] [--test]`
//!
//! Every figure is the median of five rounds. `--mib` is how much log is opened (1024). `--write` puts
//! the table of each part that was run in `docs/performance.md`, between the two lines that mark its
//! place; `--test` runs everything once, in small. Files go below `target/`; `OARLOCK_BENCH_DIR` moves
//! them to the disk that is to be measured.
#![expect(
    clippy::cast_precision_loss,
    reason = "no figure has more than four digits worth reading"
)]

#[path = "storage/append.rs"]
mod append;
#[path = "document.rs"]
mod document;
#[path = "storage/floor.rs"]
mod floor;
#[path = "storage/group.rs"]
mod group;
#[path = "storage/open.rs"]
mod open;
#[path = "storage/rotation.rs"]
mod rotation;
#[path = "storage/snapshot.rs"]
mod snapshot;

use std::path::PathBuf;

/// What the command line asked for.
struct Plan {
    /// Everything once and in small, to see that it runs.
    is_test: bool,
    /// How much log is opened, in MiB.
    log_mib: u64,
    /// Whether the tables are put in the document.
    writes: bool,
    /// The parts to run; all if empty.
    parts: Vec<String>,
}

/// A part: its name, and what makes its table.
type Part = (&'static str, fn(&Plan) -> String);

const PARTS: [Part; 4] = [
    ("append", append::run),
    ("rotation", rotation::run),
    ("open", open::run),
    ("snapshot", snapshot::run),
];

impl Plan {
    fn from_args() -> Self {
        let mut plan = Self { is_test: false, log_mib: 1024, writes: false, parts: Vec::new() };
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--test" => plan.is_test = true,
                "--write" => plan.writes = true,
                "--mib" => {
                    let number = args.next().and_then(|number| number.parse().ok());
                    plan.log_mib = number.expect("--mib is followed by a number");
                }
                part if !part.starts_with('-') => plan.parts.push(arg),
                // Cargo's own, and those of other benches.
                _ => {}
            }
        }
        if plan.is_test {
            plan.log_mib = plan.log_mib.min(4);
        }
        plan
    }

    fn rounds(&self) -> usize {
        if self.is_test { 1 } else { 5 }
    }

    fn wants(&self, part: &str) -> bool {
        self.parts.is_empty() || self.parts.iter().any(|wanted| wanted == part)
    }
}

fn main() {
    if let Some(dir) = std::env::var_os(open::CHILD) {
        return open::in_child(&PathBuf::from(dir));
    }
    let plan = Plan::from_args();
    for (name, run) in PARTS.into_iter().filter(|(name, _)| plan.wants(name)) {
        let machine = document::machine();
        let table = format!("{machine}\n\n{}", run(&plan));
        println!("{table}");
        if plan.writes {
            document::write(&format!("storage {name}"), &table);
        }
    }
}

/// A new directory on the disk to be measured.
fn directory() -> tempfile::TempDir {
    let chosen = std::env::var_os("OARLOCK_BENCH_DIR").map(PathBuf::from);
    let target = option_env!("CARGO_TARGET_TMPDIR").map(PathBuf::from);
    let parent = chosen.or(target).unwrap_or_else(std::env::temp_dir);
    tempfile::tempdir_in(parent).expect("a directory for the bench")
}

/// The middle of `values`.
fn median(mut values: Vec<f64>) -> f64 {
    assert!(!values.is_empty(), "there is something to take the middle of");
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
