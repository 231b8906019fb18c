//! Whole clusters of Oarlock in one thread and in virtual time.
//!
//! Everything that decides is the real thing: Raft's rules, the log writer, the storage engine with
//! its recovery, the applier, the key-value state machine and its sessions. Everything that it stands
//! on is simulated: threads, clock, network, disks, and clerks that use it. All of it follows from one
//! seed, so a run that fails can be seen again, step by step.
//!
//! [`run_seed`] runs one world: thirty seconds of faults, then none. After every step the
//! [`Invariant`]s are checked, and at the end progress is demanded.

mod administrator;
mod character;
mod clerk;
mod clock;
mod configurations;
mod counts;
mod disk;
mod faults;
mod fingerprint;
mod healing;
mod invariant;
mod leases;
mod log_check;
mod majority;
mod member_check;
mod message_check;
mod mistake;
mod network;
mod node;
mod oracle;
mod random;
mod run;
mod schedule;
mod step_check;
mod store;
mod term_check;
mod trace;
mod witness;
mod world;

pub use counts::Counts;
pub use invariant::{Checks, Invariant};
pub use mistake::Mistake;
pub use run::{Campaign, Failure, Finished, run_campaign, run_seed};
