//! The `oarlock` program: picks a subcommand, prints its error, sets the exit code.

mod cmd;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A small, strongly consistent key-value store that Redis clients can talk to.
#[derive(Parser)]
#[command(name = "oarlock", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Cluster(cmd::cluster::Args),
    Serve(cmd::serve::Args),
    Status(cmd::status::Args),
    Member(cmd::membership::Args),
    Get(cmd::kv::GetArgs),
    Put(cmd::kv::PutArgs),
    Append(cmd::kv::AppendArgs),
    Bench(cmd::bench::Args),
    Lab(cmd::lab::Args),
    Log(cmd::log::Args),
    Snapshot(cmd::snapshot::Args),
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Cluster(args) => cmd::cluster::run(&args),
        Command::Serve(args) => cmd::serve::run(args),
        Command::Status(args) => cmd::status::run(&args),
        Command::Member(args) => cmd::membership::run(args),
        Command::Get(args) => cmd::kv::get(&args),
        Command::Put(args) => cmd::kv::put(&args),
        Command::Append(args) => cmd::kv::append(&args),
        Command::Bench(args) => cmd::bench::run(&args),
        Command::Lab(args) => cmd::lab::run(&args),
        Command::Log(args) => cmd::log::run(&args),
        Command::Snapshot(args) => cmd::snapshot::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("oarlock: {error:#}");
            ExitCode::FAILURE
        }
    }
}
