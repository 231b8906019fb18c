//! Opening a directory. Nothing is changed before everything has been read and judged; then what was
//! read is made durable again, and only then the directory is in service.

use std::collections::VecDeque;
use std::sync::Arc;

use super::directory::{self, ASIDE_SUFFIX};
use super::files::Files;
use super::format::{
    BatchHeader, BatchWriter, Changes, HEAD_BYTES, Identity, SECTOR_BYTES, SegmentHead, restamp,
    sums_bytes,
};
use super::lock_file::LockFile;
use super::log_reader::{self, ClosedSegment, Extent, LastSegment, Log};
use super::remover::Remover;
use super::replay::Replay;
use super::segment::{self, Segment, zero};
use super::vote::{self, VoteFile};
use super::wal::{Closed, Wal, segment_bytes_for};
use super::{DiskOptions, DiskPersister, DiskStage, snapshot};
use crate::fs::OpenMode;
use crate::log_shape::LogShape;
use crate::{EntryId, Recovered, Snapshot, StorageError};

/// Opens the directory of `files`, or makes a new one.
pub(crate) fn open(
    files: Arc<Files>,
    options: &DiskOptions,
) -> Result<DiskPersister, StorageError> {
    let needed = SECTOR_BYTES as u64 + sums_bytes(options.segment_bytes);
    let segment_bytes = segment_bytes_for(options.segment_bytes, needed);
    let segment_bytes = segment_bytes.next_multiple_of(HEAD_BYTES as u64);
    files.create_dir()?;
    let lock = LockFile::acquire(&files)?;
    let identity =
        directory::identity_for(&files, options.node_id, options.cluster_id, segment_bytes)?;
    let how = (options.map_files, segment_bytes);
    let Judged { log, shape, recovered, current_is_damaged } = judge(&files, identity, how)?;
    lock.describe(&files, options.node_id)?;
    let Durable { wal, vote } = make_durable(&files, identity, &log, segment_bytes, options)?;
    let mut persister = DiskPersister {
        snapshots: Arc::new(DiskStage {
            files: Arc::clone(&files),
            cluster_id: identity.cluster_id,
            lender: wal.lender(),
            map: options.map_files,
        }),
        remover: options.prepare_spares.then(|| Remover::new(Arc::clone(&files))),
        files,
        identity,
        state: log.replay.state,
        shape,
        wal,
        vote,
        current_is_damaged,
        recovered: Some(recovered),
        failure: None,
        _lock: lock,
    };
    persister.remove_obsolete(&log.stragglers)?;
    Ok(persister)
}

/// What a directory holds, as far as it is needed: read, and found good.
pub(crate) struct Judged {
    pub(crate) log: Log,
    pub(crate) shape: LogShape,
    pub(crate) recovered: Recovered,
    pub(crate) current_is_damaged: bool,
}

/// Reads what is needed and judges it; changes nothing. `how` says whether files are mapped, and how long
/// segments are.
pub(crate) fn judge(
    files: &Files,
    identity: Identity,
    how: (bool, u64),
) -> Result<Judged, StorageError> {
    let slot = vote::read(files)?;
    let read = |extent| log_reader::read(files, identity, slot, how, extent);
    let mut log = read(Extent::WithoutStandby)?;
    let (snapshot, current_is_damaged) = match current_snapshot(files, identity, &log, how.0)? {
        Ok(current) => (current, false),
        Err(damage) => {
            log::warn!("{damage}; the previous snapshot and the log stand in for it");
            // The log reaches back to the floor, which is where the previous one ends.
            drop(log);
            log = read(Extent::All)?;
            let previous = log.replay.state.previous;
            let open = |reference| snapshot::open(files, reference, identity.cluster_id, how.0);
            (previous.as_ref().map(open).transpose()?, true)
        }
    };
    let (shape, recovered) = assemble(files, &mut log.replay, snapshot)?;
    Ok(Judged { log, shape, recovered, current_is_damaged })
}

/// The files that are written to from now on.
struct Durable {
    wal: Wal,
    vote: VoteFile,
}

/// Makes what was read durable: all of it, wherever it was until now.
fn make_durable(
    files: &Arc<Files>,
    identity: Identity,
    log: &Log,
    segment_bytes: u64,
    options: &DiskOptions,
) -> Result<Durable, StorageError> {
    remove_unfinished(files)?;
    let active = rehome(files, segment_bytes, &log.last)?;
    seal_the_one_before(files, log.closed.last())?;
    let vote = VoteFile::open(files, identity)?;
    files.sync_dir()?;
    let state = &log.replay.state;
    if state.generation.0 > 0 {
        // Written again even if it is there: it may be there only in memory. And only now: a slot
        // must not know of a batch that is not durable.
        let batch = log.hard_state_batch.unwrap_or((0, false));
        vote.write((state.generation, state.hard_state), batch)?;
    }
    let standby = log.standby.iter().map(|segment| (segment.number, segment.last_index));
    let closed = log.closed.iter().map(|segment| (segment.head.number, segment.last_index));
    let closed: VecDeque<Closed> = standby
        .chain(closed)
        // Entries may be parts of its map, and nothing may change under them.
        .map(|(number, last_index)| Closed { number, last_index, sums: None })
        .collect();
    let wal = Wal::new(Arc::clone(files), segment_bytes, options.prepare_spares, closed, active);
    Ok(Durable { wal, vote })
}

/// The current snapshot, if there is one. The inner error is damage that something stands in for.
fn current_snapshot(
    files: &Files,
    identity: Identity,
    log: &Log,
    map: bool,
) -> Result<Result<Option<Snapshot>, StorageError>, StorageError> {
    let Some(current) = log.replay.state.current else { return Ok(Ok(None)) };
    match snapshot::open(files, &current, identity.cluster_id, map) {
        Ok(snapshot) => Ok(Ok(Some(snapshot))),
        Err(error @ StorageError::Damaged { .. }) if !current.resets_log => Ok(Err(error)),
        Err(error) => Err(error),
    }
}

/// The log behind the snapshot, and its shape. Takes the entries out of `replay`.
fn assemble(
    files: &Files,
    replay: &mut Replay,
    snapshot: Option<Snapshot>,
) -> Result<(LogShape, Recovered), StorageError> {
    let base = snapshot.as_ref().map_or(EntryId::default(), |found| found.meta.last_included);
    let (start, end) = (replay.start_index(), replay.state.last_index);
    let contradiction = |what: String| {
        let name = if base.index == 0 { segment::name(1) } else { snapshot::name(base) };
        Err(files.damaged(&name, 0, what))
    };
    if base.index < start || base.index > end {
        return contradiction(format!("{base} is outside the log, {} to {end}", start + 1));
    }
    let mut entries = std::mem::take(&mut replay.entries);
    let covered = usize::try_from(base.index - start).expect("no more than there are entries");
    if let Some(last) = entries.drain(..covered).next_back()
        && last.id != base
    {
        return contradiction(format!("the log has {} where the snapshot has {base}", last.id));
    }
    let hard_state = replay.state.hard_state;
    let shape = LogShape::of(hard_state, base, &entries);
    replay.state.last_term = Some(shape.last().term);
    assert_eq!(end, shape.last().index, "the log and its shape agree");
    Ok((shape, Recovered { hard_state, snapshot, entries }))
}

/// Deletes what a crash interrupted.
fn remove_unfinished(files: &Files) -> Result<(), StorageError> {
    for name in files.list()? {
        if name.ends_with(ASIDE_SUFFIX) {
            files.unlink(&name)?;
        }
    }
    Ok(())
}

/// Makes the last segment's batches durable, by copying them into a new file that takes its name.
///
/// They can be read, but after a crash of the process alone, or a sync that failed, they may be in
/// the page cache and nowhere else, on pages that the system will not write again; and behind them
/// may stand the rest of a torn write. A segment that holds just what it was born with was synced
/// before it got its name, and stays, if it stands on zeros: of others, the sums are not kept in
/// memory.
fn rehome(files: &Files, segment_bytes: u64, last: &LastSegment) -> Result<Segment, StorageError> {
    let LastSegment { head, bytes, end, is_torn, lost } = last;
    let (end_at, mut next_batch, _) = *end;
    let name = segment::name(head.number);
    let is_as_born = next_batch - head.first_batch == head.born_batches && head.sums_crc.is_none();
    if is_as_born && !is_torn && lost.is_none() {
        return Ok(Segment::new(files.open(&name, OpenMode::WriteLog)?, head, *end));
    }
    let mut bytes = bytes.to_vec();
    assert_eq!(bytes.len() as u64, end_at, "they were cut behind the last good batch");
    let salt = fastrand::u64(..);
    let mut chain = head.previous_chain;
    // What the old one stood on stays behind.
    bytes.drain(HEAD_BYTES..head.batches_at() as usize);
    let mut at = HEAD_BYTES;
    while at < bytes.len() {
        let (header, _) = BatchHeader::decode(&bytes[at..]).expect("the scan found it good");
        let len = header.extent();
        chain = restamp(&mut bytes[at..at + len], salt, chain);
        at += len;
    }
    if let Some(slot) = lost {
        let hard_state = Some((slot.generation, slot.hard_state));
        let changes = Changes { hard_state, ..Changes::default() };
        let header = BatchHeader {
            salt,
            number: next_batch,
            previous_chain: chain,
            changes,
            ..BatchHeader::default()
        };
        let mut batch = BatchWriter::new(Vec::new());
        chain = batch.stamp(header);
        bytes.extend_from_slice(&batch.into_buffer());
        next_batch += 1;
    }
    let content = &bytes[HEAD_BYTES..];
    let head = SegmentHead {
        salt,
        file_bytes: segment_bytes_for(segment_bytes, content.len() as u64),
        born_batches: next_batch - head.first_batch,
        sums_crc: None,
        ..*head
    };
    let aside = format!("{name}{ASIDE_SUFFIX}");
    let file = files.open(&aside, OpenMode::CreateLog)?;
    file.write_at(content, HEAD_BYTES as u64)?;
    zero(&file, bytes.len() as u64, head.file_bytes)?;
    let file = segment::publish(files, &aside, file, &head.encode(), head.number)?;
    let end = (bytes.len() as u64, next_batch, chain);
    Ok(Segment::new(file, &head, end))
}

/// Finishes a rotation that ended before its last step. Whether the seal that is missing was never
/// written or was lost, the successor is there; but perhaps only in the page cache, if the process
/// ended before its directory was synced. So that comes first: a seal proves a successor.
fn seal_the_one_before(files: &Files, before: Option<&ClosedSegment>) -> Result<(), StorageError> {
    match before {
        Some(before) if !before.is_sealed => {
            files.sync_dir()?;
            let file = files.open(&segment::name(before.head.number), OpenMode::Write)?;
            Segment::new(file, &before.head, before.end).seal()
        }
        _ => Ok(()),
    }
}
