//! The table's rules one by one, then against a model under random duplication and reordering.

use proptest::prelude::*;

use super::*;
use crate::op::Answer;

const A: ClientId = ClientId { born: 0, nonce: 1 };
const B: ClientId = ClientId { born: 0, nonce: 2 };
const C: ClientId = ClientId { born: 0, nonce: 3 };

/// A table and the log's next index.
struct Log(SessionTable, Index);

impl Log {
    fn new(limits: Limits) -> Self {
        Self(SessionTable::new(limits), 0)
    }

    /// Appends a request, executing it if admitted: then its answer is the index.
    fn append(&mut self, client: ClientId, seq: u64, acked_below: u64) -> Admission {
        self.1 += 1;
        let admission = self.0.admit(self.1, client, seq, acked_below);
        if admission == Admission::Execute {
            self.0.remember(client, seq, answer(self.1));
        }
        check_invariants(&self.0);
        admission
    }
}

fn answer(index: Index) -> Answers {
    vec![Answer::Integer(i64::try_from(index).unwrap())].into()
}

fn check_invariants(table: &SessionTable) {
    let by_use: BTreeMap<Index, ClientId> =
        table.sessions.iter().map(|(client, s)| (s.last_used, *client)).collect();
    assert_eq!(by_use, table.by_use);
    for session in table.sessions.values() {
        let sum: usize = session.answers.values().map(|a| cost_bytes(a.as_ref())).sum();
        assert_eq!(session.bytes, sum);
        assert!(session.answers.keys().all(|&seq| seq >= session.floor));
        assert!(session.answers.len() <= table.limits.answers_per_session);
        assert!(session.bytes <= table.limits.bytes_per_session);
    }
    assert_eq!(table.bytes, table.sessions.values().map(|s| s.bytes).sum::<usize>());
    assert!(table.sessions.len() <= table.limits.sessions);
}

fn no_session(renew_at: Index) -> Admission {
    Admission::Refused(Refused::NoSession { renew_at })
}

const FORGOTTEN: Admission = Admission::Refused(Refused::Forgotten);

#[test]
fn requests_of_one_client_may_arrive_in_any_order_and_repeatedly() {
    let mut log = Log::new(Limits::default());
    for seq in [3, 1, 2] {
        assert_eq!(log.append(A, seq, 1), Admission::Execute);
    }
    assert_eq!(log.append(A, 1, 1), Admission::Remembered(answer(2)));
    assert_eq!(log.append(A, 3, 1), Admission::Remembered(answer(1)));
}

#[test]
fn what_is_acknowledged_is_dropped_and_never_executed_again() {
    let mut log = Log::new(Limits::default());
    for seq in 1..=4 {
        log.append(A, seq, 1);
    }
    assert_eq!(log.append(A, 5, 3), Admission::Execute);
    assert_eq!(log.append(A, 2, 1), FORGOTTEN);
    assert_eq!(log.append(A, 3, 1), Admission::Remembered(answer(3)));
    assert_eq!(log.0.sessions[&A].answers.len(), 3);
}

#[test]
fn a_given_up_request_that_arrives_late_is_refused() {
    let mut log = Log::new(Limits::default());
    assert_eq!(log.append(A, 9, 9), Admission::Execute);
    assert_eq!(log.append(A, 8, 8), FORGOTTEN, "never executed, but its client is not waiting");
    assert_eq!(log.append(A, 10, 12), FORGOTTEN, "below the floor it brings itself");
}

#[test]
fn an_evicted_client_is_refused_for_ever_even_with_its_first_request() {
    let mut log = Log::new(Limits { sessions: 2, ..Limits::default() });
    log.append(A, 1, 1);
    log.append(B, 1, 1);
    log.append(A, 2, 2);
    log.append(ClientId { born: 3, ..C }, 1, 1);
    assert_eq!(log.append(B, 1, 1), no_session(5), "the least recently used was evicted");
    assert_eq!(log.append(A, 2, 2), Admission::Remembered(answer(3)));
    assert_eq!(log.append(B, 2, 1), no_session(7));
}

#[test]
fn a_new_client_after_evictions_needs_a_birth() {
    let mut log = Log::new(Limits { sessions: 1, ..Limits::default() });
    log.append(A, 1, 1);
    log.append(B, 1, 1);
    assert_eq!(log.0.horizon(), 1);
    assert_eq!(log.append(C, 4, 1), no_session(3), "as old as A, it might have been evicted");
    let born = ClientId { born: 3, ..C };
    assert_eq!(log.append(born, 4, 1), Admission::Execute, "whatever its first number is");
    assert_eq!(log.append(born, 2, 1), Admission::Execute);
}

#[test]
fn a_birth_in_the_future_is_refused() {
    let mut log = Log::new(Limits::default());
    assert_eq!(log.append(ClientId { born: 1, ..A }, 1, 1), no_session(1));
    assert_eq!(log.append(ClientId { born: 1, ..A }, 1, 1), Admission::Execute);
}

#[test]
fn the_number_of_answers_is_bounded_by_forgetting_the_lowest() {
    let mut log = Log::new(Limits { answers_per_session: 3, ..Limits::default() });
    for seq in [2, 3, 4, 5] {
        assert_eq!(log.append(A, seq, 1), Admission::Execute);
    }
    assert_eq!(log.append(A, 2, 1), FORGOTTEN);
    assert_eq!(log.append(A, 1, 1), FORGOTTEN, "it can no longer be told apart");
    assert_eq!(log.append(A, 3, 1), Admission::Remembered(answer(2)));
}

#[test]
fn the_bytes_of_answers_are_bounded_by_keeping_the_mere_fact() {
    let each = answer(1).cost_bytes();
    let mut log = Log::new(Limits { bytes_per_session: 2 * each, ..Limits::default() });
    for seq in [2, 3, 4] {
        log.append(A, seq, 1);
    }
    assert_eq!(log.append(A, 2, 1), FORGOTTEN);
    assert_eq!(log.append(A, 1, 1), Admission::Execute, "others are not concerned");
    assert_eq!(log.append(A, 4, 1), Admission::Remembered(answer(3)));
}

#[test]
fn the_bytes_of_all_sessions_are_bounded_by_eviction() {
    let each = answer(1).cost_bytes();
    let mut log =
        Log::new(Limits { bytes: 2 * each, bytes_per_session: 3 * each, ..Limits::default() });
    log.append(A, 1, 1);
    log.append(B, 1, 1);
    log.append(B, 2, 1);
    assert_eq!(log.0.len(), 1);
    assert_eq!(log.append(A, 1, 1), no_session(4));
    log.append(B, 3, 1);
    assert_eq!(log.0.len(), 1, "the last one is within its own limit");
}

#[derive(Clone, Debug)]
struct Sent {
    client: usize,
    seq: u64,
    acked_below: u64,
}

/// What clients may send: each request possibly several times, with any `acked_below` that was true
/// when it was sent; then the network's order, which is any.
fn traffic() -> impl Strategy<Value = Vec<Sent>> {
    let one = (0..4usize, 1..12u64, 0..4u64, 1..4usize);
    proptest::collection::vec(one, 1..60)
        .prop_map(|sends| {
            let copies = sends.into_iter().flat_map(|(client, seq, behind, copies)| {
                let acked_below = seq.saturating_sub(behind).max(1);
                std::iter::repeat_n(Sent { client, seq, acked_below }, copies)
            });
            copies.collect::<Vec<_>>()
        })
        .prop_shuffle()
}

proptest! {
    #[test]
    fn nothing_executes_twice_and_answers_never_change(
        traffic in traffic(),
        sessions in 1..5usize,
        answers_per_session in 1..6usize,
        kept in 1..6usize,
    ) {
        let bytes_per_session = kept * answer(1).cost_bytes();
        let limits = Limits { sessions, answers_per_session, bytes_per_session, ..Limits::default() };
        let mut log = Log::new(limits);
        let mut clients = [A, B, C, ClientId { born: 0, nonce: 4 }];
        let mut executed: BTreeMap<(ClientId, u64), Answers> = BTreeMap::new();
        for Sent { client, seq, acked_below } in traffic {
            let id = clients[client];
            match log.append(id, seq, acked_below) {
                Admission::Execute => {
                    let previous = executed.insert((id, seq), answer(log.1));
                    prop_assert_eq!(previous, None, "{} {} executed twice", id, seq);
                }
                Admission::Remembered(answers) => {
                    prop_assert_eq!(Some(&answers), executed.get(&(id, seq)));
                }
                Admission::Refused(Refused::NoSession { renew_at }) => {
                    clients[client] = ClientId { born: renew_at, ..id };
                }
                Admission::Refused(Refused::Forgotten) => {}
            }
        }
    }
}
