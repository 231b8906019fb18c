//! The labs' test binary: built and found by cargo, asked for its tests.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use super::choose::Test;

/// The test target of the suites.
const TARGET: &str = "labs";
/// The feature that puts known mistakes into Raft.
const MISTAKES: &str = "mistakes";

/// Builds the suites in the current directory and returns the test binary; with `mistakes`, in the
/// form that can be told to make some.
///
/// What cargo has to say goes to standard error.
pub(crate) fn build(mistakes: bool) -> anyhow::Result<PathBuf> {
    // Set for whatever cargo itself has started.
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args([
        "test",
        "--test",
        TARGET,
        "--no-run",
        "--message-format=json-render-diagnostics",
    ]);
    if mistakes {
        command.args(["--features", MISTAKES]);
    }
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .context("cargo does not start; name a test binary with --binary")?;
    ensure!(
        output.status.success(),
        "cargo cannot build the suites here: run this in a checkout of Oarlock, or name a test \
         binary with --binary"
    );
    let messages = String::from_utf8_lossy(&output.stdout);
    executable(&messages).context("cargo built the suites and named no binary")
}

/// The executable of the test target in what cargo printed, a JSON object a line.
fn executable(messages: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["reason"] == "compiler-artifact")
        .filter(|artifact| artifact["target"]["name"] == TARGET)
        .filter(|artifact| artifact["target"]["kind"][0] == "test")
        .find_map(|artifact| artifact["executable"].as_str().map(PathBuf::from))
}

/// The tests in `binary`.
pub(crate) fn tests(binary: &Path) -> anyhow::Result<Vec<Test>> {
    let shown = binary.display();
    let output = Command::new(binary)
        .args(["--list", "--format", "terse"])
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{shown} does not start"))?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        bail!("{shown} does not list its tests ({}): {}", output.status, why.trim());
    }
    let tests = listed(&String::from_utf8_lossy(&output.stdout));
    ensure!(!tests.is_empty(), "{shown} has no tests");
    Ok(tests)
}

/// The tests in a terse list of libtest: `name: test`.
fn listed(list: &str) -> Vec<Test> {
    list.lines().filter_map(|line| line.strip_suffix(": test")).map(Test::new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_binary_of_the_right_target_is_taken() {
        let messages = r#"
{"reason":"compiler-artifact","target":{"kind":["lib"],"name":"oarlock"},"executable":null}
{"reason":"compiler-artifact","target":{"kind":["bin"],"name":"labs"},"executable":"/t/bin"}
no JSON
{"reason":"compiler-artifact","target":{"kind":["test"],"name":"labs"},"executable":"/t/labs-1"}
{"reason":"build-finished","success":true}
"#;
        assert_eq!(executable(messages), Some(PathBuf::from("/t/labs-1")));
        assert_eq!(executable(""), None);
    }

    #[test]
    fn benches_and_other_lines_are_no_tests() {
        let list = "raft_2a::re_election_2a: test\nfast: benchmark\n\n1 test, 1 benchmark\n";
        assert_eq!(listed(list), [Test::new("raft_2a::re_election_2a")]);
    }
}
