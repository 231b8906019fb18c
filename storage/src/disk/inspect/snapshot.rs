//! A snapshot file by itself, whatever the log says of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::files::{File, Files};
use super::super::format::{
    BlockFault, CHUNK_BYTES, FOOTER_BYTES, HEAD_BYTES, SnapshotFooter, SnapshotHead,
};
use super::super::snapshot;
use super::Defect;
use crate::fs::RealFs;
use crate::{EntryId, StorageError};

/// What a snapshot file says of itself, and what is wrong with it.
#[derive(Clone, Debug, Default)]
pub struct SnapshotReport {
    /// The cluster it was made in.
    pub cluster_id: Option<u64>,
    /// The last entry it covers.
    pub last_included: Option<EntryId>,
    /// The length of its content.
    pub content_bytes: Option<u64>,
    /// The length of the configuration in it.
    pub configuration_bytes: Option<u32>,
    /// The checksum by which the log refers to it: equal for equal snapshots, on every node.
    pub checksum: Option<u32>,
    /// What is wrong, every piece of the content by itself.
    pub defects: Vec<Defect>,
}

/// Reads all of the snapshot file at `path`.
pub fn inspect_snapshot(path: &Path) -> Result<SnapshotReport, StorageError> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    let files = Files::new(Arc::new(RealFs::default()), dir.unwrap_or_else(|| Path::new(".")));
    look_at(&files, &name.unwrap_or_default())
}

/// What is wrong with the snapshot called `name`, which is to be of cluster `cluster_id`.
pub(super) fn defects_of_snapshot(
    files: &Files,
    name: &str,
    cluster_id: Option<u64>,
) -> Result<Vec<Defect>, StorageError> {
    let mut report = look_at(files, name)?;
    let is_another = |found: u64| cluster_id.is_some_and(|expected| expected != found);
    if report.cluster_id.is_some_and(is_another) {
        let what = "it is of another cluster".to_owned();
        report.defects.push(Defect { path: files.path(name), offset: 0, what });
    }
    Ok(report.defects)
}

fn look_at(files: &Files, name: &str) -> Result<SnapshotReport, StorageError> {
    let path = files.path(name);
    let mut report = SnapshotReport::default();
    let file = files.open(name, crate::fs::OpenMode::Read)?;
    let len = file.len()?;
    if len < (HEAD_BYTES + FOOTER_BYTES) as u64 {
        report.add(&path, len, "it is cut short");
        return Ok(report);
    }
    match SnapshotHead::decode(&file.read_at(0, HEAD_BYTES as u64)?) {
        Ok(head) => {
            report.cluster_id = Some(head.cluster_id);
            report.last_included = Some(head.last_included);
            if snapshot::id_of(name).is_some_and(|named| named != head.last_included) {
                report.add(&path, 0, "it is another snapshot than its name says");
            }
        }
        Err(fault) => {
            report.add(&path, 0, format!("the head: {fault}"));
            if let BlockFault::Newer(_) = fault {
                return Ok(report);
            }
        }
    }
    let footer_at = len - FOOTER_BYTES as u64;
    match SnapshotFooter::decode(&file.read_at(footer_at, FOOTER_BYTES as u64)?) {
        Ok((footer, checksum)) => {
            report.checksum = Some(checksum);
            report.look_behind(&file, &path, len, footer)?;
        }
        Err(fault) => report.add(&path, footer_at, format!("the footer: {fault}")),
    }
    Ok(report)
}

impl SnapshotReport {
    fn add(&mut self, path: &Path, offset: u64, what: impl Into<String>) {
        self.defects.push(Defect { path: PathBuf::from(path), offset, what: what.into() });
    }

    /// The table and the content, whose lengths `footer` gives.
    fn look_behind(
        &mut self,
        file: &File,
        path: &Path,
        len: u64,
        footer: SnapshotFooter,
    ) -> Result<(), StorageError> {
        self.content_bytes = Some(footer.content_bytes);
        self.configuration_bytes = Some(footer.configuration_bytes);
        let footer_at = len - FOOTER_BYTES as u64;
        if *self.last_included.get_or_insert(footer.last_included) != footer.last_included {
            self.add(path, footer_at, "head and footer are of two snapshots");
        }
        if footer.file_bytes() != Some(len) {
            self.add(path, footer_at, "the file is not as long as its footer says");
            return Ok(());
        }
        let table_at = footer.table_at().expect("it ends before the file does");
        let table = file.read_at(table_at, footer.table_bytes())?;
        if crc32fast::hash(&table) != footer.table_crc {
            self.add(path, table_at, "the table of checksums is wrong");
            return Ok(());
        }
        let crcs = &table[footer.configuration_bytes as usize..];
        let mut at = HEAD_BYTES as u64;
        for crc in crcs.chunks_exact(4) {
            let piece = file.read_at(at, (table_at - at).min(CHUNK_BYTES as u64))?;
            if crc32fast::hash(&piece).to_le_bytes() != crc {
                self.add(path, at, "the checksum of the content does not match");
            }
            at += piece.len() as u64;
        }
        Ok(())
    }
}
