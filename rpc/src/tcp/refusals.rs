//! The log of what a listener refuses: each cause once, then seldom, so that a stranger who dials
//! all day cannot fill the disk.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// After a line about one remote host and one cause, further ones are not logged for this long.
const SILENCE: Duration = Duration::from_secs(60);
/// At most this many pairs of host and cause are remembered.
const REMEMBERED_MAX: usize = 256;

/// Which lines were logged lately.
#[derive(Debug, Default)]
pub(super) struct RefusalLog {
    logged: Mutex<HashMap<(IpAddr, u8), Instant>>,
}

impl RefusalLog {
    /// Logs that a connection from `remote` was refused; `cause` tells alike reasons apart.
    pub(super) fn log(&self, remote: SocketAddr, cause: u8, reason: impl fmt::Display) {
        if self.is_news(remote.ip(), cause, Instant::now()) {
            log::warn!(target: "NETW", "refused a connection from {remote}: {reason}");
        } else {
            log::debug!(target: "NETW", "refused a connection from {remote} again: {reason}");
        }
    }

    fn is_news(&self, host: IpAddr, cause: u8, now: Instant) -> bool {
        let mut logged = self.logged.lock();
        if logged.get(&(host, cause)).is_some_and(|&at| now < at + SILENCE) {
            return false;
        }
        if logged.len() >= REMEMBERED_MAX {
            logged.retain(|_, at| now < *at + SILENCE);
        }
        // Still full: so many hosts at once that one line more says nothing new.
        if logged.len() >= REMEMBERED_MAX {
            return false;
        }
        logged.insert((host, cause), now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_cause_is_news_once_a_minute_and_the_memory_is_bounded() {
        let log = RefusalLog::default();
        let start = Instant::now();
        let host = |n: u16| IpAddr::from([10, 0, n.to_be_bytes()[0], n.to_be_bytes()[1]]);
        assert!(log.is_news(host(1), 1, start));
        assert!(!log.is_news(host(1), 1, start + SILENCE / 2));
        assert!(log.is_news(host(1), 2, start), "another cause");
        assert!(log.is_news(host(1), 1, start + SILENCE));
        for n in 0..2000 {
            log.is_news(host(n), 3, start + SILENCE);
        }
        assert!(log.logged.lock().len() <= REMEMBERED_MAX);
        assert!(log.is_news(host(5000), 1, start + 3 * SILENCE), "old ones make room");
    }
}
