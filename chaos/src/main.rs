//! `oarlock-chaos`: a campaign from the command line.

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Parser as _;
use oarlock_chaos::{Campaign, Kind, Start, Wanted, choose};

/// Run clusters of real processes under faults, and check what their clients saw.
///
/// A round that fails prints its seed and keeps its directory: the nodes' logs and data, and a
/// picture of the history if that is what is wrong. The exit code is 1 if any round failed.
#[derive(clap::Parser)]
#[command(after_help = "\
Examples:
  oarlock-chaos --minutes 2                  a short slice
  oarlock-chaos --minutes 60 --nodes 5       an hour of five nodes
  oarlock-chaos --seed 7 --minutes 0         the one round of seed 7 again
  oarlock-chaos --faults kill,one-way        these faults only")]
struct Args {
    /// How long to go on; at least one round is run.
    #[arg(long, default_value = "2", value_name = "M")]
    minutes: f64,
    /// The seed of the first round; the next rounds count on from it [default: a fresh one].
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// How many nodes; by default each round's seed chooses three or five.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=9))]
    nodes: Option<u8>,
    /// How long faults go on in each round.
    #[arg(long, default_value = "40", value_name = "S")]
    round_seconds: u64,
    /// The faults to choose from [default: all].
    #[arg(long, value_enum, value_delimiter = ',')]
    faults: Vec<Kind>,
    /// What is between the nodes.
    #[arg(long, value_enum, default_value = "auto")]
    network: Wanted,
    /// The `oarlock` program [default: the one beside this program].
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Where clusters are kept while they run, and those of failed rounds afterwards.
    #[arg(long, default_value = "chaos-data", value_name = "DIR")]
    dir: PathBuf,
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    ensure!(
        args.minutes.is_finite() && args.minutes >= 0.0,
        "--minutes {}: not a length of time",
        args.minutes
    );
    let binary = match args.binary {
        Some(binary) => binary,
        None => std::env::current_exe()?.with_file_name("oarlock"),
    };
    let binary = binary.canonicalize().with_context(|| {
        format!(
            "{}: build it (`cargo build --release`), or name it with --binary",
            binary.display()
        )
    })?;
    let network = match choose(args.network)? {
        Start::Here(network) => network,
        Start::Again(mut command) => {
            let error = command.args(std::env::args_os().skip(1)).exec();
            return Err(error).context("cannot start again in namespaces");
        }
    };
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..1 << 32));
    let kinds = if args.faults.is_empty() { Kind::ALL.to_vec() } else { args.faults };
    let summary = Campaign {
        binary,
        dir: args.dir,
        seed,
        nodes: args.nodes.map(usize::from),
        round: Duration::from_secs(args.round_seconds),
        duration: Duration::from_secs_f64(args.minutes * 60.0),
        kinds,
        network,
    }
    .run()?;
    println!("{summary}");
    Ok(if summary.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
