//! House rules that no compiler checks: short files, each with its purpose on top; one place for the
//! codec, one for `unsafe`; nothing left to be done later.

use std::fs;
use std::path::{Path, PathBuf};

const LINES_MAX: usize = 500;
const FOLDERS: [&str; 12] = [
    "src",
    "sync",
    "rpc",
    "labrpc",
    "storage",
    "raft",
    "kvserver",
    "linearizability",
    "chaos",
    "simulation",
    "tests",
    "benches",
];

fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = FOLDERS.iter().map(|folder| root.join(folder)).collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder of ours") {
            let path = entry.expect("an entry").path();
            if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("text");
                found.push((path.strip_prefix(root).expect("below it").to_owned(), text));
            }
        }
    }
    assert!(found.len() > 100, "only {} files found", found.len());
    found
}

/// Fails with the names of all files of which `is_wrong` says so.
#[track_caller]
fn check(rule: &str, is_wrong: impl Fn(&Path, &str) -> bool) {
    let wrong: Vec<_> =
        sources().into_iter().filter(|(path, text)| is_wrong(path, text)).map(|s| s.0).collect();
    assert!(wrong.is_empty(), "{rule}: {wrong:?}");
}

#[test]
fn every_file_says_what_it_is_for() {
    check("a file opens with a //! paragraph", |_, text| !text.starts_with("//!"));
}

#[test]
fn files_are_short() {
    check("at most 500 lines", |_, text| text.lines().count() > LINES_MAX);
}

#[test]
fn nothing_is_left_for_later() {
    let reminders = ["TO", "FIX", "XX"].map(|half| half.to_owned() + half_of(half));
    let stubs = ["todo", "unimplemented"].map(|name| format!("{name}!("));
    check("no reminders, no stubs", |_, text| {
        reminders.iter().chain(&stubs).any(|word| text.contains(word.as_str()))
    });
}

/// The other halves of the words, so that this file does not hold them.
fn half_of(first: &str) -> &'static str {
    match first {
        "TO" => "DO",
        "FIX" => "ME",
        _ => "X",
    }
}

#[test]
fn one_file_names_the_codec() {
    let name = ["bin", "code"].concat();
    check("rpc/src/codec.rs alone names it", |path, text| {
        text.contains(&name) && !path.ends_with("rpc/src/codec.rs")
    });
}

#[test]
fn one_file_is_unsafe() {
    let block = ["unsafe", " {"].concat();
    check("storage/src/disk/mmap.rs alone has it", |path, text| {
        text.contains(&block) && !path.ends_with("storage/src/disk/mmap.rs")
    });
}
