//! The linearizability check at the end of a test: how long it may take, what a failure shows, and
//! what is said when time runs out.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use oarlock_linearizability::{History, Undecided, Verdict, check as decide, picture};

/// Holds how long a history may be checked, all keys together, in seconds,
const SECONDS_VARIABLE: &str = "OARLOCK_CHECK_SECONDS";
/// unless it is as long as in the labs.
const SECONDS: f64 = 1.0;
/// If it is `1`, a check that runs out of time fails the test.
const STRICT_VARIABLE: &str = "OARLOCK_CHECK_STRICT";

/// Fails, and leaves a picture, if `history` is not linearizable. Returns the line to be printed if
/// time ran out.
#[track_caller]
pub(crate) fn check(history: &History, test: &str, seed: u64) -> Option<String> {
    let seconds = seconds();
    let verdict = decide(history, Duration::from_secs_f64(seconds));
    match &verdict {
        Verdict::Linearizable => None,
        Verdict::Illegal(violations) => {
            let path = draw(history, &verdict, test, seed);
            let lines: Vec<String> = violations.iter().map(ToString::to_string).collect();
            let shown = path.display();
            panic!("the history is not linearizable: {}\npicture: {shown}", lines.join("\n"))
        }
        Verdict::Unknown(undecided) => {
            let line = undecided_line(history, undecided, seconds);
            if std::env::var(STRICT_VARIABLE).is_ok_and(|value| value == "1") {
                let path = draw(history, &verdict, test, seed);
                panic!("{line}\npicture: {}", path.display());
            }
            Some(line)
        }
    }
}

fn seconds() -> f64 {
    let Ok(text) = std::env::var(SECONDS_VARIABLE) else { return SECONDS };
    let seconds = text.parse().ok().filter(|&seconds| Duration::try_from_secs_f64(seconds).is_ok());
    seconds.unwrap_or_else(|| panic!("{SECONDS_VARIABLE}={text}: not a number of seconds"))
}

/// Of a fixed form, so that it can be counted.
fn undecided_line(history: &History, undecided: &[Undecided], seconds: f64) -> String {
    let keys: Vec<String> = undecided.iter().map(ToString::to_string).collect();
    format!(
        "  ... Unknown -- linearizability undecided after {seconds:.1} s, {} operations, keys: {}",
        history.len(),
        keys.join(", ")
    )
}

/// Writes the picture of `history` to a file of the test's and returns its path.
fn draw(history: &History, verdict: &Verdict, test: &str, seed: u64) -> PathBuf {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let name: String = test.trim_start_matches('(').chars().map(plain).collect();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let path = folder.join(format!("history-{name}-{seed}.html"));
    let page = picture(history, verdict, &format!("Test {test}, seed {seed}"));
    let written = fs::create_dir_all(folder).and_then(|()| fs::write(&path, page));
    if let Err(error) = written {
        eprintln!("{}: {error}", path.display());
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use oarlock_linearizability::{Action, Operation};

    fn history(found: &str) -> History {
        let found = Action::Get { found: found.to_owned() };
        let operation = |action, called| Operation {
            client: 0,
            key: "k".to_owned(),
            action,
            called: Duration::from_millis(called),
            returned: Some(Duration::from_millis(called + 1)),
        };
        [operation(Action::Put("a".to_owned()), 0), operation(found, 2)].into_iter().collect()
    }

    #[test]
    fn a_failure_shows_where_its_picture_is() {
        assert_eq!(check(&history("a"), "(a/b): fine", 1), None);
        let failed = std::panic::catch_unwind(|| check(&history("b"), "(a/b): wrong", 1));
        let message = *failed.expect_err("it is wrong").downcast::<String>().expect("a text");
        let (_, path) = message.split_once("picture: ").expect(&message);
        let page = fs::read_to_string(path).expect("a picture");
        assert!(page.contains("Test (a/b): wrong, seed 1"), "{page}");
        fs::remove_file(path).expect("it was there");
    }

    #[test]
    fn time_that_ran_out_is_told_in_a_line_of_fixed_form() {
        let history = history("a");
        let Verdict::Unknown(undecided) = decide(&history, Duration::ZERO) else {
            panic!("decided in no time")
        };
        assert_eq!(
            undecided_line(&history, &undecided, 1.0),
            "  ... Unknown -- linearizability undecided after 1.0 s, 2 operations, keys: \"k\" \
             (0 of 2)"
        );
    }
}
