//! What the lab suites stand on: clusters over a simulated network, with crashes, restarts and
//! checks, in the words of the labs.
//!
//! - [`lab_raft`]: the Raft under test, as a trait: ours, or a student's.
//! - [`servers`]: peers that start, crash, connect and disconnect, and [`durable`]: what they keep
//!   across a crash, in memory or on disk.
//! - [`raft_cluster`]: Raft peers, with [`applied`]: every message on every apply channel, compared
//!   with every other; [`raft_checks`]: what the tests ask of them (`one`, `n_committed`, …).
//! - [`kv_cluster`]: key-value servers and their clerks, and [`linearizable`]: whether what the
//!   clerks saw can have happened one call at a time.
//! - [`rsm_cluster`]: counters, replicated through the interface that most people want.
//! - [`turn`], [`seed`], [`watchdog`], [`threads`], [`trace`], [`report`], [`cpu`]: one test at a
//!   time, that can be repeated, cannot hang, leaks no thread, and tells what it did and cost.

mod applied;
mod command;
mod cpu;
mod durable;
mod kv_cluster;
mod lab_raft;
mod linearizable;
mod raft_checks;
mod raft_cluster;
mod random;
mod report;
mod rsm_cluster;
mod seed;
mod servers;
mod threads;
mod trace;
mod traced_end;
mod turn;
mod watchdog;

pub(crate) use command::Command;
pub(crate) use kv_cluster::{KvClient, KvCluster, KvSetup};
pub(crate) use lab_raft::{LabRaft, Make, make};
pub(crate) use raft_checks::Retry;
pub(crate) use raft_cluster::{RaftCluster, Setup};
pub(crate) use random::Random;
pub(crate) use rsm_cluster::{Op, RsmCluster};
pub(crate) use turn::Turn;
