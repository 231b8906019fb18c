//! Where the time of one put goes, stage by stage, and what the machine takes for the same road with
//! nothing built on it. Needs the feature `stages`, which has the nodes note when a write passes what.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use rustix::process::Signal;

use crate::ground::{Floor, Ground};
use crate::load::measure;
use crate::nodes::{Nodes, System};
use crate::{Plan, median};

/// The stages on a write's road in their order, and whether the leader notes them or a follower.
const ROAD: [(&str, &str, Whose); 8] = [
    ("asked of the store: commands put together", "Submitted", Whose::Leaders),
    ("the message to the follower made", "Sent", Whose::Leaders),
    ("received there", "Received", Whose::Followers),
    ("on disk there", "Synced", Whose::Followers),
    ("the leader has heard of it", "Replied", Whose::Leaders),
    ("committed", "Committed", Whose::Leaders),
    ("applied", "Applied", Whose::Leaders),
    ("the answer written to the client", "Answered", Whose::Leaders),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    Leaders,
    Followers,
}

/// When each stage was passed, by a node: an index, and the nanoseconds.
type Marks = BTreeMap<String, Vec<(u64, u64)>>;

/// A median and the slowest hundredth, in microseconds.
type Spread = [f64; 2];

/// What a load came to.
struct Budget {
    /// The stages of the road, and all of it.
    stages: Vec<Spread>,
    /// What the leader's own log writer let it wait, and took.
    own_disk: [Spread; 2],
    /// What the client saw: the median, in microseconds.
    seen_us: f64,
    floor: Floor,
}

/// A line of the second table.
type Of = fn(&Budget) -> f64;

/// A budget for one client, and for 64.
pub(crate) fn budget(plan: &Plan) -> String {
    let mut ground = Ground::new(&plan.dir);
    let [one, many] = [1, 64].map(|clients| run(plan, &mut ground, clients));
    let mut text = "### Where the time of a put goes\n\nThree nodes, clients at the leader, \
                    256-byte values. Each line is the time since the line before, by the follower \
                    that is first; the leader's own disk works meanwhile. Medians in µs, and the \
                    slowest hundredth.\n\n\
                    | until it is | 1 client | p99 | 64 clients | p99 |\n|---|---|---|---|---|\n"
        .to_owned();
    let names = ROAD.iter().map(|(name, _, _)| *name).chain([
        "**all of it, in the leader**",
        "meanwhile: taken by the leader's log writer",
        "and on its disk",
    ]);
    let column = |budget: &Budget| [&budget.stages[..], &budget.own_disk[..]].concat();
    for ((name, one), many) in names.zip(column(&one)).zip(column(&many)) {
        let [[median, slow], [median_64, slow_64]] = [one, many];
        _ = writeln!(text, "| {name} | {median:.0} | {slow:.0} | {median_64:.0} | {slow_64:.0} |");
    }
    _ = writeln!(
        text,
        "| **as the client sees it** | {:.0} | | {:.0} | |\n\nThe ground, measured behind each load \
         with a batch of a put from each client, medians in µs:\n\n\
         | | behind 1 client | behind 64 |\n|---|---|---|",
        one.seen_us, many.seen_us
    );
    let lines: [(&str, Of); 5] = [
        ("the batch written and synced", |budget| budget.floor.sync),
        ("the same, by three at once", |budget| budget.floor.crowded),
        ("the batch over the loopback device, and an answer back", |budget| budget.floor.trip),
        ("from one thread to another", |budget| budget.floor.hand_over),
        ("**floor**: such a sync, two trips, three hand-overs", |budget| budget.floor.of_a_put()),
    ];
    for (name, of) in lines {
        _ = writeln!(text, "| {name} | {:.0} | {:.0} |", of(&one), of(&many));
    }
    let times = |budget: &Budget| budget.seen_us / budget.floor.of_a_put();
    _ = writeln!(text, "| **a put, in floors** | {:.1} | {:.1} |", times(&one), times(&many));
    text
}

/// Puts by so many clients at the leader.
fn run(plan: &Plan, ground: &mut Ground, clients: usize) -> Budget {
    let mut nodes = Nodes::start(System::Oarlock, 3, &plan.dir);
    let leader = nodes.leader();
    let addr = nodes.addr(leader);
    let figures = measure(plan, &nodes, &["--addr", &addr, "--clients", &clients.to_string()]);
    // The others first: nobody leads then, so nothing is passed on.
    let order = (0..3).filter(|&node| node != leader).chain([leader]);
    order.for_each(|node| nodes.end(node, Signal::TERM));
    let marks: Vec<Marks> = (0..3).map(|node| read(nodes.stages_of(node))).collect();
    let writes = writes(&marks, leader);
    Budget {
        stages: (0..=ROAD.len()).map(|stage| spread(&writes, stage)).collect(),
        own_disk: own_disk(&marks[leader]),
        seen_us: figures.latency("set", "p50_ms") * 1e3,
        floor: ground.measure(clients, plan.is_test),
    }
}

fn read(path: PathBuf) -> Marks {
    let text = std::fs::read_to_string(&path).expect("a build with the feature `stages`");
    let mut marks = Marks::new();
    for line in text.lines() {
        let mut words = line.split(' ');
        let (Some(stage), Some(index), Some(nanos)) = (words.next(), words.next(), words.next())
        else {
            continue;
        };
        let number = |word: &str| word.parse().expect("a number");
        marks.entry(stage.to_owned()).or_default().push((number(index), number(nanos)));
    }
    for marks in marks.values_mut() {
        // What is noted for an index holds for those before it.
        marks.sort_unstable();
        let mut earliest = u64::MAX;
        for (_, nanos) in marks.iter_mut().rev() {
            earliest = earliest.min(*nanos);
            *nanos = earliest;
        }
    }
    marks
}

/// When an index passed a stage.
fn passed(marks: &Marks, stage: &str, index: u64) -> Option<u64> {
    let marks = marks.get(stage)?;
    let at = marks.partition_point(|(noted, _)| *noted < index);
    marks.get(at).map(|(_, nanos)| *nanos)
}

/// The writes that passed every stage: the moments, from the reading of the client's bytes on.
fn writes(marks: &[Marks], leader: usize) -> Vec<Vec<u64>> {
    let read = marks[leader].get("Read").map_or(&[][..], Vec::as_slice);
    // The first find a cluster that has just begun.
    let settled = &read[read.len() / 5..];
    let moments = settled.iter().filter_map(|&(index, read_at)| {
        let first = (0..marks.len())
            .filter(|&node| node != leader)
            .min_by_key(|&node| passed(&marks[node], "Synced", index).unwrap_or(u64::MAX))?;
        let mut moments = vec![read_at];
        for (_, stage, whose) in ROAD {
            let node = if whose == Whose::Leaders { leader } else { first };
            moments.push(passed(&marks[node], stage, index)?);
        }
        Some(moments)
    });
    moments.collect()
}

/// A stage, or all of them.
fn spread(writes: &[Vec<u64>], stage: usize) -> Spread {
    let took = |moments: &Vec<u64>| match moments.get(stage + 1) {
        Some(&to) => micros(moments[stage], to),
        None => micros(moments[0], moments[ROAD.len()]),
    };
    of_all(writes.iter().map(took).collect())
}

/// From one moment to another; the clocks of processes are the same to some microseconds.
fn micros(from: u64, to: u64) -> f64 {
    let nanos = |nanos: u64| std::time::Duration::from_nanos(nanos).as_secs_f64();
    (nanos(to.saturating_sub(from)) - nanos(from.saturating_sub(to))) * 1e6
}

fn of_all(mut values: Vec<f64>) -> Spread {
    values.sort_by(f64::total_cmp);
    let slow = values.get(values.len() * 99 / 100).copied().unwrap_or(f64::NAN);
    [if values.is_empty() { f64::NAN } else { median(values) }, slow]
}

/// How long the leader's log writer let a write wait, and how long it took.
fn own_disk(marks: &Marks) -> [Spread; 2] {
    let submitted = marks.get("Submitted").map_or(&[][..], Vec::as_slice);
    let both = submitted[submitted.len() / 5..].iter().filter_map(|&(index, at)| {
        let (taken, synced) = (passed(marks, "Taken", index)?, passed(marks, "Synced", index)?);
        Some([micros(at, taken), micros(taken, synced)])
    });
    let (waits, writes): (Vec<f64>, Vec<f64>) = both.map(|[waits, writes]| (waits, writes)).unzip();
    [of_all(waits), of_all(writes)]
}
