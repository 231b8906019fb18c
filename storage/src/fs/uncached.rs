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
use rustix::io::{Errno, ReadWriteFlags};

use super::write_buffer::WriteBuffers;

/// Where in a file such a write may begin and end. A disk with larger sectors refuses it, and gets
/// ordinary writes.
const SECTOR_BYTES: usize = 512;

/// What is no longer is made durable by the write itself: one call instead of two, and where the disk
/// can write past its cache (FUA), one command instead of a write and a flush of everything.
const DURABLE_BYTES_MAX: usize = 8 << 10;

/// The file systems that are known to make a write durable that asks for it (`RWF_DSYNC`), by the
/// numbers they give: ext4 (and its forerunners), XFS. Others may take the flag, and not know it; `fdatasync` they know.
const DURABLE_ON: [u64; 2] = [0xEF53, 0x5846_5342];

/// A file that is written around the page cache.
pub(super) struct Uncached {
    file: File,
    /// It did not work here, and is not tried again.
    is_refused: AtomicBool,
    /// Whether a write may be asked to be durable by itself.
    writes_durably: AtomicBool,
    shared: Arc<UncachedShared>,
}

/// What all such files of a file system share.
#[derive(Default)]
pub(super) struct UncachedShared {
    /// Memory to write from.
    buffers: WriteBuffers,
    /// A write was durable by itself before: if one is refused from now on, that is no want of
    /// knowledge, but a failure, behind which nothing is tried again.
    has_written_durably: AtomicBool,
}

impl Uncached {
    /// Opens an existing file once more; `None` if the file system does not let it be written so.
    pub(super) fn open(path: &Path, shared: &Arc<UncachedShared>) -> Option<Self> {
        let flags = i32::try_from(OFlags::DIRECT.bits()).ok()?;
        let file = OpenOptions::new().write(true).custom_flags(flags).open(path).ok()?;
        let system = rustix::fs::fstatfs(&file).ok().and_then(|stat| stat.f_type.try_into().ok());
        let writes_durably = system.is_some_and(|system| DURABLE_ON.contains(&system));
        Some(Self {
            file,
            is_refused: AtomicBool::new(false),
            writes_durably: AtomicBool::new(writes_durably),
            shared: Arc::clone(shared),
        })
    }

    /// Writes all of `pieces`, one after the other, from `offset` on. False if that is not possible
    /// here: then they are to be written in another way, all of them.
    pub(super) fn write(&self, pieces: &[IoSlice<'_>], offset: u64) -> io::Result<bool> {
        let write = |bytes: &[u8], at| self.file.write_all_at(bytes, at);
        match self.write_with(pieces, offset, write) {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                self.is_refused.store(true, Ordering::Relaxed);
                Ok(false)
            }
            other => other,
        }
    }

    /// The same, and durable. What is long is not written so.
    pub(super) fn write_durably(&self, pieces: &[IoSlice<'_>], offset: u64) -> io::Result<bool> {
        let len: usize = pieces.iter().map(|piece| piece.len()).sum();
        if len > DURABLE_BYTES_MAX || !self.writes_durably.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let has_before = self.shared.has_written_durably.load(Ordering::Relaxed);
        let write = |bytes: &[u8], at| self.write_synced(bytes, at);
        match self.write_with(pieces, offset, write) {
            Err(error) if !has_before && is_unknown(&error) => {
                log::info!("no write is durable by itself here, so each is synced: {error}");
                self.writes_durably.store(false, Ordering::Relaxed);
                Ok(false)
            }
            Ok(true) => {
                self.shared.has_written_durably.store(true, Ordering::Relaxed);
                Ok(true)
            }
            other => other,
        }
    }

    /// Writes all of `bytes`, each write durable when it returns.
    fn write_synced(&self, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
        while !bytes.is_empty() {
            let piece = [IoSlice::new(bytes)];
            match rustix::io::pwritev2(&self.file, &piece, offset, ReadWriteFlags::DSYNC) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    bytes = &bytes[written..];
                    offset += written as u64;
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Has the pieces written, from memory that suits the disk. False if they do not lie so that this is
    /// possible.
    fn write_with(
        &self,
        pieces: &[IoSlice<'_>],
        offset: u64,
        write: impl Fn(&[u8], u64) -> io::Result<()>,
    ) -> io::Result<bool> {
        let len: usize = pieces.iter().map(|piece| piece.len()).sum();
        let fits = len > 0
            && len.is_multiple_of(SECTOR_BYTES)
            && offset.is_multiple_of(SECTOR_BYTES as u64);
        if !fits || self.is_refused.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let mut buffer = self.shared.buffers.take(len)?;
        let written = write_through(buffer.piece(len, SECTOR_BYTES), pieces, offset, write);
        self.shared.buffers.give_back(buffer);
        written.map(|()| true)
    }
}

/// Whether the system may not know what it was asked for.
fn is_unknown(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::InvalidInput)
}

/// Copies the pieces to `area`, and has it written whenever it is full.
fn write_through(
    area: &mut [u8],
    pieces: &[IoSlice<'_>],
    mut offset: u64,
    write: impl Fn(&[u8], u64) -> io::Result<()>,
) -> io::Result<()> {
    let mut filled = 0;
    for piece in pieces {
        let mut rest: &[u8] = piece;
        while !rest.is_empty() {
            if filled == area.len() {
                write(area, offset)?;
                offset += filled as u64;
                filled = 0;
            }
            let (now, later) = rest.split_at(rest.len().min(area.len() - filled));
            area[filled..filled + now.len()].copy_from_slice(now);
            (filled, rest) = (filled + now.len(), later);
        }
    }
    write(&area[..filled], offset)
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

    #[test]
    fn short_writes_are_durable_by_themselves_where_that_is_known_to_work() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, vec![1; 64 << 10]).unwrap();
        let Some(file) = Uncached::open(&path, &Arc::default()) else {
            eprintln!("this file system keeps everything in its cache: nothing to see");
            return;
        };
        let bytes: Vec<u8> = (0..DURABLE_BYTES_MAX).map(|at| (at % 251) as u8).collect();
        let pieces: Vec<IoSlice<'_>> = bytes.chunks(777).map(IoSlice::new).collect();
        let system = rustix::fs::statfs(dir.path()).unwrap().f_type;
        let is_known = [61_267, 1_481_003_842].contains(&system);
        assert_eq!(file.write_durably(&pieces, 1024).unwrap(), is_known);
        let found = std::fs::read(&path).unwrap();
        if is_known {
            assert!(found[1024..][..bytes.len()] == bytes, "what was written");
        }
        assert!(found[..1024].iter().chain(&found[1024 + bytes.len()..]).all(|byte| *byte == 1));
        let longer = vec![7; DURABLE_BYTES_MAX + SECTOR_BYTES];
        assert!(!file.write_durably(&[IoSlice::new(&longer)], 1024).unwrap(), "too long");
        assert!(
            !file.write_durably(&[IoSlice::new(&longer[..512])], 100).unwrap(),
            "not at a border"
        );
        file.writes_durably.store(false, Ordering::Relaxed);
        assert!(!file.write_durably(&[IoSlice::new(&longer[..512])], 1024).unwrap(), "not known");
        assert!(std::fs::read(&path).unwrap() == found, "nothing was written");
    }
}
