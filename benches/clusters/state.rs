//! A large state: what it takes of memory, how long nodes that were all killed are away, and what
//! snapshots cost those who write meanwhile.

use std::cell::Cell;
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::bare::Bare;
use crate::load::{self, Figures};
use crate::nodes::{Nodes, Resident, System};
use crate::turns::{self, Turns};
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
        which were killed, to the first linearizable get; the median: killed right behind puts, and once \
        no node writes a snapshot any more.\n\n\
        | keys | value | resident, own | resident, files | away s, amid puts | away s, at rest | resident then, own | files |\n\
        |---|---|---|---|---|---|---|---|\n"
        .to_owned();
    let shapes = if plan.is_test { &SHAPES_OF_TEST[..] } else { &SHAPES };
    for &(keys, value) in shapes {
        let mut nodes = Nodes::start(System::Oarlock, 3, &plan.dir);
        fill(&nodes, keys, value);
        // Only large snapshots take whole seconds.
        if shapes.len() == 1 || keys > SHAPES[0].0 {
            of_turns = turns(plan, &nodes, keys, value);
        }
        // From here on they are looked at right behind puts, or at rest.
        let seconds = if plan.is_test { 0.1 } else { 3.0 };
        let mut seeds = 1000..;
        let mut put = |nodes: &Nodes| {
            let seed = seeds.next().expect("there are enough");
            drop(put(nodes, keys, value, seconds, seed));
        };
        put(&nodes);
        let full = nodes.resident();
        let mut aways = |at_rest| {
            let aways = (0..plan.rounds.min(3)).map(|_| {
                put(&nodes);
                if at_rest {
                    turns::rest(&nodes);
                }
                away(&mut nodes)
            });
            median(aways.collect())
        };
        let (amid, away) = (aways(false), aways(true));
        let again = nodes.resident();
        let mib = |resident: &Resident| (resident.own_bytes >> 20, resident.file_bytes >> 20);
        let ((own, files), (own_then, files_then)) = (mib(&full), mib(&again));
        _ = writeln!(
            table,
            "| {keys} | {value} B | {own} | {files} | {amid:.2} | {away:.2} | {own_then} | {files_then} |"
        );
    }
    (table, of_turns)
}

/// The table of puts into a large state, which is in `usual`.
fn turns(plan: &Plan, usual: &Nodes, keys: u32, value: u32) -> String {
    let (seconds, turns, rounds, wanted) =
        if plan.is_test { (0.1, 1, 1, 0) } else { (1.0, 10, 3, 5) };
    let mut never = Nodes::start(System::Oarlock, 3, &plan.dir);
    fill(&never, keys, value);
    // It takes snapshots until it is as large, and none from there on.
    turns::rest(&never);
    never.start_again_with(&["--snapshot-log-bytes", NEVER]);
    // Other keys each time, and the same ones for both.
    let (mut of_usual, mut of_never) = (Turns::default(), Turns::default());
    let (usual_seed, never_seed) = (Cell::new(1), Cell::new(1));
    let of = |nodes: &Nodes, seed: &Cell<u32>| {
        seed.set(seed.get() + 1);
        put(nodes, keys, value, seconds, seed.get())
    };
    let (mut bare, mut of_bare) = (Bare::new(&plan.dir), [Vec::new(), Vec::new()]);
    turns::rest(usual);
    for round in 1.. {
        of_usual.take(usual, turns, || of(usual, &usual_seed));
        of_never.take(&never, turns, || of(&never, &never_seed));
        let rate = of_usual.written_bytes_per_second();
        for _ in 0..turns {
            of_bare[0].push(bare.write(seconds));
            of_bare[1].push(bare.write_beside(seconds, rate));
        }
        if round >= rounds && of_usual.of_either_kind() >= wanted {
            break;
        }
    }
    turns::table(&of_usual, &of_never, &of_bare, keys, value)
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
    for round in 0..plan.rounds {
        for ((_, nodes), figures) in clusters.iter().zip(&mut found) {
            let seed = u32::try_from(round).expect("there are few");
            figures.push(put(nodes, keys, value, plan.seconds, seed));
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

/// Puts keys at random: others with each `seed`.
fn put(nodes: &Nodes, keys: u32, value: u32, seconds: f64, seed: u32) -> Figures {
    let (keys, value, seconds) = (keys.to_string(), value.to_string(), seconds.to_string());
    let flags = ["--clients", "64", "--keys", &keys, "--value-bytes", &value];
    let seed = seed.to_string();
    let rest = ["--warmup", "0", "--seconds", &seconds, "--seed", &seed];
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
