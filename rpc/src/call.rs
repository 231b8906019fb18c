//! A call: the end it starts from, the handle or completion it ends in, the service that answers.

use std::fmt;
use std::time::Instant;

use crate::promise::{Awaited, promise};

/// Which of a connection's lanes a method travels in.
///
/// A bulk message (a piece of a snapshot) never makes an urgent one (a heartbeat, a vote) wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Everything a time-out depends on.
    Urgent,
    /// Large transfers that may be slow.
    Bulk,
}

/// The name of a method, as `Service.Method`, and the lane its messages travel in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Method {
    /// `Service.Method`; at most 255 bytes.
    pub name: &'static str,
    /// The lane of its requests and replies.
    pub lane: Lane,
}

impl Method {
    /// A method whose messages are small and urgent.
    pub const fn urgent(name: &'static str) -> Self {
        Self { name, lane: Lane::Urgent }
    }

    /// A method whose messages are large and may wait.
    pub const fn bulk(name: &'static str) -> Self {
        Self { name, lane: Lane::Bulk }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// The client end of a connection to one server.
///
/// Any number of calls may be in flight on one end; they may be answered in any order.
pub trait End: Send + Sync + 'static {
    /// Starts a call and returns at once; `done` gets the reply, or `None`, exactly once.
    ///
    /// `done` runs on a thread of the network, or of the service that answers, or on this one before
    /// this returns; it must not wait for anything but a short lock. The caller must therefore hold
    /// no lock that `done` takes, nor one that a [prompt](Service::is_prompt) service takes.
    fn start(&self, method: Method, args: Vec<u8>, done: Completion);

    /// Starts a call and returns the handle to wait on.
    fn call(&self, method: Method, args: Vec<u8>) -> Call {
        let (call, done) = Call::pair();
        self.start(method, args, done);
        call
    }
}

/// The place an outcome goes to: consumed with it, or dropped, which means *nothing came back*.
///
/// The function inside runs exactly once in either case.
pub struct Completion(Option<OutcomeFn>);

type OutcomeFn = Box<dyn FnOnce(Option<Vec<u8>>) + Send>;

/// What a service answers into, now or later, from any thread. Dropped unanswered, the caller gets
/// nothing.
pub type ReplySlot = Completion;

impl Completion {
    /// A completion that runs `f` with the outcome.
    pub fn new(f: impl FnOnce(Option<Vec<u8>>) + Send + 'static) -> Self {
        Self(Some(Box::new(f)))
    }

    /// Delivers the reply.
    pub fn reply(self, bytes: Vec<u8>) {
        self.complete(Some(bytes));
    }

    /// Delivers the outcome: a reply, or nothing.
    pub fn complete(mut self, outcome: Option<Vec<u8>>) {
        if let Some(f) = self.0.take() {
            f(outcome);
        }
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        if let Some(f) = self.0.take() {
            f(None);
        }
    }
}

impl fmt::Debug for Completion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Completion")
    }
}

/// The handle of a call in flight.
#[derive(Debug)]
pub struct Call(Awaited<Option<Vec<u8>>>);

impl Call {
    /// A handle and the completion that resolves it.
    pub fn pair() -> (Self, Completion) {
        let (promise, awaited) = promise();
        (Self(awaited), Completion::new(move |outcome| promise.keep(outcome)))
    }

    /// Waits for the outcome: the reply, or `None` if nothing came back.
    pub fn wait(self) -> Option<Vec<u8>> {
        self.0.wait().flatten()
    }

    /// Waits until `deadline`; gives the handle back if the call is still in flight then.
    pub fn wait_until(self, deadline: Instant) -> Result<Option<Vec<u8>>, Self> {
        self.0.wait_until(deadline).map(Option::flatten).map_err(Self)
    }

    /// Whether the outcome is here, so that [`Call::wait`] would not block.
    pub fn is_done(&self) -> bool {
        self.0.is_settled()
    }
}

/// A service has no method of that name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no service here has a method named {0:?}")]
pub struct UnknownMethod(pub String);

/// The server side of the contract.
pub trait Service: Send + Sync + 'static {
    /// Handles one request. `reply` may be kept and filled later, by any thread.
    ///
    /// Runs on the thread that reads the connection (on TCP), so it must not wait for a disk, the
    /// network or user code: it takes one step and returns.
    fn handle(&self, method: &str, args: &[u8], reply: ReplySlot) -> Result<(), UnknownMethod>;

    /// [`handle`](Self::handle), of arguments that nobody else needs: what the service keeps of them it
    /// need not copy. For networks that have them so; it must do the same as `handle`, and wait for as
    /// little.
    ///
    /// Default: `handle`.
    fn handle_owned(
        &self,
        method: &str,
        args: Vec<u8>,
        reply: ReplySlot,
    ) -> Result<(), UnknownMethod> {
        self.handle(method, &args, reply)
    }

    /// The connection by which node `peer` of the same cluster called has ended, by no doing of this
    /// side: it has died, or will be back by another connection, or is so already. Must not wait.
    ///
    /// Default: nothing.
    fn hung_up(&self, peer: u64) {
        let _ = peer;
    }

    /// Whether a network within one process may save the hand-over between threads: run `handle` on
    /// the thread that calls, and what waits for the reply on the thread that fills the slot. So a
    /// prompt service takes short locks only, and holds none that another thread waits for while it
    /// fills or drops a slot.
    ///
    /// Default: no.
    fn is_prompt(&self) -> bool {
        false
    }
}

#[cfg(all(test, not(feature = "interleavings")))]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    #[test]
    fn a_completion_runs_exactly_once_even_when_dropped() {
        let runs = Arc::new(AtomicUsize::new(0));
        let counted = |runs: &Arc<AtomicUsize>| {
            let runs = Arc::clone(runs);
            Completion::new(move |_| {
                runs.fetch_add(1, Ordering::SeqCst);
            })
        };
        counted(&runs).reply(vec![1]);
        assert_eq!(runs.load(Ordering::SeqCst), 1);
        drop(counted(&runs));
        assert_eq!(runs.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn a_dropped_completion_means_nothing_came_back() {
        let (call, done) = Call::pair();
        drop(done);
        assert!(call.is_done());
        assert_eq!(call.wait(), None);
    }

    #[test]
    fn waiting_until_a_deadline_gives_the_handle_back() {
        let (call, done) = Call::pair();
        let call = call.wait_until(Instant::now() + Duration::from_millis(1)).expect_err("pending");
        done.reply(b"late".to_vec());
        assert_eq!(call.wait_until(Instant::now()).expect("done"), Some(b"late".to_vec()));
    }
}
