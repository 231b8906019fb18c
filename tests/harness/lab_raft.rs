//! What the suites test, as a trait. To put a Raft of one's own under test, implement it and name
//! the type in `tests/labs/main.rs`.

use std::sync::Arc;

use crossbeam_channel::Sender;
use oarlock_raft::{ApplyMsg, Index, Options, PeerId, Raft, Start, Term};
use oarlock_rpc::{End, Service};
use oarlock_storage::Persister;

/// A Raft peer as the labs ask for it. Cloning makes another handle of the same peer.
pub(crate) trait LabRaft: Clone + Send + Sync + 'static {
    /// Starts peer `me`. `ends[i]` leads to peer `i`, itself included; random choices follow from
    /// `seed`. What is committed goes on `apply_ch`, which is unbuffered, in order; a snapshot that
    /// was found in the persister does not: the harness has read it.
    ///
    /// The persister of a crashed peer fails every call from the crash on.
    fn make(
        ends: Vec<Arc<dyn End>>,
        me: usize,
        persister: Box<dyn Persister>,
        apply_ch: Sender<ApplyMsg>,
        seed: u64,
    ) -> Self;

    /// Appends a command if the peer leads; never waits.
    fn start(&self, command: Vec<u8>) -> Start;

    /// The current term, and whether the peer believes it leads.
    fn get_state(&self) -> (Term, bool);

    /// The service has put everything up to `index` into `bytes`. Called from the thread that
    /// reads the apply channel.
    fn snapshot(&self, index: Index, bytes: &[u8]);

    /// Whether a snapshot from the apply channel may replace the service's state.
    fn cond_install_snapshot(&self, term: Term, index: Index, bytes: &[u8]) -> bool;

    /// Stops the peer, and drops its end of the apply channel. Nothing of it runs afterwards.
    fn kill(&self);

    /// What answers the other peers.
    fn service(&self) -> Arc<dyn Service>;

    /// Where the peer stands, for whoever looks for the reason of a hang.
    fn describe(&self) -> String;
}

impl LabRaft for Raft {
    fn make(
        ends: Vec<Arc<dyn End>>,
        me: usize,
        persister: Box<dyn Persister>,
        apply_ch: Sender<ApplyMsg>,
        seed: u64,
    ) -> Self {
        let peers = (0u64..).map(PeerId).zip(ends).collect();
        let options = Options { seed, ..Options::lab() };
        Raft::make_with(PeerId(me as u64), peers, persister, apply_ch, options)
            .unwrap_or_else(|error| panic!("S{me} does not start: {error}"))
    }

    fn start(&self, command: Vec<u8>) -> Start {
        Raft::start(self, command)
    }

    fn get_state(&self) -> (Term, bool) {
        Raft::get_state(self)
    }

    fn snapshot(&self, index: Index, bytes: &[u8]) {
        if let Err(error) = Raft::snapshot(self, index, bytes) {
            log::debug!(target: "TEST", "snapshot at {index}: {error}");
        }
    }

    fn cond_install_snapshot(&self, term: Term, index: Index, bytes: &[u8]) -> bool {
        Raft::cond_install_snapshot(self, term, index, bytes)
    }

    fn kill(&self) {
        Raft::kill(self);
    }

    fn service(&self) -> Arc<dyn Service> {
        Raft::service(self)
    }

    fn describe(&self) -> String {
        format!("{:?}", self.status())
    }
}
