//! Putting a batch together: header, entries, padding, trailer, without a second copy of what is long.

use std::io::IoSlice;
use std::iter;

use super::SECTOR_BYTES;
use super::batch::{BATCH_HEADER_BYTES, BatchHeader, TRAILER_BYTES, extent, trailer, zero_sectors};
use super::block::put_u64;
use super::sector_sums::SectorSums;
use crate::Entry;

/// Data of this many bytes is written from where it is; what is shorter costs less to copy.
const LOOSE_BYTES_MIN: usize = 1024;
/// No more than this many pieces of a batch lie elsewhere: with what stands between them, one call
/// of the system takes them all (1024 on Linux).
const LOOSE_COUNT_MAX: usize = 500;

/// What stands before the data of each entry: term (8), length (4), tag (1).
const ENTRY_FRAME_BYTES: usize = 13;

/// A batch being put together, and then its bytes.
///
/// Invariant: `own`, with each of `loose` put in at its place, is the batch from its first byte on.
#[derive(Debug, Default)]
pub(crate) struct BatchWriter<'a> {
    /// The header, what stands before each entry, short data, padding and trailer.
    own: Vec<u8>,
    /// Data that stays where it is, behind as many bytes of `own` as the number says.
    loose: Vec<(usize, &'a [u8])>,
    loose_bytes: usize,
}

impl<'a> BatchWriter<'a> {
    /// An empty batch. `buffer` is memory to use again; what is in it is lost.
    pub(crate) fn new(mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        // Room for the header, to be filled at the end.
        buffer.resize(BATCH_HEADER_BYTES, 0);
        Self { own: buffer, loose: Vec::new(), loose_bytes: 0 }
    }

    /// Appends an entry: term (8), length (4), tag (1), data. Its index follows from its position.
    pub(crate) fn push(&mut self, entry: &'a Entry) {
        let data: &[u8] = &entry.data;
        let len = u32::try_from(data.len()).expect("an entry is smaller than 4 GiB");
        self.own.extend_from_slice(&entry.id.term.to_le_bytes());
        self.own.extend_from_slice(&len.to_le_bytes());
        self.own.push(entry.tag);
        if data.len() < LOOSE_BYTES_MIN || self.loose.len() == LOOSE_COUNT_MAX {
            self.own.extend_from_slice(data);
        } else {
            self.loose.push((self.own.len(), data));
            self.loose_bytes += data.len();
        }
    }

    /// How many bytes of entries there are.
    fn payload_bytes(&self) -> usize {
        self.own.len() + self.loose_bytes - BATCH_HEADER_BYTES
    }

    /// How many bytes the batch takes in its segment.
    pub(crate) fn extent(&self) -> usize {
        extent(self.payload_bytes())
    }

    /// Completes the batch, which is to stand on zeros: padding, trailer, and the header, which gets its
    /// lengths and CRCs here. Returns the new chain value.
    pub(crate) fn stamp(&mut self, mut header: BatchHeader) -> u32 {
        self.complete_body(&mut header);
        // The CRC field of the header is not there yet, but a magic and an end are: not zero.
        self.own[0] = 1;
        header.unchanged_sectors = zero_sectors(self.runs());
        header.encode(&mut self.own)
    }

    /// The same of a batch that is to stand at `at`, on sectors with these sums, which become its own.
    pub(crate) fn stamp_over(
        &mut self,
        mut header: BatchHeader,
        sums: &mut SectorSums,
        at: u64,
    ) -> u32 {
        self.complete_body(&mut header);
        // The first sector is not complete, and will hold a salt that was never there before: it is
        // none of the unchanged.
        let second_at = at + SECTOR_BYTES as u64;
        header.unchanged_sectors =
            sums.replace(second_at, usize::MAX, self.runs_from(SECTOR_BYTES));
        let chain = header.encode(&mut self.own);
        sums.replace(at, 1, self.runs());
        chain
    }

    /// Everything but the header: padding and trailer; and in `header`, the payload's length and CRC.
    fn complete_body(&mut self, header: &mut BatchHeader) {
        let payload_bytes = self.payload_bytes();
        header.payload_bytes = u32::try_from(payload_bytes).expect("a batch is smaller than 4 GiB");
        self.own.resize(header.extent() - self.loose_bytes, 0);
        header.payload_crc = self.payload_crc();
        let trailer_at = self.own.len() - TRAILER_BYTES;
        put_u64(&mut self.own, trailer_at, trailer(header.salt, header.number));
    }

    /// Of everything between header and trailer.
    fn payload_crc(&self) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        let mut left = self.payload_and_padding();
        for run in self.runs_from(BATCH_HEADER_BYTES) {
            let run = &run[..run.len().min(left)];
            left -= run.len();
            hasher.update(run);
        }
        hasher.finalize()
    }

    fn payload_and_padding(&self) -> usize {
        self.own.len() + self.loose_bytes - BATCH_HEADER_BYTES - TRAILER_BYTES
    }

    /// The batch's bytes, run by run.
    fn runs(&self) -> impl Iterator<Item = &[u8]> {
        let begins = iter::once(0).chain(self.loose.iter().map(|(at, _)| *at));
        let ends = self.loose.iter().map(|(at, _)| *at).chain([self.own.len()]);
        let loose = self.loose.iter().map(|(_, data)| *data).chain([&[][..]]);
        begins.zip(ends).zip(loose).flat_map(|((begin, end), data)| [&self.own[begin..end], data])
    }

    /// The same, without the first `skip` bytes.
    fn runs_from(&self, mut skip: usize) -> impl Iterator<Item = &[u8]> {
        self.runs().map(move |run| {
            let skipped = skip.min(run.len());
            skip -= skipped;
            &run[skipped..]
        })
    }

    /// The bytes, to be written.
    pub(crate) fn slices(&self) -> Vec<IoSlice<'_>> {
        self.runs().filter(|run| !run.is_empty()).map(IoSlice::new).collect()
    }

    /// The memory, to be used again.
    pub(crate) fn into_buffer(self) -> Vec<u8> {
        self.own
    }

    /// The bytes in one piece.
    #[cfg(test)]
    pub(crate) fn to_vec(&self) -> Vec<u8> {
        self.runs().flatten().copied().collect()
    }
}

/// How many bytes a batch of `entries` takes in its segment.
pub(crate) fn extent_of(entries: &[Entry]) -> usize {
    extent(entries.iter().map(|entry| ENTRY_FRAME_BYTES + entry.data.len()).sum())
}

/// The frame that ends a segment: one sector. `number` is the first batch of the next segment.
pub(crate) fn seal_frame(salt: u64, number: u64, previous_chain: u32) -> Vec<u8> {
    let mut frame = BatchWriter::new(Vec::with_capacity(SECTOR_BYTES));
    let header = BatchHeader { salt, number, previous_chain, is_seal: true, ..Default::default() };
    frame.stamp(header);
    frame.into_buffer()
}
