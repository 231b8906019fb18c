//! The threads of one peer, as the labs lay them out: each loop fetches work from the rules,
//! does the slow part without the lock, and hands the result in.

pub(crate) mod applier;
pub(crate) mod election;
pub(crate) mod log_writer;
pub(crate) mod members;
mod pace;
pub(crate) mod replication;
pub(crate) mod snapshots;

use std::fmt::Display;
use std::sync::Arc;

use oarlock_sync::thread::{self, JoinHandle};

use crate::error::Stopped;
use crate::shared::Shared;
use crate::types::PeerId;

/// Starts a thread of peer `me`. If its body panics, the peer stops, and the panic is raised again
/// by whoever kills the peer: a dead thread must not look like a slow one.
pub(crate) fn spawn(
    shared: &Arc<Shared>,
    me: PeerId,
    name: &str,
    body: impl FnOnce(&Arc<Shared>) + Send + 'static,
) -> std::io::Result<()> {
    let thread = spawn_unkept(shared, me, name, body)?;
    shared.keep_thread(thread);
    Ok(())
}

/// [`spawn`], of a thread that the caller joins.
fn spawn_unkept(
    shared: &Arc<Shared>,
    me: PeerId,
    name: &str,
    body: impl FnOnce(&Arc<Shared>) + Send + 'static,
) -> std::io::Result<JoinHandle<()>> {
    let for_body = Arc::clone(shared);
    let name = format!("raft-{me}-{name}");
    let thread_name = name.clone();
    thread::Builder::new().name(thread_name).spawn(move || {
        let _guard = StopOnPanic::new(&for_body, format!("thread {name}"));
        body(&for_body);
    })
}

/// Whoever begins to panic while this lives stops the peer.
pub(crate) struct StopOnPanic<'a, S: Display> {
    shared: &'a Shared,
    was_panicking: bool,
    /// What panics.
    who: S,
}

impl<'a, S: Display> StopOnPanic<'a, S> {
    pub(crate) fn new(shared: &'a Shared, who: S) -> Self {
        Self { shared, was_panicking: thread::panicking(), who }
    }
}

impl<S: Display> Drop for StopOnPanic<'_, S> {
    fn drop(&mut self) {
        if thread::panicking() && !self.was_panicking {
            self.shared.stop(Stopped(format!("{} panicked", self.who)));
        }
    }
}
