//! The program as its users meet it: real processes, real Redis clients, real crashes.
//!
//! - `processes`: starting, killing and asking nodes (no tests).
//! - `clients`: what Redis clients and the program's own commands see, at any node.
//! - `crashes`: `kill -9` of one and of all, with a writer that counts what was acknowledged.
//! - `crowds`: thousands of clients at once.
//! - `members`: a broken node is replaced by a new one; what must not come back does not.
//! - `full_disks`: file systems of 64 MiB that fill up under load, and are freed again.
//! - `injected_errors`: failing system calls, at every n-th call of each kind.
//! - `mistakes`: wrong flags, taken ports, foreign and damaged directories.
//! - `directories`: what the tools say of a directory whose node is down.
//! - `cluster`: `oarlock cluster`, from its first line to its last.
//! - `bench`: `oarlock bench`, on a cluster, and on a store that forgets.
//! - `garbage`: whatever comes in on a node's ports.
//! - `lab`: `oarlock lab run`, on a test binary that is none.

mod bench;
mod clients;
mod cluster;
mod crashes;
mod crowds;
mod directories;
mod full_disks;
mod garbage;
mod injected_errors;
mod lab;
mod members;
mod mistakes;
mod processes;
