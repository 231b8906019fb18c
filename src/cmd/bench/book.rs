//! What was written when, so that every answer can be checked while it is measured.
//!
//! Every value says which key and which write it is of. A read may find any write of its key that was
//! under way, or the latest answered before it was asked; a write that had ended before another began,
//! which was itself answered before the read was asked, is too old to be found. That is what
//! linearizability says of a register, as far as it can be told at this price.

use std::collections::VecDeque;
use std::time::Instant;

use super::workload::key_name;

/// So many answered writes of a key are remembered.
const REMEMBERED: usize = 64;

/// One write.
#[derive(Clone, Copy, Debug)]
struct Write {
    number: u64,
    sent: Instant,
    /// `None` as long as its fate is not known.
    answered: Option<Instant>,
}

#[derive(Clone, Debug, Default)]
struct OfKey {
    /// By number; the oldest may be forgotten.
    writes: VecDeque<Write>,
    /// The latest moment at which a write was sent that has been answered.
    settled: Option<Instant>,
}

/// All writes.
pub(super) struct Book {
    keys: Vec<OfKey>,
    next: u64,
}

impl Book {
    pub(super) fn new(keys: usize) -> Self {
        Self { keys: vec![OfKey::default(); keys], next: 1 }
    }

    /// A write is sent: its number.
    pub(super) fn begin(&mut self, key: usize, now: Instant) -> u64 {
        let number = self.next;
        self.next += 1;
        let writes = &mut self.keys[key].writes;
        writes.push_back(Write { number, sent: now, answered: None });
        while writes.len() > REMEMBERED && writes[0].answered.is_some() {
            writes.pop_front();
        }
        number
    }

    /// A write is answered.
    pub(super) fn answered(&mut self, key: usize, number: u64, now: Instant) {
        let of_key = &mut self.keys[key];
        if let Some(write) = of_key.writes.iter_mut().find(|write| write.number == number) {
            write.answered = Some(now);
            of_key.settled = of_key.settled.max(Some(write.sent));
        }
    }

    /// A read is sent: what is to be given to [`check`](Self::check).
    pub(super) fn settled(&self, key: usize) -> Option<Instant> {
        self.keys[key].settled
    }

    /// Whether a read of `key`, sent when `settled` was so, may have found `value`.
    pub(super) fn check(
        &self,
        key: usize,
        settled: Option<Instant>,
        value: Option<&[u8]>,
        value_bytes: usize,
    ) -> Result<(), String> {
        let name = key_name(key);
        let Some(value) = value else {
            return match settled {
                Some(_) => Err(format!("{name}: nothing, though a write had been answered")),
                None => Ok(()),
            };
        };
        let number = number_in(value, &name).filter(|_| value.len() == value_bytes);
        let Some(number) = number else {
            let shown = String::from_utf8_lossy(&value[..value.len().min(48)]);
            // From an earlier run, perhaps: nothing says what was there before.
            return match settled {
                None => Ok(()),
                Some(_) => Err(format!("{name}: {} bytes nobody wrote: {shown}", value.len())),
            };
        };
        let writes = &self.keys[key].writes;
        let is_old = match writes.iter().find(|write| write.number == number) {
            Some(write) => write.answered.zip(settled).is_some_and(|(end, settled)| end < settled),
            None => settled.is_some(),
        };
        if is_old { Err(format!("{name}: write {number}, which is too old")) } else { Ok(()) }
    }
}

/// The value of a write: its number, its key, and as much more as it takes.
pub(super) fn value(number: u64, key: &str, bytes: usize) -> Vec<u8> {
    let mut value = format!("{number:016x} {key} ").into_bytes();
    value.resize(bytes, b'.');
    value
}

fn number_in(value: &[u8], key: &str) -> Option<u64> {
    let (number, rest) = value.split_at_checked(16)?;
    let rest = rest.strip_prefix(b" ")?.strip_prefix(key.as_bytes())?.strip_prefix(b" ")?;
    if !rest.iter().all(|&byte| byte == b'.') {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(number).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const BYTES: usize = 64;

    fn of(number: u64) -> Vec<u8> {
        value(number, &key_name(0), BYTES)
    }

    #[test]
    fn a_write_that_was_overwritten_before_the_read_is_too_old() {
        let (mut book, start) = (Book::new(1), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(book.check(0, book.settled(0), None, BYTES), Ok(()));
        assert_eq!(book.begin(0, at(1)), 1);
        let before = book.settled(0);
        book.answered(0, 1, at(2));
        assert!(book.check(0, book.settled(0), None, BYTES).is_err());
        let between = book.settled(0);
        assert_eq!(book.begin(0, at(3)), 2);
        assert_eq!(book.begin(0, at(3)), 3);
        book.answered(0, 2, at(5));
        let after = book.settled(0);
        // The first had ended before the second began.
        assert!(book.check(0, after, Some(&of(1)), BYTES).is_err());
        assert_eq!(book.check(0, between, Some(&of(1)), BYTES), Ok(()));
        assert_eq!(book.check(0, before, None, BYTES), Ok(()));
        // The second and third were under way together, the third still is.
        for number in [2, 3] {
            assert_eq!(book.check(0, after, Some(&of(number)), BYTES), Ok(()));
        }
        book.answered(0, 3, at(6));
        assert_eq!(book.check(0, book.settled(0), Some(&of(2)), BYTES), Ok(()));
    }

    #[test]
    fn what_nobody_wrote_is_wrong() {
        let (mut book, now) = (Book::new(1), Instant::now());
        let number = book.begin(0, now);
        book.answered(0, number, now);
        let settled = book.settled(0);
        let mut broken = of(number);
        broken[60] = b'!';
        let another = value(number, &key_name(1), BYTES);
        for wrong in [&broken[..], &another, &of(number)[..63], b"", &of(number + 7)] {
            assert!(book.check(0, settled, Some(wrong), BYTES).is_err());
        }
        assert_eq!(book.check(0, settled, Some(&of(number)), BYTES), Ok(()));
    }
}
