//! What is printed of a test: its name and seed when it begins, and the labs' line of figures when
//! it has passed.

use std::time::Instant;

use super::seed;

/// The counters of a cluster at one moment.
#[derive(Clone, Copy)]
pub(crate) struct Counters {
    pub(crate) rpcs: u64,
    pub(crate) bytes: u64,
    /// The highest index that any server applied.
    pub(crate) max_index: u64,
}

/// A test under way.
pub(crate) struct Report {
    began: Instant,
    at_begin: Counters,
    peers: usize,
}

impl Report {
    /// Prints that the test `name` begins.
    pub(crate) fn begin(name: &str, peers: usize, seed: u64, at_begin: Counters) -> Self {
        println!("Test {name} ... ({}={seed})", seed::VARIABLE);
        Self { began: Instant::now(), at_begin, peers }
    }

    /// Prints that it has passed: seconds, peers, RPCs, bytes, committed entries.
    pub(crate) fn passed(&self, now: Counters) {
        println!(
            "  ... Passed --  {:4.1}  {} {:4} {:7} {:4}",
            self.began.elapsed().as_secs_f64(),
            self.peers,
            now.rpcs - self.at_begin.rpcs,
            now.bytes - self.at_begin.bytes,
            now.max_index - self.at_begin.max_index
        );
    }
}
