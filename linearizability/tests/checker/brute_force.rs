//! A checker that is too simple to be wrong: it tries every order.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use oarlock_linearizability::{Action, History, Operation, Violation};

/// Whether there is an order; feasible for a few operations.
pub(crate) fn is_linearizable(history: &History) -> bool {
    let operations: Vec<Operation> = operations(history);
    let mut by_key: BTreeMap<&str, Vec<&Operation>> = BTreeMap::new();
    for operation in &operations {
        by_key.entry(&operation.key).or_default().push(operation);
    }
    by_key.into_values().all(|mut left| has_order(&mut left, ""))
}

fn operations(history: &History) -> Vec<Operation> {
    (0..history.len()).map(|index| history.operation(index)).collect()
}

fn has_order(left: &mut Vec<&Operation>, state: &str) -> bool {
    // What never returned need not have happened.
    if left.iter().all(|operation| operation.returned.is_none()) {
        return true;
    }
    (0..left.len()).any(|i| {
        let may_be_next = !left.iter().any(|other| precedes(other, left[i]));
        let after = may_be_next.then(|| apply(left[i], state)).flatten();
        after.is_some_and(|after| {
            let operation = left.remove(i);
            let found = has_order(left, &after);
            left.insert(i, operation);
            found
        })
    })
}

fn precedes(a: &Operation, b: &Operation) -> bool {
    a.returned.is_some_and(|returned| returned < b.called)
}

fn apply(operation: &Operation, state: &str) -> Option<String> {
    match &operation.action {
        Action::Get { found } => {
            (operation.returned.is_none() || found == state).then(|| state.to_owned())
        }
        Action::Put(value) => Some(value.clone()),
        Action::Append(value) => Some(state.to_owned() + value),
    }
}

/// Checks that the order of a violation is one, that it holds everything that returned before the
/// operation to blame, and that with this one there is none.
#[track_caller]
pub(crate) fn assert_explained(history: &History, violation: &Violation) {
    let all = operations(history);
    let blamed = &all[violation.offending];
    assert_eq!(*blamed, violation.operation);
    assert_eq!(blamed.key, violation.key);
    let end = blamed.returned.expect("what never returned is not to blame");

    let mut state = String::new();
    for (i, &index) in violation.order.iter().enumerate() {
        for &later in &violation.order[i + 1..] {
            assert!(!precedes(&all[later], &all[index]), "{violation:?}");
        }
        state = apply(&all[index], &state).unwrap_or_else(|| panic!("{index}: {violation:?}"));
    }
    let ordered: HashSet<usize> = violation.order.iter().copied().collect();
    assert_eq!(ordered.len(), violation.order.len(), "{violation:?}");
    assert!(!ordered.contains(&violation.offending), "{violation:?}");
    for (index, operation) in all.iter().enumerate().filter(|(_, other)| other.key == blamed.key) {
        let is_before = operation.returned.is_some_and(|returned| returned < end);
        assert!(!is_before || ordered.contains(&index), "{index}: {violation:?}");
    }

    let by = |end: Duration, operation: &Operation| Operation {
        returned: operation.returned.filter(|&returned| returned <= end),
        ..operation.clone()
    };
    let of_key = all.iter().filter(|other| other.key == blamed.key && other.called <= end);
    let known: History = of_key.map(|operation| by(end, operation)).collect();
    assert!(!is_linearizable(&known), "{violation:?}");
}
