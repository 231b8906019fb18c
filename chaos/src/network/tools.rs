//! Other programs, run to their end, with what they say if they fail.

use std::fmt;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::Context as _;

/// This machine does not do what it was asked to.
#[derive(Debug)]
pub(super) struct Refused(String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

/// Runs a program that reads nothing.
pub(super) fn run(command: Command) -> anyhow::Result<()> {
    run_all(vec![(command, String::new())])
}

/// Runs programs side by side, each with its input; [`Refused`] if any of them fails.
pub(super) fn run_all(commands: Vec<(Command, String)>) -> anyhow::Result<()> {
    let mut children = Vec::new();
    for (mut command, input) in commands {
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let child = command.spawn().with_context(|| format!("{command:?}"))?;
        children.push((command, input, child));
    }
    for (_, input, child) in &mut children {
        let mut stdin = child.stdin.take().context("its standard input is a pipe")?;
        // Fails if the program has given up already; its exit code tells.
        drop(stdin.write_all(input.as_bytes()));
    }
    let mut failed = Vec::new();
    for (command, _, child) in children {
        let output = child.wait_with_output()?;
        let text = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
        // Not every program that was refused by the kernel ends with an error.
        if !output.status.success() || text.contains("RTNETLINK answers") {
            let code = output.status;
            failed.push(format!("`{}`: {code}: {text}", shown(&command)));
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(Refused(failed.join("; ")).into()) }
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// Where programs are looked for: users often lack the directories of the administrator's.
pub(super) fn search_path() -> std::ffi::OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/sbin");
    path
}

/// The file of a program, if it is installed.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = search_path();
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
}
