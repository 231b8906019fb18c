//! Puts where the nodes are far from each other, and the clients beside the leader.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::document::grouped;
use crate::load::{Figures, measure};
use crate::nodes::{Nodes, System};
use crate::versus::of;
use crate::way::Ways;
use crate::{Plan, median};

/// How long a message takes from one node to another.
const ONE_WAY: Duration = Duration::from_millis(25);

/// How often bare bytes go there and back, to see what the way takes by itself.
const ECHOES: usize = 20;

/// Clients, how many requests each has under way, and how many come a second in all; as many as are
/// answered if none is said.
const LOADS: [(&str, &str, Option<&str>); 6] = [
    ("1", "1", None),
    ("64", "1", None),
    ("64", "16", None),
    ("64", "16", Some("10000")),
    ("1000", "1", Some("5000")),
    ("1000", "1", Some("10000")),
];

/// Rates and latencies over a long way, beside what the way takes by itself.
pub(crate) fn far_apart(plan: &Plan) -> String {
    let nodes = Nodes::start_apart(System::Oarlock, 3, &plan.dir, ONE_WAY);
    let (leader, term) = nodes.leadership();
    let addr = nodes.addr(leader);
    let trip = round_trip().as_secs_f64() * 1e3;
    let mut table = format!(
        "### Far apart\n\nThree nodes, {} ms from each other in each direction; clients that put \
         beside the leader. Bare bytes take {trip:.1} ms there and back (the median).\n\n\
         | clients | under way each | come a second | per second | p50 ms | p99 ms | p50 in round trips |\n\
         |---|---|---|---|---|---|---|\n",
        ONE_WAY.as_millis()
    );
    let loads = if plan.is_test { &LOADS[..3] } else { &LOADS[..] };
    for (clients, pipeline, rate) in loads {
        let mut flags = vec!["--addr", &addr, "--clients", clients, "--pipeline", pipeline];
        flags.extend(rate.iter().flat_map(|rate| ["--rate", rate]));
        let figures: Vec<Figures> =
            (0..plan.rounds).map(|_| measure(plan, &nodes, &flags)).collect();
        let p50 = of(&figures, |f| f.latency("set", "p50_ms"));
        _ = writeln!(
            table,
            "| {clients} | {pipeline} | {} | {} | {p50:.1} | {:.1} | {:.2} |",
            rate.unwrap_or("as answered"),
            grouped(of(&figures, |f| f.per_second("set"))),
            of(&figures, |f| f.latency("set", "p99_ms")),
            p50 / (ONE_WAY.as_secs_f64() * 2e3),
        );
    }
    let (_, term_now) = nodes.leadership();
    _ = writeln!(table, "\nLeaders that were elected meanwhile: {}.", term_now - term);
    table
}

/// What the way takes there and back.
fn round_trip() -> Duration {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let ways = Ways::start(&[port], ONE_WAY).expect("there are ports and threads");
    let echo = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("somebody comes");
        let mut bytes = [0; 256];
        while stream.read_exact(&mut bytes).is_ok() {
            stream.write_all(&bytes).expect("it waits for it");
        }
    });
    let mut stream = TcpStream::connect(("127.0.0.1", ways.ports[0])).expect("it listens");
    stream.set_nodelay(true).expect("it is a socket");
    let mut trips = Vec::new();
    for _ in 0..ECHOES {
        let began = Instant::now();
        stream.write_all(&[1; 256]).expect("it takes them");
        stream.read_exact(&mut [0; 256]).expect("it comes back");
        trips.push(began.elapsed().as_secs_f64());
    }
    drop(stream);
    echo.join().expect("it echoes to the end");
    Duration::from_secs_f64(median(trips))
}
