//! Is a directory as it was written?

use std::fmt;
use std::path::{Path, PathBuf};

use super::super::format::{BlockFault, SLOT_BYTES, SLOT_STRIDE, VoteSlot, is_zero};
use super::super::log_reader::{self, Extent};
use super::super::recovery::{self, Judged};
use super::super::scan::End;
use super::super::{DiskOptions, segment, snapshot, vote};
use super::Reading;
use super::snapshot::defects_of_snapshot;
use super::walk::{Item, walk};
use crate::{EntryId, HardState, Identity, StorageError};

/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defect {
    /// The file.
    pub path: PathBuf,
    /// Where in it, in bytes.
    pub offset: u64,
    /// What is wrong there, with the indexes concerned where they are known.
    pub what: String,
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: damaged at offset {}: {}", self.path.display(), self.offset, self.what)
    }
}

impl Defect {
    /// The defect that `error` is about; the error itself if it is about something else.
    pub(super) fn of(error: StorageError) -> Result<Self, StorageError> {
        match error {
            StorageError::Damaged { path, offset, what, .. } => Ok(Self { path, offset, what }),
            StorageError::Foreign { path, what } => Ok(Self { path, offset: 0, what }),
            error => Err(error),
        }
    }
}

/// What a directory holds that a node can start from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The last durable term and vote.
    pub hard_state: HardState,
    /// The last entry of the current snapshot, if there is one, and the length of its content.
    pub snapshot: Option<(EntryId, u64)>,
    /// How many entries are behind it.
    pub entry_count: u64,
    /// The last of them; without any, the snapshot's.
    pub last: EntryId,
    /// How many segments the log has.
    pub segment_count: usize,
}

/// What was found.
#[derive(Debug)]
pub struct Report {
    /// What a node says instead of starting here, if it does.
    pub refusal: Option<StorageError>,
    /// Everything that is wrong, whether or not a node starts in spite of it.
    pub defects: Vec<Defect>,
    /// What is not wrong, but good to know: the rest of a write that a crash cut short, files that
    /// the next start removes.
    pub notes: Vec<String>,
    /// What a node would start from, if it started.
    pub summary: Option<Summary>,
}

impl Report {
    /// Whether everything is as it was written.
    pub fn is_clean(&self) -> bool {
        self.refusal.is_none() && self.defects.is_empty()
    }
}

/// Reads all of `dir` and reports every defect. Changes nothing, not even the lock file.
///
/// An error means that it could not be read, is in use, or that there is no log in it.
pub fn verify(dir: &Path) -> Result<Report, StorageError> {
    verify_in(&Reading::begin(dir)?)
}

/// The same of a directory that is being read.
pub(super) fn verify_in(reading: &Reading) -> Result<Report, StorageError> {
    let mut report =
        Report { refusal: None, defects: Vec::new(), notes: Vec::new(), summary: None };
    let identity = match reading.identity() {
        Ok(identity) => identity,
        Err(error @ StorageError::Damaged { .. }) => {
            report.refuse(error);
            return Ok(report);
        }
        Err(error) => return Err(error),
    };
    let segment_bytes = DiskOptions::new(identity.node_id).segment_bytes;
    match recovery::judge(&reading.files, identity, (true, segment_bytes)) {
        Ok(judged) => {
            report.summary = Some(summary(&judged));
            if !judged.log.standby.is_empty() {
                report.look_at_standby(reading, identity, segment_bytes)?;
            }
        }
        Err(error @ (StorageError::Damaged { .. } | StorageError::Foreign { .. })) => {
            report.refuse(error);
        }
        Err(error) => return Err(error),
    }
    report.look_at_segments(reading, identity)?;
    report.look_at_slots(reading)?;
    report.look_at_others(reading, identity)?;
    Ok(report)
}

fn summary(judged: &Judged) -> Summary {
    let Judged { log, recovered, .. } = judged;
    let snapshot = recovered.snapshot.as_ref();
    let snapshot = snapshot.map(|found| (found.meta.last_included, found.len() as u64));
    let base = snapshot.map_or(EntryId::default(), |(last_included, _)| last_included);
    Summary {
        hard_state: recovered.hard_state,
        snapshot,
        entry_count: recovered.entries.len() as u64,
        last: recovered.entries.last().map_or(base, |entry| entry.id),
        segment_count: log.standby.len() + log.closed.len() + 1,
    }
}

impl Report {
    fn refuse(&mut self, error: StorageError) {
        if let StorageError::Damaged { path, offset, what, .. } = &error {
            self.add(Defect { path: path.clone(), offset: *offset, what: what.clone() });
        }
        self.refusal = Some(error);
    }

    /// Notes a defect, unless one is known at its place.
    fn add(&mut self, defect: Defect) {
        let is_known = |known: &Defect| known.path == defect.path && known.offset == defect.offset;
        if !self.defects.iter().any(is_known) {
            self.defects.push(defect);
        }
    }

    /// A node does not read what stands by; here it is, with how one segment goes on from the other.
    fn look_at_standby(
        &mut self,
        reading: &Reading,
        identity: Identity,
        segment_bytes: u64,
    ) -> Result<(), StorageError> {
        let (files, how) = (&reading.files, (true, segment_bytes));
        match log_reader::read(files, identity, vote::read(files)?, how, Extent::All) {
            Ok(_) => Ok(()),
            Err(error) => {
                self.add(Defect::of(error)?);
                Ok(())
            }
        }
    }

    fn look_at_segments(
        &mut self,
        reading: &Reading,
        identity: Identity,
    ) -> Result<(), StorageError> {
        let numbers = reading.segments()?;
        for number in &numbers {
            walk(&reading.files, identity, *number, &mut |item| match item {
                Item::Defect(defect) => self.add(defect),
                Item::End(at, End::Torn) if Some(number) == numbers.last() => {
                    let path = reading.files.path(&segment::name(*number));
                    self.notes.push(format!(
                        "{}: at offset {at} is the rest of a write that a crash cut short; it was \
                         never acknowledged, and the next start drops it",
                        path.display()
                    ));
                }
                _ => {}
            })?;
        }
        Ok(())
    }

    fn look_at_slots(&mut self, reading: &Reading) -> Result<(), StorageError> {
        let path = reading.files.path(vote::VOTE);
        let len_max = 2 * SLOT_STRIDE as u64;
        let Some(bytes) = reading.files.read_small(vote::VOTE, len_max)? else { return Ok(()) };
        for (nth, slot) in bytes.chunks(SLOT_STRIDE).enumerate() {
            let (slot, behind) = slot.split_at(SLOT_BYTES.min(slot.len()));
            if !is_zero(behind) {
                let offset = (nth * SLOT_STRIDE + SLOT_BYTES) as u64;
                let what = "there should be zeros only; nothing depends on it".to_owned();
                self.add(Defect { path: path.clone(), offset, what });
            }
            if let Err(BlockFault::Damaged) = VoteSlot::decode(slot)
                && !is_zero(slot)
            {
                let offset = (nth * SLOT_STRIDE) as u64;
                let what = format!("slot {nth} of the hard state; the log has it too");
                self.add(Defect { path: path.clone(), offset, what });
            }
        }
        Ok(())
    }

    fn look_at_others(
        &mut self,
        reading: &Reading,
        identity: Identity,
    ) -> Result<(), StorageError> {
        for name in reading.files.list()? {
            if snapshot::id_of(&name).is_some() {
                for defect in defects_of_snapshot(&reading.files, &name, Some(identity.cluster_id))?
                {
                    self.add(defect);
                }
            } else if name.ends_with(super::super::directory::ASIDE_SUFFIX) {
                let path = reading.files.path(&name);
                self.notes.push(format!("{}: unfinished work, or a spare", path.display()));
            }
        }
        Ok(())
    }
}
