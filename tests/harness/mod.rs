//! What the lab suites stand on: clusters over a simulated network, with crashes, restarts and
//! checks, in the words of the labs.
//!
//! - [`lab_raft`]: what is under test, as a trait: our Raft, or a student's.
//! - [`raft_cluster`]: peers that start, crash, connect and disconnect; [`raft_checks`]: what the
//!   tests ask of them (`one`, `n_committed`, `check_one_leader`, …).
//! - [`applied`]: every message on every apply channel, compared with every other.
//! - [`durable`]: what a peer keeps across a crash, in memory or on disk.
//! - [`turn`], [`seed`], [`watchdog`], [`threads`], [`trace`], [`report`]: one test at a time, that
//!   can be repeated, cannot hang, leaks no thread, and tells what it did.

mod applied;
mod command;
mod durable;
mod lab_raft;
mod raft_checks;
mod raft_cluster;
mod random;
mod report;
mod seed;
mod threads;
mod trace;
mod turn;
mod watchdog;

pub(crate) use command::Command;
pub(crate) use raft_checks::Retry;
pub(crate) use raft_cluster::{RaftCluster, Setup};
