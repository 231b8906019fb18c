//! Where the time of a write goes: the moment it passes each stage on its way, on every peer.
//!
//! With the feature `stages` each call is noted in memory, and [`write`] puts all in a file; without it
//! these functions are empty. A write is known by its index in the log. Most stages are passed by all
//! entries up to an index at once, so what is noted for an index holds for those before it.

#[cfg(not(feature = "stages"))]
use std::time::Instant;

/// A stage of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The client's bytes were read.
    Read,
    /// It is in the leader's log.
    Submitted,
    /// The log writer took it.
    Taken,
    /// It is on this peer's disk.
    Synced,
    /// The message for a follower is made.
    Sent,
    /// A follower has it in its log.
    Received,
    /// The leader heard that a follower has it on disk.
    Replied,
    /// It is committed.
    Committed,
    /// It is applied.
    Applied,
    /// The answer is written to the client's socket.
    Answered,
}

#[cfg(feature = "stages")]
pub use noted::{Answering, answered, answering, applied, asked, mark, submitted, write};

/// The write that is answered; nothing at all where nothing is noted.
#[cfg(not(feature = "stages"))]
#[derive(Clone, Copy, Debug)]
pub struct Answering;

/// A write passed a stage.
#[cfg(not(feature = "stages"))]
#[inline]
pub fn mark(_stage: Stage, _index: u64, _at: Instant) {}

/// What this thread submits next was read at this moment.
#[cfg(not(feature = "stages"))]
#[inline]
pub fn asked(_read_at: Instant) {}

/// This thread submitted a write, and got this index.
#[cfg(not(feature = "stages"))]
#[inline]
pub fn submitted(_index: u64, _at: Instant) {}

/// This thread applied a write, and answers it next.
#[cfg(not(feature = "stages"))]
#[inline]
pub fn applied(_index: u64) {}

/// The write that this thread applied last, and answers.
#[cfg(not(feature = "stages"))]
#[inline]
pub fn answering() -> Answering {
    Answering
}

/// The answer to this write is written to the client's socket.
#[cfg(not(feature = "stages"))]
#[inline]
pub fn answered(_write: Answering) {}

#[cfg(feature = "stages")]
mod noted {
    use std::cell::Cell;
    use std::io::{self, Write as _};
    use std::path::Path;
    use std::time::{Instant, SystemTime, UNIX_EPOCH};

    use parking_lot::Mutex;

    use super::Stage;

    /// More than these are not noted.
    const MARKS_MAX: usize = 8 << 20;

    static MARKS: Mutex<Vec<(Stage, u64, Instant)>> = Mutex::new(Vec::new());

    /// The write that is answered: its index; 0 if none.
    #[derive(Clone, Copy, Debug)]
    pub struct Answering(u64);

    thread_local! {
        static READ_AT: Cell<Option<Instant>> = const { Cell::new(None) };
        static CURRENT: Cell<u64> = const { Cell::new(0) };
    }

    /// A write passed a stage.
    pub fn mark(stage: Stage, index: u64, at: Instant) {
        let mut marks = MARKS.lock();
        if marks.len() < MARKS_MAX {
            marks.push((stage, index, at));
        }
    }

    /// What this thread submits next was read at this moment.
    pub fn asked(read_at: Instant) {
        READ_AT.set(Some(read_at));
    }

    /// This thread submitted a write, and got this index.
    pub fn submitted(index: u64, at: Instant) {
        if let Some(read_at) = READ_AT.take() {
            mark(Stage::Read, index, read_at);
            mark(Stage::Submitted, index, at);
        }
    }

    /// This thread applied a write, and answers it next.
    pub fn applied(index: u64) {
        CURRENT.set(index);
        mark(Stage::Applied, index, Instant::now());
    }

    /// The write that this thread applied last, and answers.
    pub fn answering() -> Answering {
        Answering(CURRENT.get())
    }

    /// The answer to this write is written to the client's socket.
    pub fn answered(write: Answering) {
        mark(Stage::Answered, write.0, Instant::now());
    }

    /// Writes everything that was noted into a file, one line each: stage, index, and the nanoseconds
    /// since 1970, which are the same for all processes of a machine.
    pub fn write(path: &Path) -> io::Result<()> {
        let marks = std::mem::take(&mut *MARKS.lock());
        let (now, today) = (Instant::now(), SystemTime::now());
        let today = today.duration_since(UNIX_EPOCH).map_err(io::Error::other)?;
        let mut file = io::BufWriter::new(std::fs::File::create(path)?);
        for (stage, index, at) in marks {
            let nanos = today.saturating_sub(now.saturating_duration_since(at)).as_nanos();
            writeln!(file, "{stage:?} {index} {nanos}")?;
        }
        file.flush()
    }
}
