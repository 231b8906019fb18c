//! Which operation of an illegal key is to blame.
//!
//! What happened up to some moment is a history, too: of what was called by then, where an
//! operation that had not returned yet may have taken effect or not. Once it has no order, it never
//! gets one back. So there is one return before which there is an order, and with which there is
//! none, and halving the history again and again finds it. It is always a get's: a write that
//! returns last can always be the last in the order.

use std::collections::HashSet;
use std::time::Instant;

use crate::check::{Violation, calls};
use crate::history::{Effect, History};
use crate::problem::{Call, Problem};
use crate::search::Search;

/// Looks for the get to blame in `key`, which is illegal. At `deadline`, one that comes later than
/// that is good enough.
pub(crate) fn explain(history: &History, key: usize, deadline: Instant) -> Violation {
    let calls = calls(history, key);
    let is_get = |call: &&Call| matches!(history.entry(call.index).effect, Effect::Get { .. });
    let mut gets: Vec<Call> =
        calls.iter().filter(is_get).filter(|call| call.returned.is_some()).copied().collect();
    gets.sort_by_key(|call| call.returned);
    // Until the get behind the first `legal` ones returns there is an order; when the get behind
    // the first `illegal - 1` ones has returned there is none.
    let (mut legal, mut illegal, mut order) = (0, gets.len(), None);
    while illegal - legal > 1 {
        let middle = legal.midpoint(illegal);
        let mut search = search(history, key, &calls, &gets, middle);
        match search.run(deadline) {
            Some(true) => (legal, order) = (middle, Some(search.longest())),
            Some(false) => illegal = middle,
            None => break,
        }
    }
    let order = order.unwrap_or_else(|| {
        let mut search = search(history, key, &calls, &gets, legal);
        search.run(deadline);
        search.longest()
    });
    let offending = gets[illegal - 1].index;
    Violation {
        key: history.key_name(key).to_owned(),
        operations: calls.len(),
        order,
        offending,
        operation: history.operation(offending),
    }
}

/// The search in the history up to the moment before the get behind the first `known` ones returns.
fn search<'a>(
    history: &'a History,
    key: usize,
    calls: &[Call],
    gets: &[Call],
    known: usize,
) -> Search<'a> {
    let end = gets[known].returned;
    let known: HashSet<usize> = gets[..known].iter().map(|get| get.index).collect();
    let mut until: Vec<Call> = Vec::new();
    for call in calls.iter().filter(|call| Some(call.called) <= end) {
        // At the very same moment, other gets may have returned already, by their order here.
        let has_returned = call.returned.is_some_and(|returned| Some(returned) < end)
            || known.contains(&call.index);
        until.push(Call { returned: call.returned.filter(|_| has_returned), ..*call });
    }
    Search::new(Problem::new(history, key, &until))
}
