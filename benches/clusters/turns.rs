//! Puts into a large state, in short turns: those while a node writes a snapshot apart from those while
//! none does.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::document::grouped;
use crate::load::Figures;
use crate::median;
use crate::nodes::Nodes;

/// How often the nodes' directories are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The nodes are at rest when so many looks have found none writing; no more looks are spent on that.
const LOOKS_AT_REST: u32 = 100;
const LOOKS_MAX: u32 = 6000;

/// No more turns are taken for the sake of either kind.
const TURNS_MAX: usize = 120;

/// What the turns came to. One in which a snapshot began or ended is of neither kind.
#[derive(Default)]
pub(crate) struct Turns {
    none: Vec<Figures>,
    writing: Vec<Figures>,
}

impl Turns {
    /// Takes at least `turns`, and goes on until there are `wanted` of each kind. Waits first until
    /// the nodes have written down what was put before.
    pub(crate) fn take(
        nodes: &Nodes,
        (turns, wanted): (usize, usize),
        turn: impl Fn() -> Figures,
    ) -> Self {
        rest(nodes);
        let mut taken = Self::default();
        for nth in 0..TURNS_MAX {
            if nth >= turns && taken.none.len().min(taken.writing.len()) >= wanted {
                break;
            }
            let (figures, share) = while_looked_at(nodes, &turn);
            if share == 0.0 {
                taken.none.push(figures);
            } else if share > 0.9 {
                taken.writing.push(figures);
            }
        }
        taken
    }

    /// The table.
    pub(crate) fn table(&self, keys: u32, value: u32) -> String {
        let mut table = format!(
            "### Puts into a large state\n\nThe cluster of {keys} keys of {value} B, before it is killed: \
             turns of a second of 64 clients that put keys at random. A pause is the longest time in a \
             turn in which no client is answered. Medians of the turns, and the longest pause of all.\n\n\
             | snapshots | turns | per second | p99 ms | pause ms | the longest pause |\n\
             |---|---|---|---|---|---|\n"
        );
        for (name, turns) in [("none is written", &self.none), ("a node writes one", &self.writing)]
        {
            if turns.is_empty() {
                _ = writeln!(table, "| {name} | 0 | | | | |");
                continue;
            }
            let of = |figure: fn(&Figures) -> f64| turns.iter().map(figure).collect::<Vec<_>>();
            let pauses = of(Figures::pause);
            let longest = pauses.iter().copied().fold(0.0, f64::max);
            _ = writeln!(
                table,
                "| {name} | {} | {} | {:.1} | {:.0} | {longest:.0} |",
                turns.len(),
                grouped(median(of(|figures| figures.per_second("set")))),
                median(of(|figures| figures.latency("set", "p99_ms"))),
                median(pauses),
            );
        }
        table
    }
}

/// Waits until no node has written a snapshot for a second, or a minute is over.
fn rest(nodes: &Nodes) {
    let mut at_rest = 0;
    for _ in 0..LOOKS_MAX {
        at_rest = if nodes.are_writing_snapshots() { 0 } else { at_rest + 1 };
        if at_rest == LOOKS_AT_REST {
            return;
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// A turn, and in which share of it a node wrote a snapshot.
fn while_looked_at(nodes: &Nodes, turn: impl Fn() -> Figures) -> (Figures, f64) {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let looks = scope.spawn(|| {
            let (mut looks, mut found) = (0.0, 0.0);
            while !is_over.load(Ordering::Relaxed) {
                looks += 1.0;
                found += f64::from(u8::from(nodes.are_writing_snapshots()));
                std::thread::sleep(LOOK_EVERY);
            }
            found / f64::max(looks, 1.0)
        });
        let figures = turn();
        is_over.store(true, Ordering::Relaxed);
        (figures, looks.join().expect("it only looks"))
    })
}
