//! Several groups of three peers in one process, that know nothing of each other: what they make
//! together, and so what one of them is limited by.

use std::fmt::Write as _;
use std::path::Path;
use std::thread;

use super::ours::Ours;
use super::table::{median, ratios};
use super::turns::{Contender, Load, Plan};
use crate::document::{grouped, machine};
use crate::table::say;

/// How many groups there are. They stand beside one.
const COUNTS: [usize; 2] = [2, 4];
/// How many callers each of them has.
const CALLERS: [u64; 3] = [1, 4, 16];

/// Commands a second of one group, and of several at once.
pub fn groups(plan: Plan, parent: &Path) -> String {
    let mut text = String::new();
    say(&mut text, &machine());
    let columns = COUNTS.map(|count| format!(" {count} groups | times one |")).concat();
    say(&mut text, &format!("\n| logs | callers of each | one group |{columns}"));
    say(&mut text, &format!("|---|---|---|{}", "---|".repeat(2 * COUNTS.len())));
    for (medium, on_disk) in [("in memory", false), ("on disk", true)] {
        for callers in CALLERS {
            let dir = tempfile::tempdir_in(parent).expect("a directory for the bench");
            let start = |count: usize| -> Vec<Contender> {
                let groups = (0..count).map(|nth| {
                    let dir = dir.path().join(format!("{count}-{nth}"));
                    Contender::new(Ours::start(on_disk.then_some(&*dir)))
                });
                groups.collect()
            };
            let mut sides: Vec<_> = [1].into_iter().chain(COUNTS).map(start).collect();
            let rates = take_turns(plan, callers, &mut sides);
            let mut line = format!("| {medium} | {callers} | {} |", grouped(median(&rates[0])));
            for several in &rates[1..] {
                let times = median(&ratios(several, &rates[0]));
                write!(line, " {} | {times:.2} |", grouped(median(several)))
                    .expect("a string takes everything");
            }
            say(&mut text, &line);
        }
    }
    text
}

/// Commands a second of all groups of each side, for each round.
fn take_turns(plan: Plan, callers: u64, sides: &mut [Vec<Contender>]) -> Vec<Vec<f64>> {
    let mut rates = vec![Vec::new(); sides.len()];
    // The first round warms up.
    for round in 0..=plan.rounds {
        for (side, rates) in sides.iter_mut().zip(&mut rates) {
            let rate: f64 = thread::scope(|scope| {
                let turn = |group: &mut Contender| group.turn(Load::Callers(callers), plan.turn);
                let all: Vec<_> =
                    side.iter_mut().map(|group| scope.spawn(move || turn(group))).collect();
                all.into_iter().map(|one| one.join().expect("all are answered")).sum()
            });
            if round > 0 {
                rates.push(rate);
            }
        }
    }
    sides.iter().flatten().for_each(Contender::check);
    rates
}
