//! One round: a cluster, its clients, its faults, and what must hold at the end.

use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use fastrand::Rng;
use oarlock_linearizability::{Action, Verdict, check, picture};

use crate::Campaign;
use crate::clients;
use crate::cluster::Cluster;
use crate::faults::{Faults, Kind};
use crate::record::{End, Record, State};

/// How long everything may take that is demanded of a healed cluster.
pub(crate) const RECOVERS_WITHIN: Duration = Duration::from_secs(30);
const CHECK_BUDGET: Duration = Duration::from_secs(60);
const CLIENTS: usize = 6;
/// How many nodes may join in a round, and how many numbers there are.
const SPARES: usize = 4;
const NODES_MAX: usize = 9;

/// What a round came to.
pub(crate) struct Outcome {
    pub(crate) seed: u64,
    pub(crate) nodes: usize,
    pub(crate) faults: std::collections::BTreeMap<Kind, u64>,
    pub(crate) record: State,
    /// What is wrong; empty if nothing is.
    pub(crate) complaints: Vec<String>,
    pub(crate) undecided: bool,
    network: &'static str,
    dir: PathBuf,
}

/// Runs the round of `seed`.
pub(crate) fn run(campaign: &Campaign, seed: u64) -> anyhow::Result<Outcome> {
    let mut rng = Rng::with_seed(seed);
    let chosen = if rng.bool() { 3 } else { 5 };
    let nodes = campaign.nodes.unwrap_or(chosen);
    let dir = campaign.dir.join(format!("round-{seed}"));
    if dir.exists() {
        fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    }
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let mut kinds = campaign.kinds.clone();
    kinds.retain(|kind| kind.is_possible(&campaign.dir, &campaign.network));
    kinds.retain(|kind| nodes > 1 || !kind.takes_two());
    let small_disks = rng.u32(..3) == 0 && kinds.contains(&Kind::Full);
    kinds.retain(|&kind| kind != Kind::Full || small_disks);
    let spares = if kinds.contains(&Kind::Members) { SPARES.min(NODES_MAX - nodes) } else { 0 };
    let (binary, network) = (&campaign.binary, &campaign.network);
    let mut cluster = Cluster::start(binary, &dir, nodes, spares, small_disks, network)?;
    let record = Arc::new(Record::new());
    let mut complaints = Vec::new();

    wait_until_it_serves(&cluster, rng.fork()).context("a new cluster does not serve")?;
    let stop = Arc::new(AtomicBool::new(false));
    let workers: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (record, stop) = (Arc::clone(&record), Arc::clone(&stop));
            let mut client = clients::client(number, &cluster.client_addrs(), rng.fork())?;
            let rng = rng.fork();
            Ok(thread::spawn(move || clients::work(number, &mut *client, rng, &record, &stop)))
        })
        .collect::<anyhow::Result<_>>()?;
    let mut faults = Faults {
        kinds,
        rng: rng.fork(),
        cluster: &mut cluster,
        counts: std::collections::BTreeMap::new(),
        complaints: Vec::new(),
    };
    faults.run(Instant::now() + campaign.round)?;
    let counts = std::mem::take(&mut faults.counts);
    complaints.append(&mut faults.complaints);

    // All is healed: now it must go on.
    for id in cluster.ids() {
        cluster.start_node(id)?;
    }
    if let Err(error) = wait_until_it_serves(&cluster, rng.fork()) {
        complaints.push(format!("healed, but: {error:#}"));
    }
    stop.store(true, Ordering::Relaxed);
    for worker in workers {
        if worker.join().is_err() {
            complaints.push("a client panicked".to_owned());
        }
    }
    last_reads(&record, &cluster, &mut complaints);
    complaints.extend(wait_until_all_agree(&cluster)?);
    let record = record.take();
    complaints
        .extend(cluster.ids().next().and_then(|id| missing(&record, cluster.client_addr(id))));
    complaints.extend(cluster.stop(RECOVERS_WITHIN)?);
    complaints.extend(verify(&cluster)?);
    drop(cluster);
    let network = campaign.network.name();
    let mut outcome =
        Outcome { seed, nodes, faults: counts, record, complaints, undecided: false, network, dir };
    outcome.judge()?;
    if outcome.complaints.is_empty() && !outcome.undecided {
        fs::remove_dir_all(&outcome.dir)?;
    }
    Ok(outcome)
}

/// A write that goes through, at every node.
pub(crate) fn wait_until_it_serves(cluster: &Cluster, mut rng: Rng) -> anyhow::Result<()> {
    let deadline = Instant::now() + RECOVERS_WITHIN;
    for node in cluster.ids() {
        loop {
            let mut resp = clients::client(0, &[cluster.client_addr(node)], rng.fork())?;
            match resp.put("is-it-up", "yes") {
                End::Answered(()) => break,
                end if Instant::now() >= deadline => {
                    anyhow::bail!("node {node} takes no write within {RECOVERS_WITHIN:?}: {end:?}")
                }
                _ => thread::sleep(Duration::from_millis(50)),
            }
        }
    }
    Ok(())
}

/// Everybody looks at every shared key once more.
fn last_reads(record: &Record, cluster: &Cluster, complaints: &mut Vec<String>) {
    for node in cluster.ids() {
        let address = cluster.client_addr(node);
        let Ok(mut client) = clients::client(0, &[address], Rng::with_seed(1)) else { continue };
        for key in (0..clients::SHARED_KEYS).map(|key| format!("shared-{key}")) {
            let called = record.now();
            let end = client.get(&key);
            let End::Answered(found) = end else {
                complaints.push(format!("node {node} does not tell {key}: {end:?}"));
                continue;
            };
            let number = CLIENTS + node;
            record.shared(number, &key, called, Action::Get { found }, &End::Answered(()));
        }
    }
}

/// Waits until all nodes have applied the same log.
fn wait_until_all_agree(cluster: &Cluster) -> anyhow::Result<Option<String>> {
    let deadline = Instant::now() + RECOVERS_WITHIN;
    loop {
        let mut applied = Vec::new();
        for id in cluster.ids() {
            let addr = cluster.client_addr(id).to_string();
            let output = cluster.program(&["status", "--json", "--addr", &addr])?;
            let status: Option<serde_json::Value> = serde_json::from_slice(&output.stdout).ok();
            applied.push(status.and_then(|status| applied_by(&status, id)));
        }
        if applied[0].is_some() && applied.iter().all(|index| *index == applied[0]) {
            return Ok(None);
        }
        if Instant::now() >= deadline {
            return Ok(Some(format!("the nodes do not agree: last applied {applied:?}")));
        }
        thread::sleep(Duration::from_millis(100));
    }
}

fn applied_by(status: &serde_json::Value, id: usize) -> Option<u64> {
    let members = status["members"].as_array()?;
    let member = members.iter().find(|member| member["id"].as_u64() == Some(id as u64))?;
    member["status"]["last_applied"].as_u64()
}

/// Acknowledged writes of keys that nobody wrote again, and that are not there.
fn missing(record: &State, address: SocketAddr) -> Option<String> {
    let mut missing = Vec::new();
    let mut connection = match clients::connect(address) {
        Ok(connection) => connection,
        Err(error) => return Some(format!("cannot read back what was acknowledged: {error}")),
    };
    for chunk in record.acknowledged.chunks(100) {
        let mut command = redis::cmd("MGET");
        for (key, _) in chunk {
            command.arg(key);
        }
        let found: Vec<Option<String>> = match command.query(&mut connection) {
            Ok(found) => found,
            Err(error) => return Some(format!("cannot read back what was acknowledged: {error}")),
        };
        let wrong =
            chunk.iter().zip(found).filter(|((_, value), found)| found.as_ref() != Some(value));
        missing.extend(wrong.map(|((key, _), _)| key.as_str()));
    }
    let count = missing.len();
    (count > 0).then(|| format!("LOST: {count} acknowledged writes, such as {}", missing[0]))
}

/// What `oarlock log verify` has to say of the nodes' directories.
fn verify(cluster: &Cluster) -> anyhow::Result<Vec<String>> {
    let mut complaints = Vec::new();
    for id in cluster.ids() {
        let dir = cluster.dir_of(id).display().to_string();
        let output = cluster.program(&["log", "verify", &dir])?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            complaints.push(format!("node {id}'s log: {}{}", text.trim(), error.trim()));
        }
    }
    Ok(complaints)
}

impl Outcome {
    /// Judges what the clients saw.
    fn judge(&mut self) -> anyhow::Result<()> {
        self.complaints.append(&mut self.record.surprises);
        let history = &self.record.history;
        let verdict = check(history, CHECK_BUDGET);
        match &verdict {
            Verdict::Linearizable => return Ok(()),
            Verdict::Unknown(keys) => {
                self.undecided = true;
                self.complaints.push(format!("undecided: {} keys", keys.len()));
            }
            Verdict::Illegal(violations) => self.complaints.push(format!(
                "NOT LINEARIZABLE: {} keys; {:?}",
                violations.len(),
                violations[0].operation
            )),
        }
        let file = self.dir.join("history.html");
        let title = format!("round of seed {}", self.seed);
        fs::write(&file, picture(history, &verdict, &title))?;
        self.complaints.push(format!("picture: {}", file.display()));
        Ok(())
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.complaints.is_empty() { "ok" } else { "FAILED" };
        write!(f, "seed {} {verdict}: {} nodes, faults:", self.seed, self.nodes)?;
        for (kind, count) in &self.faults {
            write!(f, " {count} {}", kind.name())?;
        }
        let counts = self.record.counts;
        write!(
            f,
            "; calls: {} answered, {} unknown, {} refused; {} acknowledged single writes read back; \
             longest pause {:.1} s",
            counts.answered,
            counts.unknown,
            counts.refused,
            self.record.acknowledged.len(),
            self.record.longest_pause.as_secs_f64()
        )?;
        for complaint in &self.complaints {
            write!(f, "\n  {complaint}")?;
        }
        if !self.complaints.is_empty() {
            let Self { seed, network, dir, .. } = self;
            let dir = dir.display();
            write!(f, "\n  kept: {dir}; again: --seed {seed} --minutes 0 --network {network}")?;
        }
        Ok(())
    }
}
