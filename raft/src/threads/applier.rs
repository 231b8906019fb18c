//! The applier: gives what is committed to the service, in order, exactly once. It may block there
//! as long as it likes; it holds nothing meanwhile that anybody waits for.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, SendTimeoutError, Sender, select};
use oarlock_storage::EntryId;

use crate::peer::ApplyMsg;
use crate::rules::ApplyWork;
use crate::shared::Shared;
use crate::types::{Entry, EntryKind, Index};

/// Where committed work goes.
pub(crate) trait Sink: Send + 'static {
    /// Takes one piece of work. `Err` means that nobody is there to take any: the applier ends.
    fn take(&mut self, work: ApplyWork, shared: &Shared) -> Result<(), Gone>;

    /// Nothing more will come.
    fn end(&mut self, shared: &Shared);
}

/// The service is gone.
#[derive(Debug)]
pub(crate) struct Gone;

pub(crate) fn applier_thread(shared: &Arc<Shared>, mut sink: impl Sink) {
    let mut applied: Index = shared.look(|rules, _| rules.last_applied());
    while let Some(work) = shared.take_committed(applied) {
        applied = match &work {
            ApplyWork::Entries(entries) => entries.last().map_or(applied, |entry| entry.id.index),
            ApplyWork::Restore(snapshot) => snapshot.meta.last_included.index,
            ApplyWork::ServeReads { .. }
            | ApplyWork::FailReads { .. }
            | ApplyWork::Published(..)
            | ApplyWork::MakeRoom(_) => applied,
        };
        if sink.take(work, shared).is_err() {
            break;
        }
    }
    sink.end(shared);
}

/// How long a reader of the apply channel may be away before the applier waits for the peer's end
/// as well.
const READER_PATIENCE: Duration = Duration::from_millis(20);

/// The labs' apply channel, which may be unbuffered, and whose reader may call into the peer.
pub(crate) struct ChannelSink {
    pub(crate) apply_ch: Sender<ApplyMsg>,
    pub(crate) stop_signal: Receiver<()>,
}

impl ChannelSink {
    /// Hands one message over. A reader that waits takes it off this thread's stack; of a sender
    /// that waits for two things at once it would have to wait itself, spinning, until that has run
    /// again, which on a busy machine takes longer than all else. Hence the stop signal is looked
    /// at only when nobody reads.
    fn deliver(&self, message: ApplyMsg) -> Result<(), Gone> {
        match self.apply_ch.send_timeout(message, READER_PATIENCE) {
            Ok(()) => Ok(()),
            Err(SendTimeoutError::Disconnected(_)) => Err(Gone),
            Err(SendTimeoutError::Timeout(message)) => select! {
                send(self.apply_ch, message) -> sent => sent.map_err(|_| Gone),
                recv(self.stop_signal) -> _ => Err(Gone),
            },
        }
    }

    fn deliver_entry(&self, entry: Entry) -> Result<(), Gone> {
        let EntryId { index, term } = entry.id;
        match EntryKind::from_tag(entry.tag) {
            Some(EntryKind::Command) => {
                self.deliver(ApplyMsg::Command { index, term, command: entry.data.into() })
            }
            Some(EntryKind::NoOp | EntryKind::Configuration) | None => Ok(()),
        }
    }
}

impl Sink for ChannelSink {
    fn take(&mut self, work: ApplyWork, _shared: &Shared) -> Result<(), Gone> {
        match work {
            ApplyWork::Entries(entries) => {
                entries.into_iter().try_for_each(|entry| self.deliver_entry(entry))
            }
            ApplyWork::Restore(snapshot) => {
                let last_included = snapshot.meta.last_included;
                self.deliver(ApplyMsg::Snapshot { last_included, snapshot })
            }
            // This interface has no reads, and leaves it to the service when to take snapshots.
            ApplyWork::ServeReads { .. }
            | ApplyWork::FailReads { .. }
            | ApplyWork::Published(..)
            | ApplyWork::MakeRoom(_) => Ok(()),
        }
    }

    fn end(&mut self, _shared: &Shared) {}
}
