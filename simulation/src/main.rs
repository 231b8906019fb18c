//! `oarlock-sim`: runs seeds, replays one, and tries the museum of mistakes.

mod exhibits;
mod museum;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, Subcommand};
use oarlock_simulation::{Invariant, Mistake, run_campaign, run_seed};

/// Whole clusters in one thread and virtual time, from a seed.
#[derive(Parser)]
#[command(name = "oarlock-sim")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run many seeds.
    Run {
        /// How many.
        #[arg(long, default_value_t = 1000)]
        seeds: u64,
        /// The first.
        #[arg(long, default_value_t = 1)]
        from: u64,
        /// How many threads, each with whole seeds.
        #[arg(long, default_value_t = 2)]
        threads: usize,
        /// How many failures end it.
        #[arg(long, default_value_t = 10)]
        failures: usize,
        /// A mistake of the disk or the service to make.
        #[arg(long)]
        mistake: Option<Mistake>,
    },
    /// Make each mistake in turn and see which seed finds it; prints a table, and fails if one is not
    /// found.
    Museum {
        /// How many seeds each gets at most.
        #[arg(long, default_value_t = 1500)]
        seeds: u64,
        /// How many processes at once.
        #[arg(long, default_value_t = 2)]
        jobs: usize,
        /// A document whose table is replaced.
        #[arg(long)]
        into: Option<PathBuf>,
    },
    /// Run one seed and show everything that happens.
    Replay {
        /// Which.
        seed: u64,
        /// A mistake of the disk or the service to make.
        #[arg(long)]
        mistake: Option<Mistake>,
    },
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Run { seeds, from, threads, failures, mistake } => {
            run(from..from + seeds, threads, failures, mistake)
        }
        Command::Museum { seeds, jobs, into } => museum::run(seeds, jobs, into.as_deref())
            .unwrap_or_else(|error| {
                eprintln!("{error:#}");
                ExitCode::FAILURE
            }),
        Command::Replay { seed, mistake } => replay(seed, mistake),
    }
}

fn replay(seed: u64, mistake: Option<Mistake>) -> ExitCode {
    match run_seed(seed, mistake, true) {
        Ok(finished) => {
            println!("{}\ntrace {:016x}", finished.counts, finished.trace);
            ExitCode::SUCCESS
        }
        Err(failure) => {
            println!("seed {seed} fails after {} events: {}", failure.events, failure.what);
            println!("trace {:016x}", failure.trace);
            ExitCode::FAILURE
        }
    }
}

fn run(
    seeds: std::ops::Range<u64>,
    threads: usize,
    failures: usize,
    mistake: Option<Mistake>,
) -> ExitCode {
    let began = Instant::now();
    let campaign = run_campaign(seeds, threads, mistake, failures, |result| {
        if let Err(failure) = result {
            println!("seed {}: {}", failure.seed, failure.what);
        }
    });
    for invariant in Invariant::ALL {
        let checked = campaign.counts.checks.of(*invariant);
        println!("{:>3} {:<26} {checked:>12}", invariant.number(), format!("{invariant:?}"));
    }
    let counts = &campaign.counts;
    println!("{counts}");
    println!(
        "{} seeds in {:.1?}, {} failures",
        counts.seeds,
        began.elapsed(),
        campaign.failures.len()
    );
    if campaign.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
