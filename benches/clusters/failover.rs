//! How long clients wait when the leader goes: killed, or told to stop.

use std::fmt::Write as _;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;

use crate::nodes::{Nodes, System};
use crate::{Plan, load, median};

/// When the leader goes, after the load began, and how long that goes on.
const GOES_AFTER: Duration = Duration::from_millis(700);
const LOAD_SECONDS: &str = "3";

/// The longest time without any answer, in rounds of 16 clients that put.
pub(crate) fn pauses(plan: &Plan) -> String {
    let mut nodes = Nodes::start(System::Oarlock, 3, &plan.dir);
    let rounds = if plan.is_test { 1 } else { plan.rounds * 4 };
    let mut table = format!(
        "### When the leader goes\n\nThe longest time without an answer to any of 16 clients at all \
         three nodes, which put without a pause; {rounds} times each.\n\n\
         | the leader is | median ms | longest ms |\n|---|---|---|\n"
    );
    for (name, signal) in
        [("killed (SIGKILL)", Signal::KILL), ("told to stop (SIGTERM)", Signal::TERM)]
    {
        let found: Vec<f64> = (0..rounds).map(|_| pause(&mut nodes, signal)).collect();
        let longest = found.iter().copied().fold(0.0, f64::max);
        _ = writeln!(table, "| {name} | {:.0} | {longest:.0} |", median(found));
    }
    table
}

fn pause(nodes: &mut Nodes, signal: Signal) -> f64 {
    let leader = nodes.leader();
    let flags = ["--clients", "16", "--warmup", "0.2", "--seconds", LOAD_SECONDS];
    let mut command = load::command(nodes, &flags);
    let load = command.stdout(Stdio::piped()).spawn().expect("the program starts");
    std::thread::sleep(GOES_AFTER);
    nodes.end(leader, signal);
    let output = load.wait_with_output().expect("it is ours");
    nodes.start_node(leader);
    let figures = load::Figures::of(&output, Duration::ZERO);
    figures.expect("no answer is wrong, whoever leads").pause()
}
