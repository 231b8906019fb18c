//! Which puts a get's value may have begun with.

use std::ops::Range;

use crate::problem::Span;

/// For each get the number of puts that may be the last before it, and for each put those gets.
///
/// A put may be the last one before a get if its value is the beginning of what the get found, it
/// was called before the get returned, and no other put certainly came between the two: called
/// after the one returned, and returned before the other was called.
pub(crate) struct Sources {
    /// By slot of the get.
    pub(crate) counts: Vec<usize>,
    /// By call; slots of gets.
    pub(crate) of_put: Vec<Vec<usize>>,
}

/// A put, and the slots of the gets that found something that begins with its value.
type Put = (usize, Range<usize>);

impl Sources {
    /// `gets` are calls, by slot.
    pub(crate) fn new(spans: &[Span], gets: &[usize], puts: &[Put]) -> Self {
        let mut sources =
            Self { counts: vec![0; gets.len()], of_put: vec![Vec::new(); spans.len()] };
        let is_pending = |put: &&Put| spans[put.0].return_at == Span::NEVER;
        let (pending, mut returned): (Vec<&Put>, Vec<&Put>) = puts.iter().partition(is_pending);

        returned.sort_by_key(|put| spans[put.0].return_at);
        let returns: Vec<usize> = returned.iter().map(|put| spans[put.0].return_at).collect();
        let last_call_so_far = maxima(returned.iter().map(|put| spans[put.0].call_at));

        returned.sort_by_key(|put| spans[put.0].call_at);
        let calls: Vec<usize> = returned.iter().map(|put| spans[put.0].call_at).collect();
        let last_return_so_far = maxima(returned.iter().map(|put| spans[put.0].return_at));

        for (slot, &get) in gets.iter().enumerate() {
            let Span { call_at, return_at } = spans[get];
            let before = returns.partition_point(|&at| at < call_at);
            // A put that had returned by the time when this one was made is overwritten.
            let overwritten = before.checked_sub(1).map_or(0, |last| last_call_so_far[last]);
            let begun = calls.partition_point(|&at| at < return_at);
            let recent = (0..begun).rev().take_while(|&i| last_return_so_far[i] > overwritten);
            let pending = pending.iter().filter(|put| spans[put.0].call_at < return_at);
            for (put, slots) in recent.map(|i| returned[i]).chain(pending.copied()) {
                if slots.contains(&slot) && spans[*put].return_at > overwritten {
                    sources.counts[slot] += 1;
                    sources.of_put[*put].push(slot);
                }
            }
        }
        sources
    }
}

/// The greatest value so far, at each.
fn maxima(values: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut max = 0;
    values
        .map(|value| {
            max = value.max(max);
            max
        })
        .collect()
}
