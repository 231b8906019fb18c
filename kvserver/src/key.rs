//! Keys, in the order the store keeps them: by a hash first, then by their bytes.
//!
//! The order by hash is what lets a scan's cursor be one plain number that means the same at every
//! peer and after a restart, however many keys come and go in between; the Redis protocol has room
//! for no more. Ordering by the bytes as well makes keys of equal hash a matter of the scan alone:
//! finding one is never slower.

use std::borrow::Borrow;
use std::cmp::Ordering;

use crate::value::Value;

/// A key with its place in the order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    hash: u64,
    bytes: Value,
}

impl Key {
    /// The first place in the order that a key of this hash can have.
    pub(crate) fn first_of_hash(hash: u64) -> Self {
        Self { hash, bytes: Vec::new().into() }
    }

    /// The place in the order, but for keys of equal hash.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// The key itself.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// A key to look up, without a copy of its bytes.
#[derive(Clone, Copy)]
pub(crate) struct KeyRef<'a> {
    hash: u64,
    bytes: &'a [u8],
}

impl<'a> KeyRef<'a> {
    /// The key of these bytes.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { hash: hash(bytes), bytes }
    }

    /// The key itself, of the same bytes wherever they are kept.
    pub(crate) fn kept(self, bytes: Value) -> Key {
        Key { hash: self.hash, bytes }
    }
}

/// What [`Key`] and [`KeyRef`] have in common: a map of the one can be asked for the other.
pub(crate) trait Place {
    /// The hash.
    fn hash(&self) -> u64;

    /// The bytes. Keys of different hashes are not to be asked for them: they may be far away.
    fn bytes(&self) -> &[u8];
}

impl Place for Key {
    fn hash(&self) -> u64 {
        self.hash
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl Place for KeyRef<'_> {
    fn hash(&self) -> u64 {
        self.hash
    }

    fn bytes(&self) -> &[u8] {
        self.bytes
    }
}

impl<'a> Borrow<dyn Place + 'a> for Key {
    fn borrow(&self) -> &(dyn Place + 'a) {
        self
    }
}

impl PartialEq for dyn Place + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for dyn Place + '_ {}

impl PartialOrd for dyn Place + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for dyn Place + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        self.hash().cmp(&other.hash()).then_with(|| self.bytes().cmp(other.bytes()))
    }
}

/// FNV-1a over the bytes, then a mix that spreads its weak high bits. Part of the snapshot format
/// and of every scan cursor: it must never change.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for &byte in bytes {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash ^= hash >> 32;
    hash = hash.wrapping_mul(0xd6e8_feb8_6659_fd93);
    hash ^ (hash >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_map_of_keys_can_be_asked_with_borrowed_bytes() {
        let words: Vec<Vec<u8>> = (0..500u32).map(|n| format!("key:{n}").into_bytes()).collect();
        let map: BTreeMap<Key, usize> = words
            .iter()
            .enumerate()
            .map(|(n, word)| (KeyRef::new(word).kept(word.clone().into()), n))
            .collect();
        for (n, word) in words.iter().enumerate() {
            assert_eq!(map.get(&KeyRef::new(word) as &dyn Place), Some(&n));
        }
        assert_eq!(map.get(&KeyRef::new(b"key:500") as &dyn Place), None);
    }

    #[test]
    fn the_hash_is_part_of_a_format() {
        assert_eq!(hash(b""), 0xfdbd_f6ac_4fc5_2e7f);
        assert_eq!(hash(b"key:1"), 0x415f_c593_5fea_3572);
    }
}
