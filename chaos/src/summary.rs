//! What a campaign came to.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::faults::Kind;
use crate::network::Network;
use crate::record::Counts;
use crate::round::Outcome;

/// The counts of a campaign.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// What was between the nodes.
    pub network: String,
    /// Rounds run.
    pub rounds: u64,
    /// The seeds of those that failed.
    pub failed: Vec<u64>,
    /// Rounds whose history was not decided in time; they count as failed.
    pub undecided: u64,
    /// How long it all took.
    pub took: Duration,
    /// Acknowledged writes of keys that nobody wrote again; all were looked for.
    pub single_writes: u64,
    faults: BTreeMap<Kind, u64>,
    counts: Counts,
    operations: u64,
    longest_pause: Duration,
}

impl Summary {
    /// That of a campaign which has not begun.
    pub(crate) fn on(network: &Network) -> Self {
        Self { network: network.to_string(), ..Self::default() }
    }

    pub(crate) fn add(&mut self, outcome: &Outcome) {
        self.rounds += 1;
        if !outcome.complaints.is_empty() {
            self.failed.push(outcome.seed);
        }
        self.undecided += u64::from(outcome.undecided);
        self.single_writes += outcome.record.acknowledged.len() as u64;
        for (&kind, count) in &outcome.faults {
            *self.faults.entry(kind).or_default() += count;
        }
        let counts = outcome.record.counts;
        self.counts.answered += counts.answered;
        self.counts.unknown += counts.unknown;
        self.counts.refused += counts.refused;
        self.operations += outcome.record.history.len() as u64;
        self.longest_pause = self.longest_pause.max(outcome.record.longest_pause);
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let minutes = self.took.as_secs_f64() / 60.0;
        let faults: u64 = self.faults.values().sum();
        writeln!(f, "network: {}", self.network)?;
        writeln!(f, "{} rounds in {minutes:.1} minutes, {faults} faults:", self.rounds)?;
        for (kind, count) in &self.faults {
            writeln!(f, "  {:<10} {count}", kind.name())?;
        }
        let Counts { answered, unknown, refused } = self.counts;
        writeln!(f, "calls: {answered} answered, {unknown} unknown, {refused} refused")?;
        writeln!(f, "checked for linearizability: {} operations", self.operations)?;
        writeln!(f, "acknowledged single writes read back: {}", self.single_writes)?;
        writeln!(f, "longest pause: {:.1} s", self.longest_pause.as_secs_f64())?;
        write!(f, "failed: {}, of these undecided: {}", self.failed.len(), self.undecided)?;
        if !self.failed.is_empty() {
            write!(f, " (seeds {:?})", self.failed)?;
        }
        Ok(())
    }
}
