//! Keys and values in memory: by themselves, or as parts of the entry of the log that they came with.
//!
//! The log has its entries in memory until a snapshot covers them, and the store its newest writes
//! until about the same moment. So what stays in its entry is there once, and takes no memory beyond
//! the log's however long the entry is.

use std::cmp::Ordering;
use std::ops::Deref;
use std::sync::Arc;

use oarlock_storage::Payload;

/// The bytes of a key or a value. A store has as many as it has writes in memory, so this is small.
#[derive(Clone, Debug)]
pub(crate) struct Value(Repr);

#[derive(Clone, Debug)]
enum Repr {
    #[expect(clippy::box_collection, reason = "these are few, and all would be larger without it")]
    Own(Box<Vec<u8>>),
    Part {
        entry: Arc<Payload>,
        at: u32,
        len: u32,
    },
}

impl Value {
    /// The value `bytes`. If they lie in `entry` they stay there.
    pub(crate) fn of(bytes: &[u8], entry: Option<&Arc<Payload>>) -> Self {
        let part = entry.and_then(|entry| {
            let at = entry.position_of(bytes)?.try_into().ok()?;
            let len = bytes.len().try_into().ok()?;
            Some(Self(Repr::Part { entry: Arc::clone(entry), at, len }))
        });
        part.unwrap_or_else(|| bytes.to_vec().into())
    }

    /// The value `bytes`, which may be in the same entry as this one.
    pub(crate) fn beside(&self, bytes: &[u8]) -> Self {
        match &self.0 {
            Repr::Own(_) => Self::of(bytes, None),
            Repr::Part { entry, .. } => Self::of(bytes, Some(entry)),
        }
    }

    /// Puts `more` behind it.
    pub(crate) fn append(&mut self, more: &[u8]) {
        match &mut self.0 {
            Repr::Own(bytes) => bytes.extend_from_slice(more),
            Repr::Part { .. } => *self = [&**self, more].concat().into(),
        }
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Repr::Own(Box::new(bytes)))
    }
}

impl Deref for Value {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Repr::Own(bytes) => bytes,
            Repr::Part { entry, at, len } => &entry[*at as usize..][..*len as usize],
        }
    }
}

impl Ord for Value {
    fn cmp(&self, other: &Self) -> Ordering {
        (**self).cmp(&**other)
    }
}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Value {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_stays_in_its_entry_until_it_grows() {
        let entry = Arc::new(Payload::from(b"put key value".as_slice()));
        let mut value = Value::of(&entry[8..], Some(&entry));
        assert_eq!(entry.position_of(&value), Some(8), "it is no copy");
        let key = value.beside(&entry[4..7]);
        assert_eq!(entry.position_of(&key), Some(4), "nor is its key");
        value.append(b"!");
        assert_eq!(&*value, b"value!");
        value.append(b"!");
        assert_eq!(&*value, b"value!!");
        assert_eq!(&**entry, b"put key value");
        assert_eq!(&*value.beside(&entry[4..7]), b"key");
    }

    #[test]
    fn what_is_in_no_entry_is_copied() {
        let entry = Arc::new(Payload::from(b"value".as_slice()));
        for entry in [None, Some(&entry)] {
            let bytes = b"value".to_vec();
            let value = Value::of(&bytes, entry);
            drop(bytes);
            assert_eq!(&*value, b"value");
        }
    }

    #[test]
    fn a_value_takes_little_beside_its_bytes() {
        assert_eq!(size_of::<Option<Value>>(), 24);
    }
}
