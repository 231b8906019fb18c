//! Draws a history of a store that loses an acknowledged append, as a page for a browser:
//! `cargo run -p oarlock-linearizability --example picture > picture.html`.

use std::time::Duration;

use oarlock_linearizability::{Action, History, Operation, check, picture};

const CLIENTS: usize = 6;
const CALLS: u64 = 9;
/// The append that is answered and forgotten.
const LOST: u64 = 20;
/// The call that is never answered.
const PENDING: u64 = 25;

fn main() {
    let mut rng = fastrand::Rng::with_seed(3);
    let (mut history, mut states) = (History::default(), [String::new(), String::new()]);
    let mut free_at = [0; CLIENTS];
    for number in 0..CALLS * CLIENTS as u64 {
        // Each call is executed in the order of its number, and lasts a while around that.
        let client = number as usize % CLIENTS;
        let moment = 100 * (number + 1);
        let called = (moment - rng.u64(1..350).min(moment)).max(free_at[client]);
        let returned = moment + rng.u64(0..200);
        free_at[client] = returned + 1;
        let state = &mut states[usize::from(number % 7 == 0)];
        let action = match rng.u32(0..10) {
            0..4 => Action::Get { found: state.clone() },
            4 => Action::Put(format!("p{number}.")),
            _ => Action::Append(format!("a{number}.")),
        };
        match &action {
            Action::Put(value) => state.clone_from(value),
            Action::Append(value) if number != LOST => state.push_str(value),
            Action::Append(_) | Action::Get { .. } => {}
        }
        history.push(Operation {
            client: client
                + if number > PENDING && client == PENDING as usize % CLIENTS { 10 } else { 0 },
            key: if number % 7 == 0 { "other" } else { "colour" }.to_owned(),
            action,
            called: Duration::from_micros(called),
            returned: (number != PENDING).then(|| Duration::from_micros(returned)),
        });
    }
    let verdict = check(&history, Duration::from_secs(1));
    println!("{}", picture(&history, &verdict, "A lost append"));
}
