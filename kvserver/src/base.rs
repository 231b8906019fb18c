//! The records of a snapshot, looked at where they lie: in its bytes, mapped or in memory.
//!
//! A record is `u32` length, the key, `u32` length, the value; records stand in the order of
//! [`Key`](crate::key::Key), none twice. An index in memory, of one mark for every few KiB, makes
//! finding one a matter of O(log n). It is made when the bytes are checked, or while they are written,
//! so it is not a part of them: bytes of any age can be looked at in place.

use std::ops::Range;
use std::sync::Arc;

use oarlock_raft::Snapshot;

use crate::key::hash;
use crate::op::{KEY_BYTES_MAX, VALUE_BYTES_MAX};

/// So many bytes of records share a mark; a longer record has one of its own.
const STEP_BYTES: usize = 4096;

/// Where some of the records begin.
///
/// Invariants: the first record has a mark, unless there is no record; hashes and offsets ascend.
#[derive(Debug, Default)]
pub(crate) struct Index {
    marks: Vec<Mark>,
    /// The end of the records.
    end: usize,
}

/// A record: the hash of its key, and how far it is behind the first one.
#[derive(Clone, Copy, Debug)]
struct Mark {
    hash: u64,
    at: usize,
}

impl Index {
    /// The next record has this hash and so many bytes.
    pub(crate) fn push(&mut self, hash: u64, len: usize) {
        let at = self.end;
        if self.marks.last().is_none_or(|last| at - last.at >= STEP_BYTES) {
            self.marks.push(Mark { hash, at });
        }
        self.end += len;
    }

    /// A stretch of records that has all those of `hash`, and some before and behind.
    pub(crate) fn around(&self, hash: u64) -> Range<usize> {
        let first = self.marks.partition_point(|mark| mark.hash < hash).saturating_sub(1);
        let behind = first + self.marks[first..].partition_point(|mark| mark.hash <= hash);
        let at = |n: usize| self.marks.get(n).map_or(self.end, |mark| mark.at);
        at(first)..at(behind)
    }
}

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
    /// The offset of the first record.
    begin: usize,
    index: Arc<Index>,
}

impl Base {
    /// The records of `content` from `begin` on, which were written together with `index`.
    ///
    /// # Panics
    ///
    /// If they are not of the length that it says.
    pub(crate) fn written(content: Snapshot, begin: usize, index: Arc<Index>) -> Self {
        assert_eq!(begin + index.end, content.len(), "these are not the bytes that were written");
        Self { content, begin, index }
    }

    /// The `count` records that `content` holds from `begin` to its end, and the sum of the lengths
    /// of their keys and values. Nothing is believed: an error says what is wrong.
    pub(crate) fn checked(
        content: Snapshot,
        begin: usize,
        count: u64,
    ) -> Result<(Self, u64), String> {
        let (mut rest, mut index, mut bytes) = (&content[begin..], Index::default(), 0);
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
            index.push(place.0, before - rest.len());
            bytes += (key.len() + value.len()) as u64;
        }
        match rest.len() {
            0 => Ok((Self { content, begin, index: Arc::new(index) }, bytes)),
            left => Err(format!("{left} bytes left over")),
        }
    }

    /// The value of `key`, whose hash this is.
    pub(crate) fn get(&self, hash: u64, key: &[u8]) -> Option<&[u8]> {
        let Range { start, end } = self.index.around(hash);
        let records = self.records();
        let mut rest = &records[start..end];
        while !rest.is_empty() {
            let (here, value) = split(&mut rest);
            if here == key {
                return Some(value);
            }
        }
        None
    }

    /// Every record whose hash is at least this, in order.
    pub(crate) fn from(&self, hash: u64) -> Records<'_> {
        let rest = &self.records()[self.index.around(hash).start..];
        Records { rest, from: hash }
    }

    /// How many bytes the content has.
    pub(crate) fn content_bytes(&self) -> usize {
        self.content.len()
    }

    fn records(&self) -> &[u8] {
        &self.content[self.begin..]
    }
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

/// Takes one record off bytes that were checked, or written here.
fn split<'a>(rest: &mut &'a [u8]) -> (&'a [u8], &'a [u8]) {
    let mut next = |what| take(rest, what, usize::MAX).expect("the records were checked");
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
