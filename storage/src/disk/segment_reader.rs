//! Reading one segment: its head, every batch and every checksum, judged by itself alone; so that
//! several can be read at once. Reads only.

use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread;

use super::files::{File, Files};
use super::format::{
    BatchHeader, BlockFault, HEAD_BYTES, Identity, SectorSums, SegmentHead, sums_bytes,
};
use super::replay::{Split, split_entries};
use super::scan::{Defect, End, Scan};
use super::segment;
use super::window::Window;
use crate::{Entry, SnapshotBytes, StorageError};

/// A log of this many bytes is read by [`THREADS_MAX`] threads.
const THREADED_BYTES_MIN: u64 = 32 << 20;
const THREADS_MAX: usize = 2;

/// How many threads are worth while for `segments` segments of `segment_bytes`.
pub(crate) fn threads_for(segments: usize, segment_bytes: u64) -> usize {
    let bytes = segment_bytes.saturating_mul(segments as u64);
    if bytes < THREADED_BYTES_MIN { 1 } else { THREADS_MAX }
}

/// What the entries of a segment are parts of: known once its end is.
#[derive(Default)]
pub(crate) struct Whole(OnceLock<Arc<dyn SnapshotBytes>>);

impl Whole {
    fn set(&self, bytes: Arc<dyn SnapshotBytes>) {
        assert!(self.0.set(bytes).is_ok(), "a segment is read once");
    }
}

impl SnapshotBytes for Whole {
    fn bytes(&self) -> &[u8] {
        self.0.get().expect("set before anyone gets the entries").bytes()
    }
}

/// A segment as it was found.
pub(crate) struct ReadSegment {
    pub(crate) head: SegmentHead,
    pub(crate) batches: Vec<ReadBatch>,
    /// The entries of all its batches, one after the other.
    pub(crate) entries: Vec<Entry>,
    /// Position, number and chain value of the next batch.
    pub(crate) end: (u64, u64, u32),
    /// What stands there.
    pub(crate) found: Result<End, Defect>,
    /// The file as far as it was good, if it is kept in memory.
    pub(crate) bytes: Option<Arc<Vec<u8>>>,
}

/// A batch whose checksums are right.
pub(crate) struct ReadBatch {
    pub(crate) header: BatchHeader,
    /// Where in the file.
    pub(crate) at: u64,
    /// How its bytes come apart into entries.
    pub(crate) split: Split,
}

/// What is to be read, and how.
pub(crate) struct SegmentReader<'a> {
    pub(crate) files: &'a Files,
    pub(crate) identity: Identity,
    /// Whether entries are to lie in the map of their file, instead of in memory.
    pub(crate) map: bool,
}

impl SegmentReader<'_> {
    /// Reads the segments `numbers`, `threads` at a time, and gives them to `take` in their order.
    /// The last one is kept in memory. Stops at the first error.
    pub(crate) fn read_all(
        &self,
        numbers: &[u64],
        threads: usize,
        mut take: impl FnMut(u64, ReadSegment) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        if threads < 2 {
            let mut buffer = Vec::new();
            return numbers.iter().enumerate().try_for_each(|(nth, number)| {
                take(*number, self.read(*number, nth + 1 == numbers.len(), &mut buffer)?)
            });
        }
        thread::scope(|scope| {
            // Each takes every so manyth one, so what comes next is known; and each waits when it
            // is two ahead, so memory is bounded.
            let readers: Vec<Receiver<Result<ReadSegment, StorageError>>> = (0..threads)
                .map(|first| {
                    let (sender, receiver) = sync_channel(1);
                    let read = move || {
                        let mut buffer = Vec::new();
                        for (nth, number) in numbers.iter().enumerate().skip(first).step_by(threads)
                        {
                            let is_last = nth + 1 == numbers.len();
                            if sender.send(self.read(*number, is_last, &mut buffer)).is_err() {
                                return;
                            }
                        }
                    };
                    let builder = thread::Builder::new().name("oarlock-open".to_owned());
                    builder.spawn_scoped(scope, read).map(|_| receiver)
                })
                .collect::<Result<_, _>>()
                .map_err(|error| self.files.io("start a thread for", error))?;
            numbers.iter().enumerate().try_for_each(|(nth, number)| {
                // A reader that panicked ends the scope with its panic.
                match readers[nth % threads].recv() {
                    Ok(segment) => take(*number, segment?),
                    Err(_) => Ok(()),
                }
            })
        })
    }

    /// Reads one segment. `buffer` is memory to use again.
    fn read(
        &self,
        number: u64,
        is_last: bool,
        buffer: &mut Vec<u8>,
    ) -> Result<ReadSegment, StorageError> {
        let Opened { file, head, before } = self.open(number)?;
        // Only now: the head vouches for the length.
        let file_bytes = usize::try_from(head.file_bytes).expect("it was compared with the file's");
        let keep = is_last || !self.map;
        let mut window = Window::new(&file, file_bytes, keep, std::mem::take(buffer))?;
        let whole = Arc::new(Whole::default());
        let (mut batches, mut entries) = (Vec::new(), Vec::new());
        let mut scan = Scan::new(&head);
        let found = loop {
            let at = scan.at();
            let rest = window.rest(at);
            if let Some((header, batch)) = scan.batch(rest) {
                let split = split_entries(&header, at, batch, &whole, &mut entries);
                batches.push(ReadBatch { header, at: at as u64, split });
            } else if window.is_complete() {
                break before.judge(&scan, rest);
            } else {
                window.read_on(at)?;
            }
        };
        let end = (scan.at() as u64, scan.number(), scan.chain());
        *buffer = window.into_buffer();
        let mut bytes = None;
        if keep {
            let mut kept = std::mem::take(buffer);
            kept.truncate(scan.at());
            kept.shrink_to_fit();
            bytes = Some(Arc::new(kept));
        }
        whole.set(match &bytes {
            Some(bytes) => Arc::clone(bytes) as _,
            None => file.map(0, scan.at())?,
        });
        Ok(ReadSegment { head, batches, entries, end, found, bytes })
    }

    /// Opens a segment and checks that it is the one its name says, of the length its head says.
    pub(crate) fn open(&self, number: u64) -> Result<Opened, StorageError> {
        let (file, head) = self.open_head(number)?;
        let (files, name, len) = (self.files, segment::name(number), head.file_bytes);
        let before = Before(match head.sums_crc {
            None => None,
            Some(_) if len < head.batches_at() => {
                return Err(files.damaged(&name, len, "it is cut short"));
            }
            Some(crc) => {
                let sums = file.read_at(HEAD_BYTES as u64, sums_bytes(len))?;
                let sums = SectorSums::decode(&sums, len, crc);
                let what = "the checksums of what it stands on are wrong";
                Some(sums.ok_or_else(|| files.damaged(&name, HEAD_BYTES as u64, what))?)
            }
        });
        Ok(Opened { file, head, before })
    }

    /// [`open`](Self::open), without a look at what is behind the head.
    pub(crate) fn open_head(&self, number: u64) -> Result<(File, SegmentHead), StorageError> {
        let files = self.files;
        let name = segment::name(number);
        let Some(file) = files.open_existing(&name)? else {
            return Err(files.damaged(&name, 0, "it is missing"));
        };
        let len = file.len()?;
        if len < HEAD_BYTES as u64 {
            return Err(files.damaged(&name, len, "it is cut short"));
        }
        let head = file.read_at(0, HEAD_BYTES as u64)?;
        let head = SegmentHead::decode(&head).map_err(|fault| match fault {
            BlockFault::Newer(_) => files.foreign(&name, fault.to_string()),
            BlockFault::Damaged => files.damaged(&name, 0, format!("the head: {fault}")),
        })?;
        if head.identity != self.identity {
            let Identity { cluster_id, node_id } = head.identity;
            let what = format!("it is from node {node_id} of cluster {cluster_id}");
            return Err(files.foreign(&name, what));
        }
        if head.number != number {
            let what = format!("it is segment {}, under another name", head.number);
            return Err(files.damaged(&name, 0, what));
        }
        if head.file_bytes != len {
            let what = format!("it is {len} bytes long instead of {}", head.file_bytes);
            return Err(files.damaged(&name, len.min(head.file_bytes), what));
        }
        Ok((file, head))
    }
}

/// A segment whose head is good.
pub(crate) struct Opened {
    pub(crate) file: File,
    pub(crate) head: SegmentHead,
    pub(crate) before: Before,
}

/// What a segment's sectors held before anything of it was written; `None` is zeros.
pub(crate) struct Before(Option<SectorSums>);

impl Before {
    /// What `scan` says of `rest`, where it found no good batch.
    pub(crate) fn judge(&self, scan: &Scan, rest: &[u8]) -> Result<End, Defect> {
        match &self.0 {
            None => scan.judge(rest),
            Some(sums) => scan.judge(&sums.as_if_on_zeros(scan.at(), rest)),
        }
    }
}
