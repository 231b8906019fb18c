//! The simulated disk's open files and its lock.

use std::io::{self, IoSlice};
use std::ops::Range;
use std::sync::Arc;

use oarlock_sync::Mutex;

use super::{Disk, Fault, SECTOR, Unmade, write_sector};
use crate::SnapshotBytes;
use crate::fs::{FsFile, LockGuard};

/// What is no longer may be written and made durable in one.
const DURABLE_BYTES_MAX: usize = 8 << 10;

/// The lock is not a file here: who owns it is of no interest to a disk.
pub(super) struct SimLock(pub(super) Arc<Mutex<Disk>>);

impl LockGuard for SimLock {
    fn describe(&self, _text: &str) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.0.lock().is_locked = false;
    }
}

/// An open file.
pub(super) struct SimFile {
    pub(super) disk: Arc<Mutex<Disk>>,
    pub(super) file: usize,
    pub(super) is_writable: bool,
}

impl FsFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.lock().files[self.file].current.len() as u64)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let mut disk = self.disk.lock();
        match &mut disk.reads_left {
            Some(0) => {
                disk.reads_left = None;
                disk.failed = true;
                return Err(io::Error::other("the disk cannot read it"));
            }
            Some(left) => *left -= 1,
            None => {}
        }
        let content = &disk.files[self.file].current;
        let start = offset as usize;
        let found = content.get(start..start + buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(found);
        Ok(())
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        assert!(self.is_writable, "opened to read");
        let mut disk = self.disk.lock();
        let fault = disk.change("write")?;
        let fits = disk.len_max(self.file).saturating_sub(offset as usize).min(bytes.len());
        let done = match fault {
            None => fits,
            Some(_) => disk.files[self.file].short_of(offset as usize, fits.min(bytes.len() / 2)),
        };
        let is_short = done < bytes.len();
        let bytes = &bytes[..done];
        let inode = &mut disk.files[self.file];
        let (start, end) = (offset as usize, offset as usize + done);
        if inode.current.len() < end {
            inode.current.resize(end, 0);
        }
        inode.current[start..end].copy_from_slice(bytes);
        inode.dirty.extend(start / SECTOR..end.div_ceil(SECTOR));
        if is_short { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn write_pieces_at(&self, pieces: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        let pieces: Vec<&[u8]> = pieces.iter().map(|piece| &**piece).collect();
        self.write_all_at(&pieces.concat(), offset)
    }

    /// As two changes, so that a crash comes between them: the write, and what is durable then, which is
    /// this and nothing else.
    fn write_durably(&self, pieces: &[IoSlice<'_>], offset: u64) -> io::Result<bool> {
        let bytes = pieces.iter().map(|piece| &**piece).collect::<Vec<_>>().concat();
        if bytes.len() > DURABLE_BYTES_MAX {
            return Ok(false);
        }
        self.write_all_at(&bytes, offset)?;
        let (start, end) = (offset as usize, offset as usize + bytes.len());
        self.sync_sectors(start / SECTOR..end.div_ceil(SECTOR)).map(|()| true)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync_sectors(0..usize::MAX)
    }

    fn cut(&self, len: u64) -> io::Result<()> {
        assert!(self.is_writable, "opened to read");
        self.sync_data()?;
        let mut disk = self.disk.lock();
        disk.change("cut")?;
        let inode = &mut disk.files[self.file];
        inode.current.truncate(len as usize);
        inode.durable.truncate(len as usize);
        inode.dirty.split_off(&(len as usize).div_ceil(SECTOR));
        Ok(())
    }

    fn set_read_only(&self) -> io::Result<()> {
        Ok(())
    }

    fn map(&self, offset: u64, len: usize) -> io::Result<Arc<dyn SnapshotBytes>> {
        let mut content = vec![0; len];
        self.read_exact_at(&mut content, offset)?;
        Ok(Arc::new(content))
    }
}

impl SimFile {
    /// Makes what was written to these durable.
    fn sync_sectors(&self, sectors: Range<usize>) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.syncs += 1;
        let fault = disk.change("sync")?;
        let unmade = disk.unmade;
        let inode = &mut disk.files[self.file];
        if let Some(Unmade::OfFiles(prefix)) = unmade
            && inode.made_as.starts_with(prefix)
        {
            return Ok(());
        }
        let dirty: Vec<usize> = inode.dirty.range(sectors).copied().collect();
        for sector in &dirty {
            inode.dirty.remove(sector);
        }
        if let Some(Fault::Error(kind)) = fault {
            return Err(kind.into());
        }
        for sector in dirty {
            write_sector(&mut inode.durable, &inode.current, sector);
        }
        Ok(())
    }
}
