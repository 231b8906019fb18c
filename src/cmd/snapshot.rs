//! `oarlock snapshot`: a look at one snapshot file.

use std::path::{Path, PathBuf};

use anyhow::bail;
use oarlock::storage::inspect::inspect_snapshot;

/// Look at a snapshot file.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Say what a snapshot covers, and check every byte of it. Changes nothing.
    Inspect {
        /// The file, in a node's directory or anywhere else.
        file: PathBuf,
    },
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let Command::Inspect { file } = &args.command;
    inspect(file)
}

fn inspect(file: &Path) -> anyhow::Result<()> {
    let report = inspect_snapshot(file)?;
    let line = |name: &str, value: Option<String>| {
        println!("{name:>14}: {}", value.unwrap_or_else(|| "unreadable".to_owned()));
    };
    line("last entry", report.last_included.map(|id| id.to_string()));
    line("cluster", report.cluster_id.map(|id| format!("{id:x}")));
    line("content", report.content_bytes.map(|bytes| format!("{bytes} bytes")));
    line("configuration", report.configuration_bytes.map(|bytes| format!("{bytes} bytes")));
    line("checksum", report.checksum.map(|checksum| format!("{checksum:08x}")));
    for defect in &report.defects {
        println!("{defect}");
    }
    match report.defects.len() {
        0 => println!("{}: no damage", file.display()),
        count => bail!("{}: {count} defects", file.display()),
    }
    Ok(())
}
