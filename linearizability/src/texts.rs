//! The values that gets found on one key, and the states that they can tell apart.
//!
//! A state that no found value begins with can be left by a put alone: appends only make it longer,
//! and no get finds it or anything longer. All such states are one to every call that may follow,
//! and become one here: [`State::LOST`]. What remains are the beginnings of found values.
//!
//! Found values are kept as *roots*, of which none is the beginning of another, in alphabetical
//! order: those that begin with a given state stand side by side.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::ops::Range;

/// A state of the key: its number among those met so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State(u32);

impl State {
    /// No found value begins with it, nor with anything appended to it.
    pub(crate) const LOST: Self = Self(u32::MAX);
}

/// The beginning, of length `len`, that the roots in `first..end` share and no other has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    first: usize,
    end: usize,
    len: usize,
}

pub(crate) struct Texts<'a> {
    roots: Vec<&'a [u8]>,
    /// The bytes that a root shares with the one before it.
    shared: Vec<usize>,
    /// The root of each text.
    root_of: Vec<usize>,
    places: Vec<Place>,
    /// By first root and length, which make out a place.
    numbers: HashMap<(usize, usize), State>,
}

impl<'a> Texts<'a> {
    pub(crate) fn new(texts: &[&'a [u8]]) -> Self {
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by_key(|&text| Reverse(texts[text]));
        // From the last to the first: a text stands right before those that begin with it.
        let (mut roots, mut root_of) = (Vec::<&[u8]>::new(), vec![0; texts.len()]);
        for text in order {
            if roots.last().is_none_or(|root| !root.starts_with(texts[text])) {
                roots.push(texts[text]);
            }
            root_of[text] = roots.len() - 1;
        }
        roots.reverse();
        let last = roots.len().saturating_sub(1);
        let root_of = root_of.into_iter().map(|root| last - root).collect();
        let shared_by = |a: &[u8], b: &[u8]| a.iter().zip(b).take_while(|(a, b)| a == b).count();
        let shared = (0..roots.len())
            .map(|i| i.checked_sub(1).map_or(0, |before| shared_by(roots[before], roots[i])))
            .collect();
        Self { roots, shared, root_of, places: Vec::new(), numbers: HashMap::new() }
    }

    pub(crate) fn roots(&self) -> &[&'a [u8]] {
        &self.roots
    }

    pub(crate) fn root_of(&self, text: usize) -> usize {
        self.root_of[text]
    }

    /// The state before anything happened.
    pub(crate) fn empty(&mut self) -> State {
        match self.roots.len() {
            0 => State::LOST,
            end => self.number(Place { first: 0, end, len: 0 }),
        }
    }

    /// The state that is the beginning, of length `len`, of a root.
    pub(crate) fn beginning(&mut self, root: usize, len: usize) -> State {
        let (mut first, mut end) = (root, root + 1);
        while first > 0 && self.shared[first] >= len {
            first -= 1;
        }
        while end < self.roots.len() && self.shared[end] >= len {
            end += 1;
        }
        self.number(Place { first, end, len })
    }

    /// The state after `piece` was appended.
    pub(crate) fn append(&mut self, state: State, piece: &[u8]) -> State {
        if state == State::LOST {
            return State::LOST;
        }
        let Place { first, end, len } = self.places[state.0 as usize];
        let roots = &self.roots[first..end];
        let skipped = roots.partition_point(|root| &root[len..] < piece);
        let kept = roots[skipped..].partition_point(|root| root[len..].starts_with(piece));
        if kept == 0 {
            return State::LOST;
        }
        let first = first + skipped;
        self.number(Place { first, end: first + kept, len: len + piece.len() })
    }

    /// What sorts states alphabetically, so that those that begin with another stand behind it,
    /// side by side. Not for [`State::LOST`].
    pub(crate) fn rank(&self, state: State) -> (usize, usize) {
        let Place { first, len, .. } = self.places[state.0 as usize];
        (first, len)
    }

    /// Where, in a row sorted by [`rank`](Self::rank), those are that begin with `state`.
    pub(crate) fn longer(&self, state: State, row: &[(usize, usize)]) -> Range<usize> {
        if state == State::LOST {
            return 0..0;
        }
        let Place { first, end, len } = self.places[state.0 as usize];
        row.partition_point(|&rank| rank < (first, len))..row.partition_point(|rank| rank.0 < end)
    }

    fn number(&mut self, place: Place) -> State {
        let next = State(u32::try_from(self.places.len()).expect("memory ends before"));
        let state = *self.numbers.entry((place.first, place.len)).or_insert(next);
        if state == next {
            self.places.push(place);
        }
        state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_states_have_equal_numbers_and_hopeless_ones_are_one() {
        let found: [&[u8]; 5] = [b"ab", b"abx", b"a", b"aby", b"c"];
        let mut texts = Texts::new(&found);
        assert_eq!(texts.roots(), [b"abx".as_slice(), b"aby", b"c"]);
        let empty = texts.empty();
        let a = texts.append(empty, b"a");
        let ab = texts.append(a, b"b");
        assert_eq!(ab, texts.append(empty, b"ab"));
        for (text, len) in [(0, 2), (1, 2), (3, 2)] {
            let root = texts.root_of(text);
            assert_eq!(texts.beginning(root, len), ab);
        }
        assert_ne!(texts.append(ab, b"x"), texts.append(ab, b"y"));
        assert_eq!(texts.append(ab, b"z"), State::LOST);
        assert_eq!(texts.append(ab, b"xx"), State::LOST);
    }

    #[test]
    fn what_begins_with_a_state_stands_side_by_side() {
        let found: [&[u8]; 6] = [b"", b"a", b"ab", b"abx", b"aby", b"c"];
        let mut texts = Texts::new(&found);
        let mut row: Vec<_> = (0..found.len())
            .map(|text| {
                let state = texts.beginning(texts.root_of(text), found[text].len());
                texts.rank(state)
            })
            .collect();
        row.sort_unstable();
        let empty = texts.empty();
        assert_eq!(texts.longer(empty, &row), 0..6);
        for (start, longer) in [(b"a".as_slice(), 1..5), (b"ab", 2..5), (b"aby", 4..5)] {
            let state = texts.append(empty, start);
            assert_eq!(texts.longer(state, &row), longer);
        }
    }
}
