//! Oarlock's log beside two others and the raw floor, in one run, taking turns.
//!
//! `cargo run --release --manifest-path benches/compare/Cargo.toml -- [--write] [--test]`
//!
//! Prints tables in Markdown; `--write` puts them in `docs/performance.md`, between the two lines
//! that mark their place. `--test` runs everything once, in small. Files go to a temporary directory;
//! `OARLOCK_BENCH_DIR` moves them to the disk that is to be measured.

mod contest;
mod floor;
mod okay;
mod ours;
mod raft_engine_log;
mod table;

use std::fs;
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

/// Where in the document the tables stand.
const BEGIN: &str = "<!-- tables of benches/compare: begin -->\n";
const END: &str = "<!-- tables of benches/compare: end -->\n";

fn main() {
    let is_wanted = |flag: &str| std::env::args().any(|arg| arg == flag);
    let plan = if is_wanted("--test") { contest::Plan::small() } else { contest::Plan::full() };
    let parent = std::env::var_os("OARLOCK_BENCH_DIR").map(PathBuf::from);
    let parent = parent.unwrap_or_else(std::env::temp_dir);
    let tables = table::all(&plan, &parent);
    if is_wanted("--write") {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/performance.md");
        let text = fs::read_to_string(&path).expect("the document is there");
        let (before, rest) = text.split_once(BEGIN).expect("the document has a place for tables");
        let (_, after) = rest.split_once(END).expect("the place has an end");
        let text = format!("{before}{BEGIN}\n{tables}\n{END}{after}");
        fs::write(&path, text).expect("the document can be written");
    }
}
