//! The suites of the distributed-systems labs (MIT 6.824, spring 2022, and the tests that later
//! years added), on Oarlock's crates.
//!
//! `cargo test 2a` runs one part, `cargo test --test labs` all of them, one test at a time. Each
//! test's first line names the Go test it follows, number by number. With `-- --nocapture` each
//! prints the labs' line of figures: seconds, peers, RPCs, bytes, committed entries.
//!
//! | environment variable | effect |
//! |---|---|
//! | `OARLOCK_SEED` | repeats the random choices of a test, which prints its seed |
//! | `OARLOCK_TRACE` | prints events as they happen: `VOTE,LEAD`, or `all` |
//! | `OARLOCK_PERSISTER` | `disk` (unless said otherwise) or `memory` |
//! | `OARLOCK_CHECK_SECONDS` | how long the linearizability check of a test may take (1) |
//! | `OARLOCK_CHECK_STRICT` | `1`: a check that runs out of time fails the test |
//! | `OARLOCK_RAFT` | what 2A to 2D test: `oarlock` (unless said otherwise), `toy`, or [your own](rafts) |

#[path = "../harness/mod.rs"]
mod harness;
mod kv_3a;
mod kv_3b;
mod kv_scenario;
mod raft_2a;
mod raft_2b;
mod raft_2c;
mod raft_2d;
mod rafts;
mod rsm_4a;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// The time the labs give an election: most of their pauses are made of it.
const ELECTION_TIMEOUT: Duration = Duration::from_secs(1);

fn sleep(pause: Duration) {
    thread::sleep(pause);
}

/// Sends the clients home if the test fails before it does: a scope waits for its threads.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
