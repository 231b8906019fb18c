//! Puts and gets beside other stores, by the number of clients.

use std::fmt::Write as _;

use crate::document::grouped;
use crate::load::{Figures, measure};
use crate::nodes::{Nodes, System};
use crate::{Plan, median};

pub(crate) const CLIENTS: [&str; 4] = ["1", "16", "64", "256"];

/// What Oarlock stands beside, as far as it is installed.
const PEERS: [System; 2] = [System::Etcd, System::ZooKeeper];

/// The requests, by the load's names for their kinds, and how many of a hundred are to read.
pub(crate) const KINDS: [(&str, &str, &str); 2] = [("put", "set", "0"), ("get", "get", "100")];

/// How many measurements of each kind every system has before those that count. Java compiles what runs
/// often, and has most of it done after so many.
const WARM_UPS: usize = 5;

/// Rates, latencies and what they cost, and the ratios of the rates.
pub(crate) fn puts_and_gets(plan: &Plan) -> String {
    let mut systems = vec![System::Oarlock];
    systems.extend(PEERS.iter().filter(|peer| peer.version().is_some()));
    let versions: Vec<_> = systems.iter().filter_map(|system| system.version()).collect();
    let mut table = heading(&systems, &versions);
    let clusters: Vec<Nodes> =
        systems.iter().map(|&system| Nodes::start(system, 3, &plan.dir)).collect();
    for (_, _, reads) in KINDS {
        for cluster in clusters.iter().cycle().take(clusters.len() * WARM_UPS) {
            measure(plan, cluster, &flags("64", reads));
        }
    }
    for (name, kind, reads) in KINDS {
        for clients in CLIENTS {
            let mut found: Vec<Vec<Figures>> = vec![Vec::new(); clusters.len()];
            for _ in 0..plan.rounds {
                for (cluster, figures) in clusters.iter().zip(&mut found) {
                    figures.push(measure(plan, cluster, &flags(clients, reads)));
                }
            }
            let rates: Vec<_> =
                found.iter().map(|figures| of(figures, |f| f.per_second(kind))).collect();
            for (nth, (system, figures)) in systems.iter().zip(&found).enumerate() {
                _ = write!(
                    table,
                    "| {name} | {clients} | {} | {} | {:.2} | {:.2} | {:.0} |",
                    system.name(),
                    grouped(rates[nth]),
                    of(figures, |f| f.latency(kind, "p50_ms")),
                    of(figures, |f| f.latency(kind, "p99_ms")),
                    of(figures, |f| f.server_us),
                );
                for peer in &rates[1..] {
                    let times = (nth == 0).then(|| format!("{:.1}", rates[0] / peer));
                    _ = write!(table, " {} |", times.unwrap_or_default());
                }
                table.push('\n');
            }
        }
    }
    table
}

/// What stands before the lines: a column of ratios for each peer.
fn heading(systems: &[System], versions: &[String]) -> String {
    let times = systems[1..].iter().map(|peer| format!(" times {} |", peer.name()));
    let times: String = times.collect();
    format!(
        "### Puts and linearizable gets\n\nThree nodes of each of {}; defaults; 256-byte values; a closed \
         loop.\n\n\
         | request | clients | system | per second | p50 ms | p99 ms | server CPU, µs each |{times}\n\
         |---|---|---|---|---|---|---|{}\n",
        versions.join(", "),
        "---|".repeat(systems.len() - 1),
    )
}

pub(crate) fn flags<'a>(clients: &'a str, reads: &'a str) -> [&'a str; 6] {
    ["--clients", clients, "--reads", reads, "--keys", "1000"]
}

/// The median of one figure.
pub(crate) fn of(figures: &[Figures], figure: impl Fn(&Figures) -> f64) -> f64 {
    median(figures.iter().map(figure).collect())
}
