//! How long it takes until another leader has something committed, after the leader was isolated.

use std::time::Duration;

use super::ours::Ours;
use super::turns::Plan;

const HEARTBEAT: Duration = Duration::from_millis(50);
const ELECTION_TIMEOUT_MIN: Duration = Duration::from_millis(150);
const ELECTION_TIMEOUT_MAX: Duration = Duration::from_millis(300);

/// The median and the longest.
pub fn isolate(plan: Plan) -> (Duration, Duration) {
    let mut times: Vec<Duration> = (0..plan.failovers)
        .map(|_| {
            Ours::start_paced(HEARTBEAT, ELECTION_TIMEOUT_MIN..=ELECTION_TIMEOUT_MAX)
                .isolate_leader()
        })
        .collect();
    times.sort();
    (times[times.len() / 2], times[times.len() - 1])
}
