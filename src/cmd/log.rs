//! `oarlock log`: a node's directory, looked at while the node is down; and, if it is damaged, what
//! can be saved of it.

use std::io::{BufWriter, ErrorKind, Write, stdout};
use std::path::{Path, PathBuf};

use anyhow::bail;
use oarlock::storage::inspect::{self, Record};

/// Look at the directory of a node that is down, or save what can be saved of a damaged one.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Read everything and name every defect with its file and offset. Changes nothing.
    Verify {
        /// The node's directory.
        dir: PathBuf,
    },
    /// Show everything, record by record. Changes nothing.
    Dump {
        /// The node's directory.
        dir: PathBuf,
        /// One JSON object a line.
        #[arg(long)]
        json: bool,
    },
    /// Save what can be saved of a damaged directory, for a node with another id. The damaged
    /// directory is kept beside the new one.
    Repair {
        /// The node's directory.
        dir: PathBuf,
        /// The id of the node that the repaired directory is for; one that no node ever had.
        #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u64).range(1..))]
        as_node: u64,
    },
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    match &args.command {
        Command::Verify { dir } => verify(dir),
        Command::Dump { dir, json } => dump(dir, *json),
        Command::Repair { dir, as_node } => repair(dir, *as_node),
    }
}

fn verify(dir: &Path) -> anyhow::Result<()> {
    let report = inspect::verify(dir)?;
    for note in &report.notes {
        println!("note: {note}");
    }
    for defect in &report.defects {
        println!("{defect}");
    }
    if let Some(found) = &report.summary {
        let voted_for = found.hard_state.voted_for.map_or("nobody".to_owned(), |id| id.to_string());
        println!("term {}, voted for {voted_for}", found.hard_state.current_term);
        match found.snapshot {
            Some((last_included, bytes)) => println!("snapshot {last_included}, {bytes} bytes"),
            None => println!("no snapshot"),
        }
        println!(
            "{} entries behind it, the last is {}, in {} segments",
            found.entry_count, found.last, found.segment_count
        );
    }
    match report.refusal {
        // In the words of a node that is started here.
        Some(refusal) => bail!(refusal),
        None if report.is_clean() => {
            println!("{}: no damage", dir.display());
            Ok(())
        }
        None => {
            let count = report.defects.len();
            bail!("{}: {count} defects; a node starts in spite of them", dir.display())
        }
    }
}

fn dump(dir: &Path, json: bool) -> anyhow::Result<()> {
    let mut out = BufWriter::new(stdout().lock());
    let mut written = Ok(());
    inspect::dump(dir, &mut |record: &Record| {
        if written.is_ok() {
            written = if json {
                serde_json::to_writer(&mut out, record)
                    .map_err(std::io::Error::from)
                    .and_then(|()| writeln!(out))
            } else {
                writeln!(out, "{record}")
            };
        }
    })?;
    match written.and_then(|()| out.flush()) {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}

fn repair(dir: &Path, as_node: u64) -> anyhow::Result<()> {
    let done = inspect::repair(dir, as_node)?;
    let snapshot = done.snapshot.map_or("no snapshot".to_owned(), |id| format!("snapshot {id}"));
    let entries = done.entries.map_or("no entries behind it".to_owned(), |(first, last)| {
        format!("entries {first} to {last}")
    });
    println!("saved: {snapshot}, {entries}");
    for lost in &done.given_up {
        println!("given up: {lost}");
    }
    println!("the damaged directory is kept as {}", done.evidence.display());
    println!(
        "{} is node {}'s now: it must join the cluster as a new node, in place of the old one, which \
         must never be started again",
        dir.display(),
        done.identity.node_id
    );
    Ok(())
}
