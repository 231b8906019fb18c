//! Everything in a directory, record by record, in the order of the log.

use std::fmt;
use std::path::Path;

use serde::Serialize;

use super::super::format::{BATCH_HEADER_BYTES, BatchHeader, SegmentHead, SnapshotRef};
use super::super::scan::End;
use super::super::{snapshot, vote};
use super::Reading;
use super::snapshot::defects_of_snapshot;
use super::walk::{Item, walk};
use crate::{EntryId, StorageError};

/// How much of an entry's data is shown.
const PREVIEW_BYTES: usize = 32;

/// One thing found in a directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "record", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields are those of docs/wal-format.md, by the same names")]
pub enum Record {
    /// Whose directory it is.
    Identity { cluster_id: u64, node_id: u64 },
    /// The newest second copy of the hard state.
    Vote { generation: u64, current_term: u64, voted_for: Option<u64>, batch: u64 },
    /// The head of a segment.
    Segment { number: u64, file_bytes: u64, first_batch: u64, born_batches: u64, after: EntryId },
    /// A batch. Its entries follow.
    Batch {
        segment: u64,
        offset: u64,
        number: u64,
        entry_count: u32,
        payload_bytes: u32,
        current_term: Option<u64>,
        voted_for: Option<u64>,
        truncate_from: Option<u64>,
        snapshot: Option<EntryId>,
        resets_log: bool,
    },
    /// An entry of the batch before it.
    Entry { id: EntryId, tag: u8, len_bytes: usize, preview: String },
    /// What stands behind the last batch of a segment: `seal`, `zeros` or `torn`.
    End { segment: u64, offset: u64, what: &'static str },
    /// A snapshot file.
    Snapshot { last_included: EntryId, defects: usize },
    /// Something that is not as it was written.
    Defect { file: String, offset: u64, what: String },
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let vote = |vote: &Option<u64>| vote.map_or("nobody".to_owned(), |vote| vote.to_string());
        match self {
            Self::Identity { cluster_id, node_id } => {
                write!(f, "node {node_id} of cluster {cluster_id:x}")
            }
            Self::Vote { generation, current_term, voted_for, batch } => write!(
                f,
                "hard state {generation}: term {current_term}, voted for {}, in batch {batch}",
                vote(voted_for)
            ),
            Self::Segment { number, file_bytes, first_batch, born_batches, after } => write!(
                f,
                "segment {number}: {file_bytes} bytes, from batch {first_batch} on, {born_batches} \
                 of them copied; behind {after}"
            ),
            Self::Batch { offset, number, entry_count, payload_bytes, .. } => {
                write!(
                    f,
                    "  {offset:>9} batch {number}: {entry_count} entries, {payload_bytes} bytes"
                )?;
                self.changes(f)
            }
            Self::Entry { id, tag, len_bytes, preview } => {
                write!(f, "            {id} tag {tag}, {len_bytes} bytes {preview}")
            }
            Self::End { offset, what, .. } => write!(f, "  {offset:>9} {what}"),
            Self::Snapshot { last_included, defects: 0 } => write!(f, "snapshot {last_included}"),
            Self::Snapshot { last_included, defects } => {
                write!(f, "snapshot {last_included}, with {defects} defects")
            }
            Self::Defect { file, offset, what } => {
                write!(f, "{file}: damaged at offset {offset}: {what}")
            }
        }
    }
}

impl Record {
    /// What a batch changes beside its entries.
    fn changes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Batch { current_term, voted_for, truncate_from, snapshot, resets_log, .. } = self
        else {
            return Ok(());
        };
        if let Some(term) = current_term {
            write!(f, ", term {term}")?;
        }
        if let Some(vote) = voted_for {
            write!(f, ", vote for {vote}")?;
        }
        if let Some(from) = truncate_from {
            write!(f, ", drops entries from {from} on")?;
        }
        if let Some(snapshot) = snapshot {
            let how = if *resets_log { ", in place of the log" } else { "" };
            write!(f, ", snapshot {snapshot} is current{how}")?;
        }
        Ok(())
    }
}

/// Shows `visit` everything in `dir`. Changes nothing, not even the lock file. Damage is a record; an
/// error means that the directory could not be read, is in use, or is nobody's.
pub fn dump(dir: &Path, visit: &mut dyn FnMut(&Record)) -> Result<(), StorageError> {
    let reading = Reading::begin(dir)?;
    let files = &reading.files;
    let identity = reading.identity()?;
    visit(&Record::Identity { cluster_id: identity.cluster_id, node_id: identity.node_id });
    if let Some(slot) = vote::read(files)? {
        visit(&Record::Vote {
            generation: slot.generation.0,
            current_term: slot.hard_state.current_term,
            voted_for: slot.hard_state.voted_for,
            batch: slot.batch,
        });
    }
    for name in files.list()? {
        if let Some(last_included) = snapshot::id_of(&name) {
            let defects = defects_of_snapshot(files, &name, Some(identity.cluster_id))?;
            visit(&Record::Snapshot { last_included, defects: defects.len() });
        }
    }
    for segment in reading.segments()? {
        walk(files, identity, segment, &mut |item| match item {
            Item::Head(head) => visit(&of_head(head)),
            Item::Batch(at, header, batch) => {
                visit(&of_batch(segment, at as u64, header));
                entries(header, batch, visit);
            }
            Item::Defect(defect) => visit(&Record::Defect {
                file: defect.path.display().to_string(),
                offset: defect.offset,
                what: defect.what,
            }),
            Item::End(at, end) => {
                let what = match end {
                    End::Seal => "seal",
                    End::Nothing => "zeros",
                    End::Torn => "torn",
                };
                visit(&Record::End { segment, offset: at as u64, what });
            }
        })?;
    }
    Ok(())
}

fn of_head(head: &SegmentHead) -> Record {
    Record::Segment {
        number: head.number,
        file_bytes: head.file_bytes,
        first_batch: head.first_batch,
        born_batches: head.born_batches,
        after: EntryId::new(head.state.last_index, head.state.last_term.unwrap_or(0)),
    }
}

fn of_batch(segment: u64, offset: u64, header: &BatchHeader) -> Record {
    let hard_state = header.changes.hard_state.map(|(_, hard_state)| hard_state);
    let mark: Option<SnapshotRef> = header.changes.mark.map(|mark| mark.snapshot);
    Record::Batch {
        segment,
        offset,
        number: header.number,
        entry_count: header.entry_count,
        payload_bytes: header.payload_bytes,
        current_term: hard_state.map(|hard_state| hard_state.current_term),
        voted_for: hard_state.and_then(|hard_state| hard_state.voted_for),
        truncate_from: header.changes.truncate_from,
        snapshot: mark.map(|mark| mark.last_included),
        resets_log: mark.is_some_and(|mark| mark.resets_log),
    }
}

/// The entries of a good batch, as far as they can be told apart.
fn entries(header: &BatchHeader, batch: &[u8], visit: &mut dyn FnMut(&Record)) {
    let mut rest = &batch[BATCH_HEADER_BYTES..][..header.payload_bytes as usize];
    for nth in 0..u64::from(header.entry_count) {
        let Some((frame, behind)) = rest.split_first_chunk::<13>() else { return };
        let term = u64::from_le_bytes(*frame.first_chunk().expect("eight of thirteen bytes"));
        let len = u32::from_le_bytes(frame[8..12].try_into().expect("four of thirteen bytes"));
        let Some((data, behind)) = behind.split_at_checked(len as usize) else { return };
        let shown = &data[..data.len().min(PREVIEW_BYTES)];
        let more = if data.len() > shown.len() { "…" } else { "" };
        visit(&Record::Entry {
            id: EntryId::new(header.first.index.saturating_add(nth), term),
            tag: frame[12],
            len_bytes: data.len(),
            preview: format!("\"{}\"{more}", shown.escape_ascii()),
        });
        rest = behind;
    }
}
