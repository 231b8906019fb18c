//! Whether a history of a key-value store is linearizable: whether all its calls can have happened
//! one at a time, each at some moment between its call and its return.
//!
//! The store has `Get`, `Put` and `Append`; every key starts with the empty string. Record each
//! call in a [`History`], with the client that made it and the times of its call and its return,
//! and [`check`] it:
//!
//! ```
//! use std::time::Duration;
//! use oarlock_linearizability::{Action, History, Operation, Verdict, check, picture};
//!
//! let at = |ms| Duration::from_millis(ms);
//! let operation = |client, action, called, returned| Operation {
//!     client,
//!     key: "colour".to_owned(),
//!     action,
//!     called: at(called),
//!     returned: Some(at(returned)),
//! };
//! let mut history = History::default();
//! history.push(operation(0, Action::Put("red".to_owned()), 0, 5));
//! history.push(operation(1, Action::Get { found: String::new() }, 2, 3));
//! assert_eq!(check(&history, Duration::from_secs(1)), Verdict::Linearizable);
//!
//! // The put has returned: nobody may miss it now.
//! history.push(operation(1, Action::Get { found: String::new() }, 6, 7));
//! let verdict = check(&history, Duration::from_secs(1));
//! assert!(matches!(&verdict, Verdict::Illegal(violations) if violations[0].offending == 2));
//! let html = picture(&history, &verdict, "a stale read");
//! assert!(html.starts_with("<!DOCTYPE html>"));
//! ```
//!
//! A call that never returned ([`Operation::returned`] is `None`: its client was killed) may have
//! taken effect at any time after it was made, or never.
//!
//! # How it works
//!
//! A history is linearizable if the calls of each key are, so each key is searched alone. The
//! search is Wing and Gong's ("Testing and verifying concurrent objects", 1993) with Lowe's memory
//! of configurations seen ("Testing for linearizability", 2017): try a call that may be next,
//! remember what is done and the state it led to, and never go there twice. On that stand the rules
//! that keep it from trying every order of concurrent appends; they follow from what the gets
//! found, and each is argued where it is applied: `texts` (states that no get will ever tell apart
//! are one state), `reading` (which write a found value must be made of) and `search` (what may be
//! done at once, and what is hopeless).

mod check;
mod explain;
mod history;
mod picture;
mod problem;
mod reading;
mod search;
mod sources;
mod tally;
mod texts;

pub use check::{Undecided, Verdict, Violation, check};
pub use history::{Action, History, Operation};
pub use picture::picture;
