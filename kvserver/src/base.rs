//! The records of a snapshot, looked at where they lie: in its bytes, mapped or in memory.
//!
//! A record is `u32` length, the key, `u32` length, the value; records stand in the order of
//! [`Key`](crate::key::Key), none twice. An index of one mark for every few KiB ([`Marks`]) makes
//! finding one a matter of a few looks. It is written behind the records, so that a large state is
//! open at once: nobody has to look at each record. Bytes of before there was such an index are looked
//! at in place as well, once one was made in memory.

use std::hint::black_box;
use std::ops::Range;
use std::sync::Arc;

use oarlock_raft::Snapshot;

use crate::key::hash;
use crate::marks::{MARK_BYTES, Marker, Marks};
use crate::op::{KEY_BYTES_MAX, VALUE_BYTES_MAX};

/// What is behind the marks: how many there are, and the sum of the lengths of keys and values.
const TAIL_BYTES: usize = 16;

/// A key and its value, with the hash of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) hash: u64,
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
}

/// The records of a snapshot.
#[derive(Clone, Debug)]
pub(crate) struct Base {
    content: Snapshot,
    /// Where the records are.
    records: Range<usize>,
    index: Index,
}

/// Where the marks are.
#[derive(Clone, Debug)]
enum Index {
    InContent(Range<usize>),
    InMemory(Arc<Vec<u8>>),
}

impl Base {
    /// The records and the index that `content` holds from `begin` to its end, and the sum of the
    /// lengths of keys and values. The index is checked, in itself; the records are taken for what was
    /// written, as storage takes care that they are.
    pub(crate) fn indexed(content: Snapshot, begin: usize) -> Result<(Self, u64), String> {
        let (behind, bytes) = behind_of(&content[begin..]).ok_or("the index is cut")?;
        let marks = content.len() - behind..content.len() - TAIL_BYTES;
        let records = begin..marks.start;
        Marks::checked(&content[marks.clone()], records.len())?;
        Ok((Self { content, records, index: Index::InContent(marks) }, bytes))
    }

    /// The `count` records that `content` holds from `begin` on, with an index behind them or not, and
    /// the sum of the lengths of their keys and values. Nothing is believed: an error says what is
    /// wrong.
    pub(crate) fn checked(
        content: Snapshot,
        begin: usize,
        count: u64,
        has_index: bool,
    ) -> Result<(Self, u64), String> {
        let (mut rest, mut marker, mut bytes) = (&content[begin..], Marker::default(), 0);
        let mut last: Option<(u64, &[u8])> = None;
        for _ in 0..count {
            let before = rest.len();
            let key = take(&mut rest, "a key", KEY_BYTES_MAX)?;
            let value = take(&mut rest, "a value", VALUE_BYTES_MAX)?;
            let place = (hash(key), key);
            if last.is_some_and(|last| last >= place) {
                return Err("the keys are out of order".to_owned());
            }
            last = Some(place);
            marker.push(place.0, before - rest.len());
            bytes += (key.len() + value.len()) as u64;
        }
        let records = begin..content.len() - rest.len();
        let marks = marker.into_bytes();
        let behind = if has_index { tail(&marks, bytes) } else { Vec::new() };
        if rest != behind {
            let (left, meant) = (rest.len(), behind.len());
            return Err(format!("{left} bytes behind the records, and not the {meant} meant"));
        }
        let index = Index::InMemory(Arc::new(marks));
        Ok((Self { content, records, index }, bytes))
    }

    /// The value of `key`, whose hash this is.
    pub(crate) fn get(&self, hash: u64, key: &[u8]) -> Option<&[u8]> {
        let records = self.records();
        let Range { start, end } = self.marks().around(hash);
        let mut rest = &records[start..end];
        while !rest.is_empty() {
            let (here, value) = split(&mut rest);
            if here == key {
                return Some(value);
            }
        }
        None
    }

    /// Looks for all of these hashes at once, and finds nothing: but what [`get`](Self::get) will look
    /// at is in the processor's cache then. In a large state each look is a wait for memory, and the next
    /// depends on it; side by side many take hardly longer than one.
    pub(crate) fn look_ahead(&self, hashes: Vec<u64>) {
        let (records, marks) = (self.records(), self.marks());
        black_box(hashes.iter().fold(0, |seen, &hash| seen ^ marks.near(hash)));
        let stretches = hashes.into_iter().map(|hash| &records[marks.around(hash)]);
        let mut stretches: Vec<&[u8]> = stretches.filter(|records| !records.is_empty()).collect();
        while !stretches.is_empty() {
            stretches.retain_mut(|rest| {
                split(rest);
                !rest.is_empty()
            });
        }
    }

    /// Every record whose hash is at least this, in order.
    pub(crate) fn from(&self, hash: u64) -> Records<'_> {
        let rest = &self.records()[self.marks().around(hash).start..];
        Records { rest, from: hash }
    }

    /// How many bytes the content has.
    pub(crate) fn content_bytes(&self) -> usize {
        self.content.len()
    }

    fn records(&self) -> &[u8] {
        &self.content[self.records.clone()]
    }

    fn marks(&self) -> Marks<'_> {
        let bytes = match &self.index {
            Index::InContent(range) => &self.content[range.clone()],
            Index::InMemory(bytes) => bytes,
        };
        Marks::new(bytes, self.records.len())
    }
}

/// How many bytes marks and tail have, at the end of `bytes`, and the sum that the tail tells.
fn behind_of(bytes: &[u8]) -> Option<(usize, u64)> {
    let (records, tail) = bytes.split_last_chunk::<TAIL_BYTES>()?;
    let count = u64::from_le_bytes(*tail.first_chunk()?);
    let marks = usize::try_from(count).ok()?.checked_mul(MARK_BYTES)?;
    let sum = u64::from_le_bytes(*tail.last_chunk()?);
    (marks <= records.len()).then_some((marks + TAIL_BYTES, sum))
}

/// What is written behind records: their marks, and what is behind those.
pub(crate) fn tail(marks: &[u8], bytes: u64) -> Vec<u8> {
    let count = (marks.len() / MARK_BYTES) as u64;
    [marks, &count.to_le_bytes(), &bytes.to_le_bytes()].concat()
}

/// Records in order.
#[derive(Clone, Debug)]
pub(crate) struct Records<'a> {
    rest: &'a [u8],
    from: u64,
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        while !self.rest.is_empty() {
            let (key, value) = split(&mut self.rest);
            let hash = hash(key);
            if hash >= self.from {
                return Some(Record { hash, key, value });
            }
        }
        None
    }
}

/// Takes one record off bytes that were checked, or written by this code.
fn split<'a>(rest: &mut &'a [u8]) -> (&'a [u8], &'a [u8]) {
    let mut next = |what| take(rest, what, usize::MAX).expect("records are as they were written");
    (next("a key"), next("a value"))
}

/// Takes a length and so many bytes, at most `limit`.
pub(crate) fn take<'a>(rest: &mut &'a [u8], what: &str, limit: usize) -> Result<&'a [u8], String> {
    let (len, behind) = rest.split_first_chunk().ok_or_else(|| format!("no {what} left"))?;
    let len = u32::from_le_bytes(*len) as usize;
    if len > limit {
        return Err(format!("{what} of {len} bytes, more than the {limit} allowed"));
    }
    let (taken, behind) =
        behind.split_at_checked(len).ok_or_else(|| format!("{what} of {len} bytes is cut"))?;
    *rest = behind;
    Ok(taken)
}
