//! Chaos on real processes: clusters of `oarlock serve` over TCP, under faults, with clients that
//! record what they saw, and a check of all of it.
//!
//! A campaign is a row of rounds. Each starts a new cluster, lets clients work on it while faults
//! come and go, heals everything, and then demands: the cluster takes writes again, all nodes come
//! to the same state, no acknowledged write is missing, what the clients saw is linearizable, every
//! node stops when told and its log is sound. Which faults come when follows from the round's seed;
//! threads and processes still run as they like.
//!
//! Each node has a network namespace of its own where they can be made, with root's rights or without
//! (`network/namespaces.rs`); elsewhere every byte between two nodes goes through a proxy, one for each
//! ordered pair (`network/proxies.rs`). Either way links are cut in both directions or one, or slowed.

mod clients;
mod cluster;
mod disk;
mod faults;
mod network;
mod outage;
mod record;
mod round;
mod summary;

use std::path::PathBuf;
use std::time::{Duration, Instant};

pub use faults::Kind;
pub use network::{Network, Start, Wanted, choose};
pub use outage::recover_from_outage;
pub use summary::Summary;

/// What a campaign does.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// The program under test.
    pub binary: PathBuf,
    /// Where the rounds keep their clusters. What failed stays there.
    pub dir: PathBuf,
    /// The seed of the first round; each round after it has the next one.
    pub seed: u64,
    /// How many nodes a cluster has; `None` lets each round's seed choose three or five.
    pub nodes: Option<usize>,
    /// How long faults go on in a round.
    pub round: Duration,
    /// No round begins after this.
    pub duration: Duration,
    /// The faults to choose from; those that this machine cannot make are left out.
    pub kinds: Vec<Kind>,
    /// What is between the nodes.
    pub network: Network,
}

impl Campaign {
    /// Runs the campaign; prints a line a round, and says how many failed.
    pub fn run(&self) -> anyhow::Result<Summary> {
        let began = Instant::now();
        println!("network: {}", self.network);
        let mut summary = Summary::on(&self.network);
        let mut seed = self.seed;
        while summary.rounds == 0 || began.elapsed() < self.duration {
            let outcome = round::run(self, seed)?;
            println!("{outcome}");
            summary.add(&outcome);
            seed = seed.wrapping_add(1);
        }
        summary.took = began.elapsed();
        Ok(summary)
    }
}
