//! What a run came to, in numbers.

use std::fmt;
use std::time::Duration;

use crate::invariant::Checks;

/// What happened in one run or many.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Seeds run.
    pub seeds: u64,
    /// Simulated time.
    pub simulated: Duration,
    /// Events.
    pub events: u64,
    /// Nodes that stopped, for whatever reason.
    pub crashes: u64,
    /// Of these, by losing power.
    pub power_cuts: u64,
    /// Of these, in the middle of a write.
    pub torn_writes: u64,
    /// Of these, for an error of the disk.
    pub disk_errors: u64,
    /// Leaders elected.
    pub elections: u64,
    /// Times a leader was asked to pass its leadership on, and had somebody to pass it to.
    pub hand_overs: u64,
    /// Snapshots installed from a leader.
    pub installs: u64,
    /// Snapshots written while commands were applied.
    pub frozen: u64,
    /// Of these, taken over by the state machine.
    pub published: u64,
    /// Requests of clerks.
    pub requests: u64,
    /// Reads that came to a leader whose lease held.
    pub leased_reads: u64,
    /// Reads that a leader left to the node that had passed them on.
    pub left_reads: u64,
    /// Writes acknowledged to a clerk.
    pub writes: u64,
    /// Requests that were in the log more than once.
    pub duplicates: u64,
    /// Entries committed.
    pub commits: u64,
    /// Changes of the members that were done.
    pub changes: u64,
    /// Changes that were refused for good.
    pub changes_refused: u64,
    /// Changes that nobody asked for any longer.
    pub changes_given_up: u64,
    /// Configurations committed, those on the way included.
    pub configurations: u64,
    /// Peers that stopped because they were removed.
    pub removed: u64,
    /// Entries sent to followers.
    pub entries_sent: u64,
    /// Messages sent between peers.
    pub messages: u64,
    /// The longest it took a leader to be found after healing.
    pub leader_after: Duration,
    /// The longest it took every request to be answered after healing.
    pub settled_after: Duration,
    /// Histories that could not be decided in time.
    pub undecided: u64,
    /// What was checked.
    pub checks: Checks,
}

impl Counts {
    /// Adds another run's.
    pub fn add(&mut self, other: &Self) {
        self.seeds += other.seeds;
        self.simulated += other.simulated;
        self.events += other.events;
        self.crashes += other.crashes;
        self.power_cuts += other.power_cuts;
        self.torn_writes += other.torn_writes;
        self.disk_errors += other.disk_errors;
        self.elections += other.elections;
        self.hand_overs += other.hand_overs;
        self.installs += other.installs;
        self.frozen += other.frozen;
        self.published += other.published;
        self.requests += other.requests;
        self.leased_reads += other.leased_reads;
        self.left_reads += other.left_reads;
        self.writes += other.writes;
        self.duplicates += other.duplicates;
        self.commits += other.commits;
        self.changes += other.changes;
        self.changes_refused += other.changes_refused;
        self.changes_given_up += other.changes_given_up;
        self.configurations += other.configurations;
        self.removed += other.removed;
        self.entries_sent += other.entries_sent;
        self.messages += other.messages;
        self.leader_after = self.leader_after.max(other.leader_after);
        self.settled_after = self.settled_after.max(other.settled_after);
        self.undecided += other.undecided;
        self.checks.add(&other.checks);
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.simulated.as_secs();
        writeln!(f, "{} seeds, {seconds} simulated seconds, {} events", self.seeds, self.events)?;
        writeln!(
            f,
            "{} crashes: {} power cuts, {} in the middle of a write, {} errors of a disk",
            self.crashes, self.power_cuts, self.torn_writes, self.disk_errors
        )?;
        writeln!(
            f,
            "{} elections, {} leaders that were to hand over, {} entries committed, {} snapshots installed, \
             {} messages",
            self.elections, self.hand_overs, self.commits, self.installs, self.messages
        )?;
        writeln!(
            f,
            "{} snapshots written while commands were applied, {} of them taken over",
            self.frozen, self.published
        )?;
        writeln!(
            f,
            "{} requests, {} reads by lease, {} left to who passed them on, {} writes acknowledged, \
             {} requests twice in the log",
            self.requests, self.leased_reads, self.left_reads, self.writes, self.duplicates
        )?;
        writeln!(
            f,
            "{} changes of the members, {} refused, {} given up, {} configurations, {} peers removed",
            self.changes,
            self.changes_refused,
            self.changes_given_up,
            self.configurations,
            self.removed
        )?;
        writeln!(
            f,
            "after healing: a leader within {:?}, everything settled within {:?}",
            self.leader_after, self.settled_after
        )?;
        write!(
            f,
            "{} checks of invariants, {} histories undecided",
            self.checks.total(),
            self.undecided
        )
    }
}
