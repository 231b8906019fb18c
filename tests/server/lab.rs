//! `oarlock lab run`, on a script that acts like the suites' test binary: it passes, fails, hangs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use crate::processes::{oarlock, wait_for};

/// What the script and the runner write, each in a folder of its own.
struct Playground {
    dir: TempDir,
}

impl Playground {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["fake", "tmp"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/server/fake_suite.sh");
        let mut command = oarlock(["lab", "run"]);
        command.args(args).arg("--binary").arg(script).arg("--logs").arg(self.path("logs"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("OARLOCK_")) {
            command.env_remove(name);
        }
        command.env("FAKE_SUITE", self.path("fake")).env("TMPDIR", self.path("tmp"));
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    fn logs(&self) -> Vec<String> {
        let Ok(logs) = fs::read_dir(self.path("logs")) else { return Vec::new() };
        let mut names: Vec<_> =
            logs.map(|log| log.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Whether the process of the test that hangs is gone, and its temporary files with it.
    #[track_caller]
    fn check_nothing_is_left(&self) {
        let pid = fs::read_to_string(self.path("fake/hanging")).unwrap();
        assert!(!Path::new("/proc").join(pid.trim()).exists(), "{pid} lives on");
        assert_eq!(fs::read_dir(self.path("tmp")).unwrap().count(), 0, "temporary files");
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn check_has(text: &str, pieces: &[&str]) {
    for piece in pieces {
        assert!(text.contains(piece), "no {piece:?} in\n{text}");
    }
}

/// The line of a test in the table, its columns apart by one blank.
#[track_caller]
fn line_of(text: &str, name: &str) -> String {
    let line = text.lines().find(|line| line.starts_with(&format!("{name} ")));
    let line = line.unwrap_or_else(|| panic!("no line of {name} in\n{text}"));
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn what_passes_is_counted_and_leaves_nothing() {
    let playground = Playground::new();
    let output = playground.run(&["good", "undecided", "--times", "12", "--jobs", "3"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = stdout(&output);
    assert_eq!(
        line_of(&text, "good_2a"),
        "good_2a disk 12 12 0 0 3.1 3.1 3.1 0.25 58 3956 0 -",
        "{text}"
    );
    assert_eq!(
        line_of(&text, "undecided_3a"),
        "undecided_3a disk 12 12 0 12 15.1 15.1 15.1 1.50 4000 - - 900",
        "{text}"
    );
    check_has(&text, &["2A on disk, 1 test: 12 of 12 whole runs passed", "24 of 24 runs passed"]);
    // Ten lines of progress, and not one for each run.
    assert_eq!(text.matches(" of 24 runs, ").count(), 10, "{text}");
    assert!(!playground.path("logs").exists());
}

#[test]
fn a_failure_keeps_its_log_and_fails_the_whole() {
    let playground = Playground::new();
    let output = playground.run(&["2A", "--times", "3", "--jobs", "1"]);
    assert!(!output.status.success());
    check_has(&stderr(&output), &["1 of 6 runs failed"]);
    let text = stdout(&output);
    check_has(
        &text,
        &[
            "FAILED flaky_2a (disk, run 1, ",
            "no leader in 10 rounds",
            "2A on disk, 2 tests: 2 of 3 whole runs passed",
            "oarlock lab run flaky_2a --persister disk --seed 42",
        ],
    );
    assert_eq!(line_of(&text, "flaky_2a"), "flaky_2a disk 3 2 1 0 5.0 5.0 5.0 - 100 7000 2 -");
    assert_eq!(playground.logs(), ["flaky_2a-disk-1-seed-42.log"]);
    let log = fs::read_to_string(playground.path("logs/flaky_2a-disk-1-seed-42.log")).unwrap();
    check_has(&log, &["--exact raft_2a::flaky_2a", "OARLOCK_SEED=42", "no leader in 10 rounds"]);
    // Rounds interleave, and the test that is expected to take longer goes first.
    let calls = fs::read_to_string(playground.path("fake/calls")).unwrap();
    let order: Vec<_> = calls.lines().map(|call| call.contains("good_2a")).collect();
    assert_eq!(order.chunks(2).filter(|round| round[0] != round[1]).count(), 3, "{calls}");
}

#[test]
fn a_run_beyond_the_limit_is_killed_and_has_failed() {
    let playground = Playground::new();
    let output = playground.run(&["hang", "--limit", "1"]);
    assert!(!output.status.success());
    check_has(&stdout(&output), &["FAILED hang_2b", "timed out: killed after 1s"]);
    assert_eq!(playground.logs(), ["hang_2b-disk-1-seed-42.log"]);
    playground.check_nothing_is_left();
}

#[test]
fn a_crash_and_a_test_that_did_not_run_are_failures() {
    let playground = Playground::new();
    let output = playground.run(&["crash", "empty"]);
    check_has(&stderr(&output), &["2 of 2 runs failed"]);
    check_has(&stdout(&output), &["signal: 6", "ended well without running the test"]);
}

#[test]
fn logs_are_never_overwritten() {
    let playground = Playground::new();
    for _ in 0..2 {
        playground.run(&["crash"]);
    }
    let expected = ["crash_2b-disk-1-seed-42-again-2.log", "crash_2b-disk-1-seed-42.log"];
    assert_eq!(playground.logs(), expected);
}

#[test]
fn the_first_failure_ends_it_if_asked() {
    let playground = Playground::new();
    let output = playground.run(&["flaky", "--times", "9", "--jobs", "1", "--fail-fast"]);
    check_has(&stderr(&output), &["1 of 1 runs failed"]);
}

#[test]
fn an_interrupt_kills_what_runs_and_tells_what_has_run() {
    let playground = Playground::new();
    let mut command = playground.command(&["hang", "good", "--jobs", "2", "--times", "2"]);
    let runner = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let hanging = playground.path("fake/hanging");
    let hangs = || fs::read_to_string(&hanging).is_ok_and(|pid| pid.ends_with('\n'));
    wait_for("the test that hangs", || hangs().then_some(()));
    let killed = Command::new("kill").args(["-INT", &runner.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let output = runner.wait_with_output().unwrap();
    assert!(!output.status.success());
    check_has(&stderr(&output), &["interrupted after "]);
    check_has(&stdout(&output), &[" runs passed, in 0:"]);
    assert!(playground.logs().is_empty(), "{:?}", playground.logs());
    playground.check_nothing_is_left();
}

#[test]
fn options_reach_the_tests_as_variables() {
    let playground = Playground::new();
    let args = "variables --persister both --seed 9 --trace VOTE --raft other --mistake some \
                --check-seconds 60 --strict";
    let args: Vec<_> = args.split_whitespace().collect();
    let output = playground.run(&args);
    assert!(output.status.success(), "{}", stderr(&output));
    for persister in ["disk", "memory"] {
        let path = playground.path("fake").join(format!("variables-{persister}"));
        let expected = format!(
            "OARLOCK_CHECK_SECONDS=60\nOARLOCK_CHECK_STRICT=1\nOARLOCK_MISTAKE=some\n\
             OARLOCK_PERSISTER={persister}\nOARLOCK_RAFT=other\nOARLOCK_SEED=9\nOARLOCK_TRACE=VOTE\n"
        );
        assert_eq!(fs::read_to_string(path).unwrap(), expected);
    }
}

#[test]
fn a_page_of_results_is_written() {
    let playground = Playground::new();
    let page = playground.path("page.md");
    let output = playground.run(&["good", "undecided", "--table", page.to_str().unwrap()]);
    assert!(output.status.success(), "{}", stderr(&output));
    let page = fs::read_to_string(page).unwrap();
    check_has(
        &page,
        &[
            "oarlock lab run good undecided --table",
            "| `good_2a` | 1 of 1 / – | 3.1 / – / – | 0.25 / – |",
            "- `undecided_3a` on disk: 1 of 1 runs",
        ],
    );
}

#[test]
fn what_means_nothing_runs_nothing() {
    let playground = Playground::new();
    let output = playground.run(&["2A", "nonsense"]);
    assert!(!output.status.success());
    check_has(&stderr(&output), &["\"nonsense\"", "2A: good_2a flaky_2a"]);
    assert!(!playground.path("fake/calls").exists());
}

#[test]
fn elsewhere_than_in_a_checkout_it_says_so() {
    let playground = Playground::new();
    let output = oarlock(["lab", "run", "2A"]).current_dir(playground.dir.path()).output().unwrap();
    assert!(!output.status.success());
    check_has(&stderr(&output), &["run this in a checkout of Oarlock", "--binary"]);
}
