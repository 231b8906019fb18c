//! The network as its users meet it, through the public API and with real time.
//!
//! - `labs`: the tests that the labs have for their network, under their names.
//! - `faults`: what follows from the network's rules and the labs rely on.
//! - `endings`: tear-down, misuse, panics; nothing is left behind.
//! - `fixture`: the server and the clients that all of them use.

mod endings;
mod faults;
mod fixture;
mod labs;
