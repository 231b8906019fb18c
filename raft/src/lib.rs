//! Raft with threads and locks: pure rules, and the threads that drive them.
//!
//! The map, from the outside in:
//! - [`machine`](Replicated): a state machine of your own, replicated: `submit` and `read`.
//! - [`peer`](Raft): the labs' interface underneath: `make`, `start`, `get_state`, `snapshot`.
//! - `threads`: election, replication (one a member), members, applier, log writer, snapshots;
//!   one loop each.
//! - `served`: the state machine, and those who wait for what it says.
//! - `shared`: the mutex around the rules, its condition variables, and nothing else that locks.
//! - `rules`: the paper's Figure 2 and its neighbours as plain methods on plain state.
//! - `log`, `mutation`, `message`, `configuration`, `change`: what the rules are written in.
//!
//! **Boundary:** nothing here knows what a command means, which network carries the messages, or
//! what a disk looks like.

mod answer;
mod change;
mod cluster;
mod configuration;
#[cfg(all(test, not(feature = "interleavings")))]
mod durability_tests;
mod error;
#[cfg(all(test, not(feature = "interleavings")))]
mod full_disk_tests;
mod hand_over;
#[cfg(all(test, not(feature = "interleavings")))]
mod hand_over_tests;
#[cfg(all(test, feature = "interleavings"))]
mod interleavings;
mod lines;
mod log;
mod machine;
mod machine_sink;
mod membership;
#[cfg(all(test, not(feature = "interleavings")))]
mod membership_tests;
mod message;
mod mistake;
mod mutation;
mod options;
mod peer;
mod rules;
mod sending;
mod served;
mod shared;
#[cfg(feature = "simulation")]
#[doc(hidden)]
pub mod simulation;
mod state_machine;
#[cfg(all(test, not(feature = "interleavings")))]
mod tests;
mod threads;
mod trace;
mod types;

pub use change::{CatchingUp, Change, ChangeError, ChangeState};
pub use cluster::{Cluster, Connect, Peers};
pub use configuration::Configuration;
pub use error::{OpenError, ReadError, RestoreError, Stopped, SubmitError};
pub use hand_over::HandOverError;
pub use machine::{ReadBy, Replicated, ReplicatedOptions};
pub use options::{LeaseReads, Options};
pub use peer::{ApplyMsg, PeerStatus, Raft, RoleName, SnapshotError, Start, Status};
pub use rules::Vouch;
pub use state_machine::{Frozen, StateMachine};
pub use types::{Entry, EntryId, EntryKind, Index, PeerId, Snapshot, SnapshotMeta, Term};

#[cfg(feature = "mistakes")]
pub use mistake::{Mistake, VARIABLE as MISTAKE_VARIABLE};

use mistake::mistake;
use trace::trace;
