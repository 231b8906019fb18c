//! A replicated state machine of your own, durable and on the network: what an embedding program
//! starts.

use std::ops::Deref;
use std::sync::Arc;

use oarlock_raft::{Replicated, ReplicatedOptions, StateMachine};
use oarlock_rpc::Router;
use oarlock_rpc::tcp::TcpServer;

use crate::site::{Site, SiteOptions, StartError};

/// One running node. It offers what [`Replicated`] does; dropped, it stops.
pub struct Node<M: StateMachine> {
    replicated: Replicated<M>,
    server: TcpServer,
}

impl<M: StateMachine> Node<M> {
    /// Starts node `site.id` of a cluster: takes its address and its directory, recovers what is
    /// there, and looks for its peers. Returns at once; commands are accepted when a majority of
    /// the members runs.
    pub fn start(
        site: &SiteOptions,
        machine: M,
        options: ReplicatedOptions,
    ) -> Result<Self, StartError> {
        let (cluster, persister, listener) = Site::prepare(site)?.split();
        let replicated =
            Replicated::open_in(site.id, cluster, Box::new(persister), machine, options)?;
        let service = Router::new().with("Raft", replicated.service());
        let server = listener.serve(Arc::new(service))?;
        Ok(Self { replicated, server })
    }

    /// Stops the node and waits for all its threads; callers that wait get an error. If it may lead,
    /// [`hand_over`](Replicated::hand_over) before spares clients an election time-out.
    pub fn stop(&self) {
        self.server.shutdown();
        self.replicated.kill();
    }
}

impl<M: StateMachine> Deref for Node<M> {
    type Target = Replicated<M>;

    fn deref(&self) -> &Replicated<M> {
        &self.replicated
    }
}

impl<M: StateMachine> Drop for Node<M> {
    fn drop(&mut self) {
        self.stop();
    }
}
