//! A node that joins: which cluster it is, and whether this may be a member of it.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use oarlock_kvserver::MemberRole;
use oarlock_rpc::tcp::{EndOptions, TcpEnd};
use oarlock_storage::DiskPersister;

use super::status;

/// A node answers for all, and gives each two seconds.
const PATIENCE: Duration = Duration::from_secs(4);

/// The number of the cluster that node `id` joins: what its directory says, or else what a node of
/// that cluster says, which listens for clients at `anybody`.
///
/// Refuses an id that the cluster knows, if the directory is empty: that node's directory was lost.
/// Under its old id it would have forgotten votes and entries that others count on.
pub(crate) fn cluster_to_join(
    dir: &Path,
    id: u64,
    anybody: &str,
    told: Option<u64>,
) -> anyhow::Result<Option<u64>> {
    if DiskPersister::read_identity(dir)?.is_some() {
        return Ok(told);
    }
    let mut options = EndOptions::client(anybody);
    options.call_timeout = PATIENCE;
    let end = TcpEnd::connect(options)?;
    let cluster = status::ask(&end, Instant::now() + PATIENCE)
        .with_context(|| format!("no answer from {anybody}; is a node of the cluster there?"))?;
    let member = cluster.members.iter().find(|member| member.id == id);
    if member.is_some_and(|member| member.role != MemberRole::Learner) {
        bail!(
            "node {id} is a member of that cluster, and {} holds nothing of it. A node that has lost \
             its directory must not come back under its id: start a new one as node {}, and let \
             it take the place of this one with: oarlock member replace {id} {}=HOST:PORT",
            dir.display(),
            cluster.unused_id(),
            cluster.unused_id(),
        );
    }
    if cluster.retired.contains(&id) {
        bail!(
            "node {id} was removed from that cluster, and an id is never used again; use {}",
            cluster.unused_id()
        );
    }
    if told.is_some_and(|told| told != cluster.cluster_id) {
        bail!("the nodes at {anybody} are of cluster {}", cluster.cluster_id);
    }
    Ok(Some(cluster.cluster_id))
}
