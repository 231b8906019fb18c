//! Several writers and one log: whatever they have queued becomes one batch, as a peer's log writer
//! does it. The floor gets the same queue and the same threads.

use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::time::Instant;

use oarlock_storage::{Batch, DiskOptions};

use super::append::{KEPT_BYTES, Log, ROUND, Round};
use super::floor::Floor;
use super::{Plan, directory};

/// How many batches each writer has made durable before the other side's turn: at most so many, and
/// of all writers together no more than so many bytes.
const TURN_BATCHES_MAX: u64 = 40;
const TURN_BYTES_MAX: u64 = 32 << 20;

/// A batch on its way, and where to say that it is durable.
type Request = (Batch, SyncSender<Batch>);

/// `writers` threads that each wait for their batches.
pub(crate) fn run(
    plan: &Plan,
    writers: u64,
    entries: u64,
    value: usize,
) -> (Vec<Round>, Option<f64>) {
    let dir = directory();
    let mut floor = Floor::new(dir.path(), KEPT_BYTES);
    let mut log = Log::open(&dir.path().join("log"), DiskOptions::new(1), value);
    let raw = vec![7; (writers * entries) as usize * value];
    let blank = log.batch(entries);
    let bytes = raw.len() as u64;
    let batches = (TURN_BYTES_MAX / bytes).clamp(1, TURN_BATCHES_MAX);
    let rounds = (0..plan.rounds()).map(|_| {
        let mut round = Round::default();
        let began = Instant::now();
        while round.batches == 0 || (began.elapsed() < ROUND && !plan.is_test) {
            round.floor += turn((writers, batches), &blank, |group| {
                floor.append(&raw[..group.entries.len() * value]);
            });
            round.ours += turn((writers, batches), &blank, |group| log.append(group));
            log.compact_if_due();
            round.batches += writers * batches;
        }
        round
    });
    (rounds.collect(), None)
}

/// Lets every writer make so many batches durable with `sync`; returns the seconds.
fn turn((writers, batches): (u64, u64), blank: &Batch, mut sync: impl FnMut(&mut Batch)) -> f64 {
    let (queue, requests) = channel::<Request>();
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..writers {
            let queue = queue.clone();
            let mut batch = blank.clone();
            scope.spawn(move || {
                let (sender, durable) = sync_channel(1);
                for _ in 0..batches {
                    queue.send((batch, sender.clone())).expect("the log is there");
                    batch = durable.recv().expect("the log answers");
                }
            });
        }
        drop(queue);
        serve(&requests, &mut sync);
    });
    began.elapsed().as_secs_f64()
}

/// The log writer's loop: all that is queued, then one sync, then the answers.
fn serve(requests: &Receiver<Request>, sync: &mut impl FnMut(&mut Batch)) {
    let mut group = Batch::default();
    while let Ok(first) = requests.recv() {
        let mut waiting = Vec::new();
        for (mut batch, sender) in std::iter::once(first).chain(requests.try_iter()) {
            waiting.push((batch.entries.len(), sender));
            group.entries.append(&mut batch.entries);
        }
        sync(&mut group);
        let mut entries = group.entries.drain(..);
        for (count, sender) in waiting {
            let batch =
                Batch { entries: entries.by_ref().take(count).collect(), ..Batch::default() };
            sender.send(batch).expect("the writer waits");
        }
    }
}
