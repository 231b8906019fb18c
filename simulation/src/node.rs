//! One node: a disk that outlives it, and the peer that runs on it, or does not.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use oarlock_raft::simulation::{Peer, PeerOptions, Request};
use oarlock_raft::{Configuration, EntryId, Index, LeaseReads, Options, PeerId, Term};
use oarlock_storage::{DiskOptions, DiskPersister, SimFs, StorageError};
use parking_lot::Mutex;

use crate::character::Character;
use crate::clock::Clock;
use crate::log_check::LogMirror;
use crate::random::Random;
use crate::store::Store;
use crate::witness::Witness;

/// A request that is being answered.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) from: PeerId,
    pub(crate) life: u64,
    pub(crate) call: u64,
    /// When its caller gives up.
    pub(crate) until: Instant,
    pub(crate) request: Rc<Request>,
    /// It moved the election's deadline.
    pub(crate) postponed: bool,
}

/// What is known of a leadership.
#[derive(Debug, Default)]
pub(crate) struct Leadership {
    pub(crate) term: Term,
    /// When each peer was last heard.
    pub(crate) heard: BTreeMap<PeerId, Instant>,
    /// Where conflicts were found at each peer since its log last matched.
    pub(crate) conflicts: BTreeMap<PeerId, Vec<EntryId>>,
}

/// A peer that runs.
pub(crate) struct Running {
    pub(crate) peer: Peer<Store>,
    pub(crate) asked: BTreeMap<u64, Asked>,
    pub(crate) next_asked: u64,
    pub(crate) mirror: LogMirror,
    pub(crate) leads: Option<Leadership>,
    /// As they were after the last step.
    pub(crate) term: Term,
    pub(crate) commit_index: Index,
    pub(crate) applied: Index,
    pub(crate) configuration: Configuration,
    /// The next moment an event wakes it.
    pub(crate) timer: Option<Instant>,
    pub(crate) paused_until: Option<Instant>,
}

impl Running {
    /// A peer that has just started.
    pub(crate) fn new(peer: Peer<Store>) -> Self {
        Self {
            commit_index: peer.commit_index(),
            applied: peer.applied(),
            term: peer.current_term(),
            configuration: peer.configuration().clone(),
            peer,
            asked: BTreeMap::new(),
            next_asked: 0,
            mirror: LogMirror::default(),
            leads: None,
            timer: None,
            paused_until: None,
        }
    }
}

/// A node.
pub(crate) struct Node {
    pub(crate) id: PeerId,
    pub(crate) clock: Clock,
    pub(crate) disk: SimFs,
    pub(crate) witness: Arc<Mutex<Witness>>,
    pub(crate) running: Option<Running>,
    /// Raised by each start and stop: what belongs to an earlier life is ignored.
    pub(crate) life: u64,
    /// The highest term it has spoken of.
    pub(crate) spoken_term: Term,
    /// The last entry that it acknowledged, and in which term.
    pub(crate) promised: Option<(Term, EntryId)>,
    /// The disk will never work again.
    pub(crate) is_dead: bool,
    /// A stop was planned: the disk stops the machine at some operation.
    pub(crate) doomed: bool,
    /// It was removed from its cluster, and was stopped for good.
    pub(crate) is_gone: bool,
    /// The last entry of the snapshot whose configuration was looked at.
    pub(crate) checked_base: EntryId,
}

impl Node {
    pub(crate) fn new(id: PeerId, clock: Clock) -> Self {
        Self {
            id,
            clock,
            disk: SimFs::new(),
            witness: Arc::default(),
            running: None,
            life: 0,
            spoken_term: 0,
            promised: None,
            is_dead: false,
            doomed: false,
            is_gone: false,
            checked_base: EntryId::default(),
        }
    }

    /// Opens the disk, with the real recovery.
    pub(crate) fn open_disk(&self, segment_bytes: u64) -> Result<DiskPersister, StorageError> {
        let options = DiskOptions {
            segment_bytes,
            map_files: false,
            prepare_spares: false,
            ..DiskOptions::new(self.id.0)
        };
        DiskPersister::open_simulated(&self.disk, &options)
    }

    /// A snapshot of its own is under way: its log will be shorter.
    pub(crate) fn is_taking_snapshot(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.peer.is_taking_snapshot())
    }

    pub(crate) fn is_paused(&self, now: Instant) -> bool {
        let until = self.running.as_ref().and_then(|running| running.paused_until);
        until.is_some_and(|until| now < until)
    }
}

/// The options of a peer: everything small, so that everything happens often.
pub(crate) fn peer_options(character: &Character, random: &mut Random) -> PeerOptions {
    PeerOptions {
        raft: Options {
            seed: random.next() | 1,
            linger: character.linger,
            no_op_on_election: character.no_op_on_election,
            lease_reads: character
                .lease_drift_ppm
                .map(|drift_ppm_max| LeaseReads { drift_ppm_max }),
            append_entries_max: 8,
            in_flight_max: 4,
            snapshot_chunk_bytes: 256,
            probe_bytes_max: character.probe_bytes_max,
            ..Options::default()
        },
        snapshot_log_bytes: Some(character.snapshot_log_bytes),
        order_seed: random.next(),
    }
}
