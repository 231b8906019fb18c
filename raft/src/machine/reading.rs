//! Looking at the state of a replicated state machine: linearizably, at whichever peer has applied what
//! that takes, or as this peer has it.

use std::time::Instant;

use oarlock_rpc::promise;

use super::{Replicated, deadline_in};
use crate::error::ReadError;
use crate::rules::{Begun, Vouch};
use crate::served::{ReadDone, Waiting};
use crate::state_machine::StateMachine;
use crate::threads::StopOnPanic;
use crate::types::PeerId;

/// Who serves a read that another peer passed on.
#[derive(Debug)]
pub enum ReadBy<'a, M> {
    /// This peer, from its state.
    Us(&'a M),
    /// The peer that vouched: everything the read must see was in its state already. It calls
    /// [`Replicated::look_with`].
    Voucher,
}

impl<M: StateMachine> Replicated<M> {
    /// Looks at the state, linearizably: `f` sees every command that was answered anywhere before
    /// the call, and runs on the thread that applies, so it should be short, and must not
    /// wait for other threads. Waits no longer than the options' time-out.
    pub fn read<R: Send + 'static>(
        &self,
        f: impl FnOnce(&M) -> R + Send + 'static,
    ) -> Result<R, ReadError> {
        self.read_until(f, deadline_in(self.timeout))
    }

    /// [`read`](Self::read), until `deadline`.
    pub fn read_until<R: Send + 'static>(
        &self,
        f: impl FnOnce(&M) -> R + Send + 'static,
        deadline: Instant,
    ) -> Result<R, ReadError> {
        let (promise, result) = promise();
        self.read_with(move |machine| promise.keep(machine.map(f)));
        match result.wait_until(deadline) {
            Ok(Some(result)) => result,
            Ok(None) => Err(self.why_stopped().into()),
            Err(_) => Err(ReadError::TimedOut),
        }
    }

    /// [`read`](Self::read) without waiting: `done` gets the state, exactly once, on the thread
    /// that applies (or an error, perhaps on this one). It must not wait.
    pub fn read_with(&self, done: impl FnOnce(Result<&M, ReadError>) + Send + 'static) {
        self.begin_read(None, |read| match read {
            Ok(ReadBy::Us(machine)) => done(Ok(machine)),
            Ok(ReadBy::Voucher) => unreachable!("nobody vouched"),
            Err(error) => done(Err(error)),
        });
    }

    /// [`read_with`](Self::read_with) for a read that another peer passed on to this one, with what
    /// [`vouch`](Self::vouch) said there after the read came: that may spare a round of messages, or
    /// find that the other peer may serve the read itself. A vouch that is older than the read may
    /// make it stale.
    pub fn read_vouched_with(
        &self,
        vouch: Vouch,
        done: impl FnOnce(Result<ReadBy<'_, M>, ReadError>) + Send + 'static,
    ) {
        self.begin_read(Some(vouch), done);
    }

    fn begin_read(
        &self,
        vouch: Option<Vouch>,
        done: impl FnOnce(Result<ReadBy<'_, M>, ReadError>) + Send + 'static,
    ) {
        let mut done = Some(done);
        // What is known at once; nothing if it waits.
        let known = self.raft.shared().step(|rules, now| match rules.begin_read(vouch, now) {
            Some(Begun::Waits(id)) => {
                let done = done.take().expect("nobody took it before");
                let done = move |state: Result<&M, ReadError>| done(state.map(ReadBy::Us));
                self.expect(Waiting::Read(id, Box::new(done)));
                None
            }
            Some(Begun::ByVoucher) => Some(Ok(ReadBy::Voucher)),
            None => Some(Err(ReadError::NotLeader { leader: rules.leader() })),
        });
        let known = known.unwrap_or_else(|stopped| Some(Err(stopped.into())));
        if let (Some(known), Some(done)) = (known, done) {
            done(known);
        }
    }

    /// Looks at what this peer has applied, whatever others have done since: by itself no linearizable
    /// read, but right behind [`ReadBy::Voucher`]. `done` gets what was found, exactly once (or an error,
    /// perhaps only since this peer leads no longer).
    ///
    /// Unless the state is in use, by the thread that applies or another look, `here` looks at once, on
    /// this thread: the applier waits meanwhile, so it should be brief, and find nothing (`None`) if it
    /// would not be. If it did not look, or found nothing, `f` looks on the thread that applies. None of
    /// the three must wait.
    pub fn look_with<R>(
        &self,
        here: impl FnOnce(&M) -> Option<R>,
        f: impl FnOnce(&M) -> R + Send + 'static,
        done: impl FnOnce(Result<R, ReadError>) + Send + 'static,
    ) {
        // The applier is not to wait for whoever `done` calls.
        let found = self.look_here(here);
        if let Some(found) = found {
            return done(Ok(found));
        }
        let mut done: Option<ReadDone<M>> = Some(Box::new(move |state| done(state.map(f))));
        let begun = self.raft.shared().step(|rules, _| {
            let done = done.take().expect("nobody took it before");
            self.expect(Waiting::Read(rules.begin_look(), done));
        });
        if let (Err(stopped), Some(done)) = (begun, done) {
            done(Err(stopped.into()));
        }
    }

    /// Looks, if nothing is being applied. A panic stops the peer, as on the thread that applies.
    fn look_here<R>(&self, here: impl FnOnce(&M) -> Option<R>) -> Option<R> {
        let _guard = StopOnPanic::new(self.raft.shared(), "a look at the state");
        let served = self.served.try_lock()?;
        here(served.as_ref()?.look()?)
    }

    /// What this peer vouches for now, to pass a read on, and who leads as far as it knows. Once it has
    /// stopped it knows of nobody: another life may have begun on its disk, which votes.
    pub fn vouch(&self) -> (Vouch, Option<PeerId>) {
        let shared = self.raft.shared();
        shared.look_while_running(|rules, runs| (rules.vouch(), rules.leader().filter(|_| runs)))
    }
}

#[cfg(all(test, not(feature = "interleavings")))]
#[path = "reading_tests.rs"]
mod tests;
