//! Writing around the page cache (`O_DIRECT`), where the file system can do that.
//!
//! Nobody reads a log before it is opened again. A copy of it in the page cache would take memory, and
//! the system the time to look after pages that are written at once anyway: of the processor time
//! of a write of 4 KiB and its sync, a third; of a write of 1 MiB, a half.
//!
//! Long writes are left to the page cache: there the system writes one part while the next is still
//! being copied, which gains more than the processor's time is worth.
//!
//! What such a write needs (memory and place in the file at a sector's border) is seen to here.
//! Whatever does not lie so, and everything on a file system that cannot do it, is left to ordinary
//! writes; the two may be mixed, and a sync makes both durable.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rustix::fs::OFlags;

/// Where in a file such a write may begin and end. A disk with larger sectors refuses it, and gets
/// ordinary writes.
const SECTOR_BYTES: usize = 512;
/// Where in memory its bytes begin: no system asks for more.
const MEMORY_ALIGN: usize = 4096;
/// What is longer goes through the page cache. With 1 MiB at a time that was 1.45 times as fast, with
/// 256 KiB, a tenth slower.
const BYTES_MAX: usize = 512 << 10;

/// A file that is written around the page cache.
pub(super) struct Uncached {
    file: File,
    /// It did not work here, and is not tried again.
    is_refused: AtomicBool,
    /// Memory to copy to, for the one who writes.
    buffer: Mutex<Vec<u8>>,
}

impl Uncached {
    /// Opens an existing file once more; `None` if the file system does not let it be written so.
    pub(super) fn open(path: &Path) -> Option<Self> {
        let flags = i32::try_from(OFlags::DIRECT.bits()).ok()?;
        let file = OpenOptions::new().write(true).custom_flags(flags).open(path).ok()?;
        Some(Self { file, is_refused: AtomicBool::new(false), buffer: Mutex::default() })
    }

    /// Writes all of `pieces`, one after the other, from `offset` on. False if that is not possible
    /// here, or not wise: then they are to be written in another way, all of them.
    pub(super) fn write(&self, pieces: &[IoSlice<'_>], offset: u64) -> io::Result<bool> {
        let len: usize = pieces.iter().map(|piece| piece.len()).sum();
        let fits = (1..=BYTES_MAX).contains(&len)
            && len.is_multiple_of(SECTOR_BYTES)
            && offset.is_multiple_of(SECTOR_BYTES as u64);
        if !fits || self.is_refused.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let mut buffer = std::mem::take(&mut *self.buffer.lock());
        if buffer.len() < len + MEMORY_ALIGN {
            buffer = vec![0; len + MEMORY_ALIGN];
        }
        let from = buffer.as_ptr().align_offset(MEMORY_ALIGN);
        let area = &mut buffer[from..from + len];
        let mut filled = 0;
        for piece in pieces {
            area[filled..filled + piece.len()].copy_from_slice(piece);
            filled += piece.len();
        }
        let result = self.file.write_all_at(area, offset);
        *self.buffer.lock() = buffer;
        match result {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                self.is_refused.store(true, Ordering::Relaxed);
                Ok(false)
            }
            other => other.map(|()| true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_any_length_are_written_if_all_of_them_end_at_a_sector() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, vec![1; 8 << 20]).unwrap();
        let Some(file) = Uncached::open(&path) else {
            eprintln!("this file system keeps everything in its cache: nothing to see");
            return;
        };
        let bytes: Vec<u8> = (0..BYTES_MAX).map(|at| (at % 251) as u8).collect();
        let mut pieces: Vec<IoSlice<'_>> = bytes.chunks(77_777).map(IoSlice::new).collect();
        assert!(file.write(&pieces, 1024).unwrap());
        let found = std::fs::read(&path).unwrap();
        assert!(found[1024..][..bytes.len()] == bytes, "what was written");
        assert!(found[..1024].iter().chain(&found[1024 + bytes.len()..]).all(|byte| *byte == 1));
        assert!(!file.write(&pieces, 1000).unwrap(), "not at a sector's border");
        let sector = [7; SECTOR_BYTES];
        pieces.push(IoSlice::new(&sector));
        assert!(!file.write(&pieces, 1024).unwrap(), "too long");
        pieces[0] = IoSlice::new(&sector[1..]);
        assert!(!file.write(&pieces, 1024).unwrap(), "the end is not");
        assert!(std::fs::read(&path).unwrap() == found, "nothing was written");
    }
}
