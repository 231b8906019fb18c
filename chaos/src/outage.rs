//! How long a cluster takes to go on once its network is mended, after an outage of all of it.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use fastrand::Rng;

use crate::cluster::Cluster;
use crate::network::Network;
use crate::round::wait_until_it_serves;

/// Starts three nodes in `dir`, which is new, cuts every link between them for `length`, and says how
/// long after mending them it took until each node had taken a write. An error if one takes none.
pub fn recover_from_outage(
    binary: &Path,
    dir: &Path,
    network: &Network,
    length: Duration,
) -> anyhow::Result<Duration> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let mut cluster = Cluster::start(binary, dir, 3, 0, false, network)?;
    wait_until_it_serves(&cluster, Rng::new()).context("a new cluster does not serve")?;
    let links: Vec<_> = cluster
        .ids()
        .flat_map(|from| cluster.ids().filter(move |&to| to != from).map(move |to| (from, to)))
        .collect();
    cluster.links.cut(&links)?;
    thread::sleep(length);
    cluster.links.heal()?;
    let mended = Instant::now();
    wait_until_it_serves(&cluster, Rng::new()).context("mended, but")?;
    Ok(mended.elapsed())
}
