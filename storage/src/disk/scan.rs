//! Walking the bytes of one segment: what is a batch, where they end, and whether what stands there
//! is the mark of a crash or of damage. Pure: bytes in, verdict out.
//!
//! The argument rests on four habits of the writer: a segment is zeros before anything is written
//! to it; one batch is in flight at a time, and the next one is written only after it is synced;
//! every batch has sectors of its own; and a header says how many of its sectors are zero by right.
//! So a crash can only leave parts of the *last* batch at zero: any of its sectors, or everything
//! behind some byte. Everything else is damage.
//!
//! A segment that stands on the bytes of an earlier one has the checksum of each of its sectors as it
//! was before. Sectors that still have it are shown to the judge here as zeros, and the same argument
//! holds; but for writes that end within a sector, which are not allowed for there.

use super::format::{
    BatchHeader, SECTOR_BYTES, SegmentHead, has_no_end, is_header_cut_short, is_zero, lacks_sectors,
};

/// What stands behind the last batch of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The seal: the segment ends here, and another one follows.
    Seal,
    /// Zeros to the end of the file.
    Nothing,
    /// A write that a crash cut short: parts of it are still zero, and nothing follows it.
    Torn,
}

/// What no crash can have left.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Defect {
    /// Where, in bytes from the start of the file.
    pub(crate) offset: usize,
    pub(crate) what: String,
    /// The batch in doubt, if it is the last thing in the segment: everything before it is good, and
    /// whoever knows its content may write it again.
    pub(crate) last_batch: Option<u64>,
}

/// A position in a segment. Its bytes are the caller's.
pub(crate) struct Scan {
    salt: u64,
    /// The file was full of zeros before.
    is_on_zeros: bool,
    at: usize,
    number: u64,
    chain: u32,
}

impl Scan {
    /// Begins behind the head of a segment.
    pub(crate) fn new(head: &SegmentHead) -> Self {
        Self {
            salt: head.salt,
            is_on_zeros: head.sums_crc.is_none(),
            at: usize::try_from(head.batches_at()).expect("a segment fits in memory"),
            number: head.first_batch,
            chain: head.previous_chain,
        }
    }

    /// Goes on at `at`, behind something that is wrong, where `header` is the next that is good.
    pub(crate) fn skip_to(&mut self, at: usize, header: &BatchHeader) {
        assert!(at > self.at && header.number >= self.number, "a later batch is further on");
        (self.at, self.number, self.chain) = (at, header.number, header.previous_chain);
    }

    /// The first batch or seal of this file in `rest`, which begins at the position, behind the one
    /// that belongs here; and where in the file it is.
    pub(crate) fn later(&self, rest: &[u8]) -> Option<(usize, BatchHeader)> {
        let headers = rest.chunks(SECTOR_BYTES).enumerate().skip(1);
        let is_later =
            |header: &BatchHeader| header.salt == self.salt && header.number >= self.number;
        headers
            .filter_map(|(nth, sector)| Some((nth, BatchHeader::decode(sector)?.0)))
            .find(|(_, header)| is_later(header))
            .map(|(nth, header)| (self.at + SECTOR_BYTES * nth, header))
    }

    /// Where the next batch begins, in bytes from the start of the file.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// The number the next batch must have.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// The chain value so far.
    pub(crate) fn chain(&self) -> u32 {
        self.chain
    }

    /// The next batch and its header, if it is good and `rest`, which begins at the position, has all
    /// of it; steps over it then.
    pub(crate) fn batch<'a>(&mut self, rest: &'a [u8]) -> Option<(BatchHeader, &'a [u8])> {
        let (header, chain) = BatchHeader::decode(rest)?;
        if header.is_seal || self.check_order(&header).is_err() {
            return None;
        }
        let batch = rest.get(..header.extent()).filter(|batch| header.body_is_good(batch))?;
        self.at += batch.len();
        self.number += 1;
        self.chain = chain;
        Some((header, batch))
    }

    /// What stands at the position, where [`batch`](Self::batch) found no good one. `rest` is
    /// everything from here to the end of the file, and is to have zeros for each sector that is as
    /// it was before ([`SectorSums::as_if_on_zeros`](super::format::SectorSums::as_if_on_zeros)).
    pub(crate) fn judge(&self, rest: &[u8]) -> Result<End, Defect> {
        if rest.len() < SECTOR_BYTES {
            return if is_zero(rest) { Ok(End::Nothing) } else { Err(self.defect("garbage")) };
        }
        let Some((header, _)) = BatchHeader::decode(rest) else {
            return self.without_header(rest);
        };
        self.check_order(&header)?;
        if header.is_seal {
            return self.seal(&header, rest);
        }
        let Some((batch, behind)) = rest.split_at_checked(header.extent()) else {
            return Err(self.defect(format!("{header} is longer than the file")));
        };
        let is_good = self.is_on_zeros && header.body_is_good(batch);
        assert!(!is_good, "a good batch is not the end");
        if !is_zero(behind) {
            return Err(self.defect(format!("the body of {header} is wrong, and more follows")));
        }
        if self.is_cut_short(&header, batch) {
            return Ok(End::Torn);
        }
        let what = format!("the body of {header}, the last of the file, is wrong");
        Err(Defect { last_batch: Some(self.number), ..self.defect(what) })
    }

    /// Whether `batch`, with a good header and a bad body, was cut short.
    fn is_cut_short(&self, header: &BatchHeader, batch: &[u8]) -> bool {
        lacks_sectors(header, batch) || self.is_on_zeros && has_no_end(header, batch)
    }

    /// A header that is itself good must be the one expected here.
    fn check_order(&self, header: &BatchHeader) -> Result<(), Defect> {
        if header.salt != self.salt {
            return Err(self.defect(format!("{header} belongs to another file")));
        }
        if header.number != self.number
            || header.number == u64::MAX
            || header.previous_chain != self.chain
        {
            let expected = self.number;
            return Err(self.defect(format!("{header} stands where batch {expected} belongs")));
        }
        Ok(())
    }

    fn seal(&self, header: &BatchHeader, rest: &[u8]) -> Result<End, Defect> {
        let (frame, behind) = rest.split_at(SECTOR_BYTES);
        if !is_zero(behind) {
            return Err(self.defect("something follows the seal"));
        }
        if header.extent() == SECTOR_BYTES && header.body_is_good(frame) {
            return Ok(End::Seal);
        }
        if self.is_cut_short(header, frame) {
            Ok(End::Torn)
        } else {
            Err(self.defect("the seal is wrong"))
        }
    }

    /// No good header here: the end, a torn write that lacks its first sector, or damage.
    fn without_header(&self, rest: &[u8]) -> Result<End, Defect> {
        let number = self.number;
        let (first, behind) = rest.split_at(SECTOR_BYTES);
        // A later one proves that the current one was synced; the current one itself has no business
        // there. Nobody can know the salt and write such bytes into an entry, except by copying what
        // is in the file already; and those have lower numbers.
        if let Some((offset, _)) = self.later(rest) {
            let what = format!("batch {number} is unreadable, and a later one follows at {offset}");
            return Err(self.defect(what));
        }
        if is_zero(first) {
            return Ok(if is_zero(behind) { End::Nothing } else { End::Torn });
        }
        if self.is_on_zeros && is_zero(behind) && is_header_cut_short(first, self.salt, number) {
            return Ok(End::Torn);
        }
        // This sector was written, as far as the header goes, and then it was hurt.
        let what = format!("the header of batch {number}, the last of the file, is wrong");
        Err(Defect { last_batch: Some(number), ..self.defect(what) })
    }

    fn defect(&self, what: impl Into<String>) -> Defect {
        Defect { offset: self.at, what: what.into(), last_batch: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::format::{BatchWriter, HEAD_BYTES, Identity, StateCopy};

    fn head() -> SegmentHead {
        SegmentHead {
            identity: Identity { cluster_id: 0, node_id: 1 },
            number: 1,
            salt: 77,
            file_bytes: 8192,
            first_batch: 5,
            previous_chain: 6,
            born_batches: 0,
            sums_crc: None,
            state: StateCopy::default(),
        }
    }

    fn segment(headers: &[BatchHeader]) -> Vec<u8> {
        let mut bytes = vec![0; HEAD_BYTES];
        for header in headers {
            let mut batch = BatchWriter::new(Vec::new());
            batch.stamp(*header);
            bytes.extend_from_slice(&batch.to_vec());
        }
        bytes.resize(8192, 0);
        bytes
    }

    /// What stands at the beginning of a segment.
    fn judge(bytes: &[u8]) -> Result<End, Defect> {
        let mut scan = Scan::new(&head());
        assert_eq!(scan.batch(&bytes[HEAD_BYTES..]), None);
        scan.judge(&bytes[HEAD_BYTES..])
    }

    #[test]
    fn a_good_header_in_the_wrong_place_is_damage() {
        let good = BatchHeader { salt: 77, number: 5, previous_chain: 6, ..BatchHeader::default() };
        let bytes = segment(&[good]);
        let mut scan = Scan::new(&head());
        assert!(scan.batch(&bytes[HEAD_BYTES..HEAD_BYTES + 511]).is_none(), "not all of it");
        assert_eq!(scan.batch(&bytes[HEAD_BYTES..]).unwrap().0.number, 5);
        assert_eq!(scan.at(), HEAD_BYTES + SECTOR_BYTES);
        assert_eq!(scan.judge(&bytes[scan.at()..]), Ok(End::Nothing));
        for (wrong, what) in [
            (BatchHeader { salt: 78, ..good }, "another file"),
            (BatchHeader { number: 4, ..good }, "where batch 5 belongs"),
            (BatchHeader { number: 6, ..good }, "where batch 5 belongs"),
            (BatchHeader { previous_chain: 7, ..good }, "where batch 5 belongs"),
        ] {
            let bytes = segment(&[wrong]);
            let defect = judge(&bytes).unwrap_err();
            assert!(defect.what.contains(what), "{}", defect.what);
            assert_eq!((defect.offset, defect.last_batch), (HEAD_BYTES, None));
        }
    }

    #[test]
    fn only_the_expected_header_can_have_been_cut_short() {
        let good = BatchHeader { salt: 77, number: 5, previous_chain: 6, ..BatchHeader::default() };
        let whole = segment(&[good]);
        let cut = |at: usize| {
            let mut bytes = whole.clone();
            bytes[HEAD_BYTES + at..].fill(0);
            bytes
        };
        for at in [1, 4, 20, 100, 143] {
            assert_eq!(judge(&cut(at)), Ok(End::Torn), "cut at {at}");
            for wrong in [0, 9, 17] {
                let mut bytes = cut(at);
                bytes[HEAD_BYTES + wrong] ^= 0x10;
                let defect = judge(&bytes).unwrap_err();
                assert_eq!(defect.last_batch, Some(5), "cut at {at}, wrong at {wrong}");
            }
        }
    }

    #[test]
    fn a_batch_of_an_earlier_life_behind_the_end_proves_nothing() {
        // Its salt is another one: these are not this file's bytes, but they are no torn write.
        let bytes = segment(&[BatchHeader { salt: 78, number: 9, ..BatchHeader::default() }]);
        let mut shifted = vec![0; HEAD_BYTES + SECTOR_BYTES];
        shifted.extend_from_slice(&bytes[HEAD_BYTES..8192 - SECTOR_BYTES]);
        assert_eq!(judge(&shifted), Ok(End::Torn));
        let same_life = segment(&[BatchHeader { salt: 77, number: 9, ..BatchHeader::default() }]);
        shifted[HEAD_BYTES + SECTOR_BYTES..].copy_from_slice(&same_life[HEAD_BYTES..7680]);
        let defect = judge(&shifted).unwrap_err();
        assert!(defect.what.contains("a later one follows at 4608"), "{}", defect.what);
    }
}
