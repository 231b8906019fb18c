//! What is replicated, and the state machine that all systems replicate.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a small value of a key-value store looks like.
pub const COMMAND_BYTES: usize = 256;

/// What a command's answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The number of the command.
    pub number: u64,
    /// How many commands have been applied, with this one.
    pub count: u64,
}

/// A command: its number, and bytes that make it as long as it is to be.
pub fn command(number: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(COMMAND_BYTES);
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes.resize(COMMAND_BYTES, 7);
    bytes
}

/// The state: how many commands were applied, and which, in which order, as a digest.
pub struct Tally {
    count: u64,
    digest: u64,
    applied: Arc<Applied>,
}

/// What is seen from outside of a state. Written by whoever applies; exact once nothing is applied.
#[derive(Debug, Default)]
pub struct Applied {
    count: AtomicU64,
    digest: AtomicU64,
}

impl Tally {
    /// Nothing was applied yet.
    pub fn new(applied: Arc<Applied>) -> Self {
        Self { count: 0, digest: 0, applied }
    }

    /// Takes a command.
    pub fn apply(&mut self, command: &[u8]) -> Answer {
        assert_eq!(command.len(), COMMAND_BYTES, "a command arrives whole");
        let number = command.first_chunk().expect("a command begins with its number");
        let number = u64::from_le_bytes(*number);
        self.count += 1;
        self.digest = (self.digest ^ number).wrapping_mul(0x0100_0000_01b3).rotate_left(17);
        self.applied.digest.store(self.digest, Ordering::Relaxed);
        self.applied.count.store(self.count, Ordering::Release);
        Answer { number, count: self.count }
    }

    /// The state as bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        [self.count.to_le_bytes(), self.digest.to_le_bytes()].concat()
    }

    /// Takes the state over; `false` if these bytes are none.
    pub fn restore(&mut self, bytes: &[u8]) -> bool {
        let (numbers, rest) = bytes.as_chunks();
        let &[count, digest] = numbers else { return false };
        (self.count, self.digest) = (u64::from_le_bytes(count), u64::from_le_bytes(digest));
        self.applied.digest.store(self.digest, Ordering::Relaxed);
        self.applied.count.store(self.count, Ordering::Release);
        rest.is_empty()
    }
}

impl Applied {
    /// How many commands were applied.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// Which, and in which order.
    pub fn digest(&self) -> u64 {
        self.digest.load(Ordering::Relaxed)
    }
}
