//! Oarlock's Raft, as the suites ask for it.

use std::sync::Arc;

use crossbeam_channel::Sender;
use oarlock_raft::{ApplyMsg, Index, Options, PeerId, Raft, Start, Term};
use oarlock_rpc::{End, Service};
use oarlock_storage::Persister;

use crate::harness::LabRaft;

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
