//! The museum: every mistake there is, each made by a process of its own, and the first seed that
//! finds it.

use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use oarlock_simulation::Mistake;

/// A mistake, and how a process is told to make it.
struct Exhibit {
    name: String,
    of: &'static str,
    environment: Option<(&'static str, String)>,
    arguments: Vec<String>,
}

/// What became of one.
#[derive(Clone, Debug, Default)]
struct Finding {
    /// The first seed that fails, and what it says.
    found: Option<(u64, String)>,
}

/// Those of the rules are only in builds with the feature `mistakes`.
#[cfg(feature = "mistakes")]
fn of_the_rules() -> Vec<Exhibit> {
    let exhibit = |mistake: &oarlock_raft::Mistake| Exhibit {
        name: format!("{mistake:?}"),
        of: "rules",
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
        of: "disk and service",
        environment: None,
        arguments: vec!["--mistake".to_owned(), format!("{mistake:?}")],
    })
}

/// Tries each mistake on `seeds` seeds, in `jobs` processes at once, and prints a table.
pub(crate) fn run(seeds: u64, jobs: usize) -> ExitCode {
    let exhibits: Vec<Exhibit> = of_the_rules().into_iter().chain(of_disk_and_service()).collect();
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
    println!("| mistake | of | seed | what it says |\n|---|---|---|---|");
    for (at, Finding { found }) in &findings {
        let Exhibit { name, of, .. } = &exhibits[*at];
        match found {
            Some((seed, what)) => println!("| {name} | {of} | {seed} | {what} |"),
            None => println!("| {name} | {of} | none of {seeds} | |"),
        }
    }
    let found = findings.iter().filter(|(_, finding)| finding.found.is_some()).count();
    println!("{found} of {} mistakes found", exhibits.len());
    ExitCode::SUCCESS
}

fn visit(exhibit: &Exhibit, seeds: u64) -> Finding {
    let program = std::env::current_exe().expect("the path of this program");
    let mut command = Command::new(program);
    let count = seeds.to_string();
    command.args(["run", "--seeds", count.as_str(), "--threads", "1", "--failures", "1"]);
    command.args(&exhibit.arguments);
    if let Some((variable, value)) = &exhibit.environment {
        command.env(variable, value);
    }
    let output = command.output().expect("this program can be started again");
    let text = String::from_utf8_lossy(&output.stdout);
    let found = text.lines().find_map(|line| {
        let (seed, what) = line.strip_prefix("seed ")?.split_once(": ")?;
        Some((seed.parse().ok()?, shortened(what)))
    });
    Finding { found }
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
