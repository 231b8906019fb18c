//! What a user writes: a state machine, and, if its state is large, how it is written down while it
//! goes on changing.

use std::io::{self, Write};

use oarlock_rpc::codec::{self, CodecError, Wire};
use oarlock_storage::Payload;

use crate::error::RestoreError;
use crate::types::{EntryId, Snapshot};

/// What is replicated. Every peer applies the same commands in the same order, so `apply` must
/// depend on nothing but the state and the command.
///
/// A machine of moderate size needs [`apply`](Self::apply), [`snapshot`](Self::snapshot) and
/// [`restore`](Self::restore). The other methods are for one whose state is too large to be copied,
/// or to be read as a whole at each start.
pub trait StateMachine: Send + 'static {
    /// What changes the state; travels through the log in its encoded form.
    type Command: Wire + Send + 'static;
    /// What `apply` answers to whoever submitted the command.
    type Output: Send + 'static;

    /// Takes one command. `id` is its place in the log. Nothing else is applied meanwhile, and callers
    /// that were answered just before may sleep on until this returns: it must not wait for them.
    fn apply(&mut self, id: EntryId, command: Self::Command) -> Self::Output;

    /// [`apply`](Self::apply), of the command that is encoded as `bytes`; an error if none is.
    ///
    /// The default decodes it. A machine that keeps large parts of commands may keep `bytes` instead,
    /// and look at the parts in there: the log has them in memory anyway until the next snapshot. They
    /// may lie beside those of commands that came together with this one, which are kept with them.
    fn apply_encoded(&mut self, id: EntryId, bytes: &Payload) -> Result<Self::Output, CodecError> {
        Ok(self.apply(id, codec::decode(bytes)?))
    }

    /// The whole state as bytes: equal states must give equal bytes.
    fn snapshot(&self) -> Vec<u8>;

    /// Replaces the whole state by what [`snapshot`](Self::snapshot) wrote at some peer. On an
    /// error, which says what is wrong with the bytes, the state stays as it was.
    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError>;

    /// The state as it is now, to be written by another thread while commands go on being applied
    /// here. No command is applied and no read served meanwhile, so this should not take longer than
    /// they do: what never changes is shared, and nothing large copied.
    ///
    /// `None`, the default, if it is not worth the trouble: then [`snapshot`](Self::snapshot) is
    /// called instead. There is at most one such view at a time; what became of the last one is
    /// known from [`published`](Self::published), or, if that was not called before the next
    /// `freeze` or `restore_from`, it was of no use.
    fn freeze(&mut self) -> Option<Box<dyn Frozen>> {
        None
    }

    /// What the last [`freeze`](Self::freeze) gave has become this peer's current snapshot. It is in
    /// a memory-mapped file, if the storage has those, so the machine may keep it (that is cheap) and
    /// look at the state of that moment there instead of in memory of its own.
    ///
    /// Returns what it has no more use for, to be dropped where nobody waits for it.
    fn published(&mut self, snapshot: &Snapshot) -> Option<Box<dyn Send>> {
        let _ = snapshot;
        None
    }

    /// [`restore`](Self::restore), for a machine that keeps the snapshot. The default does not.
    fn restore_from(&mut self, snapshot: &Snapshot) -> Result<(), RestoreError> {
        self.restore(snapshot)
    }
}

/// The whole state of a [`StateMachine`] at one moment.
pub trait Frozen: Send + 'static {
    /// Writes the bytes that [`StateMachine::snapshot`] would have given at that moment, in pieces of
    /// any size. An error of `out` is to be returned: it says that nobody wants the rest.
    fn write_to(&self, out: &mut dyn Write) -> io::Result<()>;

    /// About how many bytes that will be, if it is known: a large state is written as evenly as this
    /// allows. Default: as many as the last snapshot has.
    fn len_hint(&self) -> Option<u64> {
        None
    }
}

/// A state that was written down in memory already.
impl Frozen for Vec<u8> {
    fn write_to(&self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(self)
    }

    fn len_hint(&self) -> Option<u64> {
        Some(self.len() as u64)
    }
}
