//! Saving what can be saved of a directory that a node refuses.
//!
//! What is saved belongs to a node with another id: one that lost entries, or votes, must never again
//! speak as the node that promised them. The damaged directory stays beside the new one, as it was.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::files::Files;
use super::super::log_reader::{self, Salvage};
use super::super::{DiskOptions, DiskPersister, segment, snapshot};
use super::beside::Beside;
use super::verify::verify_in;
use super::walk::{Item, walk};
use super::{Defect, Reading};
use crate::fs::{Fs, RealFs};
use crate::{
    Batch, Entry, EntryId, HardState, Identity, Persister, Snapshot, SnapshotMeta, StorageError,
};

/// How many entries are written with one sync.
const ENTRIES_A_BATCH: usize = 1024;

/// What a repair did.
#[derive(Debug)]
pub struct Repaired {
    /// Where the damaged directory is now, as it was.
    pub evidence: PathBuf,
    /// Whose directory the repaired one is.
    pub identity: Identity,
    /// What it holds: the snapshot's last entry, and the entries behind it.
    pub snapshot: Option<EntryId>,
    /// The first and last of the entries that were saved.
    pub entries: Option<(EntryId, EntryId)>,
    /// What is lost, in sentences.
    pub given_up: Vec<String>,
}

/// Puts what can be saved of `dir` in its place, for a node with the id `new_node_id`, which nobody
/// had before; the damaged directory is kept beside it. A repair that was interrupted is repeated
/// from its beginning, with the same id.
///
/// Refused with [`StorageError::Foreign`] if a node would start from the directory as it is, or if
/// nothing in it can be saved: then start a new node with an empty directory.
pub fn repair(dir: &Path, new_node_id: u64) -> Result<Repaired, StorageError> {
    let options = DiskOptions { prepare_spares: false, ..DiskOptions::new(new_node_id) };
    repair_on(&(Arc::new(RealFs::default()) as Arc<dyn Fs>), dir, &options)
}

/// [`repair`], on any file system, for the node that `options` names.
pub(crate) fn repair_on(
    fs: &Arc<dyn Fs>,
    dir: &Path,
    options: &DiskOptions,
) -> Result<Repaired, StorageError> {
    let beside = Beside::of(Arc::clone(fs), dir)?;
    let reading = Reading::begin_on(Arc::clone(fs), beside.damaged())?;
    let files = &reading.files;
    if verify_in(&reading)?.refusal.is_none() {
        return Err(files.foreign("", "a node starts from it as it is: there is nothing to repair"));
    }
    let old = reading.identity()?;
    let node_id = options.node_id;
    if old.node_id == node_id {
        let what = format!("node {node_id} may have promised what is lost: it needs a new id");
        return Err(files.foreign("", what));
    }
    let identity = Identity { node_id, ..old };
    let saved = save(files, old)?;
    let given_up = given_up(files, old, &saved)?;
    beside.clear_aside(identity)?;
    let options = DiskOptions { cluster_id: Some(identity.cluster_id), ..options.clone() };
    write(fs, &beside.aside, &options, &saved)?;
    beside.exchange()?;
    let ends = saved.entries.first().zip(saved.entries.last());
    Ok(Repaired {
        evidence: beside.evidence.clone(),
        identity,
        snapshot: saved.snapshot.as_ref().map(|snapshot| snapshot.meta.last_included),
        entries: ends.map(|(first, last)| (first.id, last.id)),
        given_up,
    })
}

/// What is saved.
struct Saved {
    current_term: u64,
    snapshot: Option<Snapshot>,
    entries: Vec<Entry>,
}

impl Saved {
    fn last(&self) -> EntryId {
        let base = self.snapshot.as_ref().map(|snapshot| snapshot.meta.last_included);
        self.entries.last().map_or(base.unwrap_or_default(), |entry| entry.id)
    }
}

/// The newest snapshot that is whole, and the log up to the first defect, as far as it follows it.
fn save(files: &Files, identity: Identity) -> Result<Saved, StorageError> {
    let mut ids: Vec<EntryId> =
        files.list()?.iter().filter_map(|name| snapshot::id_of(name)).collect();
    ids.sort_unstable_by_key(|id| id.index);
    let mut newest = None;
    for id in ids.into_iter().rev() {
        match snapshot::open_alone(files, id, identity.cluster_id) {
            Ok(found) => {
                newest = Some(found);
                break;
            }
            Err(StorageError::Damaged { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    let base = newest.as_ref().map_or(EntryId::default(), |found| found.meta.last_included);
    let Salvage { entries, start_index, current_term } =
        log_reader::salvage(files, identity, base.index)?;
    let term_at = |index: u64| {
        let nth = usize::try_from(index.checked_sub(start_index + 1)?).ok()?;
        entries.get(nth).map(|entry: &Entry| entry.id.term)
    };
    let follows = base.index == start_index || term_at(base.index) == Some(base.term);
    let entries = if follows {
        entries.into_iter().filter(|entry| entry.id.index > base.index).collect()
    } else {
        Vec::new()
    };
    if newest.is_none() && entries.is_empty() {
        let what = "nothing in it can be saved: start a new node with an empty directory";
        return Err(files.foreign("", what));
    }
    let current_term = current_term.max(base.term);
    Ok(Saved { current_term, snapshot: newest, entries })
}

/// What the directory is known to have held, and what is saved does not.
fn given_up(files: &Files, identity: Identity, saved: &Saved) -> Result<Vec<String>, StorageError> {
    let (mut last_index, mut has_votes) = (0, false);
    let mut lost = Vec::new();
    for number in files.list()?.iter().filter_map(|name| segment::number_of(name)) {
        walk(files, identity, number, &mut |item| match item {
            Item::Head(head) => last_index = last_index.max(head.state.last_index),
            Item::Batch(_, header, _) => {
                let count = u64::from(header.entry_count);
                let end = header.first.index.saturating_add(count);
                last_index = last_index.max(end.saturating_sub(1));
                has_votes |= header.changes.hard_state.is_some();
            }
            Item::Defect(Defect { path, offset, .. }) => {
                lost.push(format!("what {} held at offset {offset}", path.display()));
            }
            Item::End(..) => {}
        })?;
    }
    let kept = saved.last().index;
    if last_index > kept {
        lost.insert(0, format!("entries {} to {last_index}, at least", kept + 1));
    } else {
        lost.insert(0, format!("entries behind {kept}, if there were any"));
    }
    if has_votes {
        lost.push("the votes of the old node id, which must not vote again".to_owned());
    }
    Ok(lost)
}

/// Makes a directory that holds what was saved.
fn write(
    fs: &Arc<dyn Fs>,
    dir: &Path,
    options: &DiskOptions,
    saved: &Saved,
) -> Result<(), StorageError> {
    let mut persister = DiskPersister::open_on(Arc::clone(fs), dir, options)?;
    let found = persister.load();
    assert!(found.snapshot.is_none() && found.entries.is_empty(), "it was cleared");
    let hard_state = HardState { current_term: saved.current_term, voted_for: None };
    let batch = Batch { hard_state: Some(hard_state), ..Batch::default() };
    persister.persist(&batch)?;
    if let Some(snapshot) = &saved.snapshot {
        let SnapshotMeta { last_included, configuration } = snapshot.meta.clone();
        let meta = SnapshotMeta { last_included, configuration };
        let staged = persister.snapshot_stage().write_all(meta, snapshot)?;
        persister.save_state_and_snapshot(&Batch::default(), staged)?;
    }
    for entries in saved.entries.chunks(ENTRIES_A_BATCH) {
        let batch = Batch { entries: entries.to_vec(), ..Batch::default() };
        persister.persist(&batch)?;
    }
    Ok(())
}
