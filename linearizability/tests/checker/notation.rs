//! Histories as drawings: a line a client, time from left to right, one column a millisecond.
//!
//! ```text
//! A: [put a ]    [get ab!]
//! B:      [app b     >
//! C: [get  @other]
//! ```
//!
//! An operation is called at its `[` and returns at its `]`; with `>` instead it never returns.
//! What stands between is `put`, `app` or `get`, and the value, which may be empty. `@` and a name
//! at the end choose another key than `k`. `!` marks the operation that has no place.

use std::time::Duration;

use oarlock_linearizability::{Action, History, Operation};

/// A drawing, read.
pub(crate) struct Case {
    pub(crate) name: String,
    /// The whole of it, to be shown.
    pub(crate) text: String,
    pub(crate) history: History,
    /// The number of the marked operation.
    pub(crate) marked: Option<usize>,
}

/// Reads the cases of a file, each with a heading `== name`.
pub(crate) fn cases(file: &str) -> Vec<Case> {
    file.split("== ").skip(1).map(case).collect()
}

fn case(text: &str) -> Case {
    let name = text.lines().next().expect("a heading").to_owned();
    let (mut history, mut marked) = (History::default(), None);
    for line in text.lines() {
        let Some((client @ 'A'..='Z', ':')) = line.chars().next().zip(line.chars().nth(1)) else {
            continue;
        };
        let mut called = None;
        for (column, c) in line.chars().enumerate() {
            match c {
                '[' => called = Some(column),
                ']' | '>' => {
                    let from = called.take().unwrap_or_else(|| panic!("{name}: {line}: no ["));
                    let what: String = line.chars().take(column).skip(from + 1).collect();
                    let at = |column: usize| Duration::from_millis(column as u64);
                    if what.contains('!') {
                        assert!(marked.is_none(), "{name}: two marks");
                        marked = Some(history.len());
                    }
                    let (key, action) = action(&what.replace('!', ""));
                    let returned = (c == ']').then(|| at(column));
                    let client = client as usize - 'A' as usize;
                    history.push(Operation { client, key, action, called: at(from), returned });
                }
                _ => {}
            }
        }
        assert!(called.is_none(), "{name}: {line}: no ]");
    }
    assert!(!history.is_empty(), "{name}: no operation");
    Case { name, text: text.to_owned(), history, marked }
}

fn action(text: &str) -> (String, Action) {
    let (text, key) = text.split_once('@').unwrap_or((text, "k"));
    let (kind, value) = text.trim_start().split_once(' ').unwrap_or((text, ""));
    let value = value.trim().to_owned();
    let action = match kind {
        "get" => Action::Get { found: value },
        "put" => Action::Put(value),
        "app" => Action::Append(value),
        _ => panic!("{text:?} is no operation"),
    };
    (key.trim().to_owned(), action)
}
