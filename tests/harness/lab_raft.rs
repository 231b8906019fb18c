//! What the suites 2A to 2D test, as a trait. `tests/labs/rafts` has those that implement it.

use std::sync::Arc;

use crossbeam_channel::Sender;
use oarlock_raft::{ApplyMsg, Index, Start, Term};
use oarlock_rpc::{End, Service};
use oarlock_storage::Persister;

/// A Raft peer as the labs ask for it.
pub(crate) trait LabRaft: Send + Sync + 'static {
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
    ) -> Self
    where
        Self: Sized;

    /// Appends a command if the peer leads; never waits.
    fn start(&self, command: Vec<u8>) -> Start;

    /// The current term, and whether the peer believes it leads.
    fn get_state(&self) -> (Term, bool);

    /// The service has put everything up to `index` into `bytes`. Called from the thread that
    /// reads the apply channel.
    fn snapshot(&self, index: Index, bytes: &[u8]);

    /// Whether a snapshot from the apply channel may replace the service's state. Labs from 2023 on
    /// do not ask.
    fn cond_install_snapshot(&self, _term: Term, _index: Index, _bytes: &[u8]) -> bool {
        true
    }

    /// Stops the peer, and drops its end of the apply channel. Nothing of it runs afterwards: the
    /// harness fails a test that leaves a thread behind whose name begins with `raft-`.
    fn kill(&self);

    /// What answers the other peers: the methods named `Raft.…`.
    fn service(&self) -> Arc<dyn Service>;

    /// Where the peer stands, for whoever looks for the reason of a hang.
    fn describe(&self) -> String;
}

/// How a peer is made, whatever its type.
pub(crate) type Make =
    fn(Vec<Arc<dyn End>>, usize, Box<dyn Persister>, Sender<ApplyMsg>, u64) -> Arc<dyn LabRaft>;

/// [`LabRaft::make`] of `R`, as a [`Make`].
pub(crate) fn make<R: LabRaft>(
    ends: Vec<Arc<dyn End>>,
    me: usize,
    persister: Box<dyn Persister>,
    apply_ch: Sender<ApplyMsg>,
    seed: u64,
) -> Arc<dyn LabRaft> {
    Arc::new(R::make(ends, me, persister, apply_ch, seed))
}
