//! Oarlock alone: what connections cost, pipelines, latency below the peak, sizes of values and of
//! clusters.

use std::fmt::Write as _;

use crate::Plan;
use crate::document::grouped;
use crate::load::{Figures, measure};
use crate::nodes::{Nodes, System};
use crate::versus::of;

fn rounds(plan: &Plan, nodes: &Nodes, flags: &[&str]) -> Vec<Figures> {
    (0..plan.rounds).map(|_| measure(plan, nodes, flags)).collect()
}

/// Gets beside mere pings, and pipelined puts beside single ones.
pub(crate) fn pings_and_pipelines(plan: &Plan) -> String {
    let nodes = Nodes::start(System::Oarlock, 3, &plan.dir);
    let crowd = if plan.is_test { "200" } else { "2000" };
    let mut table = "### Connections and pipelines\n\n\
                     A `PING` is answered by the node it comes to; the rest as above.\n\n\
                     | load | per second |\n|---|---|\n"
        .to_owned();
    for (name, kind, flags) in [
        ("`PING`, 64 clients", "ping", &["--clients", "64", "--ping"][..]),
        ("get, 64 clients", "get", &["--clients", "64", "--reads", "100", "--keys", "1000"]),
        ("put, 16 clients", "set", &["--clients", "16"]),
        ("put, 16 clients, 16 under way each", "set", &["--clients", "16", "--pipeline", "16"]),
        (
            "get, 16 clients, 16 under way each",
            "get",
            &["--clients", "16", "--pipeline", "16", "--reads", "100", "--keys", "1000"],
        ),
        (&format!("put, {crowd} clients"), "set", &["--clients", crowd]),
    ] {
        let figures = rounds(plan, &nodes, flags);
        _ = writeln!(table, "| {name} | {} |", grouped(of(&figures, |f| f.per_second(kind))));
    }
    table
}

/// An open loop at half the rate of the closed one.
pub(crate) fn latency_at_half_the_peak(plan: &Plan) -> String {
    let nodes = Nodes::start(System::Oarlock, 3, &plan.dir);
    let peak = of(&rounds(plan, &nodes, &["--clients", "64"]), |f| f.per_second("set"));
    let rate = format!("{:.0}", (peak / 2.0).max(1.0));
    let figures = rounds(plan, &nodes, &["--clients", "64", "--rate", &rate]);
    let at = |percentile: &str| of(&figures, |f| f.latency("set", percentile));
    format!(
        "### Latency at half the peak\n\nPuts by 64 clients come at {rate} a second, whether or not \
         earlier ones are answered: half of the {peak:.0} of a closed loop.\n\n\
         | p50 ms | p90 ms | p99 ms | p99.9 ms | longest ms |\n|---|---|---|---|---|\n\
         | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} |\n",
        at("p50_ms"),
        at("p90_ms"),
        at("p99_ms"),
        at("p99.9_ms"),
        at("max_ms"),
    )
}

/// By the size of a value, and by the number of nodes.
pub(crate) fn values_and_sizes(plan: &Plan) -> String {
    let mut table = "### Values and clusters\n\nPuts by 64 clients.\n\n\
                     | nodes | value | per second | MB a second | p50 ms | p99 ms |\n\
                     |---|---|---|---|---|---|\n"
        .to_owned();
    let mut line = |nodes: &Nodes, size: usize, bytes: u32| {
        let flags = ["--clients", "64", "--keys", "1000", "--value-bytes", &bytes.to_string()];
        let figures = rounds(plan, nodes, &flags);
        let rate = of(&figures, |f| f.per_second("set"));
        _ = writeln!(
            table,
            "| {size} | {bytes} B | {} | {:.1} | {:.2} | {:.2} |",
            grouped(rate),
            rate * f64::from(bytes) / 1e6,
            of(&figures, |f| f.latency("set", "p50_ms")),
            of(&figures, |f| f.latency("set", "p99_ms")),
        );
    };
    let three = Nodes::start(System::Oarlock, 3, &plan.dir);
    for bytes in [64, 256, 1024, 4096, 16_384] {
        line(&three, 3, bytes);
    }
    drop(three);
    for size in [5, 7] {
        let nodes = Nodes::start(System::Oarlock, size, &plan.dir);
        line(&nodes, size, 256);
    }
    table
}
