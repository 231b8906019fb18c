//! What is printed of a test: its name and seed when it begins, and the labs' line of figures when
//! it has passed, with the processor time of the process at its end.

use std::time::{Duration, Instant};

use super::{cpu, seed};

/// The counters of a cluster at one moment.
#[derive(Clone, Copy, Default)]
pub(crate) struct Counters {
    pub(crate) rpcs: u64,
    pub(crate) bytes: u64,
    /// The highest index that any server applied.
    pub(crate) max_index: u64,
    /// Calls of clerks.
    pub(crate) ops: u64,
}

/// A test under way.
pub(crate) struct Report {
    began: Instant,
    cpu_at_begin: Option<Duration>,
    at_begin: Counters,
    peers: usize,
}

impl Report {
    /// Prints that the test `name` begins.
    pub(crate) fn begin(name: &str, peers: usize, seed: u64, at_begin: Counters) -> Self {
        println!("Test {name} ... ({}={seed})", seed::VARIABLE);
        Self { began: Instant::now(), cpu_at_begin: cpu::time(), at_begin, peers }
    }

    /// Prints that a Raft test has passed: seconds, peers, RPCs, bytes, committed entries.
    pub(crate) fn raft_passed(&self, now: Counters) {
        let bytes = now.bytes - self.at_begin.bytes;
        let committed = now.max_index - self.at_begin.max_index;
        println!("{} {bytes:7} {committed:4}{}", self.passed(now), self.cpu());
    }

    /// Prints that a key-value test has passed: seconds, peers, RPCs, calls of clerks.
    pub(crate) fn kv_passed(&self, now: Counters) {
        println!("{} {:4}{}", self.passed(now), now.ops - self.at_begin.ops, self.cpu());
    }

    fn passed(&self, now: Counters) -> String {
        let seconds = self.began.elapsed().as_secs_f64();
        let rpcs = now.rpcs - self.at_begin.rpcs;
        format!("  ... Passed --  {seconds:4.1}  {} {rpcs:5}", self.peers)
    }

    /// The processor time since the test began, where it is known: ` (0.31 s CPU)`.
    fn cpu(&self) -> String {
        let Some((before, now)) = self.cpu_at_begin.zip(cpu::time()) else {
            return String::new();
        };
        format!(" ({:.2} s CPU)", now.saturating_sub(before).as_secs_f64())
    }
}
