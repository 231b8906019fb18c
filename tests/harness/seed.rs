//! The one number a test's chances follow from: the network's, the election time-outs', its own.
//!
//! Threads still run as they like, so a seed repeats the draws of a test, not its course.

use std::hash::{BuildHasher, Hasher, RandomState};

use super::random::mix;

/// Holds the seed to use instead of a fresh one.
pub(crate) const VARIABLE: &str = "OARLOCK_SEED";

/// The seed of the test that begins.
pub(crate) fn of_this_test() -> u64 {
    match std::env::var(VARIABLE) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{VARIABLE}={text}: not a number")),
        Err(_) => RandomState::new().build_hasher().finish(),
    }
}

/// A seed of its own for the `incarnation` of a server; never 0, which means *no seed* to Raft.
pub(crate) fn of_server(seed: u64, server: usize, incarnation: u64) -> u64 {
    mix(seed ^ mix(server as u64 + 1) ^ mix(mix(incarnation + 1))).max(1)
}
