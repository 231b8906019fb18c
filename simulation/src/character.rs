//! What one seed's world is like: how large, how bad, how slow.

use std::time::Duration;

use oarlock_kvserver::Limits;

use crate::random::Random;

/// The constants of one run.
#[derive(Clone, Debug)]
pub(crate) struct Character {
    /// How many peers.
    pub(crate) size: u64,
    /// How many clerks, and how many requests each has under way at most.
    pub(crate) clerks: usize,
    pub(crate) window: usize,
    /// The longest pause of a clerk between requests.
    pub(crate) think: Duration,
    /// Out of a thousand messages, so many are lost, doubled, or slow.
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    pub(crate) slow: u64,
    /// The longest delay of a slow message, and of any other.
    pub(crate) slow_max: Duration,
    pub(crate) delay_max: Duration,
    /// When a call that is not answered is over for its caller.
    pub(crate) call_timeout: Duration,
    /// The longest a write to the disk takes that does not stall.
    pub(crate) write_max: Duration,
    /// Out of a thousand writes, so many stall, for this long at most.
    pub(crate) stalls: u64,
    pub(crate) stall_max: Duration,
    /// The longest pause between two faults.
    pub(crate) fault_gap: Duration,
    /// How long commands wait for each other at a leader.
    pub(crate) linger: Duration,
    /// Whether a new leader appends an entry of its own. Where it does not, reads may wait for the
    /// next write for ever, so nobody reads.
    pub(crate) no_op_on_election: bool,
    /// The most bytes of entries in a message to a peer that may not be there; an entry has 60 to 100.
    pub(crate) probe_bytes_max: usize,
    /// What can go wrong: parts of each kind, in the order of [`crate::faults`].
    pub(crate) faults: [u64; 11],
    pub(crate) segment_bytes: u64,
    pub(crate) snapshot_log_bytes: u64,
    pub(crate) limits: Limits,
    /// How many disks may die for good: fewer than half.
    pub(crate) dead_disks_max: usize,
    /// The longest pause between two changes of the members, if they ever change.
    pub(crate) changes_gap: Option<Duration>,
    /// Whether who asks for one waits at that node until it is done, instead of asking again.
    pub(crate) changes_wait: bool,
    /// How many voters are most often asked for. Changes are the most dangerous where an even number
    /// votes: half of them are no majority, and one voter less makes it one.
    pub(crate) voters_aimed: usize,
    /// Out of a thousand leaders, so many are asked for a change as soon as they lead.
    pub(crate) eager: u64,
    /// Out of a thousand configurations that a leader appends, so many are followed by a fault.
    pub(crate) strikes: u64,
    /// If leaders read by lease: how far their clocks drift apart at most, in parts per million.
    pub(crate) lease_drift_ppm: Option<u32>,
    /// Where the rates of the clocks come from.
    pub(crate) clocks: u64,
    /// Out of a thousand times a clerk thinks of something, so many it thinks of a read at once. Where
    /// little is written, whoever was cut off can still be elected, were it not for promises.
    pub(crate) mostly_reads: u64,
}

impl Character {
    pub(crate) fn of(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x00c0_ffee);
        let random = &mut random;
        let tiny_sessions = random.chance(150);
        let ms = Duration::from_millis;
        let changes_gap =
            random.pick(&[None, None, None, Some(300), Some(1000), Some(3000)]).map(ms);
        let size = random.pick(&[1, 2, 3, 3, 3, 4, 5, 5]);
        let disks_die = random.chance(100) && changes_gap.is_none();
        let mut character = Self {
            size,
            clerks: random.pick(&[1, 2, 4, 6]),
            window: random.pick(&[1, 1, 4]),
            think: ms(random.pick(&[20, 100, 400])),
            lost: random.pick(&[0, 10, 50, 100]),
            doubled: random.pick(&[0, 30, 100]),
            slow: random.pick(&[0, 20, 80, 200]),
            slow_max: ms(random.pick(&[200, 700, 3000])),
            delay_max: ms(random.pick(&[1, 5, 30])),
            call_timeout: ms(random.pick(&[400, 1000, 5000, 5000])),
            write_max: ms(random.pick(&[1, 5, 25])),
            stalls: random.pick(&[0, 5, 20]),
            stall_max: ms(random.pick(&[300, 900, 3000])),
            fault_gap: ms(random.pick(&[300, 1000, 3000])),
            linger: ms(random.pick(&[0, 0, 0, 1])),
            no_op_on_election: random.chance(700) || changes_gap.is_some(),
            probe_bytes_max: random.pick(&[64, 512]),
            faults: std::array::from_fn(|_| random.pick(&[0, 1, 1, 3])),
            segment_bytes: random.pick(&[8 << 10, 16 << 10, 64 << 10]),
            snapshot_log_bytes: random.pick(&[300, 1000, 4000, 20_000]),
            limits: if tiny_sessions {
                Limits { sessions: 3, answers_per_session: 8, ..Limits::default() }
            } else {
                Limits::default()
            },
            dead_disks_max: if disks_die { (size as usize - 1) / 2 } else { 0 },
            changes_gap,
            changes_wait: random.chance(500),
            voters_aimed: random.pick(&[3, 4, 4]),
            eager: random.pick(&[0, 400, 900]),
            strikes: random.pick(&[0, 300, 800]),
            lease_drift_ppm: None,
            clocks: random.next(),
            mostly_reads: 0,
        };
        if character.no_op_on_election {
            let drifts = [None, None, None, Some(0), Some(10_000), Some(300_000)];
            character.lease_drift_ppm = random.pick(&drifts);
        }
        if character.lease_drift_ppm.is_some() {
            character.mostly_reads = random.pick(&[0, 900, 970]);
        }
        character
    }

    /// Whether sessions may be evicted, so that requests are refused.
    pub(crate) fn evicts(&self) -> bool {
        self.limits != Limits::default()
    }
}
