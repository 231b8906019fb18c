//! What travels together, and what does not.

use std::sync::Arc;

use parking_lot::Mutex;

use super::super::Done;
use super::super::poller::Poller;
use super::*;
use crate::op::ANSWER_BYTES_MAX;
use crate::status::NodeStatus;

/// Keeps what it is asked.
#[derive(Default)]
struct Patient {
    asked: Mutex<Vec<(usize, Done)>>,
}

impl Store for Patient {
    fn execute_with(&self, ops: Vec<Op>, done: Done) {
        self.asked.lock().push((ops.len(), done));
    }

    fn status(&self) -> NodeStatus {
        unreachable!("nobody asks")
    }
}

impl Patient {
    /// How many operations each request had, since asked last; none is answered.
    fn requests(&self) -> Vec<usize> {
        std::mem::take(&mut *self.asked.lock()).into_iter().map(|(ops, _)| ops).collect()
    }

    fn answer_all(&self) {
        for (ops, done) in std::mem::take(&mut *self.asked.lock()) {
            done(Ok(vec![Answer::Integer(i64::try_from(ops).unwrap()); ops].into()));
        }
    }
}

struct Bench {
    store: Arc<Patient>,
    mailbox: Arc<Mailbox>,
    batches: Batches,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        let store = Arc::new(Patient::default());
        let mailbox = Arc::new(Mailbox::new(Poller::new().unwrap()));
        let batches = Batches::new(Arc::clone(&store) as Arc<dyn Store>, Arc::clone(&mailbox));
        Self { store, mailbox, batches, now: Instant::now() }
    }

    fn push(&mut self, token: u64, ask: Ask) {
        self.batches.push(token, ask, self.now).unwrap();
    }

    fn submit(&mut self) {
        self.batches.submit(self.now);
    }

    /// Who was answered, and how much.
    fn answered(&mut self) -> Vec<(u64, Result<usize, ExecuteError>)> {
        let mail = self.mailbox.take().map_or_else(Vec::new, |mail| mail.answered);
        for answered in &mail {
            self.batches.note(answered, self.now);
        }
        let parts = mail.iter().flat_map(Answered::parts);
        parts.map(|(token, result)| (token, result.map(<[_]>::len).map_err(Clone::clone))).collect()
    }
}

fn ask(op: Op, count: usize, company: Company) -> Ask {
    let answer_bytes_max = op.answer_bytes_max() * count;
    Ask { ops: vec![op; count], bytes: 100 * count, answer_bytes_max, company }
}

fn reads(count: usize) -> Ask {
    ask(Op::DbSize, count, Company::Reads)
}

fn put() -> Op {
    Op::Put { key: b"k".to_vec().into(), value: b"v".to_vec().into() }
}

fn writes(count: usize) -> Ask {
    ask(put(), count, Company::Writes)
}

#[test]
fn one_alone_goes_at_once_and_others_together() {
    let mut bench = Bench::new();
    bench.push(1, writes(1));
    bench.submit();
    assert_eq!(bench.store.asked.lock().len(), 1);
    bench.push(2, writes(1));
    bench.push(3, reads(2));
    bench.push(4, writes(3));
    bench.submit();
    bench.push(5, writes(1));
    bench.push(6, writes(1));
    bench.submit();
    let asked: Vec<usize> = bench.store.asked.lock().iter().map(|(ops, _)| *ops).collect();
    assert_eq!(asked, [1, 4, 2], "the last two wait for company");
    bench.store.answer_all();
    let mut answered = bench.answered();
    answered.sort_by_key(|(token, _)| *token);
    assert_eq!(answered, [(1, Ok(1)), (2, Ok(1)), (3, Ok(2)), (4, Ok(3))]);
    bench.now += QUIET;
    bench.submit();
    assert_eq!(bench.store.requests(), [2]);
}

/// Three clients that were just answered together.
fn three_answered() -> Bench {
    let mut bench = Bench::new();
    (1..=3).for_each(|token| bench.push(token, writes(1)));
    bench.submit();
    assert_eq!(bench.store.asked.lock().len(), 1);
    bench.store.answer_all();
    assert_eq!(bench.answered().len(), 3);
    bench
}

#[test]
fn whoever_comes_first_waits_for_those_who_were_answered_with_it() {
    let mut bench = three_answered();
    for token in 1..=3 {
        assert_eq!(bench.store.requests(), [0; 0], "others may come");
        bench.push(token, writes(1));
        bench.submit();
        bench.now += QUIET / 2;
    }
    assert_eq!(bench.store.requests(), [3], "all have come");
}

#[test]
fn nobody_waits_long_for_others_to_come_again() {
    let mut bench = three_answered();
    bench.push(1, writes(1));
    assert_eq!(bench.batches.deadline(), Some(bench.now + QUIET));
    bench.now += QUIET;
    bench.submit();
    assert_eq!(bench.store.requests(), [1], "nobody else has come for a moment");

    let mut bench = three_answered();
    bench.push(1, writes(1));
    let first_came = bench.now;
    bench.now += RETURN_MAX * 9 / 10;
    bench.push(2, writes(1));
    assert_eq!(bench.batches.deadline(), Some(first_came + RETURN_MAX), "long enough");
}

#[test]
fn a_client_alone_never_waits_for_itself() {
    let mut bench = Bench::new();
    for _ in 0..3 {
        bench.push(1, writes(1));
        bench.submit();
        assert_eq!(bench.store.asked.lock().len(), 1);
        bench.store.answer_all();
        assert_eq!(bench.answered().len(), 1);
    }
}

#[test]
fn nothing_is_held_back_for_long() {
    let mut bench = Bench::new();
    for token in 0..5 {
        bench.push(token, reads(1));
        bench.submit();
    }
    assert_eq!(bench.store.asked.lock().len(), 2);
    assert_eq!(bench.batches.deadline(), Some(bench.now + HELD_MAX));
    bench.now += HELD_MAX;
    bench.submit();
    let asked: Vec<usize> = bench.store.asked.lock().iter().map(|(ops, _)| *ops).collect();
    assert_eq!(asked, [1, 1, 3]);
    assert_eq!(bench.batches.deadline(), None);
}

/// Goal: where every request takes 50 ms, writes set out about as soon as they come, however many are
/// on their way, and those that come together still go together.
#[test]
fn where_the_majority_is_far_nobody_waits_for_an_answer() {
    const TRIP: Duration = Duration::from_millis(50);
    let mut bench = Bench::new();
    for _ in 0..32 {
        bench.push(1, writes(1));
        bench.submit();
        bench.now += TRIP;
        bench.store.answer_all();
        assert_eq!(bench.answered().len(), 1);
    }
    // In the middle of a way of 50 ms: many are on theirs, and no answer is near.
    for token in 0..25 {
        bench.push(token, writes(1));
        bench.now += QUIET_FAR;
        bench.submit();
        assert_eq!(bench.store.asked.lock().len(), token as usize + 1, "it does not wait");
    }
    for token in 0..12 {
        bench.push(token, writes(1));
        bench.submit();
        bench.now += QUIET_FAR / 2;
    }
    let asked: Vec<usize> = bench.store.asked.lock().iter().map(|(ops, _)| *ops).collect();
    assert_eq!(asked[25..], [9], "they gather, but not for long");
    assert_eq!(bench.batches.deadline(), Some(bench.now + QUIET_FAR / 2), "unless others come");
}

#[test]
fn some_travel_alone_and_all_requests_are_bounded() {
    let mut bench = Bench::new();
    let alone = ask(Op::DbSize, 2, Company::None);
    for (token, ask) in [(1, reads(1)), (2, alone), (3, reads(1)), (4, reads(1))] {
        bench.push(token, ask);
    }
    bench.now += HELD_MAX;
    bench.submit();
    assert_eq!(bench.store.requests(), [1, 2, 2]);
    let mut bench = Bench::new();
    (0..5).for_each(|token| bench.push(token, writes(400)));
    bench.now += HELD_MAX;
    bench.submit();
    assert_eq!(bench.store.requests(), [800, 800, 400], "operations");
    let mut bench = Bench::new();
    (0..3).for_each(|token| bench.push(token, Ask { bytes: BYTES_MAX / 2, ..writes(1) }));
    bench.now += HELD_MAX;
    bench.submit();
    assert_eq!(bench.store.requests(), [2, 1], "bytes");
    let mut bench = Bench::new();
    let half = |company| Ask { answer_bytes_max: ANSWER_BYTES_MAX / 2, ..ask(put(), 1, company) };
    (0..3).for_each(|token| bench.push(token, half(Company::Writes)));
    bench.now += HELD_MAX;
    bench.submit();
    assert_eq!(bench.store.requests(), [2, 1], "answers");
}

#[test]
fn an_error_is_everybodys_and_so_is_a_store_that_forgets() {
    let mut bench = Bench::new();
    bench.push(1, writes(1));
    bench.push(2, writes(2));
    bench.submit();
    let (_, done) = bench.store.asked.lock().pop().unwrap();
    done(Err(ExecuteError::Busy));
    assert_eq!(bench.answered(), [(1, Err(ExecuteError::Busy)), (2, Err(ExecuteError::Busy))]);
    bench.push(3, reads(1));
    bench.submit();
    drop(bench.store.requests());
    assert_eq!(bench.answered(), [(3, Err(ExecuteError::Stopped))]);
}

#[test]
fn what_waits_is_bounded() {
    let mut bench = Bench::new();
    let large = || Ask { bytes: BYTES_MAX, ..writes(1) };
    let mut taken = 0;
    while bench.batches.push(0, large(), bench.now).is_ok() {
        taken += 1;
    }
    assert_eq!(taken, WAITING_BYTES_MAX / BYTES_MAX + 1);
    bench.push(1, reads(1));
    bench.submit();
    assert!(bench.batches.push(0, large(), bench.now).is_ok(), "there is room again");
}
