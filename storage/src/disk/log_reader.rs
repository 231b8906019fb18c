//! Reading the log when a directory is opened: every segment's head, every batch that the current
//! snapshot does not stand for, and the verdict on how it ends. Reads only.

use std::sync::Arc;

use super::files::Files;
use super::format::{Generation, Identity, SegmentHead, SnapshotRef, VoteSlot};
use super::progress::Progress;
use super::replay::Replay;
use super::scan::{Defect, End};
use super::segment_reader::{ReadBatch, ReadSegment, SegmentReader, threads_for};
use super::{segment, vote};
use crate::{Entry, StorageError};

/// What the log holds.
pub(crate) struct Log {
    pub(crate) replay: Replay,
    /// The batch that holds the newest hard state, if it still exists, and whether it holds nothing
    /// else.
    pub(crate) hard_state_batch: Option<(u64, bool)>,
    /// What stands before the others, and was not read.
    pub(crate) standby: Vec<Standby>,
    /// All other segments but the last, oldest first.
    pub(crate) closed: Vec<ClosedSegment>,
    pub(crate) last: LastSegment,
    /// Segments before a gap in the numbers: what an interrupted removal leaves.
    pub(crate) stragglers: Vec<u64>,
}

/// How much of a log is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    All,
    /// Not the segments that the current snapshot covers: they stand in for it, if it is lost. Only their
    /// heads are.
    WithoutStandby,
}

/// A segment all of whose entries are in the current snapshot.
pub(crate) struct Standby {
    pub(crate) number: u64,
    /// The last index of the log before it.
    start_index: u64,
    /// The last index of the log at its end.
    pub(crate) last_index: u64,
}

/// A segment that takes no more, and where its batches end.
pub(crate) struct ClosedSegment {
    pub(crate) head: SegmentHead,
    /// Position, number and chain value of the next batch.
    pub(crate) end: (u64, u64, u32),
    pub(crate) is_sealed: bool,
    /// The last index of the log at its end.
    pub(crate) last_index: u64,
}

/// The segment that goes on growing.
pub(crate) struct LastSegment {
    pub(crate) head: SegmentHead,
    /// The file up to the end of its last good batch.
    pub(crate) bytes: Arc<Vec<u8>>,
    pub(crate) end: (u64, u64, u32),
    /// Something stands behind the last good batch.
    pub(crate) is_torn: bool,
    /// The batch behind the last good one held only this hard state, and was lost after it was
    /// durable: it is to be written again.
    pub(crate) lost: Option<VoteSlot>,
}

/// Reads the log of a directory whose other evidence is `slot`, and whose segments are about
/// `segment_bytes` long. With `map`, the entries of all segments but the last stay in their files.
pub(crate) fn read(
    files: &Files,
    identity: Identity,
    slot: Option<VoteSlot>,
    (map, segment_bytes): (bool, u64),
    extent: Extent,
) -> Result<Log, StorageError> {
    let mut numbers: Vec<u64> =
        files.list()?.iter().filter_map(|name| segment::number_of(name)).collect();
    numbers.sort_unstable();
    if numbers.is_empty() {
        return Err(files.damaged(&segment::name(1), 0, "there is no segment of the log"));
    }
    let run =
        numbers.chunk_by(|a, b| a + 1 == *b).next_back().expect("there is a segment").to_vec();
    numbers.truncate(numbers.len() - run.len());
    let segments = SegmentReader { files, identity, map };
    let standby = match extent {
        Extent::All => Vec::new(),
        Extent::WithoutStandby => match standby(&segments, &run) {
            // Whoever reads all of it says where.
            Err(StorageError::Damaged { .. }) => Vec::new(),
            found => found?,
        },
    };
    let run = &run[standby.len()..];
    let (first, last) = (run[0], run[run.len() - 1]);
    let mut reader = Reader::new(files, slot);
    let threads = threads_for(run.len(), segment_bytes);
    let done = segments.read_all(run, threads, |number, segment| {
        reader.tell(number - first, run.len());
        reader.check_continues(&segment.head)?;
        if number == last { reader.take_last(segment) } else { reader.take_closed(segment) }
    });
    done.map_err(|error| reader.locate(error))?;
    let Reader { log, hard_state_batch, closed, last, .. } = reader;
    let replay = log.expect("the last segment was read");
    let last = last.expect("the last segment was read");
    if let Some(oldest) = standby.first() {
        // What was not read may begin further back than its head says, if entries were dropped behind that;
        // and it may be needed, if the current snapshot is older than one that was damaged.
        let covers = |current: SnapshotRef| current.last_included.index >= replay.start_index();
        if oldest.start_index > replay.state.floor() || !replay.state.current.is_some_and(covers) {
            drop((replay, closed, last));
            return read(files, identity, slot, (map, segment_bytes), Extent::All);
        }
    } else if replay.start_index() > replay.state.floor() {
        let missing = segment::name(first.saturating_sub(1));
        let (from, to) = (replay.state.floor() + 1, replay.start_index());
        return Err(files.damaged(
            &missing,
            0,
            format!("it is missing, with entries {from} to {to}"),
        ));
    }
    let log = Log { replay, hard_state_batch, standby, closed, last, stragglers: numbers };
    check_slot(files, identity, &log, slot)?;
    Ok(log)
}

/// The segments at the beginning of `run` that the current snapshot covers.
///
/// The last segment may say anew which snapshot is current; that covers as much, unless it takes the
/// place of a damaged one. The segment before the last is always read: it may lack its seal.
fn standby(segments: &SegmentReader<'_>, run: &[u64]) -> Result<Vec<Standby>, StorageError> {
    let mut standby = Vec::new();
    let [others @ .., _, last] = run else { return Ok(standby) };
    let state_before = |number| Ok(segments.open_head(number)?.1.state);
    let Some(current) = state_before(*last)?.current else { return Ok(standby) };
    let mut start_index = None;
    for (number, next) in std::iter::zip(others, &run[1..]) {
        let start = match start_index {
            Some(index) => index,
            None => state_before(*number)?.last_index,
        };
        let end = state_before(*next)?.last_index;
        if end > current.last_included.index {
            break;
        }
        standby.push(Standby { number: *number, start_index: start, last_index: end });
        start_index = Some(end);
    }
    Ok(standby)
}

/// What stands before the first defect of a log.
pub(crate) struct Salvage {
    /// Contiguous.
    pub(crate) entries: Vec<Entry>,
    /// The index before the first of them.
    pub(crate) start_index: u64,
    pub(crate) current_term: u64,
}

/// Reads the log up to its first defect, whatever that is: from the newest segment on that begins at
/// `base` or before it; without one, from the oldest.
pub(crate) fn salvage(
    files: &Files,
    identity: Identity,
    base: u64,
) -> Result<Salvage, StorageError> {
    let mut numbers: Vec<u64> =
        files.list()?.iter().filter_map(|name| segment::number_of(name)).collect();
    numbers.sort_unstable();
    let segments = SegmentReader { files, identity, map: true };
    let mut first = 0;
    for (nth, number) in numbers.iter().enumerate() {
        match segments.open_head(*number) {
            Ok((_, head)) if head.state.last_index <= base => first = nth,
            Ok(_) | Err(StorageError::Damaged { .. } | StorageError::Foreign { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    let mut reader = Reader::new(files, None);
    // What is behind a gap cannot follow what is before it.
    let run = numbers[first..].chunk_by(|a, b| a + 1 == *b).next().unwrap_or_default();
    let read = segments.read_all(run, 1, |_, segment| {
        reader.check_continues(&segment.head)?;
        reader.take_closed(segment)
    });
    match read {
        Ok(()) | Err(StorageError::Damaged { .. } | StorageError::Foreign { .. }) => {}
        Err(error) => return Err(error),
    }
    let Some(replay) = reader.log else {
        return Ok(Salvage { entries: Vec::new(), start_index: 0, current_term: 0 });
    };
    Ok(Salvage {
        start_index: replay.start_index(),
        current_term: replay.state.hard_state.current_term,
        entries: replay.entries,
    })
}

struct Reader<'a> {
    files: &'a Files,
    slot: Option<VoteSlot>,
    log: Option<Replay>,
    hard_state_batch: Option<(u64, bool)>,
    closed: Vec<ClosedSegment>,
    last: Option<LastSegment>,
    progress: Progress,
}

impl<'a> Reader<'a> {
    fn new(files: &'a Files, slot: Option<VoteSlot>) -> Self {
        Self {
            files,
            slot,
            log: None,
            hard_state_batch: None,
            closed: Vec::new(),
            last: None,
            progress: Progress::begin(),
        }
    }

    fn tell(&mut self, done: u64, count: usize) {
        let dir = self.files.dir().display();
        self.progress.tell(format_args!("opening {dir}: {done} of {count} segments are read"));
    }

    /// Says of damage how far the log is good.
    fn locate(&self, mut error: StorageError) -> StorageError {
        if let StorageError::Damaged { what, .. } = &mut error {
            let place = match &self.log {
                Some(replay) => format!("behind entry {}", replay.state.last_index),
                None => "before the first entry that can be read".to_owned(),
            };
            *what = format!("{what}, {place}");
        }
        error
    }

    fn check_continues(&mut self, head: &SegmentHead) -> Result<(), StorageError> {
        let files = self.files;
        let (Some(before), Some(replay)) = (self.closed.last(), &self.log) else {
            self.log = Some(Replay::new(head.state));
            return Ok(());
        };
        let (at, number, chain) = before.end;
        if head.first_batch > number {
            let what = format!("batches {number} to {} are gone", head.first_batch - 1);
            return Err(files.damaged(&segment::name(before.head.number), at, what));
        }
        // The term of the last entry may have gone with an old segment.
        let mut state = replay.state;
        state.last_term = state.last_term.or(head.state.last_term);
        if head.first_batch != number || head.previous_chain != chain || head.state != state {
            let name = segment::name(head.number);
            return Err(files.damaged(&name, 0, "it does not continue the segment before it"));
        }
        Ok(())
    }

    fn take_closed(&mut self, segment: ReadSegment) -> Result<(), StorageError> {
        let name = segment::name(segment.head.number);
        let (head, end) = (segment.head, segment.end);
        let found = self.apply(&name, segment)?.map_err(|defect| self.damaged(&name, defect))?;
        // A torn write here can only be of the seal: the next segment's head says where the batches
        // end, and is compared with that.
        let replay = self.log.as_ref().expect("its head was taken");
        self.closed.push(ClosedSegment {
            head,
            end,
            is_sealed: found == End::Seal,
            last_index: replay.state.last_index,
        });
        Ok(())
    }

    fn take_last(&mut self, mut segment: ReadSegment) -> Result<(), StorageError> {
        let name = segment::name(segment.head.number);
        let (head, end) = (segment.head, segment.end);
        let bytes = segment.bytes.take().expect("the last segment is kept in memory");
        let found = self.apply(&name, segment)?;
        let (at, number, _) = end;
        let lost = self.lost_hard_state(number);
        if let (Some(slot), Some(replay)) = (lost, &mut self.log) {
            replay.state.generation = slot.generation;
            replay.state.hard_state = slot.hard_state;
            self.hard_state_batch = Some((number, true));
        }
        let is_torn = match found {
            Ok(End::Seal) => {
                let missing = segment::name(head.number + 1);
                return Err(self.files.damaged(&missing, 0, "it is missing: a seal names it"));
            }
            Err(defect) if defect.last_batch != Some(number) || lost.is_none() => {
                return Err(self.damaged(&name, defect));
            }
            Err(_) => true,
            Ok(found) => {
                let attested = self.slot.is_some_and(|slot| slot.batch >= number);
                let was_born = number < head.first_batch.saturating_add(head.born_batches);
                if lost.is_none() && (attested || was_born) {
                    let what = format!("batch {number} is gone, which was durable");
                    return Err(self.files.damaged(&name, at, what));
                }
                found == End::Torn
            }
        };
        self.last = Some(LastSegment { head, bytes, end, is_torn, lost });
        Ok(())
    }

    /// Applies the batches of a segment. The outer error ends the opening, the inner one is for the
    /// caller to judge.
    fn apply(
        &mut self,
        name: &str,
        segment: ReadSegment,
    ) -> Result<Result<End, Defect>, StorageError> {
        let replay = self.log.as_mut().expect("its head was taken");
        let mut entries = segment.entries.into_iter();
        for ReadBatch { header, at, split } in segment.batches {
            replay
                .apply(&header, split, &mut entries)
                .map_err(|what| self.files.damaged(name, at, what))?;
            if header.changes.hard_state.is_some() {
                self.hard_state_batch = Some((header.number, header.is_hard_state_alone()));
            }
        }
        Ok(segment.found)
    }

    /// What batch `number` held, if the other copy of the hard state attests that it was durable
    /// and held nothing else.
    fn lost_hard_state(&self, number: u64) -> Option<VoteSlot> {
        let generation = self.log.as_ref()?.state.generation.next();
        self.slot.filter(|slot| slot.batch == number && slot.alone && slot.generation == generation)
    }

    fn damaged(&self, name: &str, defect: Defect) -> StorageError {
        self.files.damaged(name, defect.offset as u64, defect.what)
    }
}

/// The two copies of the hard state must agree, as far as they speak of the same time.
fn check_slot(
    files: &Files,
    identity: Identity,
    log: &Log,
    slot: Option<VoteSlot>,
) -> Result<(), StorageError> {
    let state = &log.replay.state;
    let Some(slot) = slot else { return Ok(()) };
    let offset = (slot.generation.0 % 2) * super::format::SLOT_STRIDE as u64;
    if slot.identity != identity {
        return Err(files.foreign(vote::VOTE, "it is another node's"));
    }
    let Generation(in_log) = state.generation;
    if slot.generation.0 > in_log
        || slot.generation.0 == in_log && slot.hard_state != state.hard_state
    {
        let what = format!(
            "generation {} of the hard state contradicts the log, which ends with {in_log}",
            slot.generation.0
        );
        return Err(files.damaged(vote::VOTE, offset, what));
    }
    Ok(())
}
