//! `oarlock bench`: how fast a cluster is from its clients' side, and whether it answers right.
//!
//! One thread serves many connections without waiting for any of them, so that the load costs little
//! of the machine it shares with what it measures. Every answer is checked (`book.rs`). In the closed
//! loop each client asks again as soon as it is answered; in the open one requests come at a rate,
//! whether or not earlier ones are answered, and time counts from when each was to be sent.

mod book;
mod connection;
mod driver;
mod etcd;
mod jute;
mod plot;
mod protocol;
mod redis;
mod report;
mod workload;
mod zookeeper;

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use self::protocol::Speak;
use self::workload::Workload;
use super::open_files;

/// The most requests a client may have under way.
const PIPELINE_MAX: u64 = 1024;

/// Measure a running cluster from its clients' side, and check every answer.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A node; once for each. Clients are spread over them.
    #[arg(long, value_name = "HOST:PORT",
          default_values = ["127.0.0.1:7001", "127.0.0.1:7002", "127.0.0.1:7003"])]
    addr: Vec<String>,
    /// How many clients, each a connection.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=20_000))]
    clients: u64,
    /// How many requests each client has under way.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=PIPELINE_MAX))]
    pipeline: u64,
    /// How long to measure, in seconds.
    #[arg(long, default_value_t = 10.0, value_name = "S")]
    seconds: f64,
    /// How long to go on before measuring, in seconds.
    #[arg(long, default_value_t = 1.0, value_name = "S")]
    warmup: f64,
    /// The length of a value.
    #[arg(long, default_value_t = 256, value_name = "BYTES",
          value_parser = clap::value_parser!(u64).range(40..=1 << 20))]
    value_bytes: u64,
    /// Out of a hundred requests, so many read. All keys are written first.
    #[arg(long, default_value_t = 0, value_name = "PERCENT",
          value_parser = clap::value_parser!(u64).range(0..=100))]
    reads: u64,
    /// How many keys.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    keys: u64,
    /// Some keys are asked for more than others: the n-th as often as 1/n^S of the first.
    #[arg(long, value_name = "S")]
    zipf: Option<f64>,
    /// Open loop: so many requests a second in all, whether or not earlier ones are answered.
    #[arg(long, value_name = "PER_SECOND")]
    rate: Option<f64>,
    /// Ask nothing of the store: only PING, to see what the connections themselves cost.
    #[arg(long)]
    ping: bool,
    /// What the nodes speak.
    #[arg(long, value_enum, default_value_t = Speak::Redis)]
    speak: Speak,
    /// Where the keys and the kinds of requests come from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write the histogram of latencies into this file.
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Draw the latencies by percentile into this file.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Print the result as one line of JSON.
    #[arg(long)]
    json: bool,
}

/// What a run is to do, with names resolved and numbers checked.
struct Plan {
    addrs: Vec<SocketAddr>,
    clients: usize,
    pipeline: usize,
    warmup: Duration,
    measured: Duration,
    /// The time between two requests of the open loop.
    interval: Option<Duration>,
    speak: Speak,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let plan = plan(args)?;
    let workload = Workload::new(args)?;
    open_files::make_room_for(plan.clients);
    let outcome = driver::run(&plan, workload)?;
    if let Some(path) = &args.csv {
        let written = std::fs::write(path, report::csv(&outcome));
        written.with_context(|| format!("cannot write {}", path.display()))?;
    }
    if let Some(path) = &args.svg {
        let written = std::fs::write(path, plot::svg(&outcome));
        written.with_context(|| format!("cannot write {}", path.display()))?;
    }
    let text = if args.json { report::json(&outcome) } else { report::text(&outcome) };
    print!("{text}");
    ensure!(outcome.wrong.is_empty(), "{} answers are wrong", outcome.wrong.len());
    Ok(())
}

fn plan(args: &Args) -> anyhow::Result<Plan> {
    let addrs = args.addr.iter().map(|addr| {
        let mut found =
            addr.to_socket_addrs().with_context(|| format!("no such address: {addr}"))?;
        found.next().with_context(|| format!("{addr} stands for no address"))
    });
    let seconds = |name: &str, value: f64, least: f64| {
        ensure!(
            (least..=86_400.0).contains(&value),
            "--{name} {value} is not a time of this world"
        );
        Ok(Duration::from_secs_f64(value))
    };
    let interval = match args.rate {
        None => None,
        Some(rate) => {
            ensure!((0.001..=10_000_000.0).contains(&rate), "--rate {rate} is not a rate");
            Some(Duration::from_secs_f64(1.0 / rate))
        }
    };
    ensure!(
        !args.ping || args.speak.takes_pings(),
        "--ping is a request of Redis's protocol, and of ZooKeeper's"
    );
    if let Some(bytes) = args.speak.value_bytes_max() {
        ensure!(args.value_bytes <= bytes as u64, "--value-bytes: such nodes take up to {bytes}");
    }
    ensure!(
        args.pipeline == 1 || args.speak.takes_pipelines(),
        "--pipeline is for connections whose requests are answered in order, one by one"
    );
    Ok(Plan {
        addrs: addrs.collect::<anyhow::Result<_>>()?,
        clients: usize::try_from(args.clients).expect("bounded"),
        pipeline: usize::try_from(args.pipeline).expect("bounded"),
        warmup: seconds("warmup", args.warmup, 0.0)?,
        measured: seconds("seconds", args.seconds, 0.01)?,
        interval,
        speak: args.speak,
    })
}
