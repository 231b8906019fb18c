//! Whole peers with their threads: leadership is passed on, or is not.

use std::time::Duration;

use crate::tests::{Add, Cluster};
use crate::{HandOverError, Options, PeerId};

/// Far longer than any of these tests takes: nobody but the first peer campaigns by itself.
const NEVER: Duration = Duration::from_secs(600);

/// Three peers of which only S1 ever times out, once it leads.
fn led_by_the_first() -> Cluster {
    let cluster = Cluster::with_options(3, None, |id| {
        let options = Options::default();
        let election_timeout =
            if id == PeerId(1) { options.election_timeout.clone() } else { NEVER..=NEVER * 2 };
        Options { election_timeout, ..options }
    });
    assert_eq!(cluster.leader(), PeerId(1));
    cluster
}

#[test]
fn the_successor_leads_though_no_timeout_of_anybodys_has_come() {
    let cluster = led_by_the_first();
    for n in 1..=20 {
        assert_eq!(cluster.peers[&PeerId(1)].submit(&Add(1)), Ok(n));
    }
    let leader =
        cluster.peers[&PeerId(1)].hand_over(Duration::from_secs(20)).expect("both others are well");
    assert_ne!(leader, PeerId(1));
    assert_eq!(cluster.peers[&leader].submit(&Add(1)), Ok(21), "nothing is lost, nothing doubled");
}

#[test]
fn the_successor_is_who_has_the_whole_log() {
    let cluster = led_by_the_first();
    let _deaf = cluster.deafen(PeerId(2));
    for n in 1..=5 {
        assert_eq!(cluster.peers[&PeerId(1)].submit(&Add(1)), Ok(n));
    }
    let leader = cluster.peers[&PeerId(1)].hand_over(Duration::from_secs(20));
    assert_eq!(leader, Ok(PeerId(3)), "S2 is behind");
}

#[test]
fn a_leader_nobody_can_succeed_leads_on() {
    let cluster = led_by_the_first();
    let first = &cluster.peers[&PeerId(1)];
    assert_eq!(first.submit(&Add(1)), Ok(1));
    // Heard a moment ago, but deaf: the wish is lost, again and again, until patience ends.
    let services = [2, 3].map(|id| cluster.deafen(PeerId(id)));
    let outcome = first.hand_over(Duration::from_millis(20));
    assert!(matches!(outcome, Err(HandOverError::TimedOut { .. })), "{outcome:?}");
    for (id, service) in [2, 3].into_iter().zip(services) {
        cluster.listen(PeerId(id), service);
    }
    assert_eq!(first.submit(&Add(1)), Ok(2));
}

#[test]
fn whoever_does_not_lead_has_nothing_to_pass_on() {
    let cluster = led_by_the_first();
    assert_eq!(cluster.peers[&PeerId(1)].submit(&Add(1)), Ok(1));
    let outcome = cluster.peers[&PeerId(2)].hand_over(Duration::from_secs(1));
    assert!(matches!(outcome, Err(HandOverError::NotLeader { .. })), "{outcome:?}");
}
