//! The check that nothing lives on: after a test there is no thread of a peer or of the network.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

/// How the threads of what a test runs are named, apart from those of key-value servers, which are
/// `kv` and a number. Linux keeps 15 bytes of a thread's name.
const PREFIXES: [&str; 4] = ["raft-", "labrpc-", "oarlock-", "apply-"];
/// A joined thread may still be listed for a moment, while the kernel takes it down.
const PATIENCE: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(5);

/// Panics if a thread of a killed peer or of a closed network is still there.
///
/// Reads Linux's `/proc`; elsewhere it sees nothing.
pub(crate) fn check_none_left() {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = running();
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "threads left behind by the test: {left:?}");
        thread::sleep(POLL);
    }
}

fn running() -> Vec<String> {
    let Ok(tasks) = fs::read_dir("/proc/self/task") else { return Vec::new() };
    tasks
        .flatten()
        // A thread may end between being listed and being asked.
        .filter_map(|task| fs::read_to_string(task.path().join("comm")).ok())
        .map(|name| name.trim_end().to_owned())
        .filter(|name| is_of_a_test(name))
        .collect()
}

fn is_of_a_test(thread: &str) -> bool {
    let numbered = |rest: &str| rest.starts_with(|first: char| first.is_ascii_digit());
    PREFIXES.iter().any(|prefix| thread.starts_with(prefix))
        || thread.strip_prefix("kv").is_some_and(numbered)
}
