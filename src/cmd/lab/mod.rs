//! `oarlock lab`: what whoever teaches the labs, or takes them, does by the hundred: run the suites
//! again and again, keep what failed, and read its trace.
//!
//! - [`mod@run`]: the command line of `lab run`, and its course from the build to the exit code.
//! - [`binary`]: builds and finds the test binary, and asks it for its tests; [`choose`]: which of
//!   them are meant; [`course`]: what the course says of each.
//! - [`schedule`]: what runs next; [`pool`]: the threads that run it; [`job`]: one run, as a process;
//!   [`output`]: what that process printed.
//! - [`tally`]: what the runs add up to; [`progress`], [`summary`] and [`page`]: how it is told.
//! - [`mistakes`]: the command line of `lab mistakes`, and its table; [`catalogue`]: which there are.
//! - [`trace`]: the command line of `lab trace`; [`trace_line`]: a line of a trace; [`columns`]: its
//!   place in the column of its peer.

mod binary;
mod catalogue;
mod choose;
mod columns;
mod course;
mod job;
mod mistakes;
mod output;
mod page;
mod pool;
mod progress;
mod run;
mod schedule;
mod stats;
mod summary;
mod tally;
mod trace;
mod trace_line;

use clap::Subcommand;

/// Run the lab suites many times, and read the traces of their peers.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    Run(run::Args),
    Mistakes(mistakes::Args),
    Trace(trace::Args),
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    match &args.what {
        What::Run(args) => run::run(args),
        What::Mistakes(args) => mistakes::run(args),
        What::Trace(args) => trace::run(args),
    }
}
