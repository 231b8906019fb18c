//! A large state: what it takes of memory, how long nodes that were all killed are away, and what
//! snapshots cost those who write meanwhile.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::load::{self, Figures};
use crate::nodes::{Nodes, Resident, System};
use crate::turns::Turns;
use crate::{Plan, median};

/// Keys, and the bytes of each one's value.
const SHAPES: [(u32, u32); 2] = [(100_000, 256), (1_000_000, 1024)];
const SHAPES_OF_TEST: [(u32, u32); 1] = [(2000, 256)];

/// A log that never gets so long: no snapshot is taken.
const NEVER: &str = "1099511627776";

/// How long nodes that were killed may be away.
const BACK_WITHIN: Duration = Duration::from_secs(120);

/// All tables.
pub(crate) fn tables(plan: &Plan) -> String {
    let (sizes, turns) = sizes(plan);
    format!("{sizes}\n{}\n{turns}", snapshots(plan))
}

/// The table of memory and restarts, and the one of puts into the largest state.
fn sizes(plan: &Plan) -> (String, String) {
    let mut of_turns = String::new();
    let mut table = "### Memory and restarts\n\nThree nodes; every key is put, and then keys at random \
        for some time, by 64 clients. \"Resident\" is of the largest node, in MiB, while it runs: memory of \
        its own, and pages of files (program and snapshot). \"Away\" is from the start of all nodes, \
        which were killed, to the first linearizable get; the median.\n\n\
        | keys | value | resident, own | resident, files | away s | resident then, own | files |\n\
        |---|---|---|---|---|---|---|\n"
        .to_owned();
    let shapes = if plan.is_test { &SHAPES_OF_TEST[..] } else { &SHAPES };
    for &(keys, value) in shapes {
        let mut nodes = Nodes::start(System::Oarlock, 3, &plan.dir);
        fill(&nodes, keys, value);
        // Whole turns in which snapshots are written are there only where those are large.
        let wanted = if keys > SHAPES[0].0 { 5 } else { 0 };
        let (seconds, turns) = if plan.is_test { (0.1, 2) } else { (1.0, keys as usize / 30_000) };
        let turns = Turns::take(&nodes, (turns, wanted), || put(&nodes, keys, value, seconds));
        of_turns = turns.table(keys, value);
        let full = nodes.resident();
        let away = median((0..plan.rounds.min(3)).map(|_| away(&mut nodes)).collect());
        let again = nodes.resident();
        let mib = |resident: &Resident| (resident.own_bytes >> 20, resident.file_bytes >> 20);
        let ((own, files), (own_then, files_then)) = (mib(&full), mib(&again));
        _ = writeln!(
            table,
            "| {keys} | {value} B | {own} | {files} | {away:.2} | {own_then} | {files_then} |"
        );
    }
    (table, of_turns)
}

fn snapshots(plan: &Plan) -> String {
    let (keys, value) = if plan.is_test { SHAPES_OF_TEST[0] } else { SHAPES[0] };
    let mut table = format!(
        "### Puts while snapshots are taken\n\nTwo clusters of three nodes with {keys} keys of {value} B \
         take turns of {} s; one never takes a snapshot. 64 clients put; {} rounds.\n\n\
         | snapshots | per second | p99 ms | longest answer ms, median | the longest of all |\n\
         |---|---|---|---|---|\n",
        plan.seconds, plan.rounds
    );
    let clusters = [
        ("as usual", Nodes::start(System::Oarlock, 3, &plan.dir)),
        ("never", Nodes::start_with(&["--snapshot-log-bytes", NEVER], &plan.dir)),
    ];
    for (_, nodes) in &clusters {
        fill(nodes, keys, value);
    }
    let mut found: [Vec<Figures>; 2] = Default::default();
    for _ in 0..plan.rounds {
        for ((_, nodes), figures) in clusters.iter().zip(&mut found) {
            figures.push(put(nodes, keys, value, plan.seconds));
        }
    }
    for ((name, _), figures) in clusters.iter().zip(&found) {
        let of = |name: &str| figures.iter().map(|f| f.latency("set", name)).collect::<Vec<_>>();
        let longest = of("max_ms").into_iter().fold(0.0, f64::max);
        _ = writeln!(
            table,
            "| {name} | {:.0} | {:.2} | {:.0} | {longest:.0} |",
            median(figures.iter().map(|f| f.per_second("set")).collect()),
            median(of("p99_ms")),
            median(of("max_ms")),
        );
    }
    table
}

/// Puts every key once.
fn fill(nodes: &Nodes, keys: u32, value: u32) {
    let (keys, value) = (keys.to_string(), value.to_string());
    let flags = ["--clients", "64", "--pipeline", "8", "--reads", "100", "--keys", &keys];
    let rest = ["--value-bytes", &value, "--warmup", "0", "--seconds", "0.1"];
    load::run(nodes, &[&flags[..], &rest].concat()).expect("every key is put and found");
}

/// Puts keys at random.
fn put(nodes: &Nodes, keys: u32, value: u32, seconds: f64) -> Figures {
    let (keys, value, seconds) = (keys.to_string(), value.to_string(), seconds.to_string());
    let flags = ["--clients", "64", "--keys", &keys, "--value-bytes", &value];
    let rest = ["--warmup", "0", "--seconds", &seconds];
    load::run(nodes, &[&flags[..], &rest].concat()).expect("every put is answered")
}

/// Kills all nodes and starts them again: how long it takes until a get is answered, in seconds.
fn away(nodes: &mut Nodes) -> f64 {
    (0..3).for_each(|node| nodes.end(node, Signal::KILL));
    let began = Instant::now();
    (0..3).for_each(|node| nodes.start_node(node));
    let addr = nodes.addrs().next().expect("there are three");
    while !is_answered(&addr).unwrap_or(false) {
        assert!(began.elapsed() < BACK_WITHIN, "the nodes do not come back");
        std::thread::sleep(Duration::from_millis(5));
    }
    began.elapsed().as_secs_f64()
}

/// Whether a get of the first key is answered with a value.
fn is_answered(addr: &str) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(addr)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"*2\r\n$3\r\nGET\r\n$14\r\nbench:00000000\r\n")?;
    let mut reply = [0; 2];
    stream.read_exact(&mut reply)?;
    Ok(reply[0] == b'$' && reply[1] != b'-')
}
