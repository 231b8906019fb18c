//! The check of a whole history, in a given time, and what it came to.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use crate::explain::explain;
use crate::history::{History, Operation};
use crate::problem::{Call, Problem};
use crate::search::Search;

/// What a check came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is an order for all operations of all keys.
    Linearizable,
    /// There is none for these keys. Others may be undecided.
    Illegal(Vec<Violation>),
    /// Time ran out with these keys undecided, and none was found to be illegal.
    Unknown(Vec<Undecided>),
}

/// A key whose operations have no order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The key.
    pub key: String,
    /// How many operations it has.
    pub operations: usize,
    /// An order of operations from the beginning, by number in the history: of all that returned
    /// before [`offending`](Self::offending), and of some that were under way then.
    pub order: Vec<usize>,
    /// The number in the history of the operation that has no place: until it returns there is an
    /// order, and when it has there is none, whatever comes later. If time ran out while it was
    /// looked for, one that returned later and is no better.
    pub offending: usize,
    /// The same operation.
    pub operation: Operation,
}

/// A key that was not checked to the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undecided {
    /// The key.
    pub key: String,
    /// How many operations it has.
    pub operations: usize,
    /// The most of these that were found to have an order.
    pub placed: usize,
}

/// Checks `history` for at most `budget`, all keys together; each of those undecided gets the same
/// share of what time is left. What is illegal is then looked at more closely, for ten seconds at
/// most.
pub fn check(history: &History, budget: Duration) -> Verdict {
    let deadline = Instant::now() + budget;
    let (mut violations, mut undecided) = (Vec::new(), Vec::new());
    // The small ones first: they leave their time to the others.
    let mut keys: Vec<usize> = history.keys().collect();
    keys.sort_by_key(|&key| history.entries_of(key).len());
    let mut open: VecDeque<(usize, Option<Search<'_>>)> =
        keys.into_iter().map(|key| (key, None)).collect();
    let mut shares = open.len();
    while let Some((key, search)) = open.pop_front() {
        let now = Instant::now();
        if now >= deadline {
            undecided.push((key, search));
            continue;
        }
        let mut search =
            search.unwrap_or_else(|| Search::new(Problem::new(history, key, &calls(history, key))));
        let share = (deadline - now) / u32::try_from(shares).unwrap_or(u32::MAX);
        match search.run(now + share) {
            Some(true) => {}
            Some(false) => violations.push(key),
            None => open.push_back((key, Some(search))),
        }
        shares = if shares == 1 { open.len().max(1) } else { shares - 1 };
    }
    if !violations.is_empty() {
        let deadline = Instant::now() + EXPLAIN_MAX;
        return Verdict::Illegal(
            violations.into_iter().map(|key| explain(history, key, deadline)).collect(),
        );
    }
    let undecided = undecided.into_iter().map(|(key, search)| Undecided {
        key: history.key_name(key).to_owned(),
        operations: history.entries_of(key).len(),
        placed: search.map_or(0, |search| search.longest().len()),
    });
    let undecided: Vec<_> = undecided.collect();
    if undecided.is_empty() { Verdict::Linearizable } else { Verdict::Unknown(undecided) }
}

/// How long to look for the operation to blame, at most.
const EXPLAIN_MAX: Duration = Duration::from_secs(10);

/// The operations of a key, as calls to be placed.
pub(crate) fn calls(history: &History, key: usize) -> Vec<Call> {
    let call = |&index: &usize| {
        let entry = history.entry(index);
        Call { index, called: entry.called, returned: entry.returned }
    };
    history.entries_of(key).iter().map(call).collect()
}

impl Violation {
    /// What is wrong, without the key.
    pub(crate) fn reason(&self) -> String {
        let Self { operations, order, operation, .. } = self;
        let placed = order.len();
        format!(
            "{placed} of {operations} operations have an order; none is left when this returns: {operation}"
        )
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key {:?}: {}", self.key, self.reason())
    }
}

impl fmt::Display for Undecided {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} ({} of {})", self.key, self.placed, self.operations)
    }
}
