//! One measurement: `oarlock bench`, in a process of its own.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::Plan;
use crate::nodes::Nodes;

/// What one measurement came to.
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    json: serde_json::Value,
    /// Processor time that the nodes used for each answer, in microseconds.
    pub(crate) server_us: f64,
}

impl Figures {
    /// What a load printed, if it succeeded; the nodes used so much processor time for it.
    pub(crate) fn of(output: &Output, used: Duration) -> Option<Self> {
        if !output.status.success() {
            return None;
        }
        let json: serde_json::Value =
            serde_json::from_slice(&output.stdout).expect("one line of JSON");
        let count = |kind: &str| json[kind]["count"].as_f64().unwrap_or(0.0);
        let answered = count("set") + count("get") + count("ping");
        let server_us = used.as_secs_f64() * 1e6 / answered.max(1.0);
        Some(Self { json, server_us })
    }

    fn number(&self, kind: &str, name: &str) -> f64 {
        self.json[kind][name].as_f64().unwrap_or(0.0)
    }

    pub(crate) fn per_second(&self, kind: &str) -> f64 {
        self.number(kind, "per_second")
    }

    /// A percentile's latency, by its name, in milliseconds.
    pub(crate) fn latency(&self, kind: &str, percentile: &str) -> f64 {
        self.number(kind, percentile)
    }

    /// The longest time without an answer, in milliseconds.
    pub(crate) fn pause(&self) -> f64 {
        self.json["pause_ms"].as_f64().unwrap_or(f64::INFINITY)
    }
}

/// Runs a load; `None` if it could not be, or an answer was wrong. What the nodes do before all keys are
/// there is not counted.
pub(crate) fn run(nodes: &Nodes, flags: &[&str]) -> Option<Figures> {
    let mut before = nodes.cpu();
    let mut command = command(nodes, flags);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.expect("the program starts");
    let said = BufReader::new(child.stderr.take().expect("it is piped"));
    for line in said.lines().map_while(Result::ok) {
        if line.ends_with("keys are written") {
            before = nodes.cpu();
        }
    }
    let output = child.wait_with_output().expect("it is ours");
    let used = nodes.cpu().saturating_sub(before);
    Figures::of(&output, used)
}

/// The command of a load.
pub(crate) fn command(nodes: &Nodes, flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oarlock"));
    command.args(["bench", "--json"]).args(flags);
    if !flags.contains(&"--addr") {
        for addr in nodes.addrs() {
            command.args(["--addr", &addr]);
        }
    }
    command.args(["--speak", nodes.system.speaks()]);
    command
}

/// Runs a load that must do, for the plan's time, without a warm-up: all that it costs is counted.
pub(crate) fn measure(plan: &Plan, nodes: &Nodes, flags: &[&str]) -> Figures {
    let seconds = plan.seconds.to_string();
    let all = [&["--seconds", &seconds, "--warmup", "0"], flags].concat();
    let figures = run(nodes, &all);
    figures.unwrap_or_else(|| panic!("{:?} gave wrong answers, or none: {flags:?}", nodes.system))
}
