//! What happened, in order: a fingerprint of every event, and their text if somebody reads it.

use std::fmt;
use std::time::Duration;

use crate::fingerprint::{mix, mix_bytes};

/// The trace of one run.
#[derive(Debug)]
pub(crate) struct Trace {
    hash: u64,
    prints: bool,
    pub(crate) events: u64,
}

impl Trace {
    pub(crate) fn new(prints: bool) -> Self {
        Self { hash: 0, prints, events: 0 }
    }

    /// Notes an event: `topic` and `numbers` go into the fingerprint, the text is only for readers.
    pub(crate) fn note(
        &mut self,
        at: Duration,
        topic: &str,
        numbers: &[u64],
        text: fmt::Arguments<'_>,
    ) {
        self.events += 1;
        let hash = mix_bytes(mix(self.hash, at.as_nanos() as u64), topic.as_bytes());
        self.hash = numbers.iter().fold(hash, |hash, number| mix(hash, *number));
        if self.prints {
            println!("{:>12.6} {topic:<5} {text}", at.as_secs_f64());
        }
    }

    /// The fingerprint of everything noted so far.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }
}
