//! Errors of the system, injected into one of three nodes at every n-th call of each kind that
//! touches its log: the shipped program under `strace`.
//!
//! Goal: after the first failed write or sync the node writes and acknowledges nothing more and ends
//! with a message, or the failure was none (a call that is made again, a spare segment that is not
//! needed yet); it never hangs; the cluster goes on; and the directory opens afterwards. Method: two
//! nodes run throughout, the third is started again and again on its own directory, each time with
//! another injection. A plain run takes a slice; `OARLOCK_INJECT_CALLS=20` takes every kind of call
//! with every error at each of the first 20 calls. Without `strace` the test says so and proves
//! nothing: the engine's own tests inject every error at every operation of the simulated disk.
//!
//! `strace` counts the calls of each thread by itself, and it fakes a result instead of making the
//! call: so a write cut short is one that wrote nothing (result 0).

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use redis::Commands as _;

use crate::processes::{Nodes, Start, run_ok, wait_for};

/// The node that meets the errors.
const VICTIM: usize = 3;
/// Short ones: the victim, which `strace` slows down, makes some of what it gets durable with one
/// call, and of what gathered meanwhile, with two.
const VALUE_BYTES: usize = 1000;
/// How many writes each injection goes along with: several segments full.
const WRITES: u64 = 200;
/// A node that has failed ends well within this time.
const ENDS_WITHIN: Duration = Duration::from_secs(5);

/// A kind of call and what it is made to return.
#[derive(Clone, Copy)]
struct Injection {
    call: &'static str,
    outcome: &'static str,
    /// The first call of a thread that it concerns.
    when: u64,
}

/// The calls that the log is written by, and what each may return. A short batch is written and made
/// durable with `pwritev2` alone, on file systems that are known to do that; if the first is refused,
/// the system does not know it after all, and gets the others.
const KINDS: [(&str, &[&str]); 7] = [
    (
        "pwritev2",
        &[
            "error=EIO",
            "error=ENOSPC",
            "error=EINTR",
            "error=EOPNOTSUPP",
            "error=EINVAL",
            "retval=0",
        ],
    ),
    ("fdatasync", &["error=EIO", "error=ENOSPC", "error=EINTR"]),
    ("pwrite64", &["error=EIO", "error=ENOSPC", "error=EINTR", "retval=0"]),
    ("fsync", &["error=EIO", "error=ENOSPC", "error=EINTR"]),
    ("rename", &["error=EIO", "error=ENOSPC"]),
    ("openat", &["error=EIO", "error=ENOSPC", "error=EINTR"]),
    ("ftruncate", &["error=EIO", "error=EINTR"]),
];

/// What a plain run takes.
const SLICE: [(&str, &str, u64); 21] = [
    ("pwritev2", "error=EIO", 3),
    ("pwritev2", "error=ENOSPC", 11),
    ("pwritev2", "error=EINTR", 4),
    ("pwritev2", "error=EOPNOTSUPP", 1),
    ("pwritev2", "error=EINVAL", 1),
    ("pwritev2", "error=EOPNOTSUPP", 5),
    ("pwritev2", "retval=0", 7),
    ("fdatasync", "error=EIO", 2),
    ("fdatasync", "error=EIO", 9),
    ("fdatasync", "error=EIO", 20),
    ("fdatasync", "error=ENOSPC", 15),
    ("fdatasync", "error=EINTR", 5),
    ("pwrite64", "error=EIO", 9),
    ("pwrite64", "error=ENOSPC", 4),
    ("pwrite64", "retval=0", 6),
    ("pwrite64", "error=EIO", 16),
    ("pwrite64", "error=ENOSPC", 21),
    ("pwrite64", "retval=0", 15),
    ("fsync", "error=EIO", 4),
    ("rename", "error=EIO", 2),
    ("openat", "error=ENOSPC", 9),
];

fn injections() -> Vec<Injection> {
    let Ok(calls) = std::env::var("OARLOCK_INJECT_CALLS") else {
        let slice = SLICE.iter();
        return slice.map(|&(call, outcome, when)| Injection { call, outcome, when }).collect();
    };
    let calls: u64 = calls.parse().expect("a number");
    let kinds = KINDS.iter().flat_map(|(call, outcomes)| outcomes.iter().map(move |o| (*call, *o)));
    kinds
        .flat_map(|(call, outcome)| (1..=calls).map(move |when| Injection { call, outcome, when }))
        .collect()
}

/// The files of a log, as `strace` has to be told of them: by name.
fn files(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        ["LOCK", "IDENTITY", "IDENTITY.tmp", "VOTE", "VOTE.tmp"].map(str::to_owned).to_vec();
    let last = std::fs::read_dir(dir).into_iter().flatten().filter_map(|item| {
        let name = item.expect("an entry").file_name().into_string().expect("a name of ours");
        name.strip_prefix("wal-")?.strip_suffix(".log")?.parse::<u64>().ok()
    });
    let last = last.max().unwrap_or(0);
    for number in last.saturating_sub(20)..last + 40 {
        names.extend([format!("wal-{number:020}.log"), format!("wal-{number:020}.log.tmp")]);
        names.push(format!("used-{number}.tmp"));
    }
    names.extend((1..=60).map(|number| format!("spare-{number}.tmp")));
    let paths = names.iter().map(|name| dir.join(name)).chain([dir.to_owned()]);
    paths.map(|path| path.display().to_string()).collect()
}

/// The command line that injects.
fn strace(injection: Injection, trace: &Path, dir: &Path) -> Vec<String> {
    let Injection { call, outcome, when } = injection;
    let traced = format!("trace=fdatasync,pwrite64,pwritev2,{call}");
    let inject = format!("inject={call}:{outcome}:when={when}");
    let trace = trace.display().to_string();
    let mut line: Vec<String> = ["strace", "-f", "-qq", "-y", "-ttt", "-o", &trace]
        .into_iter()
        .chain(["-e", &traced, "-e", &inject, "-e", "signal=none"])
        .map(str::to_owned)
        .collect();
    line.extend(files(dir).into_iter().flat_map(|file| ["-P".to_owned(), file]));
    line
}

/// Writes `count` values at a node that nothing is injected into.
fn write(nodes: &Nodes, from: u64, count: u64) {
    let mut connection = nodes.redis(1);
    let value = vec![b'v'; VALUE_BYTES];
    for number in from..from + count {
        wait_for("a write", || {
            connection.set::<_, _, ()>(format!("key-{}", number % 50), &value).ok()
        });
    }
}

/// How far the others believe the victim's log to be durable.
fn acknowledged(nodes: &Nodes) -> u64 {
    let status = wait_for("a status", || nodes.status(1));
    let members = status["members"].as_array().expect("members").clone();
    let known = members.iter().filter_map(|member| member["status"]["members"].as_array());
    let of_victim = known.flatten().filter(|member| member["id"] == VICTIM as u64);
    of_victim.filter_map(|member| member["match_index"].as_u64()).max().unwrap_or(0)
}

/// After the first injected failure of a write or a sync of the log itself (no spare: that is not
/// part of it yet), nothing of the log is written or synced.
fn assert_nothing_follows(trace: &[String], what: &str) {
    let is_of_log = |line: &&String| line.contains("/wal-") || line.contains("/VOTE");
    let mut lines = trace.iter().filter(is_of_log);
    let failed = lines.find(|line| {
        let is_fatal = line.contains("EIO") || line.contains("ENOSPC");
        let is_new = line.contains(".log.tmp") && line.contains("ENOSPC");
        line.contains("(INJECTED)") && is_fatal && !is_new
    });
    let Some(failed) = failed else { return };
    let later: Vec<_> = lines.filter(|line| !line.contains("openat(")).collect();
    assert!(later.is_empty(), "{what}: after {failed}\n{later:#?}");
}

/// The calls of a trace in the order in which they began: those that others came between are in two
/// parts, and the second does not say what it is about.
fn calls(trace: &str) -> Vec<String> {
    let mut calls: Vec<String> = Vec::new();
    let mut begun: HashMap<&str, usize> = HashMap::new();
    for line in trace.lines() {
        let thread = line.split_whitespace().next().expect("the number of a thread");
        if let Some(begin) = line.strip_suffix("<unfinished ...>") {
            begun.insert(thread, calls.len());
            calls.push(begin.to_owned());
        } else if let Some((_, end)) = line.split_once(" resumed>") {
            if let Some(at) = begun.remove(thread) {
                calls[at] += end;
            }
        } else {
            calls.push(line.to_owned());
        }
    }
    calls
}

/// A write that is to be durable by itself says so, since nothing is synced behind it; what becomes of
/// the node when one fails; and that a system that does not know them gets syncs. Returns whether
/// the injection hit one.
fn check_durable_writes(trace: &[String], injection: Injection, fate: Fate, what: &str) -> bool {
    let alone = || trace.iter().filter(|call| call.contains("pwritev2("));
    assert!(alone().all(|call| call.contains("RWF_DSYNC")), "{what}: a write that is not durable");
    let Some(hit) =
        trace.iter().position(|call| call.contains("pwritev2(") && call.contains("(INJECTED)"))
    else {
        return false;
    };
    let is_unknown = ["error=EOPNOTSUPP", "error=EINVAL"].contains(&injection.outcome);
    if is_unknown && injection.when == 1 {
        assert_eq!(fate, Fate::WentOn, "{what}");
        let is_sync = |call: &String| call.contains("fdatasync(") && call.contains("/wal-");
        assert!(trace[hit..].iter().any(is_sync), "{what}: nothing is synced after it");
    } else if injection.outcome == "error=EINTR" {
        assert_eq!(fate, Fate::WentOn, "{what}");
    } else {
        assert_ne!(fate, Fate::WentOn, "{what}");
    }
    true
}

/// The last entry of a directory that verifies.
fn last_index(dir: &Path) -> u64 {
    let text = run_ok(&["log", "dump", &dir.display().to_string(), "--json"]);
    let records = text.lines().map(|line| serde_json::from_str(line).expect("JSON"));
    let indexes = records.flat_map(|record: serde_json::Value| {
        [&record["id"], &record["after"], &record["last_included"]].map(|id| id["index"].as_u64())
    });
    indexes.flatten().max().expect("a segment says what is before it")
}

/// What became of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    DidNotStart,
    Ended,
    WentOn,
}

/// One injection into the victim, from its start to its end. Also whether it hit a write that is durable
/// by itself.
fn inject(nodes: &mut Nodes, injection: Injection, written: &mut u64) -> (Fate, bool) {
    let Injection { call, outcome, when } = injection;
    let what = format!("{call}:{outcome}:when={when}");
    let trace = nodes.path().join("trace");
    let dir = nodes.dir_of(VICTIM);
    let log = nodes.log_of(VICTIM);
    std::fs::write(&log, "").expect("its log is ours");
    nodes.start_node_through(VICTIM, &strace(injection, &trace, &dir));
    // It takes part from the first write on, unless it never gets there.
    let said = || std::fs::read_to_string(&log).expect("its log is there");
    wait_for("the victim, or its end", || {
        (said().contains("serves clients") || nodes.ended(VICTIM).is_some()).then_some(())
    });
    write(nodes, *written, WRITES);
    *written += WRITES;
    let until = Instant::now() + Duration::from_millis(300);
    while Instant::now() < until && nodes.ended(VICTIM).is_none() {
        std::thread::sleep(Duration::from_millis(10));
    }
    let acknowledged = acknowledged(nodes);
    let failed_for_good =
        std::fs::read_to_string(&log).expect("its log").contains("this peer stops");
    let deadline = Instant::now() + ENDS_WITHIN;
    while failed_for_good && nodes.ended(VICTIM).is_none() {
        assert!(Instant::now() < deadline, "{what}: it has failed, and does not end");
        std::thread::sleep(Duration::from_millis(10));
    }
    let fate = if let Some(status) = nodes.ended(VICTIM) {
        assert!(!status.success(), "{what}: it ended, and says that all is well");
        let said = std::fs::read_to_string(&log).expect("its log");
        assert!(
            said.lines().any(|line| line.starts_with("oarlock: ")),
            "{what}: no reason: {said}"
        );
        if said.contains("serves clients") { Fate::Ended } else { Fate::DidNotStart }
    } else {
        // Then it must be well: it answers.
        let mut connection = nodes.redis(VICTIM);
        let answer: Option<Vec<u8>> = wait_for("an answer of it", || connection.get("key-0").ok());
        assert!(answer.is_some(), "{what}: it has lost a key");
        Fate::WentOn
    };
    nodes.stop(VICTIM);
    let trace = calls(&std::fs::read_to_string(&trace).expect("strace wrote it"));
    assert_nothing_follows(&trace, &what);
    let hits_durable = check_durable_writes(&trace, injection, fate, &what);
    run_ok(&["log", "verify", &dir.display().to_string()]);
    let last = last_index(&dir);
    assert!(last >= acknowledged, "{what}: it holds {last}, and acknowledged {acknowledged}");
    (fate, hits_durable)
}

#[test]
fn errors_at_the_nth_call_end_the_node_or_are_survived() {
    let found = Command::new("strace").arg("-V").output();
    if !found.is_ok_and(|output| output.status.success()) {
        eprintln!("NOT TESTED: there is no strace here to inject errors with");
        return;
    }
    let args = vec!["--segment-bytes".to_owned(), (64 << 10).to_string()];
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut nodes = Nodes::start_in(dir, Start { args, ..Start::default() });
    let mut written = 0;
    write(&nodes, written, WRITES);
    nodes.stop(VICTIM);
    let injections = injections();
    let mut fates = Vec::new();
    let mut durable_hits = 0;
    for injection in &injections {
        let began = Instant::now();
        let (fate, hits_durable) = inject(&mut nodes, *injection, &mut written);
        fates.push(fate);
        durable_hits += usize::from(hits_durable);
        let Injection { call, outcome, when } = injection;
        eprintln!("{call} {outcome} at call {when}: {fate:?}, {:.1?}", began.elapsed());
    }
    // Injections that never hit anything would prove nothing.
    for fate in [Fate::DidNotStart, Fate::Ended, Fate::WentOn] {
        let count = fates.iter().filter(|other| **other == fate).count();
        eprintln!("{fate:?}: {count} of {}", fates.len());
        assert!(count > 0, "none of the injections had this end: {fate:?}");
    }
    if durable_hits == 0 {
        eprintln!("NOT TESTED: no write is durable by itself on this file system");
    }
    nodes.start_node(VICTIM);
    let mut connection = nodes.redis(VICTIM);
    let answer: Option<Vec<u8>> = wait_for("the victim is back", || connection.get("key-0").ok());
    assert!(answer.is_some());
}
