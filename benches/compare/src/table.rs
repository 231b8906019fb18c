//! The tables, in Markdown, printed line by line as they come.

use std::path::Path;

use crate::contest::{self, Open, Plan, Score, Work};
use crate::document::{grouped, machine};
use crate::floor::Floor;
use crate::okay::Okay;
use crate::ours::Ours;
use crate::raft_engine_log::RaftEngine;

const FLOOR: (&str, Open) = ("raw floor", |dir, bytes| Box::new(Floor::reused(dir, bytes)));
const GROWING: (&str, Open) = ("raw, growing", |dir, bytes| Box::new(Floor::growing(dir, bytes)));
const OURS: (&str, Open) = ("Oarlock", |dir, bytes| Box::new(Ours::open(dir, bytes)));
const RAFT_ENGINE: (&str, Open) =
    ("raft-engine 0.4.2", |dir, bytes| Box::new(RaftEngine::open(dir, bytes)));
const OKAYWAL: (&str, Open) = ("okaywal 0.3.1", |dir, bytes| Box::new(Okay::open(dir, bytes)));

/// Runs everything; returns what it printed.
pub fn all(plan: &Plan, parent: &Path) -> String {
    let mut text = String::new();
    say(&mut text, &machine());
    say(&mut text, "\nOne writer, logs compacted every 64 MiB:\n");
    table(&mut text, plan, parent, (1, true), &[FLOOR, OURS, RAFT_ENGINE, OKAYWAL]);
    say(&mut text, "\nFour writers, each with a directory of its own, compacted likewise:\n");
    table(&mut text, plan, parent, (4, true), &[FLOOR, OURS]);
    say(&mut text, "\nOne writer, never compacted:\n");
    table(&mut text, plan, parent, (1, false), &[FLOOR, GROWING, OURS, RAFT_ENGINE]);
    text
}

fn table(
    text: &mut String,
    plan: &Plan,
    parent: &Path,
    (writers, compacts): (usize, bool),
    sides: &[(&str, Open)],
) {
    let names: Vec<&str> = sides.iter().map(|(name, _)| *name).collect();
    say(text, &format!("| entries a batch | value | {} |", names.join(" | ")));
    say(text, &format!("|---|---|{}", "---|".repeat(names.len())));
    let ours = names.iter().position(|name| *name == OURS.0).expect("Oarlock is in every table");
    let opens: Vec<Open> = sides.iter().map(|(_, open)| *open).collect();
    for value_bytes in [256, 4096] {
        for entries in [1, 16, 256] {
            let work = Work { writers, entries, value_bytes, compacts };
            let mut line = format!("| {entries} | {value_bytes} B |");
            for (nth, score) in
                contest::run(plan, parent, work, &opens, ours).into_iter().enumerate()
            {
                let Score { rate, ratio, p50, behind, rounds } = score;
                let mut brackets = Vec::new();
                if nth > 0 {
                    brackets.push(format!("{ratio:.2}"));
                }
                if entries == 1 && writers == 1 {
                    let micros = p50 * 1e6;
                    brackets.push(format!("{micros:.1} µs"));
                }
                if nth > ours {
                    brackets.push(format!("{behind}/{rounds}"));
                }
                let brackets = if brackets.is_empty() {
                    String::new()
                } else {
                    format!(" ({})", brackets.join("; "))
                };
                line.extend([" ", &grouped(rate), &brackets, " |"]);
            }
            say(text, &line);
        }
    }
}

/// Prints a line, and keeps it.
pub fn say(text: &mut String, line: &str) {
    println!("{line}");
    text.push_str(line);
    text.push('\n');
}
