//! The museum: every mistake there is, each made by a process of its own, and the first seed that
//! finds it and holds without it.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use anyhow::{Context, ensure};
use oarlock_simulation::{Mistake, run_seed};

use crate::exhibits::stands_for;

/// The lines in a document between which the table stands.
const TABLE_BEGINS: &str = "<!-- museum -->";
const TABLE_ENDS: &str = "<!-- end of museum -->";

/// A mistake, and how a process is told to make it.
struct Exhibit {
    name: String,
    environment: Option<(&'static str, String)>,
    arguments: Vec<String>,
}

/// The first seed that fails with a mistake and holds without, and what it says.
type Finding = Option<(u64, String)>;

/// Those of the rules are only in builds with the feature `mistakes`.
#[cfg(feature = "mistakes")]
fn of_the_rules() -> Vec<Exhibit> {
    let exhibit = |mistake: &oarlock_raft::Mistake| Exhibit {
        name: format!("{mistake:?}"),
        environment: Some((oarlock_raft::MISTAKE_VARIABLE, format!("{mistake:?}"))),
        arguments: Vec::new(),
    };
    oarlock_raft::Mistake::ALL.iter().map(exhibit).collect()
}

#[cfg(not(feature = "mistakes"))]
fn of_the_rules() -> Vec<Exhibit> {
    println!("built without the feature `mistakes`: those of the rules are left out");
    Vec::new()
}

fn of_disk_and_service() -> impl Iterator<Item = Exhibit> {
    Mistake::ALL.iter().map(|mistake| Exhibit {
        name: format!("{mistake:?}"),
        environment: None,
        arguments: vec!["--mistake".to_owned(), format!("{mistake:?}")],
    })
}

/// Tries each mistake on `seeds` seeds, in `jobs` processes at once, and prints a table, and puts it
/// `into` a document, if one is named. Fails if a mistake is not found.
pub(crate) fn run(seeds: u64, jobs: usize, into: Option<&Path>) -> anyhow::Result<ExitCode> {
    let began = Instant::now();
    let exhibits: Vec<Exhibit> = of_the_rules().into_iter().chain(of_disk_and_service()).collect();
    let findings = visit_all(&exhibits, seeds, jobs);
    let table = table(&exhibits, &findings, seeds)?;
    print!("{table}");
    if let Some(path) = into {
        put_into(path, &table)?;
    }
    let mut found: Vec<u64> = findings.iter().flatten().map(|(seed, _)| *seed).collect();
    found.sort_unstable();
    let median = found.get(found.len() / 2).copied().unwrap_or_default();
    let greatest = found.last().copied().unwrap_or_default();
    println!(
        "{} mistakes, {} found, the median by seed {median}, the last by seed {greatest}, in {:.0?}",
        exhibits.len(),
        found.len(),
        began.elapsed()
    );
    let all = found.len() == exhibits.len();
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn visit_all(exhibits: &[Exhibit], seeds: u64, jobs: usize) -> Vec<Finding> {
    let next = AtomicUsize::new(0);
    let mut findings: Vec<(usize, Finding)> = thread::scope(|scope| {
        let work = || {
            let mut mine = Vec::new();
            while let Some((at, exhibit)) = {
                let at = next.fetch_add(1, Ordering::Relaxed);
                exhibits.get(at).map(|exhibit| (at, exhibit))
            } {
                mine.push((at, visit(exhibit, seeds)));
            }
            mine
        };
        let workers: Vec<_> = (0..jobs.max(1)).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("it only waits")).collect()
    });
    findings.sort_by_key(|(at, _)| *at);
    findings.into_iter().map(|(_, finding)| finding).collect()
}

fn table(exhibits: &[Exhibit], findings: &[Finding], seeds: u64) -> anyhow::Result<String> {
    let mut table =
        "| mistake | stands for | seed | what it says |\n|---|---|---|---|\n".to_owned();
    for (Exhibit { name, .. }, finding) in exhibits.iter().zip(findings) {
        let of = stands_for(name).with_context(|| format!("what does {name} stand for?"))?;
        match finding {
            Some((seed, what)) => writeln!(table, "| {name} | {of} | {seed} | {what} |")?,
            None => writeln!(table, "| {name} | {of} | none of {seeds} | |")?,
        }
    }
    Ok(table)
}

/// Replaces the table in a document.
fn put_into(path: &Path, table: &str) -> anyhow::Result<()> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let begin = text.find(TABLE_BEGINS).map(|at| at + TABLE_BEGINS.len());
    let end = text.find(TABLE_ENDS);
    let (Some(begin), Some(end)) = (begin, end) else {
        anyhow::bail!("{}: no {TABLE_BEGINS} and {TABLE_ENDS}", path.display());
    };
    ensure!(begin <= end, "{}: {TABLE_ENDS} comes before {TABLE_BEGINS}", path.display());
    let text = format!("{}\n{table}{}", &text[..begin], &text[end..]);
    fs::write(path, text).with_context(|| path.display().to_string())
}

/// A seed that fails anyhow has found nothing.
fn visit(exhibit: &Exhibit, seeds: u64) -> Finding {
    let mut from = 1;
    while from <= seeds {
        let (seed, what) = first_failure(exhibit, from, seeds + 1 - from)?;
        if run_seed(seed, None, false).is_ok() {
            return Some((seed, what));
        }
        from = seed + 1;
    }
    None
}

/// The first of `count` seeds that fails with the mistake.
fn first_failure(exhibit: &Exhibit, from: u64, count: u64) -> Finding {
    let program = std::env::current_exe().expect("the path of this program");
    let mut command = Command::new(program);
    command.args(["run", "--threads", "1", "--failures", "1"]);
    command.args(["--from", &from.to_string(), "--seeds", &count.to_string()]);
    command.args(&exhibit.arguments);
    if let Some((variable, value)) = &exhibit.environment {
        command.env(variable, value);
    }
    let output = command.output().expect("this program can be started again");
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().find_map(|line| {
        let (seed, what) = line.strip_prefix("seed ")?.split_once(": ")?;
        Some((seed.parse().ok()?, shortened(what)))
    })
}

/// The message without the place, cut to a line of a table.
fn shortened(what: &str) -> String {
    const SHOWN_MAX: usize = 120;
    let said = what.strip_prefix("panicked at ").and_then(|rest| rest.split_once(": "));
    let said = said.map_or(what, |(_, said)| said).trim();
    let mut text: String = said.chars().take(SHOWN_MAX).collect();
    if text.len() < said.len() {
        text.push('…');
    }
    text.replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mistake_stands_for_something() {
        for exhibit in of_the_rules().into_iter().chain(of_disk_and_service()) {
            assert!(stands_for(&exhibit.name).is_some(), "{}", exhibit.name);
        }
    }

    #[test]
    fn the_table_takes_the_place_of_the_one_before() {
        let directory = std::env::temp_dir().join(format!("museum-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join("page.md");
        fs::write(&path, format!("a\n{TABLE_BEGINS}\nold\n{TABLE_ENDS}\nb\n")).unwrap();
        put_into(&path, "new\n").unwrap();
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, "nothing").unwrap();
        let refused = put_into(&path, "new\n");
        fs::remove_dir_all(&directory).unwrap();
        assert_eq!(text, format!("a\n{TABLE_BEGINS}\nnew\n{TABLE_ENDS}\nb\n"));
        assert!(refused.is_err());
    }
}
