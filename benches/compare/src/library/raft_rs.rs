//! raft-rs: three nodes, each a thread that takes all its inbox holds, proposes or steps it, and then
//! deals with what is ready as a whole.
//!
//! Messages go from thread to thread as they are, without an encoding. The log is its own in memory;
//! where it is to be durable, every batch goes to raft-engine first, with one sync, and is read from
//! memory. What a leader may send before its own write leaves before it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use oarlock_rpc::{Promise, promise};
use raft::eraftpb::Message;

use super::command::{Answer, Applied, command};
use super::inbox::Inbox;
use super::window::Window;
use super::{System, Waking};

mod disk;
mod node;

use self::node::Node;

const ELECTED_MAX: Duration = Duration::from_secs(10);

/// What a node is given.
pub enum Input {
    Message(Message),
    Command(Vec<u8>, Promise<Answer>),
    Commands(Vec<Vec<u8>>, Arc<Window>),
}

/// The ways to the nodes, whose ids begin with 1.
pub type Inboxes = Arc<Vec<Inbox<Input>>>;

/// Three nodes.
pub struct RaftRs {
    inboxes: Inboxes,
    leader: usize,
    applied: Vec<Arc<Applied>>,
    threads: Vec<JoinHandle<()>>,
}

impl RaftRs {
    /// Starts nodes whose logs are in directories in `dir`, or in memory alone.
    pub fn start(dir: Option<&Path>, waking: Waking) -> Self {
        let inboxes: Inboxes = Arc::new((0..3).map(|_| Inbox::new()).collect());
        let applied: Vec<Arc<Applied>> = (0..3).map(|_| Arc::default()).collect();
        let leads: Arc<Mutex<Option<usize>>> = Arc::default();
        let threads = (0..3)
            .map(|me: usize| {
                let (inboxes, applied) = (Arc::clone(&inboxes), Arc::clone(&applied[me]));
                let leads = Arc::clone(&leads);
                let dir: Option<PathBuf> = dir.map(|dir| dir.join(format!("raft-rs-{me}")));
                let on_leading = move || {
                    *leads.lock().unwrap_or_else(PoisonError::into_inner) = Some(me);
                };
                thread::spawn(move || Node::new(me, inboxes, applied, dir, waking).run(on_leading))
            })
            .collect();
        let began = Instant::now();
        let leader = loop {
            if let Some(leader) = *leads.lock().unwrap_or_else(PoisonError::into_inner) {
                break leader;
            }
            assert!(began.elapsed() < ELECTED_MAX, "a leader in time");
            thread::sleep(Duration::from_millis(10));
        };
        Self { inboxes, leader, applied, threads }
    }
}

impl System for RaftRs {
    fn submit(&self, number: u64) -> Answer {
        let (promise, answer) = promise();
        self.inboxes[self.leader].push(Input::Command(command(number), promise));
        answer.wait().expect("a leader that stays")
    }

    fn submit_all(&self, first: u64, count: u64, window: &Arc<Window>) {
        let commands = (first..first + count).map(command).collect();
        self.inboxes[self.leader].push(Input::Commands(commands, Arc::clone(window)));
    }

    fn applied(&self) -> Vec<Arc<Applied>> {
        self.applied.clone()
    }
}

impl Drop for RaftRs {
    fn drop(&mut self) {
        self.inboxes.iter().for_each(Inbox::close);
        for thread in self.threads.drain(..) {
            assert!(thread.join().is_ok() || thread::panicking(), "a node panicked");
        }
    }
}
