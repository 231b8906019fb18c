//! Replicated state machines within one process: Oarlock beside others, and beside a floor of threads
//! that hand things over.
//!
//! Every system has three peers, each with what it would have of its own: threads, a log, a state
//! machine. All get the same commands, from threads that wait for each answer, or from one thread
//! that always has a thousand on their way. They take turns of a few tenths of a second, and what they
//! answer is checked: each answer names its command and how many were applied before it, and in the
//! end all peers of a system must have applied as many as it was given, in the same order.

mod command;
mod engine;
mod failover;
mod floor;
mod groups;
mod inbox;
mod openraft;
mod ours;
mod raft_rs;
mod table;
mod turns;
mod window;

use std::sync::Arc;

use oarlock_sync::Together;

pub use groups::groups;
pub use table::{disk, failover, memory, together};
pub use turns::Plan;

use self::command::{Answer, Applied};
use self::window::Window;

/// How callers wake who are answered in a row.
#[derive(Clone, Copy)]
pub enum Waking {
    /// Each by a call of the system.
    OneByOne,
    /// As Oarlock's do.
    Together,
}

impl Waking {
    /// Has those wake so whom `answer` answers.
    pub fn after(self, answer: impl FnOnce()) {
        match self {
            Self::OneByOne => answer(),
            Self::Together => Together::new().gather(answer),
        }
    }
}

/// Three peers that replicate commands.
pub trait System: Send + Sync {
    /// Replicates a command, and waits until it is applied where it came in.
    fn submit(&self, number: u64) -> Answer;
    /// Replicates commands of the numbers `first` and behind it, which have room in `window`, and does
    /// not wait: the window is told of each answer.
    fn submit_all(&self, first: u64, count: u64, window: &Arc<Window>);
    /// What each peer has applied.
    fn applied(&self) -> Vec<Arc<Applied>>;
}
