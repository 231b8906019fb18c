//! Whether a history of a key-value store is linearizable: whether all its calls can have happened
//! one at a time, each at some moment between its call and its return.
//!
//! Keys are independent, so each is checked alone. The search is Wing and Gong's ("Testing and
//! verifying concurrent objects", 1993) with Lowe's memory of states seen ("Testing for
//! linearizability", 2017): try a call that may be next, remember what is done and the state it
//! led to, and never go there twice.
//!
//! Values grow long, so neither they nor what has been done are kept as such, but as fingerprints
//! of 61 and 128 bits: two different ones look alike with a probability that no test run will see.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::time::{Duration, Instant};

use super::fingerprint::{Fingerprint, Text};
use super::random::mix;

/// One call of a clerk, from a moment to another since the test began.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) client: usize,
    pub(crate) key: String,
    pub(crate) effect: Effect,
    pub(crate) called: Duration,
    pub(crate) returned: Duration,
}

/// What a call did, or saw.
#[derive(Clone, Debug)]
pub(crate) enum Effect {
    Get { found: Text },
    Put { value: Text },
    Append { value: Text },
}

/// What the check came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Linearizable,
    /// Says where it breaks.
    Illegal(String),
    /// Time ran out; nothing illegal was found.
    Unknown,
}

/// Checks `history` for at most `budget`, all keys together. Each key starts with the empty value.
pub(crate) fn check(history: &[Operation], budget: Duration) -> Verdict {
    let deadline = Instant::now() + budget;
    let mut by_key: BTreeMap<&str, Vec<&Operation>> = BTreeMap::new();
    for operation in history {
        by_key.entry(&operation.key).or_default().push(operation);
    }
    let mut verdict = Verdict::Linearizable;
    for operations in by_key.into_values() {
        match Search::new(operations).run(deadline) {
            Verdict::Linearizable => {}
            Verdict::Unknown => verdict = Verdict::Unknown,
            illegal @ Verdict::Illegal(_) => return illegal,
        }
    }
    verdict
}

/// What a call does to the state of its key.
#[derive(Clone, Copy)]
enum Step {
    Get(Fingerprint),
    Put(Fingerprint),
    Append { piece: Fingerprint, shift: u64 },
}

impl Step {
    fn of(effect: &Effect) -> Self {
        match effect {
            Effect::Get { found } => Self::Get(found.fingerprint),
            Effect::Put { value } => Self::Put(value.fingerprint),
            Effect::Append { value } => {
                let piece = value.fingerprint;
                Self::Append { piece, shift: piece.shift() }
            }
        }
    }

    /// The state afterwards; `None` if the call cannot have happened in this one.
    fn apply(self, state: Fingerprint) -> Option<Fingerprint> {
        match self {
            Self::Get(found) => (found == state).then_some(state),
            Self::Put(value) => Some(value),
            Self::Append { piece, shift } => Some(state.then(piece, shift)),
        }
    }
}

/// A call's beginning, or its end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Event {
    Call(usize),
    Return(usize),
}

/// The place before the first event.
const HEAD: usize = 0;

/// The search for one key.
struct Search<'a> {
    operations: Vec<&'a Operation>,
    steps: Vec<Step>,
    /// In the order of time, from place 1 on.
    events: Vec<Event>,
    /// Where each call's end is.
    return_at: Vec<usize>,
    /// The events that are left, as a list.
    next: Vec<usize>,
    prev: Vec<usize>,
}

impl<'a> Search<'a> {
    fn new(operations: Vec<&'a Operation>) -> Self {
        let mut events: Vec<(Duration, bool, Event)> = Vec::new();
        for (i, operation) in operations.iter().enumerate() {
            // Of equal times, calls come before returns.
            events.push((operation.called, false, Event::Call(i)));
            events.push((operation.returned, true, Event::Return(i)));
        }
        events.sort_by_key(|&(time, is_return, _)| (time, is_return));
        let events: Vec<Event> = events.into_iter().map(|(_, _, event)| event).collect();
        let places = events.len() + 1;
        let mut return_at = vec![HEAD; operations.len()];
        for (i, event) in events.iter().enumerate() {
            if let Event::Return(operation) = *event {
                return_at[operation] = i + 1;
            }
        }
        Self {
            steps: operations.iter().map(|operation| Step::of(&operation.effect)).collect(),
            operations,
            events,
            return_at,
            next: (1..=places).collect(),
            prev: (0..places).map(|place| place.saturating_sub(1)).collect(),
        }
    }

    fn run(mut self, deadline: Instant) -> Verdict {
        let end = self.events.len() + 1;
        let (mut state, mut done) = (Fingerprint::default(), 0u128);
        let mut seen = HashSet::new();
        let mut taken: Vec<(usize, Fingerprint, u128)> = Vec::new();
        let (mut longest, mut stuck) = (0, String::new());
        let mut place = self.next[HEAD];
        for round in 0u64.. {
            if place == end {
                break;
            }
            if round.is_multiple_of(1024) && Instant::now() >= deadline {
                return Verdict::Unknown;
            }
            match self.events[place - 1] {
                Event::Call(i) => {
                    let after = self.steps[i].apply(state).map(|after| (after, done ^ token(i)));
                    if let Some((after, done_after)) = after.filter(|&after| seen.insert(after)) {
                        taken.push((place, state, done));
                        (state, done) = (after, done_after);
                        self.lift(place, i);
                        place = self.next[HEAD];
                    } else {
                        place = self.next[place];
                    }
                }
                // A call that should be done by now is not: go back.
                Event::Return(i) => {
                    if taken.len() >= longest {
                        longest = taken.len();
                        stuck = self.describe(longest, i);
                    }
                    let Some((before, state_before, done_before)) = taken.pop() else {
                        return Verdict::Illegal(stuck);
                    };
                    (state, done) = (state_before, done_before);
                    let Event::Call(i) = self.events[before - 1] else {
                        unreachable!("only calls are taken")
                    };
                    self.put_back(before, i);
                    place = self.next[before];
                }
            }
        }
        Verdict::Linearizable
    }

    /// Takes a call and its return out of the list.
    fn lift(&mut self, call: usize, operation: usize) {
        for place in [call, self.return_at[operation]] {
            let (prev, next) = (self.prev[place], self.next[place]);
            self.next[prev] = next;
            if let Some(prev_of_next) = self.prev.get_mut(next) {
                *prev_of_next = prev;
            }
        }
    }

    /// Undoes the latest [`lift`](Self::lift).
    fn put_back(&mut self, call: usize, operation: usize) {
        for place in [self.return_at[operation], call] {
            let (prev, next) = (self.prev[place], self.next[place]);
            self.next[prev] = place;
            if let Some(prev_of_next) = self.prev.get_mut(next) {
                *prev_of_next = place;
            }
        }
    }

    fn describe(&self, done: usize, i: usize) -> String {
        let operation = self.operations[i];
        format!(
            "key {:?}: {done} of {} calls have an order, but not with this one before its return: \
             {}",
            operation.key,
            self.operations.len(),
            Brief(operation)
        )
    }
}

/// The mark of an operation in the set of those done, which is the exclusive or of their marks.
fn token(operation: usize) -> u128 {
    let i = operation as u64;
    u128::from(mix(2 * i + 1)) << 64 | u128::from(mix(2 * i + 2))
}

/// An operation in a line.
struct Brief<'a>(&'a Operation);

impl fmt::Display for Brief<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Operation { client, effect, called, returned, .. } = self.0;
        let (what, text) = match effect {
            Effect::Get { found } => ("Get found", found),
            Effect::Put { value } => ("Put", value),
            Effect::Append { value } => ("Append", value),
        };
        write!(f, "client {client} {what} {text}, in {called:?} to {returned:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: Duration = Duration::from_secs(10);

    fn operation(called: u64, returned: u64, effect: Effect) -> Operation {
        let [called, returned] = [called, returned].map(Duration::from_millis);
        Operation { client: 0, key: "k".to_owned(), effect, called, returned }
    }

    fn put(called: u64, returned: u64, value: &str) -> Operation {
        operation(called, returned, Effect::Put { value: Text::of(value) })
    }

    fn append(called: u64, returned: u64, value: &str) -> Operation {
        operation(called, returned, Effect::Append { value: Text::of(value) })
    }

    fn get(called: u64, returned: u64, found: &str) -> Operation {
        operation(called, returned, Effect::Get { found: Text::of(found) })
    }

    #[track_caller]
    fn assert_illegal(history: &[Operation]) {
        let verdict = check(history, BUDGET);
        assert!(matches!(verdict, Verdict::Illegal(_)), "{verdict:?}");
    }

    #[track_caller]
    fn assert_linearizable(history: &[Operation]) {
        assert_eq!(check(history, BUDGET), Verdict::Linearizable);
    }

    #[test]
    fn a_get_finds_what_was_put_before() {
        assert_linearizable(&[get(0, 1, ""), put(2, 3, "a"), append(4, 5, "b"), get(6, 7, "ab")]);
        assert_illegal(&[put(0, 1, "a"), put(2, 3, "b"), get(4, 5, "a")]);
        assert_illegal(&[append(0, 1, "a"), get(2, 3, "")]);
        assert_illegal(&[append(0, 1, "a"), get(2, 3, "aa")]);
    }

    #[test]
    fn calls_at_the_same_time_may_have_any_order_but_one_order_for_all() {
        let puts = [put(0, 10, "a"), put(0, 10, "b")];
        let with = |gets: &[Operation]| [&puts, gets].concat();
        assert_linearizable(&with(&[get(1, 2, "a"), get(3, 4, "b")]));
        assert_linearizable(&with(&[get(1, 2, "b"), get(3, 4, "a")]));
        assert_linearizable(&with(&[get(1, 2, "b"), get(3, 4, "b")]));
        assert_illegal(&with(&[get(11, 12, "a"), get(13, 14, "b")]));
        assert_illegal(&with(&[get(1, 2, "a"), get(3, 4, "b"), get(5, 6, "a")]));
    }

    #[test]
    fn what_one_client_has_seen_no_later_call_may_miss() {
        // The put still runs when one reader has seen it, and a later one has not.
        assert_illegal(&[put(0, 10, "new"), get(1, 2, "new"), get(3, 4, "")]);
        assert_linearizable(&[put(0, 10, "new"), get(1, 4, "new"), get(2, 3, "")]);
    }

    #[test]
    fn a_return_at_the_moment_of_a_call_is_after_it() {
        assert_linearizable(&[put(0, 5, "a"), get(5, 6, ""), get(7, 8, "a")]);
    }

    #[test]
    fn keys_are_independent() {
        let other = Operation { key: "other".to_owned(), ..get(4, 5, "") };
        assert_linearizable(&[put(0, 1, "a"), other, get(6, 7, "a")]);
    }

    #[test]
    fn many_calls_at_once_are_ordered_by_what_a_get_found_afterwards() {
        let letters = "fedcba";
        let appends = letters.chars().map(|letter| append(0, 100, &letter.to_string()));
        let history = |found| appends.clone().chain([get(101, 102, found)]).collect::<Vec<_>>();
        assert_linearizable(&history("dcbafe"));
        assert_illegal(&history("dcbaf"));
        assert_illegal(&history("dcbaff"));
        assert_illegal(&[append(0, 1, "a"), append(2, 3, "b"), get(4, 5, "ba")]);
    }

    #[test]
    fn time_that_runs_out_is_no_verdict() {
        assert_eq!(check(&[put(0, 1, "a")], Duration::ZERO), Verdict::Unknown);
    }
}
