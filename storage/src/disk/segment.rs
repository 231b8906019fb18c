//! One segment file being written.

use std::io::IoSlice;

use super::files::{File, Files};
use super::format::{
    BatchHeader, BatchWriter, HEAD_BYTES, Identity, SECTOR_BYTES, SectorSums, SegmentHead,
    seal_frame,
};
use crate::StorageError;
use crate::fs::OpenMode;

/// How much is zeroed with one write.
const ZERO_BYTES: usize = 256 * 1024;
/// How much is zeroed with one sync, when that is done beside other work: what the log's own syncs
/// may have to wait for.
const ZERO_SYNC_BYTES: u64 = 1 << 20;

/// The name of segment `number`.
pub(crate) fn name(number: u64) -> String {
    format!("wal-{number:020}.log")
}

/// The number in a segment's name.
pub(crate) fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("wal-")?.strip_suffix(".log")?;
    if digits.len() != 20 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

/// Makes a file of `file_bytes` zeros and syncs it: a segment without a head.
///
/// Writing zeros, instead of asking the file system to reserve room, is what makes the sync of a
/// later append a plain data write.
pub(crate) fn zero_filled(
    files: &Files,
    name: &str,
    file_bytes: u64,
) -> Result<File, StorageError> {
    let file = files.open(name, OpenMode::CreateLog)?;
    zero(&file, 0, file_bytes)?;
    file.sync()?;
    Ok(file)
}

/// A segment without a head in the making, beside other work: filled in steps small enough that
/// others get at the disk between them.
pub(crate) struct Filling {
    name: String,
    file: File,
    file_bytes: u64,
    /// Up to here it is filled.
    at: u64,
}

impl Filling {
    /// Makes the file, empty.
    pub(crate) fn begin(
        files: &Files,
        name: String,
        file_bytes: u64,
    ) -> Result<Self, StorageError> {
        let file = files.open(&name, OpenMode::CreateLog)?;
        Ok(Self { name, file, file_bytes, at: 0 })
    }

    /// Writes the next piece; the step may be made again if it fails.
    pub(crate) fn write_step(&mut self) -> Result<(), StorageError> {
        let to = self.file_bytes.min(self.at + ZERO_SYNC_BYTES);
        zero(&self.file, self.at, to)?;
        self.at = to;
        Ok(())
    }

    /// Makes what was written durable.
    pub(crate) fn sync(&self) -> Result<(), StorageError> {
        self.file.sync()
    }

    /// Whether everything is written.
    pub(crate) fn is_full(&self) -> bool {
        self.at == self.file_bytes
    }

    /// The file's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What was made.
    pub(crate) fn finish(self) -> Blank {
        assert!(self.is_full(), "a spare is as long as a segment");
        Blank { name: self.name, file: self.file, file_bytes: self.file_bytes, sums: None }
    }
}

/// A file to make a segment of, durable as it is.
pub(crate) struct Blank {
    pub(crate) name: String,
    pub(crate) file: File,
    pub(crate) file_bytes: u64,
    /// What its sectors hold; `None` if they are zeros.
    pub(crate) sums: Option<SectorSums>,
}

impl Blank {
    /// Takes a file that held another segment, and holds what `sums` says.
    pub(crate) fn used(
        files: &Files,
        name: String,
        file_bytes: u64,
        sums: SectorSums,
    ) -> Result<Self, StorageError> {
        let file = files.open(&name, OpenMode::WriteLog)?;
        Ok(Self { name, file, file_bytes, sums: Some(sums) })
    }
}

/// Writes zeros, without a sync.
pub(crate) fn zero(file: &File, from: u64, to: u64) -> Result<(), StorageError> {
    let zeros = vec![0; ZERO_BYTES.min((to - from) as usize)];
    let mut at = from;
    while at < to {
        let len = (to - at).min(zeros.len() as u64);
        file.write_at(&zeros[..len as usize], at)?;
        at += len;
    }
    Ok(())
}

/// The segment that takes the next batch.
pub(crate) struct Segment {
    file: File,
    pub(crate) number: u64,
    pub(crate) identity: Identity,
    salt: u64,
    chain: u32,
    file_bytes: u64,
    at: u64,
    next_batch: u64,
    /// What all its sectors hold, if that is known: then its file can be used again.
    sums: Option<SectorSums>,
}

impl Segment {
    /// The segment with `head` in `file`, which has been read up to `at` and `next_batch`.
    pub(crate) fn new(
        file: File,
        head: &SegmentHead,
        (at, next_batch, chain): (u64, u64, u32),
    ) -> Self {
        Self {
            file,
            number: head.number,
            identity: head.identity,
            salt: head.salt,
            chain,
            file_bytes: head.file_bytes,
            at,
            next_batch,
            sums: None,
        }
    }

    /// Makes a segment of `blank`: gives it its head and its name, durably. Only the head is in it,
    /// and the sums of what it stands on.
    pub(crate) fn make(
        files: &Files,
        blank: Blank,
        mut head: SegmentHead,
    ) -> Result<Self, StorageError> {
        let Blank { name: aside, file, file_bytes, sums } = blank;
        let mut begin = vec![0; HEAD_BYTES];
        head.sums_crc = sums.as_ref().map(|sums| {
            let (bytes, crc) = sums.encode();
            begin.extend_from_slice(&bytes);
            crc
        });
        begin[..HEAD_BYTES].copy_from_slice(&head.encode());
        let file = publish(files, &aside, file, &begin, head.number)?;
        let end = (head.batches_at(), head.first_batch, head.previous_chain);
        let sums = sums.unwrap_or_else(|| SectorSums::of_zeros(file_bytes));
        Ok(Self { sums: Some(sums), ..Self::new(file, &head, end) })
    }

    /// What its sectors hold, if that is known. Nothing is written any more.
    pub(crate) fn into_sums(self) -> Option<SectorSums> {
        self.sums
    }

    /// How long its file is.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// The number of the next batch.
    pub(crate) fn next_batch(&self) -> u64 {
        self.next_batch
    }

    /// The chain value at the end.
    pub(crate) fn chain(&self) -> u32 {
        self.chain
    }

    /// Whether a batch of `len` bytes fits, and the seal behind it.
    pub(crate) fn has_room(&self, len: usize) -> bool {
        self.at + len as u64 + SECTOR_BYTES as u64 <= self.file_bytes
    }

    /// Whether more than half of the segment is used.
    pub(crate) fn is_half_full(&self) -> bool {
        self.at * 2 > self.file_bytes
    }

    /// Whether a batch of `len` bytes would leave less than an eighth of the segment.
    pub(crate) fn would_be_nearly_full(&self, len: usize) -> bool {
        self.file_bytes.saturating_sub(self.at + len as u64) < self.file_bytes / 8
    }

    /// Completes the batch and makes it durable: one write, one sync.
    pub(crate) fn append(
        &mut self,
        header: BatchHeader,
        batch: &mut BatchWriter<'_>,
    ) -> Result<(), StorageError> {
        let len = batch.extent();
        assert!(self.has_room(len), "the writer rotates before a batch that does not fit");
        let previous_chain = self.chain;
        let number = self.next_batch;
        let header = BatchHeader { salt: self.salt, number, previous_chain, ..header };
        let chain = match &mut self.sums {
            Some(sums) => batch.stamp_over(header, sums, self.at),
            None => batch.stamp(header),
        };
        self.file.write_synced(&mut batch.slices(), self.at)?;
        self.at += len as u64;
        self.next_batch += 1;
        self.chain = chain;
        Ok(())
    }

    /// Writes the seal, durably: from now on the next segment must exist.
    pub(crate) fn seal(&mut self) -> Result<(), StorageError> {
        let frame = seal_frame(self.salt, self.next_batch, self.chain);
        self.file.write_synced(&mut [IoSlice::new(&frame)], self.at)?;
        if let Some(sums) = &mut self.sums {
            sums.replace(self.at, 1, [&frame[..]]);
        }
        Ok(())
    }
}

/// Writes the beginning of a segment to `file`, now called `aside`, and gives it its name, durably.
pub(crate) fn publish(
    files: &Files,
    aside: &str,
    file: File,
    begin: &[u8],
    number: u64,
) -> Result<File, StorageError> {
    file.write_at(begin, 0)?;
    file.sync()?;
    let name = name(number);
    files.rename(aside, &name)?;
    files.sync_dir()?;
    Ok(file.renamed(files, &name))
}
