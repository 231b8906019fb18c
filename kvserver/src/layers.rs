//! Where keys and values are: the newest writes in a map, below it maps that no longer change, below
//! those the records of a snapshot, where they lie.
//!
//! A snapshot is taken without a copy: the top becomes one more map that does not change
//! ([`Layers::freeze`]), and a new, empty one takes its place. Another thread merges what is below the
//! top; once the result is a snapshot it replaces all that it was made of ([`Layers::rebase`]). So the
//! memory taken is that of the writes since about the last snapshot but one, however large the state.
//!
//! None of this shows: which layer a key is in has no effect on any answer, nor on the bytes of a
//! snapshot.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::Base;
use crate::key::{Key, KeyRef, Place, hash};
use crate::merge::Merged;
use crate::value::Value;

/// Newer than what is below it; `None` where a key was deleted.
pub(crate) type Layer = BTreeMap<Key, Option<Value>>;

/// The most maps below the top. There is one, or two while a snapshot is written; more only if
/// snapshots cannot be written.
const FROZEN_MAX: usize = 8;

/// All keys and values.
///
/// Invariants:
/// 1. `len` and `bytes` are the number of keys, and the sum of the lengths of keys and values.
/// 2. The top has a `None` only for a key that is below.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layers {
    top: Layer,
    below: Below,
    len: usize,
    bytes: u64,
}

/// What does not change.
#[derive(Clone, Debug, Default)]
pub(crate) struct Below {
    /// Oldest first.
    frozen: Vec<Arc<Layer>>,
    base: Option<Base>,
}

impl Below {
    fn get(&self, place: KeyRef<'_>) -> Option<&[u8]> {
        for layer in self.frozen.iter().rev() {
            if let Some(entry) = layer.get(&place as &dyn Place) {
                return entry.as_deref();
            }
        }
        self.base.as_ref()?.get(place.hash(), place.bytes())
    }

    /// Everything whose hash is at least this, in order.
    pub(crate) fn from(&self, hash: u64) -> Merged<'_> {
        Merged::new(self.frozen.iter().rev().map(|layer| &**layer), self.base.as_ref(), hash)
    }
}

impl Layers {
    /// Everything is in `base`: so many keys, and so many bytes of keys and values.
    pub(crate) fn of(base: Base, len: usize, bytes: u64) -> Self {
        let below = Below { frozen: Vec::new(), base: Some(base) };
        Self { top: Layer::new(), below, len, bytes }
    }

    /// How many keys there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The sum of the lengths of all keys and values.
    pub(crate) fn len_bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether neither the state nor anything that it is kept in has more bytes than this.
    pub(crate) fn is_within(&self, limit: u64) -> bool {
        let base = self.below.base.as_ref().map_or(0, Base::content_bytes);
        self.bytes <= limit && self.below.frozen.is_empty() && base as u64 <= limit
    }

    /// The value of `key`.
    pub(crate) fn get(&self, key: &[u8]) -> Option<&[u8]> {
        let place = KeyRef::new(key);
        match self.top.get(&place as &dyn Place) {
            Some(entry) => entry.as_deref(),
            None => self.below.get(place),
        }
    }

    /// Makes ready for finding `keys`: see [`Base::look_ahead`].
    pub(crate) fn look_ahead<'a>(&self, keys: impl Iterator<Item = &'a [u8]>) {
        if let Some(base) = &self.below.base {
            base.look_ahead(keys.map(hash).collect());
        }
    }

    /// Sets the value of `key`.
    pub(crate) fn set(&mut self, key: &[u8], value: Value) {
        let place = KeyRef::new(key);
        let new = value.len();
        let old = if let Some(entry) = self.top.get_mut(&place as &dyn Place) {
            entry.replace(value).map(|old| old.len())
        } else {
            let old = self.below.get(place).map(<[u8]>::len);
            self.top.insert(place.kept(value.beside(key)), Some(value));
            old
        };
        self.count(key, old, Some(new));
    }

    /// Puts `more` behind the value of `key`, which exists.
    pub(crate) fn append(&mut self, key: &[u8], more: &[u8]) {
        let place = KeyRef::new(key);
        if let Some(Some(value)) = self.top.get_mut(&place as &dyn Place) {
            value.append(more);
            self.bytes += more.len() as u64;
            return;
        }
        let value = self.below.get(place).expect("it exists, and not in the top");
        let value = [value, more].concat();
        self.set(key, value.into());
    }

    /// Deletes `key`; whether it was there.
    pub(crate) fn remove(&mut self, key: &[u8]) -> bool {
        let place = KeyRef::new(key);
        let old = if let Some(entry) = self.top.get_mut(&place as &dyn Place) {
            let old = entry.take().map(|old| old.len());
            if self.below.get(place).is_none() {
                self.top.remove(&place as &dyn Place);
            }
            old
        } else {
            let old = self.below.get(place).map(<[u8]>::len);
            if old.is_some() {
                self.top.insert(place.kept(key.to_vec().into()), None);
            }
            old
        };
        self.count(key, old, None);
        old.is_some()
    }

    /// Every key and its value, in the order of [`Key`].
    pub(crate) fn iter(&self) -> Merged<'_> {
        self.from(0)
    }

    /// [`iter`](Self::iter), from the first key on whose hash is at least this.
    pub(crate) fn from(&self, hash: u64) -> Merged<'_> {
        let frozen = self.below.frozen.iter().rev().map(|layer| &**layer);
        let layers = std::iter::once(&self.top).chain(frozen);
        Merged::new(layers, self.below.base.as_ref(), hash)
    }

    /// Everything as it is now, whatever changes here later. Copies nothing, unless the states
    /// frozen before could not be written: then the newest writes.
    pub(crate) fn freeze(&mut self) -> Below {
        let top = std::mem::take(&mut self.top);
        if !top.is_empty() {
            if self.below.frozen.len() >= FROZEN_MAX {
                let newest = self.below.frozen.last_mut().expect("there are some");
                Arc::make_mut(newest).extend(top);
            } else {
                self.below.frozen.push(Arc::new(top));
            }
        }
        self.below.clone()
    }

    /// What was frozen last is in `base` now. Returns what that replaces; dropping it may take long.
    pub(crate) fn rebase(&mut self, base: Base) -> Below {
        let below = Below { frozen: Vec::new(), base: Some(base) };
        std::mem::replace(&mut self.below, below)
    }

    /// A value of `key` was replaced: the old and the new length, where there was or is one.
    fn count(&mut self, key: &[u8], old: Option<usize>, new: Option<usize>) {
        let cost = |len: Option<usize>| len.map_or(0, |len| (key.len() + len) as u64);
        self.len = self.len + usize::from(new.is_some()) - usize::from(old.is_some());
        self.bytes = self.bytes + cost(new) - cost(old);
    }
}

#[cfg(test)]
#[path = "layers_tests.rs"]
mod tests;
