//! The state machine of a node.

use std::io;
use std::sync::Arc;

use futures_util::{Stream, StreamExt as _};
use openraft::alias::{LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, RaftSnapshotBuilder, Snapshot, SnapshotMeta, StoredMembership};

use super::Types;
use crate::library::command::{Applied, Tally};

/// The state, and how far it has come.
pub struct Machine {
    tally: Tally,
    last_applied: Option<LogIdOf<Types>>,
    membership: StoredMembershipOf<Types>,
    snapshot: Option<SnapshotOf<Types, Vec<u8>>>,
}

impl Machine {
    pub fn new(applied: Arc<Applied>) -> Self {
        let membership = StoredMembership::default();
        Self { tally: Tally::new(applied), last_applied: None, membership, snapshot: None }
    }
}

/// The state as it was at some moment.
pub struct Builder(SnapshotOf<Types, Vec<u8>>);

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = Vec<u8>;

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<Types, Vec<u8>>, io::Error> {
        Ok(self.0.clone())
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = Vec<u8>;
    type SnapshotBuilder = Builder;

    async fn applied_state(
        &mut self,
    ) -> Result<(Option<LogIdOf<Types>>, StoredMembershipOf<Types>), io::Error> {
        Ok((self.last_applied, self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + Send,
    {
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            self.last_applied = Some(entry.log_id);
            let answer = match entry.payload {
                EntryPayload::Normal(command) => Some(self.tally.apply(&command.0)),
                EntryPayload::Membership(membership) => {
                    self.membership = StoredMembership::new(Some(entry.log_id), membership);
                    None
                }
                EntryPayload::Blank => None,
            };
            if let Some(responder) = responder {
                responder.send(answer);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        let meta = SnapshotMeta {
            last_log_id: self.last_applied,
            last_membership: self.membership.clone(),
        };
        let snapshot = Snapshot { meta, snapshot: self.tally.to_bytes() };
        self.snapshot = Some(snapshot.clone());
        Builder(snapshot)
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMetaOf<Types>,
        snapshot: Vec<u8>,
    ) -> Result<(), io::Error> {
        assert!(self.tally.restore(&snapshot), "a snapshot of a tally");
        self.last_applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.snapshot = Some(Snapshot { meta: meta.clone(), snapshot });
        Ok(())
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> Result<Option<SnapshotOf<Types, Vec<u8>>>, io::Error> {
        Ok(self.snapshot.clone())
    }
}
