//! Whether the suites tell a Raft from something like it: they are run on the [toy](super::toy),
//! each verdict in a process of its own, and must find what is missing and nothing else.

use std::env;
use std::process::{Command, Output};

use crate::harness::Turn;

/// What the toy can do: elect leaders, and replicate.
const PASSED: [&str; 4] = [
    "raft_2a::initial_election_2a",
    "raft_2a::re_election_2a",
    "raft_2b::basic_agree_2b",
    "raft_2b::fail_agree_2b",
];

/// What it cannot, and what the suites say of it: servers that have forgotten the log agree on
/// something else at an index that was committed; and nothing is ever persisted.
const FAILED: [(&str, &str); 4] = [
    ("raft_2c::persist1_2c", "at index 1 S"),
    ("raft_2d::snapshot_basic_2d", "nobody has persisted a snapshot"),
    ("raft_2d::snapshot_all_crash_2d", "at index 1 S"),
    ("raft_2d::snapshot_init_2d", "at index 1 S"),
];

#[test]
fn a_toy_that_persists_nothing_is_found_out() {
    // The measured times are those of one cluster at a time; the processes take turns of their own.
    let _turn = Turn::wait();
    let passed = run(&PASSED);
    assert!(passed.status.success(), "the toy should pass {PASSED:?}:\n{}", text(&passed));
    for (test, why) in FAILED {
        let failed = run(&[test]);
        let text = text(&failed);
        assert!(!failed.status.success(), "the toy should fail {test}:\n{text}");
        assert!(text.contains(&format!("test {test} ... FAILED")), "{test} did not run:\n{text}");
        assert!(text.contains(why), "the toy should fail {test} with {why:?}:\n{text}");
    }
}

/// Runs tests of this binary on the toy.
fn run(tests: &[&str]) -> Output {
    let this = env::current_exe().expect("a test binary knows where it is");
    Command::new(this)
        .args(["--exact", "--test-threads=1"])
        .args(tests)
        .env(super::VARIABLE, super::TOY)
        .output()
        .expect("what runs can be run again")
}

fn text(output: &Output) -> String {
    [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy).concat()
}
