//! Oarlock beside others, in one run, taking turns: its log (`logs`), and its replicated state machine
//! (`library`, which is `memory`, `together`, `disk`, `groups` and `failover`).
//!
//! `cargo run --release --manifest-path benches/compare/Cargo.toml -- [logs] [library] [--write] [--test]`
//!
//! Prints tables in Markdown; `--write` puts them in `docs/performance.md`, between the two lines
//! that mark their place, and leaves those of other parts as they are. `--test` runs everything once,
//! in small. Files go to a temporary directory; `OARLOCK_BENCH_DIR` moves them to the disk that is to
//! be measured.

mod contest;
#[path = "../../document.rs"]
mod document;
mod floor;
mod library;
mod okay;
mod ours;
mod raft_engine_log;
mod table;

use std::path::{Path, PathBuf};

/// One way to make batches durable. A batch is on stable storage when `append` returns.
pub trait Log: Send {
    /// Makes one batch of `count` entries durable.
    fn append(&mut self, count: u64);
    /// Lets go of everything written so far. Not timed.
    fn compact(&mut self);
}

/// What the entries hold: no zeros, and nothing that repeats soon.
pub fn value(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at * 31 % 251) as u8 + 1).collect()
}

/// What can be measured, by the names that choose it; everything without any.
const PARTS: [&str; 6] = ["logs", "memory", "together", "disk", "groups", "failover"];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let is_wanted = |word: &str| args.iter().any(|arg| arg == word);
    for arg in &args {
        let flags = ["--write", "--test", "library"];
        assert!(flags.iter().chain(&PARTS).any(|known| arg == known), "what is {arg:?}?");
    }
    let is_test = is_wanted("--test");
    let parent = std::env::var_os("OARLOCK_BENCH_DIR").map(PathBuf::from);
    let parent = parent.unwrap_or_else(std::env::temp_dir);
    let all = args.iter().all(|arg| arg.starts_with("--"));
    for part in PARTS {
        if !(all || is_wanted(part) || (part != "logs" && is_wanted("library"))) {
            continue;
        }
        let tables = measure(part, is_test, &parent);
        if is_wanted("--write") {
            document::write(&format!("compare {part}"), &tables);
        }
    }
}

/// Measures a part, and returns its tables.
fn measure(part: &str, is_test: bool, parent: &Path) -> String {
    let (plan, library_plan) = if is_test {
        (contest::Plan::small(), library::Plan::small())
    } else {
        (contest::Plan::full(), library::Plan::full())
    };
    match part {
        "logs" => table::all(&plan, parent),
        "memory" => library::memory(library_plan, parent),
        "together" => library::together(library_plan, parent),
        "disk" => library::disk(library_plan, parent),
        "groups" => library::groups(library_plan, parent),
        _ => library::failover(library_plan),
    }
}
