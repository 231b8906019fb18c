//! Histories that were written down by hand, with a reason for each.

use std::collections::HashSet;
use std::time::Duration;

use oarlock_linearizability::{Verdict, check};

use crate::brute_force;
use crate::notation::{Case, cases};

const BUDGET: Duration = Duration::from_secs(10);
/// The histories that each file has at least.
const CASES_MIN: usize = 30;

#[test]
fn good_histories_are_linearizable() {
    for case in read(include_str!("histories/good.txt")) {
        assert!(case.marked.is_none(), "{}", case.text);
        assert_eq!(check(&case.history, BUDGET), Verdict::Linearizable, "{}", case.text);
        assert!(brute_force::is_linearizable(&case.history), "{}", case.text);
    }
}

#[test]
fn bad_histories_are_not_and_the_right_operation_is_blamed() {
    for case in read(include_str!("histories/bad.txt")) {
        let verdict = check(&case.history, BUDGET);
        let Verdict::Illegal(violations) = &verdict else { panic!("{verdict:?}: {}", case.text) };
        let blamed: Vec<_> = violations.iter().map(|violation| violation.offending).collect();
        assert_eq!(blamed, Vec::from_iter(case.marked), "{verdict:?}\n{}", case.text);
        brute_force::assert_explained(&case.history, &violations[0]);
    }
}

fn read(file: &str) -> Vec<Case> {
    let cases = cases(file);
    assert!(cases.len() >= CASES_MIN, "{} cases", cases.len());
    let names: HashSet<_> = cases.iter().map(|case| &case.name).collect();
    assert_eq!(names.len(), cases.len(), "a name is there twice");
    cases
}
