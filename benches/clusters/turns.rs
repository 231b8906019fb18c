//! Puts into a large state, for a second at a time: those while a node writes a snapshot apart from those
//! while none does, and beside a cluster that never writes one.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::bare::Took;
use crate::document::grouped;
use crate::load::Figures;
use crate::median;
use crate::nodes::Nodes;

/// How often the nodes' directories are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The nodes are at rest when so many looks have found none writing, and are so within so many.
const LOOKS_AT_REST: u32 = 100;
const LOOKS_MAX: u32 = 30_000;

/// No more turns are taken for the sake of either kind.
const TURNS_MAX: usize = 50;

/// What the turns came to.
#[derive(Default)]
pub(crate) struct Turns {
    all: Vec<Figures>,
    none: Vec<Figures>,
    writing: Vec<Figures>,
    written_bytes: u64,
    took: Duration,
}

impl Turns {
    /// Takes so many turns, and waits for the nodes to write down what was put in them.
    pub(crate) fn take(&mut self, nodes: &Nodes, turns: usize, turn: impl Fn() -> Figures) {
        let (began, written) = (Instant::now(), nodes.written_bytes());
        for _ in 0..turns {
            let (figures, share) = while_looked_at(nodes, &turn);
            if share == 0.0 {
                self.none.push(figures.clone());
            } else if share > 0.9 {
                self.writing.push(figures.clone());
            }
            // One in which a snapshot began or ended is of neither kind.
            self.all.push(figures);
        }
        self.took += began.elapsed();
        self.written_bytes += nodes.written_bytes() - written;
        rest(nodes);
    }

    /// How much the nodes had written to the disk in a second.
    #[expect(clippy::cast_precision_loss, reason = "a rate is none the worse for it")]
    pub(crate) fn written_bytes_per_second(&self) -> f64 {
        self.written_bytes as f64 / self.took.as_secs_f64()
    }

    /// How many there are of the kind that there are fewer of; as many as anyone wants, once more
    /// turns are not to be taken for their sake.
    pub(crate) fn of_either_kind(&self) -> usize {
        let fewer = self.none.len().min(self.writing.len());
        if self.all.len() < TURNS_MAX { fewer } else { usize::MAX }
    }
}

/// The table: turns of a cluster that takes snapshots, of one that never does, and of nobody but a bare
/// writer, alone and beside another.
pub(crate) fn table(
    usual: &Turns,
    never: &Turns,
    bare: &[Vec<Took>; 2],
    keys: u32,
    value: u32,
) -> String {
    let rate = usual.written_bytes_per_second() / 1e6;
    let mut table = format!(
        "### Puts into a large state\n\nTwo clusters of {keys} keys of {value} B, before one of them is \
         killed, by turns of ten seconds; the other never takes a snapshot. 64 clients put keys at random, \
         for a second at a time. A pause is the longest time in a second in which no client is answered. \
         In seconds between, when no node writes a snapshot, one bare writer writes 4 KiB and syncs, again and \
         again; its pause is its longest write. In others, another writer beside it writes as much as the nodes \
         that take snapshots had written, logs and all, {rate:.0} MB a second, 2 MiB at a time. Medians of the \
         seconds, and the longest pause of all.\n\n\
         | snapshots | seconds | per second | p99 ms | pause ms | the longest pause |\n\
         |---|---|---|---|---|---|\n"
    );
    let kinds = [
        ("never", &never.all),
        ("as usual", &usual.all),
        ("of these: none is written", &usual.none),
        ("a node writes one", &usual.writing),
    ];
    for (name, turns) in kinds {
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
    for (name, bare) in ["the disk alone", "the disk, as much written"].into_iter().zip(bare) {
        let longest = bare.iter().map(Took::longest_ms).fold(0.0, f64::max);
        let of = |figure: fn(&Took) -> f64| median(bare.iter().map(figure).collect());
        _ = writeln!(
            table,
            "| {name} | {} | {} | {:.1} | {:.0} | {longest:.0} |",
            bare.len(),
            grouped(of(Took::per_second)),
            of(|took| took.permille_ms(990)),
            of(Took::longest_ms),
        );
    }
    table
}

/// Waits until no node has written a snapshot for a second.
pub(crate) fn rest(nodes: &Nodes) {
    let mut at_rest = 0;
    for _ in 0..LOOKS_MAX {
        at_rest = if nodes.are_writing_snapshots() { 0 } else { at_rest + 1 };
        if at_rest == LOOKS_AT_REST {
            return;
        }
        std::thread::sleep(LOOK_EVERY);
    }
    panic!("the nodes go on writing snapshots though nobody writes");
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
