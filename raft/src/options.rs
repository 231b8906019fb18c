//! Time-outs and limits, with their units and why they have their defaults.

use std::ops::RangeInclusive;
use std::time::Duration;

/// What a peer is tuned by. All peers of one cluster should use the same.
#[derive(Clone, Debug)]
pub struct Options {
    /// How often a leader speaks to a follower it has nothing to tell.
    pub heartbeat_interval: Duration,
    /// A follower that hears nothing campaigns after a random time from this range (section 5.2).
    /// Its lower end is also how long a peer that heard from a leader refuses to vote, and its upper
    /// end how long a leader goes on without hearing from a majority.
    pub election_timeout: RangeInclusive<Duration>,
    /// Where the random election time-outs come from; 0 takes a seed from the system.
    pub seed: u64,
    /// Whether a new leader appends an entry of its own at once (section 8). Linearizable reads
    /// need one; the labs' interface, whose indexes the tests count, must not have it.
    pub no_op_on_election: bool,
    /// Whether a leader serves reads without asking anybody, as long as it knows that no other can
    /// have been elected: *lease reads*, which are linearizable only if the clocks keep to this. `None`
    /// asks others, by a round of messages that reads share, and needs no clock. All peers must have it
    /// alike, and the same shortest election time-out; to change either, stop all of them first.
    pub lease_reads: Option<LeaseReads>,
    /// How long a leader lets every command, and every read, wait for others to go with. It makes
    /// each take that much longer, and many cheaper: fewer messages, syncs and wake-ups. Without
    /// it, commands wait for each other only while they come in bursts.
    pub linger: Duration,
    /// The most payload bytes in one `AppendEntries`, unless its first entry alone is larger.
    pub append_bytes_max: usize,
    /// The most entries in one `AppendEntries`.
    pub append_entries_max: usize,
    /// The most payload bytes in an `AppendEntries` to a follower that may not be there, or whose
    /// log may not match.
    pub probe_bytes_max: usize,
    /// The most `AppendEntries` with entries on their way to one follower: enough for one after each
    /// write to a quick disk over a long way, or commands would wait for the answers to others.
    pub in_flight_max: usize,
    /// With more payload bytes than these on their way to one follower, the next wait for an answer.
    pub in_flight_bytes_max: usize,
    /// The size of the pieces a snapshot is sent in, in bytes.
    pub snapshot_chunk_bytes: usize,
    /// The largest command, in bytes.
    pub command_bytes_max: usize,
    /// The most payload bytes a leader holds that are not committed; beyond it, proposals are
    /// refused.
    pub uncommitted_bytes_max: u64,
}

/// What lease reads assume of clocks (dissertation 6.4.1).
///
/// It is the rates of the monotonic clocks that count, not what they show: nothing need set them.
/// Those of machines that run are apart by some 0.02 %, and by 0.1 % at the worst while they are being
/// corrected; so one per cent is ample. But a clock may stand still: `CLOCK_MONOTONIC` does while
/// its machine is suspended, and that of a virtual machine may while it is stopped or moved. A leader
/// that wakes from that may serve what was overwritten meanwhile. Where this can happen, leave lease
/// reads off. A process that is stopped, or waits for a processor, does no harm: its clock goes on.
///
/// A peer that starts votes for nobody for the shortest election time-out, since it has forgotten
/// what it heard before; and when a leader's process dies, the others wait as long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseReads {
    /// The greatest drift between the clocks of any two peers, in parts per million: while one counts
    /// a million, no other counts fewer than a million less this.
    pub drift_ppm_max: u32,
}

impl LeaseReads {
    const MILLION: u32 = 1_000_000;

    /// As long as a follower's clock needs for `promise` at least, on the leader's.
    pub(crate) fn lease_of(self, promise: Duration) -> Duration {
        promise * Self::MILLION.saturating_sub(self.drift_ppm_max) / Self::MILLION
    }
}

impl Default for LeaseReads {
    /// One per cent.
    fn default() -> Self {
        Self { drift_ppm_max: 10_000 }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            heartbeat_interval: Duration::from_millis(50),
            election_timeout: Duration::from_millis(250)..=Duration::from_millis(500),
            seed: 0,
            no_op_on_election: true,
            lease_reads: None,
            linger: Duration::ZERO,
            append_bytes_max: 1 << 20,
            append_entries_max: 1024,
            probe_bytes_max: 16 << 10,
            in_flight_max: 1024,
            in_flight_bytes_max: 32 << 20,
            snapshot_chunk_bytes: 512 << 10,
            command_bytes_max: 8 << 20,
            uncommitted_bytes_max: 256 << 20,
        }
    }
}

impl Options {
    /// The labs' pace: at most ten heartbeats a second, a new leader well within five seconds, and
    /// no entries but the tests' own. Commands linger for a millisecond: the labs' clients call one
    /// upon the other over a network that takes no time, and would otherwise keep every core of the
    /// machine busy, where suites are to run side by side.
    pub fn lab() -> Self {
        Self {
            heartbeat_interval: Duration::from_millis(100),
            election_timeout: Duration::from_millis(350)..=Duration::from_millis(700),
            no_op_on_election: false,
            linger: Duration::from_millis(1),
            ..Self::default()
        }
    }

    /// Panics if the options contradict each other: a configuration nobody can want.
    pub(crate) fn check(&self) {
        let shortest = *self.election_timeout.start();
        assert!(
            self.heartbeat_interval < shortest && shortest <= *self.election_timeout.end(),
            "heartbeat_interval {:?} must be below election_timeout {:?}",
            self.heartbeat_interval,
            self.election_timeout
        );
        if let Some(lease_reads) = &self.lease_reads {
            let lasts = lease_reads.lease_of(shortest);
            assert!(
                self.heartbeat_interval < lasts,
                "lease_reads: a lease of {lasts:?} does not last from heartbeat to heartbeat"
            );
        }
        assert!(self.append_entries_max > 0, "a message of nothing");
        assert!(self.in_flight_max > 0 && self.in_flight_bytes_max > 0, "a window of nothing");
        assert!(
            self.command_bytes_max <= crate::message::COMMAND_BYTES_MAX,
            "command_bytes_max {} is more than a message holds",
            self.command_bytes_max
        );
    }
}
