//! Writing around the page cache (`O_DIRECT`), where the file system can do that.
//!
//! Nobody reads a log before it is opened again. A copy of it in the page cache would take memory, and
//! the system the time to look after pages that are written at once anyway: of the processor time
//! of a write of 4 KiB and its sync, a third; of a write of 1 MiB, a half.
//!
//! What such a write needs (memory and place in the file at a sector's border) is seen to here.
//! Whatever does not lie so, and everything on a file system that cannot do it, is left to ordinary
//! writes; the two may be mixed, and a sync makes both durable.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::OFlags;

use super::write_buffer::WriteBuffers;

/// Where in a file such a write may begin and end. A disk with larger sectors refuses it, and gets
/// ordinary writes.
const SECTOR_BYTES: usize = 512;

/// A file that is written around the page cache.
pub(super) struct Uncached {
    file: File,
    /// It did not work here, and is not tried again.
    is_refused: AtomicBool,
    /// Memory to write from.
    buffers: Arc<WriteBuffers>,
}

impl Uncached {
    /// Opens an existing file once more; `None` if the file system does not let it be written so.
    pub(super) fn open(path: &Path, buffers: &Arc<WriteBuffers>) -> Option<Self> {
        let flags = i32::try_from(OFlags::DIRECT.bits()).ok()?;
        let file = OpenOptions::new().write(true).custom_flags(flags).open(path).ok()?;
        Some(Self { file, is_refused: AtomicBool::new(false), buffers: Arc::clone(buffers) })
    }

    /// Writes all of `pieces`, one after the other, from `offset` on. False if that is not possible
    /// here: then they are to be written in another way, all of them.
    pub(super) fn write(&self, pieces: &[IoSlice<'_>], offset: u64) -> io::Result<bool> {
        let len: usize = pieces.iter().map(|piece| piece.len()).sum();
        let fits = len > 0
            && len.is_multiple_of(SECTOR_BYTES)
            && offset.is_multiple_of(SECTOR_BYTES as u64);
        if !fits || self.is_refused.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let mut buffer = self.buffers.take(len)?;
        let written = self.write_through(buffer.piece(len, SECTOR_BYTES), pieces, offset);
        self.buffers.give_back(buffer);
        match written {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                self.is_refused.store(true, Ordering::Relaxed);
                Ok(false)
            }
            other => other.map(|()| true),
        }
    }

    /// Copies the pieces to `area`, and writes it out whenever it is full.
    fn write_through(
        &self,
        area: &mut [u8],
        pieces: &[IoSlice<'_>],
        mut offset: u64,
    ) -> io::Result<()> {
        let mut filled = 0;
        for piece in pieces {
            let mut rest: &[u8] = piece;
            while !rest.is_empty() {
                if filled == area.len() {
                    self.file.write_all_at(area, offset)?;
                    offset += filled as u64;
                    filled = 0;
                }
                let (now, later) = rest.split_at(rest.len().min(area.len() - filled));
                area[filled..filled + now.len()].copy_from_slice(now);
                (filled, rest) = (filled + now.len(), later);
            }
        }
        self.file.write_all_at(&area[..filled], offset)
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
        let Some(file) = Uncached::open(&path, &Arc::default()) else {
            eprintln!("this file system keeps everything in its cache: nothing to see");
            return;
        };
        for len in [512, 64 << 10, (1 << 20) - 512, 1 << 20, (5 << 20) + 1024] {
            let bytes: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
            let pieces: Vec<IoSlice<'_>> = bytes.chunks(77_777).map(IoSlice::new).collect();
            assert!(file.write(&pieces, 1024).unwrap(), "{len}");
            let found = std::fs::read(&path).unwrap();
            assert!(found[1024..][..len] == bytes, "what was written: {len}");
            assert!(found[..1024].iter().chain(&found[1024 + len..]).all(|byte| *byte == 1));
        }
        let before = std::fs::read(&path).unwrap();
        let sector = [7; SECTOR_BYTES];
        assert!(!file.write(&[IoSlice::new(&sector)], 1000).unwrap(), "not at a sector's border");
        assert!(!file.write(&[IoSlice::new(&sector[1..])], 1024).unwrap(), "the end is not");
        assert!(!file.write(&[], 1024).unwrap(), "nothing");
        assert!(std::fs::read(&path).unwrap() == before, "nothing was written");
    }
}
