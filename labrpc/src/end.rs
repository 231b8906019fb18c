//! One client end: where calls into the simulated network start.

use std::fmt;
use std::sync::Arc;

use oarlock_rpc::{Completion, End, Method};

use crate::shared::Shared;
use crate::topology::EndId;

/// A client end, made by [`Network::make_end`](crate::Network::make_end).
///
/// It does not keep the network alive: once the last [`Network`](crate::Network) handle is gone, its
/// calls fail at once.
pub struct ClientEnd {
    id: EndId,
    name: String,
    shared: Arc<Shared>,
}

impl ClientEnd {
    pub(crate) fn new(id: EndId, name: String, shared: Arc<Shared>) -> Self {
        Self { id, name, shared }
    }

    /// The name it was made under.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl End for ClientEnd {
    fn start(&self, method: Method, args: Vec<u8>, done: Completion) {
        self.shared.start(self.id, method, args, done);
    }
}

impl fmt::Debug for ClientEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientEnd").field("name", &self.name).finish_non_exhaustive()
    }
}
