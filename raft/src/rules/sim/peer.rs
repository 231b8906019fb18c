//! One simulated peer: the rules, the real log writer, and what its threads would hold.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use oarlock_storage::{MemoryPersister, Persister, SnapshotStage};

use crate::message::{
    AppendEntriesArgs, AppendEntriesReply, InstallSnapshotArgs, InstallSnapshotReply,
    RequestVoteArgs, RequestVoteReply,
};
use crate::mutation::{Until, WriteWork};
use crate::rules::{Rules, SentAppend, SentPiece};
use crate::threads::log_writer::LogWriter;
use crate::types::{Index, PeerId, Term};

/// A request on the network, with what its sender must remember of it.
#[derive(Clone)]
pub(super) enum Request {
    Vote(RequestVoteArgs),
    Append(AppendEntriesArgs, SentAppend),
    Piece(InstallSnapshotArgs, SentPiece),
}

/// A reply on its way back.
#[derive(Clone)]
pub(super) enum Reply {
    Vote(RequestVoteReply),
    Append(AppendEntriesReply),
    Piece(InstallSnapshotReply),
}

/// What waits for the disk before it may be spoken.
pub(super) enum Unspoken {
    Round(RequestVoteArgs, Vec<PeerId>),
    Answer { to: PeerId, call: u64, request: Request, reply: Reply },
}

pub(super) struct Running {
    pub(super) rules: Rules,
    pub(super) writer: LogWriter,
    pub(super) stage: std::sync::Arc<dyn SnapshotStage>,
    /// What the disk is busy with.
    pub(super) writing: Option<WriteWork>,
    pub(super) unspoken: VecDeque<(Until, Unspoken)>,
    pub(super) applied: Index,
    /// The state machine: every payload applied, by index.
    pub(super) state: Vec<u8>,
    /// Reads that wait: what had been committed anywhere when they began.
    pub(super) reads: BTreeMap<u64, Index>,
    /// The term whose leadership was checked already.
    pub(super) led: Option<Term>,
    /// The next moment one of its threads would wake by itself.
    pub(super) timer: Option<Instant>,
}

/// A peer and its disk, up or down.
pub(super) struct SimPeer {
    pub(super) disk: MemoryPersister,
    pub(super) running: Option<Running>,
    /// Raised by each restart: what belongs to an earlier life is ignored.
    pub(super) life: u64,
}

impl SimPeer {
    pub(super) fn new() -> Self {
        Self { disk: MemoryPersister::new(), running: None, life: 0 }
    }

    /// Starts it from what its disk holds.
    pub(super) fn start(&mut self, make: impl FnOnce(oarlock_storage::Recovered) -> Rules) {
        self.life += 1;
        self.disk = self.disk.copy();
        let mut disk = self.disk.clone();
        let recovered = disk.load();
        let snapshot_stage = disk.snapshot_stage();
        let state = recovered.snapshot.as_ref().map_or(Vec::new(), |s| s.to_vec());
        let rules = make(recovered);
        self.running = Some(Running {
            applied: rules.last_applied(),
            rules,
            writer: LogWriter::new(Box::new(disk)),
            stage: snapshot_stage,
            writing: None,
            unspoken: VecDeque::new(),
            state,
            reads: BTreeMap::new(),
            led: None,
            timer: None,
        });
    }
}
