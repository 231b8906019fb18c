//! Histories as large as a suite makes them, with many clients on one key: the checker must decide
//! them within the second it has.

use std::time::{Duration, Instant};

use fastrand::Rng;
use oarlock_linearizability::{Action, History, Operation, Verdict, check};

/// Much more than it takes, since the machine may be busy; what it took is printed.
const BUDGET: Duration = Duration::from_secs(30);

/// What the clients do.
#[derive(Clone, Copy)]
struct Load {
    clients: usize,
    /// Of each client.
    calls: usize,
    /// Of a hundred calls.
    put_percent: u32,
    get_percent: u32,
    /// Of a thousand calls, those that are never answered; the client goes on as another.
    pending_permille: u32,
    /// Whether all clients append the same few texts.
    alike: bool,
}

const APPENDS: Load = Load {
    clients: 20,
    calls: 500,
    put_percent: 0,
    get_percent: 50,
    pending_permille: 0,
    alike: false,
};

/// A call under way: when it will be executed, or returns.
struct Client {
    number: usize,
    calls: usize,
    at: u64,
    under_way: Option<(Operation, u64)>,
}

/// Runs clients without a pause against one key, each call executed at a random moment.
fn history(load: Load, seed: u64) -> Vec<Operation> {
    let mut rng = Rng::with_seed(seed);
    let (mut state, mut operations) = (String::new(), Vec::new());
    let mut clients: Vec<Client> = (0..load.clients)
        .map(|number| Client { number, calls: 0, at: rng.u64(0..1000), under_way: None })
        .collect();
    while let Some(client) = clients.iter_mut().min_by_key(|client| client.at) {
        if let Some((mut operation, returned)) = client.under_way.take() {
            let lost = rng.u32(0..1000) < load.pending_permille;
            if !lost || rng.bool() {
                match &mut operation.action {
                    Action::Get { found } => found.clone_from(&state),
                    Action::Put(text) => state.clone_from(text),
                    Action::Append(text) => state.push_str(text),
                }
            }
            operation.returned = (!lost).then(|| Duration::from_micros(returned));
            operations.push(operation);
            client.at = returned + 1 + rng.u64(0..20);
            if lost {
                client.number += load.clients;
            }
        } else if client.calls == load.calls {
            client.at = u64::MAX;
            if clients.iter().all(|client| client.at == u64::MAX) {
                break;
            }
        } else {
            client.calls += 1;
            let text = if load.alike {
                "z".repeat(rng.usize(1..3))
            } else {
                format!("x {} {} y", client.number, client.calls)
            };
            let action = match rng.u32(0..100) {
                draw if draw < load.put_percent => Action::Put(text),
                draw if draw < load.put_percent + load.get_percent => {
                    Action::Get { found: String::new() }
                }
                _ => Action::Append(text),
            };
            let [called, number] = [client.at, client.number as u64];
            client.at += rng.u64(1..1000);
            client.under_way = Some((
                Operation {
                    client: number as usize,
                    key: "k".to_owned(),
                    action,
                    called: Duration::from_micros(called),
                    returned: None,
                },
                client.at + rng.u64(1..1000),
            ));
        }
    }
    operations
}

#[track_caller]
fn decide(what: &str, operations: Vec<Operation>) -> Verdict {
    let history: History = operations.into_iter().collect();
    let began = Instant::now();
    let verdict = check(&history, BUDGET);
    println!("{what}: {} operations in {:?}", history.len(), began.elapsed());
    assert!(!matches!(verdict, Verdict::Unknown(_)), "{what}: {verdict:?}");
    verdict
}

/// Decides the history of `load`, and the same with the last get but a few made stale.
fn both_ways(what: &str, load: Load) {
    for seed in 0..3 {
        let operations = history(load, seed);
        assert_eq!(decide(what, operations.clone()), Verdict::Linearizable, "{what}");
        let mut stale = operations;
        // What was found long before must not be found now.
        let gets = stale.iter().enumerate().filter(|(_, operation)| {
            operation.returned.is_some() && matches!(operation.action, Action::Get { .. })
        });
        let gets: Vec<usize> = gets.map(|(i, _)| i).collect();
        let (early, late) = (gets[gets.len() / 2], gets[gets.len() - 5]);
        stale[late].action = stale[early].action.clone();
        let verdict = decide(&format!("{what}, stale"), stale.clone());
        let Verdict::Illegal(violations) = verdict else { panic!("{what}: stale, yet legal") };
        assert_eq!(violations[0].offending, late, "{what}");
    }
}

#[test]
fn appends_and_gets_of_twenty_clients() {
    both_ways("appends", APPENDS);
}

#[test]
fn appends_with_a_single_get_at_the_end() {
    let mut operations = history(Load { get_percent: 0, ..APPENDS }, 1);
    // They were recorded in the order in which they were executed.
    let texts = operations.iter().map(|operation| match &operation.action {
        Action::Append(text) => text.as_str(),
        _ => unreachable!("there are only appends"),
    });
    let mut get = operations[0].clone();
    get.action = Action::Get { found: texts.collect() };
    (get.called, get.returned) = (Duration::from_hours(1), Some(Duration::from_hours(1)));
    operations.push(get);
    assert_eq!(decide("one get", operations.clone()), Verdict::Linearizable);
    // The last append overtakes the one a hundred before it: nobody can have waited so long.
    let (len, last) = (operations.len(), operations.len() - 2);
    operations.swap(len - 102, last);
    let actions: Vec<Action> = operations.iter().map(|o| o.action.clone()).collect();
    operations.swap(len - 102, last);
    let texts = actions.iter().map(|action| match action {
        Action::Append(text) => text.as_str(),
        _ => "",
    });
    operations[len - 1].action = Action::Get { found: texts.collect() };
    assert!(matches!(decide("one get, overtaken", operations), Verdict::Illegal(_)));
}

#[test]
fn with_puts() {
    both_ways("few puts", Load { put_percent: 5, ..APPENDS });
    both_ways("many puts", Load { put_percent: 30, ..APPENDS });
    both_ways("puts, few gets", Load { put_percent: 40, get_percent: 10, ..APPENDS });
}

#[test]
fn with_clients_that_are_killed() {
    both_ways("killed, appends", Load { pending_permille: 10, ..APPENDS });
    both_ways("killed, puts", Load { put_percent: 10, pending_permille: 10, ..APPENDS });
}

#[test]
fn with_appends_that_look_alike() {
    let load = Load { alike: true, ..APPENDS };
    for seed in 0..3 {
        assert_eq!(decide("alike", history(load, seed)), Verdict::Linearizable);
    }
}
