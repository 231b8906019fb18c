//! A line of a trace: time, topic, peer, event.
//!
//! ```text
//! 004213 VOTE S1 T3 grants S2 T3 their last=17@2 ours=17@2
//! 005000 TEST disconnect(2)
//! ```

/// The most peers that columns are made for.
const PEERS_MAX: usize = 64;
const TOPIC_LEN: usize = 4;

/// An event of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Event<'a> {
    /// Since the test began, in units of 0.1 ms: at least six digits.
    pub(crate) time: &'a str,
    /// Four capital letters.
    pub(crate) topic: &'a str,
    /// Whose event it is; an event of the test is nobody's.
    pub(crate) peer: Option<usize>,
    /// What happened, without the peer.
    pub(crate) text: &'a str,
}

impl<'a> Event<'a> {
    /// Reads a line; none if it is of no trace.
    pub(crate) fn parse(line: &'a str) -> Option<Self> {
        let (time, rest) = line.split_once(' ')?;
        let (topic, event) = rest.split_once(' ')?;
        let is_time = time.len() >= 6 && time.bytes().all(|byte| byte.is_ascii_digit());
        let is_topic = topic.len() == TOPIC_LEN && topic.bytes().all(|b| b.is_ascii_uppercase());
        if !is_time || !is_topic {
            return None;
        }
        let (first, text) = event.split_once(' ').unwrap_or((event, ""));
        Some(match first.strip_prefix('S').and_then(|number| number.parse().ok()) {
            Some(peer) if peer < PEERS_MAX => Self { time, topic, peer: Some(peer), text },
            _ => Self { time, topic, peer: None, text: event },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_peers_and_of_the_test() {
        let event = Event::parse("004213 VOTE S1 T3 grants S2 T3").unwrap();
        let expected =
            Event { time: "004213", topic: "VOTE", peer: Some(1), text: "T3 grants S2 T3" };
        assert_eq!(event, expected);
        let event = Event::parse("1205000 TEST disconnect(2)").unwrap();
        let expected = Event { time: "1205000", topic: "TEST", peer: None, text: "disconnect(2)" };
        assert_eq!(event, expected);
        let event = Event::parse("000001 NETW S0 → S2 Raft.RequestVote 22 bytes").unwrap();
        assert_eq!((event.peer, event.text), (Some(0), "→ S2 Raft.RequestVote 22 bytes"));
    }

    #[test]
    fn other_lines_are_no_events() {
        for line in [
            "",
            "Test (2A): initial election ... (OARLOCK_SEED=7)",
            "  ... Passed --   3.1  3    58   3956    0",
            "12345 VOTE S1 too short a time",
            "123456 vote S1 no topic",
            "123456 VOTES S1 no topic",
            "123456 VOTE",
            "12345x VOTE S1 T1",
        ] {
            assert_eq!(Event::parse(line), None, "{line:?}");
        }
    }

    #[test]
    fn a_peer_beyond_all_bounds_gets_no_column() {
        let event = Event::parse("000001 VOTE S18446744073709551616 T3").unwrap();
        assert_eq!((event.peer, event.text), (None, "S18446744073709551616 T3"));
        assert_eq!(Event::parse("000001 VOTE S64 T3").unwrap().peer, None);
    }
}
