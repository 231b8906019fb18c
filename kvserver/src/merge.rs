//! Several layers read as one: in order, each key once, the newest value of each.

use std::collections::btree_map::Range;

use crate::base::{Base, Record, Records};
use crate::key::Key;
use crate::layers::Layer;
use crate::value::Value;

/// Everything in some layers, in the order of [`Key`].
#[derive(Clone, Debug)]
pub(crate) struct Merged<'a> {
    /// Newest first.
    sources: Vec<Source<'a>>,
}

#[derive(Clone, Debug)]
struct Source<'a> {
    next: Option<Found<'a>>,
    rest: Rest<'a>,
}

/// A key, and its value unless it was deleted.
#[derive(Clone, Copy, Debug)]
struct Found<'a> {
    place: (u64, &'a [u8]),
    value: Option<&'a [u8]>,
}

#[derive(Clone, Debug)]
enum Rest<'a> {
    Layer(Range<'a, Key, Option<Value>>),
    Base(Records<'a>),
}

impl<'a> Merged<'a> {
    /// What is in `layers`, newest first, and below them in `base`, from `hash` on.
    pub(crate) fn new(
        layers: impl Iterator<Item = &'a Layer>,
        base: Option<&'a Base>,
        hash: u64,
    ) -> Self {
        let layers = layers
            .filter(|layer| !layer.is_empty())
            .map(|layer| Rest::Layer(layer.range(Key::first_of_hash(hash)..)));
        let base = base.map(|base| Rest::Base(base.from(hash)));
        let sources = layers.chain(base).map(|rest| {
            let mut source = Source { next: None, rest };
            source.advance();
            source
        });
        Self { sources: sources.collect() }
    }
}

impl Source<'_> {
    fn advance(&mut self) {
        self.next = match &mut self.rest {
            Rest::Layer(entries) => entries.next().map(|(key, value)| Found {
                place: (key.hash(), key.bytes()),
                value: value.as_deref(),
            }),
            Rest::Base(records) => records.next().map(|Record { hash, key, value }| Found {
                place: (hash, key),
                value: Some(value),
            }),
        };
    }
}

impl<'a> Iterator for Merged<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        loop {
            let heads = self.sources.iter().filter_map(|source| source.next);
            // Of equal ones the first: the newest.
            let first = heads.min_by(|a, b| a.place.cmp(&b.place))?;
            for source in &mut self.sources {
                if source.next.is_some_and(|next| next.place == first.place) {
                    source.advance();
                }
            }
            let (hash, key) = first.place;
            if let Some(value) = first.value {
                return Some(Record { hash, key, value });
            }
        }
    }
}
