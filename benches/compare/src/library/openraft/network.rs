//! The way to another node of the same process: a call.

use std::future::Future;

use openraft::alias::{SnapshotOf, VoteOf};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::{AnyError, BasicNode, RaftNetworkFactory, RaftNetworkV2};

use super::{Nodes, Types};

/// Knows all nodes.
pub struct Network(Nodes);

impl Network {
    pub fn new(nodes: Nodes) -> Self {
        Self(nodes)
    }
}

/// The way to one.
pub struct Way {
    nodes: Nodes,
    to: usize,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Way;

    async fn new_client(&mut self, target: u64, _node: &BasicNode) -> Way {
        Way { nodes: self.0.clone(), to: target as usize }
    }
}

impl Way {
    fn node(&self) -> &super::Node {
        &self.nodes.get().expect("nodes are started before they are initialized")[self.to]
    }
}

fn failed(error: impl std::fmt::Display) -> NetworkError<Types> {
    NetworkError::new(&AnyError::error(error))
}

impl RaftNetworkV2<Types> for Way {
    type SnapshotData = Vec<u8>;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        self.node().append_entries(request).await.map_err(|e| RPCError::Network(failed(e)))
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        _option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.node().vote(request).await.map_err(|e| RPCError::Network(failed(e)))
    }

    async fn full_snapshot(
        &mut self,
        vote: VoteOf<Types>,
        snapshot: SnapshotOf<Types, Vec<u8>>,
        _cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let installed = self.node().install_full_snapshot(vote, snapshot).await;
        installed.map_err(|e| StreamingError::Network(failed(e)))
    }
}
