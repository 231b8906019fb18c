//! A replication thread: one for each other member, feeding it while this peer leads (sections 5.3 and 7).

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use oarlock_rpc::End;

use crate::sending;
use crate::shared::Shared;
use crate::types::PeerId;

/// Whom a replication thread feeds, and until when.
pub(crate) struct Feeding {
    pub(crate) peer: PeerId,
    pub(crate) end: Arc<dyn End>,
    /// Set under the peer's lock when the member is to be fed no more.
    pub(crate) ended: Arc<AtomicBool>,
}

pub(crate) fn replication_thread(shared: &Arc<Shared>, feeding: &Feeding) {
    let mut has_sent = false;
    while let Some(send) = shared.take_send(feeding, has_sent) {
        sending::start(shared, feeding.peer, &*feeding.end, send);
        has_sent = true;
    }
}
