//! Snapshot files: written aside, synced, renamed; verified as a whole before they are used.

use std::sync::Arc;

use super::directory::ASIDE_SUFFIX;
use super::files::{File, Files};
use super::format::{
    BlockFault, CHUNK_BYTES, FOOTER_BYTES, HEAD_BYTES, SnapshotFooter, SnapshotHead, SnapshotRef,
};
use super::progress::Progress;
use super::spare::{Lender, Loan};
use super::verify::verify_content;
use crate::fs::OpenMode;
use crate::{
    EntryId, Snapshot, SnapshotBytes, SnapshotMeta, SnapshotStage, SnapshotWriter, StagedSnapshot,
    StorageError,
};

/// Every so many chunks, 2 MiB, a snapshot that is being written is synced: a large one as a whole
/// at its end would keep the disk from the log for seconds, and what is synced at once still does for
/// a few milliseconds.
const CHUNKS_UNSYNCED: usize = (2 << 20) / CHUNK_BYTES;

/// The name of the snapshot up to `last_included`.
pub(crate) fn name(last_included: EntryId) -> String {
    format!("snapshot-{:020}-{:020}.snap", last_included.index, last_included.term)
}

/// What a snapshot's name says.
pub(crate) fn id_of(name: &str) -> Option<EntryId> {
    let (index, term) = name.strip_prefix("snapshot-")?.strip_suffix(".snap")?.split_once('-')?;
    let number = |digits: &str| {
        let is_number = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
        if is_number { digits.parse().ok() } else { None }
    };
    Some(EntryId::new(number(index)?, number(term)?))
}

/// Writes snapshots into files of their own, from any thread.
///
/// A snapshot is what gives space back on a full disk, so it may have the space of the log's spare
/// segments.
pub(crate) struct DiskStage {
    pub(crate) files: Arc<Files>,
    pub(crate) cluster_id: u64,
    pub(crate) lender: Arc<Lender>,
    /// Whether contents are mapped, or read into memory.
    pub(crate) map: bool,
}

impl SnapshotStage for DiskStage {
    fn begin(&self, meta: SnapshotMeta) -> Result<Box<dyn SnapshotWriter>, StorageError> {
        // Two may be under way for one entry, and one may be left over from an earlier owner of the
        // directory that still runs: a random name keeps them apart.
        let random = fastrand::u64(..);
        let aside = Aside {
            name: format!("{}.{random:016x}{ASIDE_SUFFIX}", name(meta.last_included)),
            files: Arc::clone(&self.files),
            is_published: false,
        };
        let mut space = Space { lender: Arc::clone(&self.lender), loan: None };
        let used = self.files.shelf().take(&self.files, &aside.name)?;
        let is_over_another = used.is_some();
        let file = match used {
            Some(used) => used,
            None => space.with(|| self.files.open(&aside.name, OpenMode::Create))?,
        };
        let head = SnapshotHead { cluster_id: self.cluster_id, last_included: meta.last_included };
        space.with(|| file.write_at(&head.encode(), 0))?;
        let chunk = Vec::with_capacity(CHUNK_BYTES);
        let crcs = Vec::new();
        let map = self.map;
        Ok(Box::new(DiskWriter {
            meta,
            aside,
            file,
            is_over_another,
            chunk,
            crcs,
            space,
            footer_crc: None,
            map,
        }))
    }
}

/// What a snapshot may use beyond the space that is free.
struct Space {
    lender: Arc<Lender>,
    /// Given back once the snapshot is written.
    loan: Option<Loan>,
}

impl Space {
    /// Does `write`; again with the space of the spares, if there is too little.
    fn with<T>(&mut self, write: impl Fn() -> Result<T, StorageError>) -> Result<T, StorageError> {
        let mut result = write();
        if result.as_ref().is_err_and(StorageError::is_for_want_of_space) {
            let has_more = match self.loan {
                None => {
                    self.loan = Some(self.lender.lend());
                    true
                }
                Some(_) => self.lender.lend_more(),
            };
            if has_more {
                result = write();
            }
        }
        result.map_err(StorageError::of_something_new)
    }
}

/// A file that is removed again unless it is published.
struct Aside {
    name: String,
    files: Arc<Files>,
    is_published: bool,
}

impl Drop for Aside {
    fn drop(&mut self) {
        if !self.is_published
            && let Err(error) = self.files.unlink(&self.name)
        {
            log::warn!("an unused snapshot stays until the next opening: {error}");
        }
    }
}

struct DiskWriter {
    meta: SnapshotMeta,
    aside: Aside,
    file: File,
    /// The file held another snapshot before.
    is_over_another: bool,
    /// The content that is not written yet: less than a chunk.
    chunk: Vec<u8>,
    /// The CRCs of the chunks that are.
    crcs: Vec<u32>,
    space: Space,
    /// Of a complete file.
    footer_crc: Option<u32>,
    map: bool,
}

impl DiskWriter {
    fn flush(&mut self) -> Result<(), StorageError> {
        let chunk = std::mem::take(&mut self.chunk);
        let result = self.write_chunk(&chunk);
        self.chunk = chunk;
        if result.is_ok() {
            self.chunk.clear();
        }
        result
    }

    fn write_chunk(&mut self, chunk: &[u8]) -> Result<(), StorageError> {
        let at = HEAD_BYTES + self.crcs.len() * CHUNK_BYTES;
        self.space.with(|| self.file.write_at(chunk, at as u64))?;
        self.crcs.push(crc32fast::hash(chunk));
        if self.crcs.len().is_multiple_of(CHUNKS_UNSYNCED) {
            self.file.sync()?;
        }
        Ok(())
    }

    fn write_all(&mut self, mut bytes: &[u8]) -> Result<(), StorageError> {
        while !bytes.is_empty() {
            // Whole chunks need not be copied first.
            if self.chunk.is_empty()
                && let Some((chunk, later)) = bytes.split_at_checked(CHUNK_BYTES)
            {
                self.write_chunk(chunk)?;
                bytes = later;
                continue;
            }
            let (now, later) = bytes.split_at(bytes.len().min(CHUNK_BYTES - self.chunk.len()));
            self.chunk.extend_from_slice(now);
            if self.chunk.len() == CHUNK_BYTES {
                self.flush()?;
            }
            bytes = later;
        }
        Ok(())
    }
}

impl SnapshotWriter for DiskWriter {
    fn write(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        let before = (self.chunk.clone(), self.crcs.len());
        let result = self.write_all(bytes);
        if result.is_err() {
            // What was written behind the old end is written again when the call is.
            self.chunk = before.0;
            self.crcs.truncate(before.1);
        }
        result
    }

    fn len_bytes(&self) -> u64 {
        (self.crcs.len() * CHUNK_BYTES + self.chunk.len()) as u64
    }

    fn complete(&mut self) -> Result<(), StorageError> {
        if self.footer_crc.is_some() {
            return Ok(());
        }
        let last_chunk = &self.chunk;
        let last_crc = (!last_chunk.is_empty()).then(|| crc32fast::hash(last_chunk));
        let configuration = &self.meta.configuration;
        let mut table = configuration.to_vec();
        for crc in self.crcs.iter().chain(&last_crc) {
            table.extend_from_slice(&crc.to_le_bytes());
        }
        let footer = SnapshotFooter {
            last_included: self.meta.last_included,
            content_bytes: self.len_bytes(),
            configuration_bytes: u32::try_from(configuration.len())
                .expect("a configuration is smaller than 4 GiB"),
            table_crc: crc32fast::hash(&table),
        };
        let (block, footer_crc) = footer.encode();
        let rest = [last_chunk, &*table, &block].concat();
        let at = (HEAD_BYTES + self.crcs.len() * CHUNK_BYTES) as u64;
        self.space.with(|| self.file.write_at(&rest, at))?;
        let end = at + rest.len() as u64;
        if self.is_over_another {
            // That may have been longer.
            self.space.with(|| self.file.cut(end))?;
        }
        self.footer_crc = Some(footer_crc);
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<StagedSnapshot, StorageError> {
        self.complete()?;
        self.file.set_read_only()?;
        self.file.sync()?;
        let content_bytes = self.len_bytes();
        let footer_crc = self.footer_crc.expect("it is complete");
        // Here and not when it is published: that is the log writer's time.
        let content = content(&self.file, content_bytes, self.map)?;
        let Self { meta, aside, file, .. } = *self;
        let handle = Staged { aside, file, content, content_bytes, footer_crc };
        Ok(StagedSnapshot { meta, handle: Box::new(handle) })
    }
}

/// A complete, synced file that has no name of its own yet.
pub(crate) struct Staged {
    aside: Aside,
    file: File,
    content: Arc<dyn SnapshotBytes>,
    content_bytes: u64,
    footer_crc: u32,
}

/// Gives a staged snapshot its name, durably. It is not current before the log says so.
pub(crate) fn publish(
    files: &Arc<Files>,
    staged: StagedSnapshot,
    resets_log: bool,
) -> Result<(Snapshot, SnapshotRef), StorageError> {
    let StagedSnapshot { meta, handle } = staged;
    let mut staged = *handle.downcast::<Staged>().expect("staged by this persister");
    assert!(Arc::ptr_eq(files, &staged.aside.files), "staged by this persister");
    let name = name(meta.last_included);
    files.rename(&staged.aside.name, &name)?;
    staged.aside.is_published = true;
    files.sync_dir()?;
    let file = staged.file.renamed(files, &name);
    files.shelf().published(meta.last_included, file, &staged.content);
    let reference = SnapshotRef {
        last_included: meta.last_included,
        content_bytes: staged.content_bytes,
        footer_crc: staged.footer_crc,
        resets_log,
    };
    Ok((Snapshot::new(meta, staged.content), reference))
}

/// The content of a file whose length has been checked.
fn content(
    file: &File,
    content_bytes: u64,
    map: bool,
) -> Result<Arc<dyn SnapshotBytes>, StorageError> {
    if map {
        let len = usize::try_from(content_bytes).expect("a file we wrote fits the address space");
        return file.map(HEAD_BYTES as u64, len);
    }
    Ok(Arc::new(file.read_at(HEAD_BYTES as u64, content_bytes)?))
}

/// Opens the snapshot that the log refers to, and verifies all of it. [`StorageError::Damaged`]
/// means that another snapshot may stand in for it; no other error does.
pub(crate) fn open(
    files: &Files,
    reference: &SnapshotRef,
    cluster_id: u64,
    map: bool,
) -> Result<Snapshot, StorageError> {
    let is_meant = |footer: &SnapshotFooter, crc: u32| {
        crc == reference.footer_crc && footer.content_bytes == reference.content_bytes
    };
    verified(files, reference.last_included, cluster_id, map, is_meant)
}

/// Opens the snapshot up to `last_included`, and verifies all of it, whether or not the log knows of
/// it.
pub(crate) fn open_alone(
    files: &Files,
    last_included: EntryId,
    cluster_id: u64,
) -> Result<Snapshot, StorageError> {
    verified(files, last_included, cluster_id, true, |_, _| true)
}

fn verified(
    files: &Files,
    last_included: EntryId,
    cluster_id: u64,
    map: bool,
    is_meant: impl FnOnce(&SnapshotFooter, u32) -> bool,
) -> Result<Snapshot, StorageError> {
    let name = name(last_included);
    let damaged = |offset: u64, what: &str| files.damaged(&name, offset, what);
    let Some(file) = files.open_existing(&name)? else {
        return Err(damaged(0, "it is missing"));
    };
    let len = file.len()?;
    let least = (HEAD_BYTES + FOOTER_BYTES) as u64;
    if len < least {
        return Err(damaged(len, "it is cut short"));
    }
    let fault = |offset: u64, fault: BlockFault| match fault {
        BlockFault::Newer(_) => files.foreign(&name, fault.to_string()),
        BlockFault::Damaged => damaged(offset, &fault.to_string()),
    };
    let head = SnapshotHead::decode(&file.read_at(0, HEAD_BYTES as u64)?);
    let head = head.map_err(|why| fault(0, why))?;
    if head != (SnapshotHead { cluster_id, last_included }) {
        return Err(damaged(0, "it is another snapshot than its name says"));
    }
    let footer_at = len - FOOTER_BYTES as u64;
    let footer = SnapshotFooter::decode(&file.read_at(footer_at, FOOTER_BYTES as u64)?);
    let (footer, crc) = footer.map_err(|why| fault(footer_at, why))?;
    if !is_meant(&footer, crc)
        || footer.last_included != last_included
        || footer.file_bytes() != Some(len)
    {
        return Err(damaged(footer_at, "it is not the snapshot that the log refers to"));
    }
    let table_at = footer.table_at().expect("it ends before the file does");
    let table = file.read_at(table_at, footer.table_bytes())?;
    if crc32fast::hash(&table) != footer.table_crc {
        return Err(damaged(table_at, "the table of checksums is wrong"));
    }
    let (configuration, crcs) = table.split_at(footer.configuration_bytes as usize);
    let mut progress = Progress::begin();
    let (dir, all) = (files.dir().display(), footer.content_bytes >> 20);
    let tell = |done: u64| {
        let done = done >> 20;
        let what = format_args!("opening {dir}: {done} of {all} MiB of snapshot {last_included}");
        progress.tell(what);
    };
    verify_content(&file, footer.content_bytes, crcs, tell)?
        .map_err(|at| damaged(at, "the checksum of the content does not match"))?;
    let meta = SnapshotMeta { last_included, configuration: configuration.into() };
    Ok(Snapshot::new(meta, content(&file, footer.content_bytes, map)?))
}
