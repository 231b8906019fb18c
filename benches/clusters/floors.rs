//! Oarlock beside a skeleton without a protocol: how far whole clusters are from what this machine allows.

use std::fmt::Write as _;

use crate::document::grouped;
use crate::load::{Figures, measure};
use crate::nodes::{Nodes, System};
use crate::versus::{CLIENTS, KINDS, flags, of};
use crate::{Plan, median};

/// Rates, what they cost, and the medians of the ratios within a round.
pub(crate) fn beside_a_skeleton(plan: &Plan) -> String {
    let clusters = [System::Oarlock, System::Skeleton].map(|s| Nodes::start(s, 3, &plan.dir));
    let mut table = "### Beside a skeleton\n\n256-byte values; a closed loop; turns, and medians of \
                     the rounds.\n\n\
                     | request | clients | Oarlock | skeleton | times skeleton | server CPU, µs each | \
                     skeleton's |\n|---|---|---|---|---|---|---|\n"
        .to_owned();
    for (name, kind, reads) in KINDS {
        for clients in CLIENTS {
            let mut found: [Vec<Figures>; 2] = Default::default();
            for _ in 0..plan.rounds {
                for (cluster, figures) in clusters.iter().zip(&mut found) {
                    figures.push(measure(plan, cluster, &flags(clients, reads)));
                }
            }
            let ratios = found[0].iter().zip(&found[1]);
            let ratios = ratios.map(|(ours, its)| ours.per_second(kind) / its.per_second(kind));
            _ = writeln!(
                table,
                "| {name} | {clients} | {} | {} | {:.2} | {:.0} | {:.0} |",
                grouped(of(&found[0], |f| f.per_second(kind))),
                grouped(of(&found[1], |f| f.per_second(kind))),
                median(ratios.collect()),
                of(&found[0], |f| f.server_us),
                of(&found[1], |f| f.server_us),
            );
        }
    }
    table
}
