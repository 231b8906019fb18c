//! The raw floor: a file full of zeros, one write and one `fdatasync` a batch, nothing else. Begun
//! anew at its end, on blocks it has; or, if it is to grow, in a new file filled with zeros.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::{Log, value};

/// How much is written before the beginning is written again.
const REUSED_BYTES: u64 = 64 << 20;
/// How much room a floor that grows makes at a time: as much as a segment of the log.
const GROWN_BYTES: u64 = 16 << 20;

/// One write and one sync a batch.
pub struct Floor {
    dir: PathBuf,
    file: File,
    file_bytes: u64,
    /// How many files there were, if each begins a new one at its end.
    files: Option<u64>,
    at: u64,
    value_bytes: usize,
    batch: Vec<u8>,
}

impl Floor {
    /// A floor that goes on over the same file.
    pub fn reused(dir: &Path, value_bytes: usize) -> Self {
        Self::new(dir, value_bytes, REUSED_BYTES, None)
    }

    /// A floor that fills one file after the other.
    pub fn growing(dir: &Path, value_bytes: usize) -> Self {
        Self::new(dir, value_bytes, GROWN_BYTES, Some(0))
    }

    fn new(dir: &Path, value_bytes: usize, file_bytes: u64, files: Option<u64>) -> Self {
        let name = if files.is_some() { "growing-0" } else { "floor" };
        let file = zero_filled(&dir.join(name), file_bytes);
        let batch = Vec::new();
        Self { dir: dir.into(), file, file_bytes, files, at: 0, value_bytes, batch }
    }
}

fn zero_filled(path: &Path, file_bytes: u64) -> File {
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(path);
    let file = file.expect("a new file");
    let zeros = vec![0; 1 << 20];
    for at in (0..file_bytes).step_by(zeros.len()) {
        file.write_all_at(&zeros, at).expect("room for the floor");
    }
    file.sync_all().expect("a disk that syncs");
    file
}

impl Log for Floor {
    fn append(&mut self, count: u64) {
        let len = count as usize * self.value_bytes;
        if self.batch.len() != len {
            self.batch = value(len);
        }
        if self.at + len as u64 > self.file_bytes {
            self.at = 0;
            if let Some(files) = &mut self.files {
                *files += 1;
                let path = self.dir.join(format!("growing-{files}"));
                self.file = zero_filled(&path, self.file_bytes);
            }
        }
        self.file.write_all_at(&self.batch, self.at).expect("room was made");
        self.file.sync_data().expect("a disk that syncs");
        self.at += len as u64;
    }

    fn compact(&mut self) {}
}
