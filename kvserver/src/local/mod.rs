//! This node's own client: what its front end calls. It executes at the leader, wherever that is,
//! through elections and lost messages, exactly once.
//!
//! A request that goes well costs no thread of its own: whoever asks sends it, and whoever comes to
//! know the answers (the applier, if this peer leads, else the network's reader) delivers them. All
//! requests are on one `desk`; its `keeper`, one thread, takes care of those that do not go well. A
//! `pursuit` is what is known of one request.

mod desk;
mod keeper;
mod pursuit;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use oarlock_rpc::promise;
use parking_lot::Mutex;

pub(crate) use desk::Desk;
use keeper::Keeper;
use pursuit::Pursuit;

use crate::error::ExecuteError;
use crate::node::Node;
use crate::op::{Answers, Op};
use crate::status::NodeStatus;
use crate::watch::Watch;

/// Executes operations on behalf of this process. Any number of threads may do so at once.
pub struct LocalClient {
    keeper: Arc<Keeper>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl LocalClient {
    /// A client of the cluster that `node` is in, which hears of leaders from `watch`. A request is
    /// given up after `request_timeout`.
    pub(crate) fn start(
        node: Arc<Node>,
        watch: Arc<Watch>,
        request_timeout: Duration,
    ) -> io::Result<Self> {
        let name = format!("kv{}-requests", node.me);
        let keeper = Arc::new(Keeper::new(node, watch, request_timeout));
        let thread = thread::Builder::new().name(name).spawn({
            let keeper = Arc::clone(&keeper);
            move || keeper.run()
        })?;
        keeper.watch.add(Arc::clone(&keeper.desk));
        Ok(Self { keeper, thread: Mutex::new(Some(thread)) })
    }

    /// Executes `ops` together, in order, and exactly once if at all. Waits for a leader and for
    /// the answers no longer than the request time-out.
    ///
    /// If they all only read, they do not go through the log.
    pub fn execute(&self, ops: Vec<Op>) -> Result<Answers, ExecuteError> {
        let (promise, awaited) = promise();
        self.execute_with(ops, move |result| promise.keep(result));
        awaited.wait().expect("every request is ended, at the latest when its client is")
    }

    /// [`execute`](Self::execute) without waiting: `done` gets the result, exactly once, at the
    /// latest at the request time-out. It runs on the applier, or another thread that others rely on,
    /// or on this one, and must not wait.
    pub fn execute_with(
        &self,
        ops: Vec<Op>,
        done: impl FnOnce(Result<Answers, ExecuteError>) + Send + 'static,
    ) {
        self.keeper.begin(Pursuit::new(ops, Box::new(done)));
    }

    /// What there is to say of this node now.
    pub fn status(&self) -> NodeStatus {
        self.keeper.node.status()
    }

    /// What tells it of leaders.
    #[cfg(test)]
    pub(crate) fn watch(&self) -> Arc<Watch> {
        Arc::clone(&self.keeper.watch)
    }

    /// Ends all requests that are open, and takes no more. Idempotent.
    pub(crate) fn close(&self) {
        self.keeper.watch.remove(&self.keeper.desk);
        self.keeper.desk.close();
        let Some(thread) = self.thread.lock().take() else { return };
        // Whoever is called back may be the last to know this client.
        if thread.thread().id() == thread::current().id() {
            return;
        }
        if let Err(panic) = thread.join()
            && !thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

impl Drop for LocalClient {
    fn drop(&mut self) {
        self.close();
    }
}
