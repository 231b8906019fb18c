//! Oarlock alone: what connections cost, pipelines, latency below the peak, sizes of values and of
//! clusters.

use std::fmt::Write as _;

use crate::bare::Bare;
use crate::document::grouped;
use crate::load::{Figures, measure};
use crate::nodes::{Nodes, System};
use crate::versus::of;
use crate::{Plan, median, turns};

fn rounds(plan: &Plan, nodes: &Nodes, flags: &[&str]) -> Vec<Figures> {
    (0..plan.rounds).map(|_| measure(plan, nodes, flags)).collect()
}

/// Gets beside mere pings, and pipelined puts beside single ones: by turns, since they are compared.
pub(crate) fn pings_and_pipelines(plan: &Plan) -> String {
    let nodes = Nodes::start(System::Oarlock, 3, &plan.dir);
    let crowd = if plan.is_test { "200" } else { "2000" };
    let gets = ["--reads", "100", "--keys", "1000"];
    let loads: [(&str, &str, &[&str]); 6] = [
        ("`PING`, 64 clients", "ping", &["--clients", "64", "--ping"]),
        ("get, 64 clients", "get", &[&["--clients", "64"], &gets[..]].concat()),
        ("put, 16 clients", "set", &["--clients", "16"]),
        ("put, 16 clients, 16 under way each", "set", &["--clients", "16", "--pipeline", "16"]),
        (
            "get, 16 clients, 16 under way each",
            "get",
            &[&["--clients", "16", "--pipeline", "16"], &gets[..]].concat(),
        ),
        (&format!("put, {crowd} clients"), "set", &["--clients", crowd]),
    ];
    let mut rates = loads.map(|_| Vec::new());
    for _ in 0..plan.rounds {
        for ((_, kind, flags), rates) in loads.iter().zip(&mut rates) {
            rates.push(measure(plan, &nodes, flags).per_second(kind));
        }
    }
    let ratio = |one: usize, other: usize| {
        let both = rates[one].iter().zip(&rates[other]);
        median(both.map(|(one, other)| one / other).collect())
    };
    // By their places among the loads.
    let (pings, pipelined) = (ratio(0, 1), ratio(3, 2));
    let mut table = "### Connections and pipelines\n\n\
                     A `PING` is answered by the node it comes to; the rest as above. They take turns.\n\n\
                     | load | per second |\n|---|---|\n"
        .to_owned();
    for ((name, ..), rates) in loads.iter().zip(&rates) {
        _ = writeln!(table, "| {name} | {} |", grouped(median(rates.clone())));
    }
    _ = writeln!(
        table,
        "\nMedians of the rounds: {pings:.2} `PING`s a get; by 16 clients {pipelined:.1} times as many \
         puts with 16 under way each as with one."
    );
    table
}

/// An open loop at half the rate of the closed one; and the disk alone, between the two.
pub(crate) fn latency_at_half_the_peak(plan: &Plan) -> String {
    const PERMILLES: [(&str, usize); 5] =
        [("p50_ms", 500), ("p90_ms", 900), ("p99_ms", 990), ("p99.9_ms", 999), ("max_ms", 1000)];
    let nodes = Nodes::start(System::Oarlock, 3, &plan.dir);
    let mut bare = Bare::new(&plan.dir);
    let (mut peaks, mut open, mut disk) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..plan.rounds {
        let peak = measure(plan, &nodes, &["--clients", "64"]).per_second("set");
        turns::rest(&nodes);
        disk.push(bare.write(plan.seconds));
        // Of this round's: the machine may be another one in a minute.
        let rate = format!("{:.0}", (peak / 2.0).max(1.0));
        open.push(measure(plan, &nodes, &["--clients", "64", "--rate", &rate]));
        peaks.push(peak);
    }
    let mut table = format!(
        "### Latency at half the peak\n\nPuts by 64 clients come at half the rate of the closed loop \
         just before ({:.0} a second), whether or not earlier ones are answered. Between the two, once no node \
         writes a snapshot, one bare writer has the disk for itself, which writes 4 KiB and syncs.\n\n\
         | | p50 ms | p90 ms | p99 ms | p99.9 ms | longest ms |\n|---|---|---|---|---|---|\n",
        median(peaks)
    );
    let mut line = |name: &str, at: &dyn Fn((&str, usize)) -> f64| {
        let values = PERMILLES.map(|place| format!(" {:.2} |", at(place)));
        _ = writeln!(table, "| {name} |{}", values.concat());
    };
    line("puts", &|(name, _)| of(&open, |f| f.latency("set", name)));
    line("the disk alone", &|(_, permille)| {
        median(disk.iter().map(|took| took.permille_ms(permille)).collect())
    });
    table
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
