//! Puts and gets beside another store, by the number of clients.

use std::fmt::Write as _;

use crate::document::grouped;
use crate::load::{Figures, measure};
use crate::nodes::{Nodes, System};
use crate::{Plan, median};

const CLIENTS: [&str; 4] = ["1", "16", "64", "256"];

/// Rates, latencies and what they cost, and the ratio of the rates.
pub(crate) fn puts_and_gets(plan: &Plan) -> String {
    let systems: Vec<System> =
        [System::Oarlock, System::Etcd].into_iter().filter(|s| s.version().is_some()).collect();
    let versions: Vec<_> = systems.iter().filter_map(|system| system.version()).collect();
    let mut table = format!(
        "### Puts and linearizable gets\n\nThree nodes of {}; defaults; 256-byte values; a closed loop.\n\n\
         | request | clients | system | per second | p50 ms | p99 ms | server CPU, µs each | times etcd |\n\
         |---|---|---|---|---|---|---|---|\n",
        versions.join(" and ")
    );
    let clusters: Vec<Nodes> =
        systems.iter().map(|&system| Nodes::start(system, 3, &plan.dir)).collect();
    for (kind, reads) in [("set", "0"), ("get", "100")] {
        for clients in CLIENTS {
            let flags = ["--clients", clients, "--reads", reads, "--keys", "1000"];
            let mut found: Vec<Vec<Figures>> = vec![Vec::new(); clusters.len()];
            for _ in 0..plan.rounds {
                for (cluster, figures) in clusters.iter().zip(&mut found) {
                    figures.push(measure(plan, cluster, &flags));
                }
            }
            let rate = |figures: &[Figures]| of(figures, |f| f.per_second(kind));
            for (system, figures) in systems.iter().zip(&found) {
                let times = match (system, found.get(1)) {
                    (System::Oarlock, Some(etcd)) => format!("{:.1}", rate(figures) / rate(etcd)),
                    _ => String::new(),
                };
                _ = writeln!(
                    table,
                    "| {} | {clients} | {} | {} | {:.2} | {:.2} | {:.0} | {times} |",
                    if kind == "set" { "put" } else { "get" },
                    system.name(),
                    grouped(rate(figures)),
                    of(figures, |f| f.latency(kind, "p50_ms")),
                    of(figures, |f| f.latency(kind, "p99_ms")),
                    of(figures, |f| f.server_us),
                );
            }
        }
    }
    table
}

/// The median of one figure.
pub(crate) fn of(figures: &[Figures], figure: impl Fn(&Figures) -> f64) -> f64 {
    median(figures.iter().map(figure).collect())
}
