//! Random histories, small enough to try every order of them: the checker must agree.

use std::time::Duration;

use fastrand::Rng;
use oarlock_linearizability::{Action, History, Operation, Verdict, check, picture};

use crate::brute_force;

const BUDGET: Duration = Duration::from_secs(60);
const SEEDS: u64 = 30_000;
/// Operations of a history at most.
const OPERATIONS_MAX: usize = 7;
/// Few moments, so that there are equal ones.
const MOMENTS: u64 = 14;
const PENDING_PERCENT: u32 = 12;

/// Texts that can be cut in several ways, among them the empty one.
const TEXTS: [&str; 6] = ["", "a", "b", "ab", "ba", "aab"];
/// Texts of which each is used once.
const TOKENS: [&str; OPERATIONS_MAX] = ["1;", "2;", "3;", "4;", "5;", "6;", "7;"];

#[test]
fn the_checker_agrees_with_trying_everything() {
    let (mut good, mut bad) = (0u32, 0u32);
    for seed in 0..SEEDS {
        let mut rng = Rng::with_seed(seed);
        let mut operations = executed(&mut rng);
        let show = |operations: &[Operation]| {
            let lines =
                operations.iter().map(|operation| format!("{:?} {operation}", operation.key));
            lines.collect::<Vec<_>>().join("\n")
        };
        if seed % 4 == 0 {
            let history: History = operations.iter().cloned().collect();
            let verdict = check(&history, BUDGET);
            assert_eq!(verdict, Verdict::Linearizable, "seed {seed}:\n{}", show(&operations));
        }
        for _ in 0..rng.usize(0..6) {
            mutate(&mut operations, &mut rng);
        }
        let history: History = operations.iter().cloned().collect();
        let verdict = check(&history, BUDGET);
        let expected = brute_force::is_linearizable(&history);
        match &verdict {
            Verdict::Linearizable => good += 1,
            Verdict::Illegal(violations) => {
                bad += 1;
                for violation in violations {
                    brute_force::assert_explained(&history, violation);
                }
            }
            Verdict::Unknown(_) => panic!("seed {seed}: unknown"),
        }
        let linearizable = verdict == Verdict::Linearizable;
        assert_eq!(linearizable, expected, "seed {seed}: {verdict:?}\n{}", show(&operations));
        if seed % 100 == 0 {
            assert!(picture(&history, &verdict, "random").ends_with("</html>\n"));
        }
    }
    // Both kinds are well represented.
    assert!(good > SEEDS as u32 / 5 && bad > SEEDS as u32 / 5, "{good} good, {bad} bad");
}

/// Calls of several clients on one key or two, each executed at a moment between call and return.
fn executed(rng: &mut Rng) -> Vec<Operation> {
    let tokens = rng.bool();
    let keys = if rng.u32(0..5) == 0 { 2 } else { 1 };
    let mut operations: Vec<(u64, Operation)> = (0..rng.usize(2..=OPERATIONS_MAX))
        .map(|i| {
            let text = if tokens { TOKENS[i] } else { TEXTS[rng.usize(0..TEXTS.len())] };
            let action = match rng.u32(0..100) {
                0..40 => Action::Get { found: String::new() },
                40..60 => Action::Put(text.to_owned()),
                _ => Action::Append(text.to_owned()),
            };
            let mut moments = [0; 3].map(|_| rng.u64(0..MOMENTS));
            moments.sort_unstable();
            let returned = rng.u32(0..100) >= PENDING_PERCENT;
            let operation = Operation {
                client: i,
                key: format!("k{}", rng.usize(0..keys)),
                action,
                called: Duration::from_millis(moments[0]),
                returned: returned.then(|| Duration::from_millis(moments[2])),
            };
            (moments[1], operation)
        })
        .collect();
    // Of equal moments, any order is right.
    operations.sort_by_key(|&(moment, _)| moment);
    let mut states = vec![String::new(); keys];
    for (_, operation) in &mut operations {
        let state = &mut states[usize::from(operation.key == "k1")];
        let happens = operation.returned.is_some() || rng.bool();
        match &mut operation.action {
            Action::Get { found } => found.clone_from(state),
            Action::Put(value) if happens => state.clone_from(value),
            Action::Append(value) if happens => state.push_str(value),
            Action::Put(_) | Action::Append(_) => {}
        }
    }
    let mut operations: Vec<Operation> = operations.into_iter().map(|(_, o)| o).collect();
    rng.shuffle(&mut operations);
    operations
}

/// Changes something: most often what a get found.
fn mutate(operations: &mut [Operation], rng: &mut Rng) {
    let others: Vec<Action> = operations.iter().map(|o| o.action.clone()).collect();
    let texts = others.iter().map(|action| match action {
        Action::Get { found } => found.clone(),
        Action::Put(text) | Action::Append(text) => text.clone(),
    });
    let texts: Vec<String> = texts.collect();
    let (i, j) = (rng.usize(0..operations.len()), rng.usize(0..operations.len()));
    let operation = &mut operations[i];
    match (&mut operation.action, rng.u32(0..4)) {
        (Action::Get { found }, 0) => found.clone_from(&texts[j]),
        (Action::Get { found }, 1) => found.push_str(&texts[j]),
        (Action::Get { found }, 2) => {
            found.pop();
        }
        (Action::Put(text) | Action::Append(text), 0) => text.clone_from(&texts[j]),
        (_, 1) => operation.action = others[j].clone(),
        _ => {
            let later = Duration::from_millis(rng.u64(0..MOMENTS));
            operation.called += later;
            operation.returned = operation.returned.map(|returned| returned + later);
        }
    }
}
