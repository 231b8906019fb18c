//! The bytes of an entry, shared: in memory of their own, or a part of something larger that is kept
//! once, as the segment of a log is.

use std::fmt;
use std::ops::Deref;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::SnapshotBytes;

/// An entry's bytes. Cloning shares them.
///
/// What a client submits alone has memory of its own. Entries that came in one message share that, or a
/// copy of it, and small ones that were submitted together share some. What was found when a directory was opened lies in the map of its segment, so that a long log
/// need not be in memory as a whole; whoever must not wait for the disk does not look at the bytes of
/// such an entry (their number is known without).
#[derive(Clone)]
pub struct Payload(Repr);

#[derive(Clone)]
enum Repr {
    Own(Arc<[u8]>),
    Part { whole: Arc<dyn SnapshotBytes>, at: u32, len: u32 },
}

// The bytes never change, so no panic leaves them half done.
impl UnwindSafe for Payload {}
impl RefUnwindSafe for Payload {}

impl Payload {
    /// `len` bytes of `whole` from `at` on. Panics later, at their use, if it has fewer.
    pub(crate) fn part(whole: Arc<dyn SnapshotBytes>, at: u32, len: u32) -> Self {
        Self(Repr::Part { whole, at, len })
    }

    /// Copies of `parts`, which lie in `whole`, within one copy of that: for many small ones, to find
    /// memory for each would take longer than to copy them. It is there as long as any of them is.
    pub fn within_one_copy<'a>(
        whole: &'a [u8],
        parts: impl IntoIterator<Item = &'a [u8]>,
    ) -> impl Iterator<Item = Self> {
        let copy = Arc::new(whole.to_vec());
        parts.into_iter().map(move |part| Self::part_like(part, whole, &copy))
    }

    /// The part of `whole` that `part` is. `whole` is there as long as any of its parts is. What lies
    /// elsewhere is copied.
    pub fn within(whole: &Arc<Vec<u8>>, part: &[u8]) -> Self {
        Self::part_like(part, whole, whole)
    }

    /// The part of `kept` that lies there as `part` does in `whole`, which holds the same.
    fn part_like(part: &[u8], whole: &[u8], kept: &Arc<Vec<u8>>) -> Self {
        let at = position_in(whole, part).and_then(|at| u32::try_from(at).ok());
        match (at, u32::try_from(part.len())) {
            (Some(at), Ok(len)) => Self::part(Arc::clone(kept) as Arc<dyn SnapshotBytes>, at, len),
            _ => part.into(),
        }
    }

    /// How many bytes there are. Never waits for a disk.
    pub fn len(&self) -> usize {
        match &self.0 {
            Repr::Own(bytes) => bytes.len(),
            Repr::Part { len, .. } => *len as usize,
        }
    }

    /// Where in these bytes `part` lies, if that is a part of them and not a copy.
    pub fn position_of(&self, part: &[u8]) -> Option<usize> {
        position_in(self, part)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Where in `whole` `part` lies, if that is a part of it and not a copy.
fn position_in(whole: &[u8], part: &[u8]) -> Option<usize> {
    let at = part.as_ptr().addr().checked_sub(whole.as_ptr().addr())?;
    let end = at.checked_add(part.len())?;
    (end <= whole.len()).then_some(at)
}

impl Deref for Payload {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Repr::Own(bytes) => bytes,
            Repr::Part { whole, at, len } => &whole.bytes()[*at as usize..][..*len as usize],
        }
    }
}

impl From<Arc<[u8]>> for Payload {
    fn from(bytes: Arc<[u8]>) -> Self {
        Self(Repr::Own(bytes))
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Repr::Own(bytes.into()))
    }
}

impl From<&[u8]> for Payload {
    fn from(bytes: &[u8]) -> Self {
        Self(Repr::Own(bytes.into()))
    }
}

impl<const N: usize> From<[u8; N]> for Payload {
    fn from(bytes: [u8; N]) -> Self {
        Self(Repr::Own(bytes.into()))
    }
}

impl From<Payload> for Arc<[u8]> {
    /// Shares the bytes if they have memory of their own, else copies them.
    fn from(payload: Payload) -> Self {
        match payload.0 {
            Repr::Own(bytes) => bytes,
            Repr::Part { .. } => Arc::from(&*payload),
        }
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Payload {}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self)
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Payload;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Payload, E> {
                Ok(bytes.into())
            }
            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Payload, E> {
                Ok(bytes.into())
            }
        }
        deserializer.deserialize_bytes(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_what_it_is_a_part_of() {
        let whole: Arc<dyn SnapshotBytes> = Arc::new(b"one two three".to_vec());
        let two = Payload::part(whole, 4, 3);
        assert_eq!(two, Payload::from(b"two".as_slice()));
        assert_eq!((two.len(), two.is_empty()), (3, false));
        let shared = two.clone();
        drop(two);
        assert_eq!(&*Arc::<[u8]>::from(shared), b"two");
    }

    #[test]
    fn copies_of_parts_are_within_one_copy() {
        let whole = b"one two three".to_vec();
        let parts = [&whole[4..7], b"four", &whole[13..], &whole[..3]];
        let copies: Vec<_> = Payload::within_one_copy(&whole, parts).collect();
        assert_eq!(copies, parts.map(Payload::from));
        let distance = |first: &Payload, second: &Payload| {
            second.as_ptr().addr().wrapping_sub(first.as_ptr().addr())
        };
        assert_eq!(distance(&copies[3], &copies[0]), 4, "where they lie in the whole");
        drop(whole);
        assert_eq!(&*copies[0], b"two");
    }

    #[test]
    fn parts_stay_where_they_are() {
        let whole = Arc::new(b"one two three".to_vec());
        let two = Payload::within(&whole, &whole[4..7]);
        assert!(std::ptr::eq(&raw const two[0], &raw const whole[4]));
        let four = Payload::within(&whole, b"four");
        drop(whole);
        assert_eq!([&*two, &*four], [&b"two"[..], b"four"]);
    }

    #[test]
    fn own_bytes_are_handed_on_without_a_copy() {
        let bytes: Arc<[u8]> = Arc::from(&b"x"[..]);
        let back: Arc<[u8]> = Payload::from(Arc::clone(&bytes)).into();
        assert!(Arc::ptr_eq(&bytes, &back));
    }

    #[test]
    fn a_part_is_found_where_it_is_and_a_copy_is_not() {
        let bytes = Payload::from(b"one two three".as_slice());
        assert_eq!(bytes.position_of(&bytes[4..7]), Some(4));
        assert_eq!(bytes.position_of(&bytes), Some(0));
        assert_eq!(bytes.position_of(&bytes[13..]), Some(13));
        assert_eq!(bytes.position_of(b"two"), None);
        // What begins in it and ends behind it, as nothing safe can but a part of something larger.
        let whole: Arc<dyn SnapshotBytes> = Arc::new(b"one two three".to_vec());
        let two = Payload::part(Arc::clone(&whole), 4, 3);
        assert_eq!(two.position_of(&whole.bytes()[5..7]), Some(1));
        assert_eq!(two.position_of(&whole.bytes()[5..8]), None);
        assert_eq!(two.position_of(&whole.bytes()[3..5]), None);
    }

    #[test]
    fn an_entry_is_small() {
        assert_eq!(size_of::<Payload>(), 24);
        assert_eq!(size_of::<crate::Entry>(), 48);
    }
}
