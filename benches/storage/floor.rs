//! The raw floor: what the disk and the file system take, whatever is built on them.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// A file full of zeros that batches are written into, each with one write and one `fdatasync`. At
/// its end it begins anew, on blocks it already has.
pub(crate) struct Floor {
    file: File,
    file_bytes: u64,
    at: u64,
}

impl Floor {
    pub(crate) fn new(dir: &Path, file_bytes: u64) -> Self {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(true);
        let file = file.open(dir.join("floor")).expect("a file");
        let zeros = vec![0; 1 << 20];
        for at in (0..file_bytes).step_by(zeros.len()) {
            file.write_all_at(&zeros, at).expect("room for the floor");
        }
        file.sync_all().expect("a disk that syncs");
        Self { file, file_bytes, at: 0 }
    }

    /// One batch.
    pub(crate) fn append(&mut self, batch: &[u8]) {
        let len = batch.len() as u64;
        if self.at + len > self.file_bytes {
            self.at = 0;
        }
        self.file.write_all_at(batch, self.at).expect("room was made");
        self.file.sync_data().expect("a disk that syncs");
        self.at += len;
    }
}
