//! How found values can be read as a put, or nothing, with appends behind it, and what follows from
//! that for the writes, whatever their order.
//!
//! A reading of a found value cuts it into the text of a put at its front (or none: the value that
//! the key starts with is empty) and texts of appends. What really happened is one of the readings,
//! so what holds in all of them holds. With values that are unlike each other, as tests write them,
//! there is only one.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::problem::Class;
use crate::texts::Texts;

/// A part of a root that a write may have written.
#[derive(Clone, Copy)]
struct Part {
    from: usize,
    to: usize,
    class: usize,
}

/// Marks the classes that occur in readings as visible, and finds the state in which the only write
/// of its class must have happened. False if a value cannot be read at all: nobody wrote it.
///
/// `found` are the root and the length of each found value.
pub(crate) fn read(
    texts: &mut Texts<'_>,
    found: &[Option<(usize, usize)>],
    classes: &mut [Class<'_>],
) -> bool {
    let mut ends = vec![HashSet::new(); texts.roots().len()];
    for &(root, len) in found.iter().flatten() {
        ends[root].insert(len);
    }
    let (puts, appends) = (Pieces::new(classes, true), Pieces::new(classes, false));
    for (root, ends) in ends.iter().enumerate() {
        let Some(parts) = parts(texts.roots()[root], ends, &puts, &appends) else { return false };
        let mut covered = 0;
        for (i, part) in parts.iter().enumerate() {
            let class = &mut classes[part.class];
            class.visible = true;
            // If no other part covers any of this one's bytes, every reading of a value that
            // reaches this far has this part in it. The only write of its class must have written
            // it: it happened once, in this state.
            let alone =
                covered <= part.from && parts.get(i + 1).is_none_or(|next| next.from >= part.to);
            covered = part.to.max(covered);
            if alone && class.count == 1 && !class.is_put {
                class.only_in = Some(texts.beginning(root, part.from));
            }
        }
    }
    true
}

/// All parts of the readings of the beginnings of `root` with a length in `ends`, sorted; `None` if
/// one of these has no reading.
fn parts(
    root: &[u8],
    ends: &HashSet<usize>,
    puts: &Pieces<'_>,
    appends: &Pieces<'_>,
) -> Option<Vec<Part>> {
    let mut parts: Vec<Part> = puts.at(root, 0).collect();
    let mut cuts: BTreeSet<usize> = parts.iter().map(|part| part.to).collect();
    cuts.insert(0);
    let mut next = Some(0);
    while let Some(cut) = next {
        for part in appends.at(root, cut).filter(|part| part.to > cut) {
            cuts.insert(part.to);
            parts.push(part);
        }
        next = cuts.range(cut + 1..).next().copied();
    }
    if !ends.iter().all(|end| cuts.contains(end)) {
        return None;
    }
    // From the back: a part belongs to a reading if something that does begins where it ends.
    let mut leads_to_end = ends.clone();
    parts.sort_by_key(|part| (part.from, part.to));
    let mut kept = Vec::new();
    let is_put = |part: &Part| puts.has(part.class);
    for part in parts.into_iter().rev() {
        if leads_to_end.contains(&part.to) {
            if !is_put(&part) {
                leads_to_end.insert(part.from);
            }
            kept.push(part);
        }
    }
    kept.reverse();
    Some(kept)
}

/// Texts of writes, to be found in others.
struct Pieces<'a> {
    classes: HashMap<&'a [u8], usize>,
    numbers: HashSet<usize>,
    lengths: BTreeSet<usize>,
}

impl<'a> Pieces<'a> {
    fn new(classes: &[Class<'a>], puts: bool) -> Self {
        let of_kind = classes.iter().enumerate().filter(|(_, class)| class.is_put == puts);
        let classes: HashMap<&[u8], usize> = of_kind.map(|(i, class)| (class.text, i)).collect();
        let numbers = classes.values().copied().collect();
        let lengths = classes.keys().map(|text| text.len()).collect();
        Self { classes, numbers, lengths }
    }

    fn has(&self, class: usize) -> bool {
        self.numbers.contains(&class)
    }

    /// Those that stand in `text` at `from`.
    fn at(&self, text: &[u8], from: usize) -> impl Iterator<Item = Part> {
        self.lengths
            .iter()
            .map_while(move |len| {
                let to = from + len;
                Some((to, self.classes.get(text.get(from..to)?)))
            })
            .filter_map(move |(to, class)| Some(Part { from, to, class: *class? }))
    }
}
