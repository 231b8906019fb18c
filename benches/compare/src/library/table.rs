//! The tables of the library, in Markdown, printed line by line as they come.

use std::fmt::Write as _;
use std::path::Path;

use super::Waking;
use super::failover::isolate;
use super::floor::Floor;
use super::openraft::OpenRaft;
use super::ours::Ours;
use super::raft_rs::RaftRs;
use super::turns::{self, Contender, Load, Plan};
use crate::document::{grouped, machine};
use crate::table::say;

const LOADS: [(&str, Load); 5] = [
    ("1", Load::Callers(1)),
    ("16", Load::Callers(16)),
    ("64", Load::Callers(64)),
    ("256", Load::Callers(256)),
    ("1,000 in flight", Load::InFlight),
];

type Start = fn(&Path) -> Contender;

/// Logs in memory.
pub fn memory(plan: Plan, parent: &Path) -> String {
    let sides: [(&str, Start); 4] = [
        ("Oarlock", |_| Contender::new(Ours::start(None))),
        ("floor", |_| Contender::new(Floor::start(Waking::OneByOne))),
        ("raft-rs 0.7.0", |_| Contender::new(RaftRs::start(None, Waking::OneByOne))),
        ("openraft 0.10.0", |_| Contender::new(OpenRaft::start(None))),
    ];
    table(plan, parent, &sides)
}

/// Logs in memory; the others' callers wake together as ours do.
pub fn together(plan: Plan, parent: &Path) -> String {
    let sides: [(&str, Start); 3] = [
        ("Oarlock", |_| Contender::new(Ours::start(None))),
        ("floor", |_| Contender::new(Floor::start(Waking::Together))),
        ("raft-rs 0.7.0", |_| Contender::new(RaftRs::start(None, Waking::Together))),
    ];
    table(plan, parent, &sides)
}

/// Logs on disk.
pub fn disk(plan: Plan, parent: &Path) -> String {
    let sides: [(&str, Start); 3] = [
        ("Oarlock", |dir| Contender::new(Ours::start(Some(dir)))),
        ("raft-rs 0.7.0", |dir| Contender::new(RaftRs::start(Some(dir), Waking::OneByOne))),
        ("openraft 0.10.0", |dir| Contender::new(OpenRaft::start(Some(dir)))),
    ];
    table(plan, parent, &sides)
}

/// A leader that is isolated.
pub fn failover(plan: Plan) -> String {
    let mut text = String::new();
    say(&mut text, &machine());
    let (median, longest) = isolate(plan);
    let (median, longest) = (median.as_millis(), longest.as_millis());
    let times = plan.failovers;
    say(&mut text, "\n| isolated, times | median ms | longest ms |\n|---|---|---|");
    say(&mut text, &format!("| {times} | {median} | {longest} |"));
    text
}

/// Commands a second, the medians of the rounds; and of the first side, which is ours, how many times as
/// many as of each other in the same round, likewise.
fn table(plan: Plan, parent: &Path, sides: &[(&str, Start)]) -> String {
    let mut text = String::new();
    say(&mut text, &machine());
    let names: Vec<&str> = sides.iter().map(|(name, _)| *name).collect();
    let times: Vec<String> = names[1..].iter().map(|name| format!("times {name}")).collect();
    let columns = names.len() + times.len();
    say(&mut text, &format!("\n| callers | {} | {} |", names.join(" | "), times.join(" | ")));
    say(&mut text, &format!("|---|{}", "---|".repeat(columns)));
    for (name, load) in LOADS {
        let dir = tempfile::tempdir_in(parent).expect("a directory for the bench");
        let mut contenders: Vec<_> = sides.iter().map(|(_, start)| start(dir.path())).collect();
        let rates = turns::run(plan, load, &mut contenders);
        let mut line = format!("| {name} |");
        for rates in &rates {
            write!(line, " {} |", grouped(median(rates))).expect("a string takes everything");
        }
        for others in &rates[1..] {
            let ratios = ratios(&rates[0], others);
            write!(line, " {:.2} |", median(&ratios)).expect("a string takes everything");
        }
        say(&mut text, &line);
    }
    text
}

/// How many times as much each of these is as what stands beside it.
pub fn ratios(these: &[f64], others: &[f64]) -> Vec<f64> {
    these.iter().zip(others).map(|(this, other)| this / other).collect()
}

/// The middle of `values`.
pub fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
