//! What the program says of a directory whose node is down, damaged or not.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use oarlock::EntryId;
use oarlock::storage::{
    Batch, DiskOptions, DiskPersister, Entry, HardState, Persister, SnapshotMeta,
};

use crate::processes::{free_ports, run, run_err, run_ok};

const CLUSTER: u64 = 7;

fn options() -> DiskOptions {
    let options = DiskOptions { cluster_id: Some(CLUSTER), ..DiskOptions::new(1) };
    DiskOptions { segment_bytes: 16384, prepare_spares: false, ..options }
}

/// The directory of node 1, with 60 entries, the first 20 of them in a snapshot.
fn directory(dir: &Path) {
    let mut persister = DiskPersister::open(dir, options()).unwrap();
    let hard_state = Some(HardState { current_term: 1, voted_for: Some(1) });
    persister.persist(&Batch { hard_state, ..Batch::default() }).unwrap();
    for index in 1..=60 {
        let data = format!("entry {index} ").repeat(60).into_bytes().into();
        let entry = Entry { id: EntryId::new(index, 1), tag: 0, data };
        persister.persist(&Batch { entries: vec![entry], ..Batch::default() }).unwrap();
    }
    let meta = SnapshotMeta { last_included: EntryId::new(20, 1), ..SnapshotMeta::default() };
    let staged = persister.snapshot_stage().write_all(meta, b"what 20 entries did").unwrap();
    persister.save_state_and_snapshot(&Batch::default(), staged).unwrap();
}

pub(crate) fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let names = fs::read_dir(dir).unwrap().map(|item| item.unwrap().path());
    names.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// Flips a bit in the middle of entry `index`; returns its file.
fn damage(dir: &Path, index: u64) -> PathBuf {
    flip_bit_of(dir, format!("entry {index} entry {index} ").as_bytes())
}

/// Flips a bit of `words`, wherever they are first in the files of `dir`; returns the file.
pub(crate) fn flip_bit_of(dir: &Path, words: &[u8]) -> PathBuf {
    for (path, mut bytes) in contents(dir) {
        if let Some(at) = bytes.windows(words.len()).position(|window| window == words) {
            bytes[at] ^= 4;
            fs::write(&path, bytes).unwrap();
            return path;
        }
    }
    panic!("{} is in no file", String::from_utf8_lossy(words));
}

fn log(what: &str, dir: &Path, more: &[&str]) -> Vec<String> {
    let dir = dir.display().to_string();
    ["log", what, &dir].iter().chain(more).map(|arg| (*arg).to_owned()).collect()
}

fn ok(args: &[String]) -> String {
    run_ok(&args.iter().map(String::as_str).collect::<Vec<_>>())
}

fn err(args: &[String]) -> String {
    run_err(&args.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn a_good_directory_is_verified_dumped_and_left_alone() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("node");
    directory(&dir);
    let before = contents(&dir);
    let text = ok(&log("verify", &dir, &[]));
    for part in
        ["term 1, voted for 1", "snapshot 20@1, 19 bytes", "40 entries", "60@1", "no damage"]
    {
        assert!(text.contains(part), "{text}");
    }
    let json = ok(&log("dump", &dir, &["--json"]));
    let records: Vec<serde_json::Value> =
        json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let count = |kind: &str| records.iter().filter(|record| record["record"] == kind).count();
    assert_eq!((count("identity"), count("entry"), count("snapshot")), (1, 60, 1));
    assert!(count("segment") > 3 && count("batch") == 62, "{} batches", count("batch"));
    let text = ok(&log("dump", &dir, &[]));
    assert!(text.contains("60@1 tag 0") && text.contains("entry 60 entry 60"), "{text}");
    let snapshot = dir.join("snapshot-00000000000000000020-00000000000000000001.snap");
    let text = run_ok(&["snapshot", "inspect", snapshot.to_str().unwrap()]);
    assert!(text.contains("20@1") && text.contains("19 bytes"), "{text}");
    assert!(contents(&dir) == before);
}

#[test]
fn damage_is_named_in_the_words_of_the_node_that_refuses_to_start() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("node");
    directory(&dir);
    let file = damage(&dir, 33);
    let other = damage(&dir, 41);
    let before = contents(&dir);
    let output = run(&log("verify", &dir, &[]).iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(output.status.code(), Some(1));
    let (all, why) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(all.contains("entries 33@1 to 33@1") && all.contains("entries 41@1 to 41@1"), "{all}");
    assert!(all.contains(file.to_str().unwrap()) && all.contains(other.to_str().unwrap()), "{all}");
    assert!(why.contains("damaged at offset ") && why.contains("entries 33@1 to 33@1"), "{why}");
    let ports = free_ports(2).iter().map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>();
    let directory = dir.display().to_string();
    let from_node = run_err(&[
        "serve",
        "--id",
        "1",
        "--cluster-id",
        &CLUSTER.to_string(),
        "--dir",
        &directory,
        "--client-addr",
        &ports[0],
        "--peer-addr",
        &ports[1],
    ]);
    let last_line = from_node.lines().last().unwrap_or_default();
    assert_eq!(last_line, why.trim_end(), "the same words");
    assert!(contents(&dir) == before, "neither changed anything");
}

#[test]
fn a_damaged_snapshot_is_inspected_piece_by_piece() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("node");
    directory(&dir);
    let snapshot = dir.join("snapshot-00000000000000000020-00000000000000000001.snap");
    let mut bytes = fs::read(&snapshot).unwrap();
    bytes[4096 + 5] ^= 1;
    fs::remove_file(&snapshot).unwrap();
    fs::write(&snapshot, bytes).unwrap();
    let error = run_err(&["snapshot", "inspect", snapshot.to_str().unwrap()]);
    assert!(error.contains("1 defects"), "{error}");
    // The log reaches back to its beginning, so a node starts all the same.
    let error = err(&log("verify", &dir, &[]));
    assert!(error.contains("a node starts in spite of them"), "{error}");
}

#[test]
fn a_repair_says_what_is_given_up_and_keeps_the_evidence() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("node");
    directory(&dir);
    let error = err(&log("repair", &dir, &["--as-node", "4"]));
    assert!(error.contains("nothing to repair"), "{error}");
    damage(&dir, 33);
    let before: Vec<Vec<u8>> = contents(&dir).into_values().collect();
    let text = ok(&log("repair", &dir, &["--as-node", "4"]));
    for part in ["snapshot 20@1, entries 21@1 to 32@1", "entries 33 to 60", "votes", "new node"] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
    let evidence = parent.path().join("node.damaged-1");
    assert!(text.contains(evidence.to_str().unwrap()), "{text}");
    assert!(contents(&evidence).into_values().collect::<Vec<_>>() == before);
    let text = ok(&log("verify", &dir, &[]));
    assert!(text.contains("12 entries") && text.contains("32@1"), "{text}");
}

#[test]
fn a_directory_in_use_is_refused_by_process_and_node() {
    let dir = tempfile::tempdir().unwrap();
    let persister = DiskPersister::open(dir.path(), options()).unwrap();
    let owner = format!("process {} (node 1)", std::process::id());
    for (what, more) in [("verify", &[][..]), ("dump", &[]), ("repair", &["--as-node", "2"])] {
        let error = err(&log(what, dir.path(), more));
        assert!(error.contains(&owner), "{what}: {error}");
    }
    drop(persister);
    ok(&log("verify", dir.path(), &[]));
}
