//! Reading the whole log when a directory is opened: every segment's head, every batch, and the
//! verdict on how it ends. Reads only.

use super::files::Files;
use super::format::{BlockFault, Generation, HEAD_BYTES, Identity, SegmentHead, VoteSlot};
use super::replay::Replay;
use super::scan::{Defect, Found, Scan, payload};
use super::{segment, vote};
use crate::StorageError;

/// What the log holds.
pub(crate) struct Log {
    pub(crate) replay: Replay,
    /// The batch that holds the newest hard state, if it still exists, and whether it holds nothing
    /// else.
    pub(crate) hard_state_batch: Option<(u64, bool)>,
    /// All segments but the last, oldest first.
    pub(crate) closed: Vec<ReadSegment>,
    pub(crate) last: LastSegment,
    /// Segments before a gap in the numbers: what an interrupted removal leaves.
    pub(crate) stragglers: Vec<u64>,
}

/// A segment and where its batches end.
pub(crate) struct ReadSegment {
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
    pub(crate) bytes: Vec<u8>,
    pub(crate) end: (u64, u64, u32),
    /// Something stands behind the last good batch.
    pub(crate) is_torn: bool,
    /// The batch behind the last good one held only this hard state, and was lost after it was
    /// durable: it is to be written again.
    pub(crate) lost: Option<VoteSlot>,
}

/// Reads the log of a directory whose other evidence is `slot`.
pub(crate) fn read(
    files: &Files,
    identity: Identity,
    slot: Option<VoteSlot>,
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
    let mut reader = Reader { files, slot, log: None, hard_state_batch: None, closed: Vec::new() };
    let (last, older) = run.split_last().expect("a run has an element");
    for number in older {
        let (head, bytes) = reader.load(*number, identity)?;
        reader.read_closed(head, &bytes)?;
    }
    let (head, bytes) = reader.load(*last, identity)?;
    let last = reader.read_last(head, bytes)?;
    let Reader { log, hard_state_batch, closed, .. } = reader;
    let replay = log.expect("the last segment was read");
    let first = run[0];
    if replay.start_index() > replay.state.floor() {
        let missing = segment::name(first.saturating_sub(1));
        let (from, to) = (replay.state.floor() + 1, replay.start_index());
        return Err(files.damaged(
            &missing,
            0,
            format!("it is missing, with entries {from} to {to}"),
        ));
    }
    let log = Log { replay, hard_state_batch, closed, last, stragglers: numbers };
    check_slot(files, identity, &log, slot)?;
    Ok(log)
}

struct Reader<'a> {
    files: &'a Files,
    slot: Option<VoteSlot>,
    log: Option<Replay>,
    hard_state_batch: Option<(u64, bool)>,
    closed: Vec<ReadSegment>,
}

impl Reader<'_> {
    /// Reads a segment and checks that it continues the ones read before.
    fn load(
        &mut self,
        number: u64,
        identity: Identity,
    ) -> Result<(SegmentHead, Vec<u8>), StorageError> {
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
        if head.identity != identity {
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
        self.check_continues(&head)?;
        // Only now: the head vouches for the length.
        Ok((head, file.read_at(0, len)?))
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

    fn read_closed(&mut self, head: SegmentHead, bytes: &[u8]) -> Result<(), StorageError> {
        let name = segment::name(head.number);
        let mut scan = Scan::new(bytes, &head);
        let found = self.read_batches(&name, &mut scan);
        let found = found?.map_err(|defect| self.damaged(&name, defect))?;
        let at = scan.at() as u64;
        // A torn write here can only be of the seal: the next segment's head says where the batches
        // end, and is compared with that.
        let replay = self.log.as_ref().expect("its head was loaded");
        self.closed.push(ReadSegment {
            head,
            end: (at, scan.number(), scan.chain()),
            is_sealed: found == Found::Seal,
            last_index: replay.state.last_index,
        });
        Ok(())
    }

    fn read_last(
        &mut self,
        head: SegmentHead,
        bytes: Vec<u8>,
    ) -> Result<LastSegment, StorageError> {
        let name = segment::name(head.number);
        let mut scan = Scan::new(&bytes, &head);
        let found = self.read_batches(&name, &mut scan)?;
        let (at, number) = (scan.at() as u64, scan.number());
        let end = (at, number, scan.chain());
        let lost = self.lost_hard_state(number);
        if let (Some(slot), Some(replay)) = (lost, &mut self.log) {
            replay.state.generation = slot.generation;
            replay.state.hard_state = slot.hard_state;
            self.hard_state_batch = Some((number, true));
        }
        let is_torn = match found {
            Ok(Found::Batch(..)) => unreachable!("read_batches goes on behind a batch"),
            Ok(Found::Seal) => {
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
                found == Found::Torn
            }
        };
        Ok(LastSegment { head, bytes, end, is_torn, lost })
    }

    /// Applies batches until something else stands there. The outer error ends the opening, the
    /// inner one is for the caller to judge.
    fn read_batches<'b>(
        &mut self,
        name: &str,
        scan: &mut Scan<'b>,
    ) -> Result<Result<Found<'b>, Defect>, StorageError> {
        let replay = self.log.as_mut().expect("its head was loaded");
        loop {
            let at = scan.at();
            match scan.advance() {
                Ok(Found::Batch(header, batch)) => {
                    replay
                        .apply(&header, payload(&header, batch))
                        .map_err(|what| self.files.damaged(name, at as u64, what))?;
                    if header.changes.hard_state.is_some() {
                        self.hard_state_batch = Some((header.number, header.is_hard_state_alone()));
                    }
                }
                other => return Ok(other),
            }
        }
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
