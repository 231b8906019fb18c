//! The key-value state machine of a simulated peer, which notes what it does for the checks.

use oarlock_kvserver::{Answers, ClientId, KvMachine, Limits, Op, Outcome, Request};
use oarlock_raft::{EntryId, Frozen, Index, RestoreError, Snapshot, StateMachine};

use crate::fingerprint::{mix, mix_bytes};
use crate::mistake::Mistake;

/// Every so many indexes the whole state is compared.
const STATE_EVERY: Index = 8;

/// A command that a peer applied.
#[derive(Debug)]
pub(crate) struct Applied {
    pub(crate) id: EntryId,
    pub(crate) request: Request,
    pub(crate) outcome: Outcome,
    /// The fingerprint of the state afterwards, now and then.
    pub(crate) state: Option<u64>,
}

/// Something a peer's state machine did.
#[derive(Debug)]
pub(crate) enum Deed {
    Applied(Applied),
    /// It was replaced by a snapshot.
    Restored,
    /// Its own snapshot has become the current one.
    Published,
}

/// The state machine.
#[derive(Debug)]
pub(crate) struct Store {
    machine: KvMachine,
    /// What it did since somebody looked.
    pub(crate) deeds: Vec<Deed>,
    mistake: Option<Mistake>,
    /// How many snapshots it was restored from.
    restored: u64,
    /// How many snapshots it was asked for.
    asked: u64,
}

impl Store {
    pub(crate) fn new(limits: Limits, mistake: Option<Mistake>) -> Self {
        let machine = KvMachine::new(limits);
        Self { machine, deeds: Vec::new(), mistake, restored: 0, asked: 0 }
    }

    pub(crate) fn read(&self, ops: &[Op]) -> Answers {
        self.machine.read(ops)
    }

    /// The fingerprint of the whole state.
    pub(crate) fn fingerprint(&self) -> u64 {
        mix_bytes(0, &self.machine.to_bytes())
    }

    /// The request as a state machine sees it that makes the planted mistake.
    fn mistaken(&self, id: EntryId, request: &Request) -> Request {
        let mut request = request.clone();
        let ClientId { born, nonce } = request.client;
        match self.mistake {
            // As if nothing were remembered of anybody.
            Some(Mistake::AppliesDuplicates) => {
                request.client = ClientId { born, nonce: mix(nonce, id.index) };
            }
            // As if nothing were remembered of those before the snapshot.
            Some(Mistake::SnapshotWithoutSessions) => {
                request.client = ClientId { born, nonce: mix(nonce, self.restored) };
            }
            _ => {}
        }
        request
    }
}

impl StateMachine for Store {
    type Command = Request;
    type Output = Outcome;

    fn apply(&mut self, id: EntryId, command: Request) -> Outcome {
        let request =
            if self.mistake.is_some() { self.mistaken(id, &command) } else { command.clone() };
        let outcome = self.machine.apply_at(id.index, request);
        let state = id.index.is_multiple_of(STATE_EVERY).then(|| self.fingerprint());
        let applied = Applied { id, request: command, outcome: outcome.clone(), state };
        self.deeds.push(Deed::Applied(applied));
        outcome
    }

    fn snapshot(&self) -> Vec<u8> {
        self.machine.to_bytes()
    }

    fn freeze(&mut self) -> Option<Box<dyn Frozen>> {
        // Small states take the other way.
        self.asked += 1;
        let freezes = !self.asked.is_multiple_of(3);
        freezes.then(|| Box::new(self.machine.freeze_state()) as Box<dyn Frozen>)
    }

    fn published(&mut self, snapshot: &Snapshot) -> Option<Box<dyn Send>> {
        let before = self.fingerprint();
        let unwanted = self.machine.rebase(snapshot);
        assert!(unwanted.is_some(), "what was frozen last was published, and is not known");
        assert_eq!(self.fingerprint(), before, "the state changed with where it is kept");
        self.deeds.push(Deed::Published);
        unwanted
    }

    fn restore_from(&mut self, snapshot: &Snapshot) -> Result<(), RestoreError> {
        self.machine.replace_by_snapshot(snapshot).map_err(RestoreError)?;
        self.restored += 1;
        self.deeds.push(Deed::Restored);
        Ok(())
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        self.machine.replace_by(snapshot).map_err(RestoreError)?;
        self.restored += 1;
        self.deeds.push(Deed::Restored);
        Ok(())
    }
}
