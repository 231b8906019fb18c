//! The Rafts that the suites 2A to 2D can be run on. `OARLOCK_RAFT` chooses one by its name; the
//! suites 3A, 3B and 4A are always run on Oarlock's own.
//!
//! To put your own to the test: implement [`LabRaft`] for a type in `tests/labs/rafts/mine.rs`, and
//! name it here, in the list of modules and in the table.

mod oarlock;
mod toy;
mod verdicts;

use std::env;

use crate::harness::{Make, RaftCluster, Setup, make};

/// Names the Raft under test.
const VARIABLE: &str = "OARLOCK_RAFT";
/// The one that is tested unless another is asked for.
const OARLOCK: &str = "oarlock";
/// The one that must fail.
const TOY: &str = "toy";

/// Each with its name.
const RAFTS: &[(&str, Make)] = &[
    (OARLOCK, make::<oarlock_raft::Raft>),
    (TOY, make::<toy::Toy>),
    // Yours goes here: ("mine", make::<mine::Mine>),
];

/// A cluster of the Raft that the environment asks for, started and connected.
pub(crate) fn cluster(setup: Setup) -> RaftCluster {
    let name = env::var(VARIABLE).unwrap_or_else(|_| OARLOCK.to_owned());
    let make = find(&name).unwrap_or_else(|error| panic!("{VARIABLE}={name}: {error}"));
    RaftCluster::new(setup, make)
}

fn find(name: &str) -> Result<Make, String> {
    let found = RAFTS.iter().find(|(known, _)| *known == name);
    found.map(|(_, make)| *make).ok_or_else(|| {
        let names: Vec<&str> = RAFTS.iter().map(|(known, _)| *known).collect();
        format!("there is no such Raft; there are {}", names.join(", "))
    })
}

#[test]
fn a_raft_that_is_not_there_is_answered_with_those_that_are() {
    assert!(find(OARLOCK).is_ok() && find(TOY).is_ok());
    let error = find("Oarlock").expect_err("names are taken as they are written");
    assert!(error.starts_with("there is no such Raft; there are oarlock, toy"), "{error}");
}
