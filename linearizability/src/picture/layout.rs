//! Where the boxes of a chart go.
//!
//! The axis has a step for each moment at which something was called or returned, however far apart
//! they are: what matters is which operations overlap.

use std::collections::BTreeMap;

use crate::history::History;

/// How wide half of the boxes shall be at least, in pixels,
const BOX_WIDTH: usize = 130;
/// if that does not make a step wider or narrower than this.
const STEP_MIN: usize = 10;
const STEP_MAX: usize = 130;

/// A box.
pub(crate) struct Place {
    pub(crate) left: usize,
    pub(crate) right: usize,
    pub(crate) row: usize,
}

pub(crate) struct Layout {
    /// Of the operations drawn, in their order.
    pub(crate) places: Vec<Place>,
    /// The first row of each client, and how many it has: more than one if its operations overlap.
    pub(crate) lanes: Vec<(usize, usize, usize)>,
    pub(crate) rows: usize,
    /// The moments: from the left in pixels, and in nanoseconds.
    pub(crate) moments: Vec<(usize, u128)>,
    pub(crate) width: usize,
}

impl Layout {
    /// Of these operations, which are sorted by their calls.
    pub(crate) fn new(history: &History, drawn: &[usize]) -> Self {
        let spans: Vec<(u128, Option<u128>)> = drawn
            .iter()
            .map(|&index| {
                let entry = history.entry(index);
                (entry.called.as_nanos(), entry.returned.map(|returned| returned.as_nanos()))
            })
            .collect();
        let mut times: Vec<u128> = spans.iter().map(|span| span.0).collect();
        times.extend(spans.iter().filter_map(|span| span.1));
        times.sort_unstable();
        times.dedup();
        let rank = |time: u128| times.partition_point(|&other| other < time);
        // What never returned reaches beyond the last moment.
        let ranks: Vec<(usize, usize)> = spans
            .iter()
            .map(|&(called, returned)| (rank(called), returned.map_or(times.len(), rank)))
            .collect();
        let mut widths: Vec<usize> = ranks.iter().map(|(from, to)| to - from).collect();
        widths.sort_unstable();
        let median = widths.get(widths.len() / 2).copied().unwrap_or(1).max(1);
        let step = (BOX_WIDTH / median).clamp(STEP_MIN, STEP_MAX);

        let mut by_client: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (i, &index) in drawn.iter().enumerate() {
            by_client.entry(history.entry(index).client).or_default().push(i);
        }
        let (mut rows, mut lanes) = (0, Vec::new());
        let mut row_of = vec![0; drawn.len()];
        for (client, operations) in by_client {
            // The first row that is free again.
            let mut busy_until: Vec<usize> = Vec::new();
            for i in operations {
                let (from, to) = ranks[i];
                let free = busy_until.iter().position(|&until| until <= from);
                let row = free.unwrap_or(busy_until.len());
                busy_until.resize(busy_until.len().max(row + 1), 0);
                busy_until[row] = to.max(from + 1);
                row_of[i] = rows + row;
            }
            lanes.push((client, rows, busy_until.len()));
            rows += busy_until.len();
        }
        let left = |rank: usize| rank * step + step / 2;
        let place = |((from, to), row)| Place { left: left(from), right: left(to), row };
        Self {
            places: ranks.into_iter().zip(row_of).map(place).collect(),
            lanes,
            rows,
            width: left(times.len()) + step,
            moments: times.into_iter().enumerate().map(|(i, time)| (left(i), time)).collect(),
        }
    }
}
