//! Walking the bytes of one segment: what is a batch, where they end, and whether what stands there
//! is the mark of a crash or of damage. Pure: bytes in, verdict out.
//!
//! The argument rests on four habits of the writer: a segment is zeros before anything is written
//! to it; one batch is in flight at a time, and the next one is written only after it is synced;
//! every batch has sectors of its own; and a header says how many of its sectors are zero by right.
//! So a crash can only leave parts of the *last* batch at zero: any of its sectors, or everything
//! behind some byte. Everything else is damage.

use super::format::{
    BatchHeader, HEAD_BYTES, SECTOR_BYTES, SegmentHead, extent, is_cut_short, is_header_cut_short,
    is_zero,
};

/// What stands at the next position.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    /// A good batch: its header and all its bytes.
    Batch(BatchHeader, &'a [u8]),
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

/// A position in a segment.
pub(crate) struct Scan<'a> {
    bytes: &'a [u8],
    salt: u64,
    at: usize,
    number: u64,
    chain: u32,
}

impl<'a> Scan<'a> {
    /// Begins behind the head of the segment whose bytes are `bytes`.
    pub(crate) fn new(bytes: &'a [u8], head: &SegmentHead) -> Self {
        Self {
            bytes,
            salt: head.salt,
            at: HEAD_BYTES,
            number: head.first_batch,
            chain: head.previous_chain,
        }
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

    /// Looks at the next position, and steps over it if it is a batch.
    pub(crate) fn advance(&mut self) -> Result<Found<'a>, Defect> {
        let rest = &self.bytes[self.at.min(self.bytes.len())..];
        if rest.len() < SECTOR_BYTES {
            return if is_zero(rest) { Ok(Found::Nothing) } else { Err(self.defect("garbage")) };
        }
        let Some((header, chain)) = BatchHeader::decode(rest) else {
            return self.without_header(rest);
        };
        self.check_order(&header)?;
        if header.is_seal {
            return self.seal(&header, rest);
        }
        let Some((batch, behind)) = rest.split_at_checked(header.extent()) else {
            return Err(self.defect(format!("{header} is longer than the file")));
        };
        if header.body_is_good(batch) {
            self.at += batch.len();
            self.number += 1;
            self.chain = chain;
            return Ok(Found::Batch(header, batch));
        }
        if !is_zero(behind) {
            return Err(self.defect(format!("the body of {header} is wrong, and more follows")));
        }
        if is_cut_short(&header, batch) {
            return Ok(Found::Torn);
        }
        let what = format!("the body of {header}, the last of the file, is wrong");
        Err(Defect { last_batch: Some(self.number), ..self.defect(what) })
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

    fn seal(&self, header: &BatchHeader, rest: &'a [u8]) -> Result<Found<'a>, Defect> {
        let (frame, behind) = rest.split_at(SECTOR_BYTES);
        if !is_zero(behind) {
            return Err(self.defect("something follows the seal"));
        }
        if header.extent() == SECTOR_BYTES && header.body_is_good(frame) {
            return Ok(Found::Seal);
        }
        if is_cut_short(header, frame) {
            Ok(Found::Torn)
        } else {
            Err(self.defect("the seal is wrong"))
        }
    }

    /// No good header here: the end, a torn write that lacks its first sector, or damage.
    fn without_header(&self, rest: &[u8]) -> Result<Found<'a>, Defect> {
        let number = self.number;
        let (first, behind) = rest.split_at(SECTOR_BYTES);
        if let Some(offset) = self.later_header(behind) {
            let what = format!("batch {number} is unreadable, and a later one follows at {offset}");
            return Err(self.defect(what));
        }
        if is_zero(first) {
            return Ok(if is_zero(behind) { Found::Nothing } else { Found::Torn });
        }
        if is_zero(behind) && is_header_cut_short(first, self.salt, number) {
            return Ok(Found::Torn);
        }
        // This sector was written, as far as the header goes, and then it was hurt.
        let what = format!("the header of batch {number}, the last of the file, is wrong");
        Err(Defect { last_batch: Some(number), ..self.defect(what) })
    }

    /// Where behind the current position a batch or seal of this file begins. A later one proves
    /// that the current one was synced; the current one itself has no business there.
    ///
    /// Nobody can know the salt and write such bytes into an entry, except by copying what is in
    /// the file already; and those have lower numbers.
    fn later_header(&self, behind: &[u8]) -> Option<usize> {
        let is_later = |sector: &[u8]| {
            BatchHeader::decode(sector)
                .is_some_and(|(header, _)| header.salt == self.salt && header.number >= self.number)
        };
        let position = behind.chunks(SECTOR_BYTES).position(is_later)?;
        Some(self.at + SECTOR_BYTES * (position + 1))
    }

    fn defect(&self, what: impl Into<String>) -> Defect {
        Defect { offset: self.at, what: what.into(), last_batch: None }
    }
}

/// How many bytes the entries of a good batch take.
pub(crate) fn payload<'a>(header: &BatchHeader, batch: &'a [u8]) -> &'a [u8] {
    assert_eq!(batch.len(), extent(header.payload_bytes as usize), "the scan cut it out");
    let at = super::format::BATCH_HEADER_BYTES;
    &batch[at..at + header.payload_bytes as usize]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::format::{Identity, StateCopy, begin_batch, stamp};

    fn head() -> SegmentHead {
        SegmentHead {
            identity: Identity { cluster_id: 0, node_id: 1 },
            number: 1,
            salt: 77,
            file_bytes: 8192,
            first_batch: 5,
            previous_chain: 6,
            born_batches: 0,
            state: StateCopy::default(),
        }
    }

    fn segment(headers: &[BatchHeader]) -> Vec<u8> {
        let mut bytes = vec![0; HEAD_BYTES];
        let mut batch = Vec::new();
        for header in headers {
            begin_batch(&mut batch);
            stamp(*header, &mut batch);
            bytes.extend_from_slice(&batch);
        }
        bytes.resize(8192, 0);
        bytes
    }

    #[test]
    fn a_good_header_in_the_wrong_place_is_damage() {
        let good = BatchHeader { salt: 77, number: 5, previous_chain: 6, ..BatchHeader::default() };
        let bytes = segment(&[good]);
        let mut scan = Scan::new(&bytes, &head());
        assert!(matches!(scan.advance(), Ok(Found::Batch(header, _)) if header.number == 5));
        assert_eq!(scan.advance(), Ok(Found::Nothing));
        for (wrong, what) in [
            (BatchHeader { salt: 78, ..good }, "another file"),
            (BatchHeader { number: 4, ..good }, "where batch 5 belongs"),
            (BatchHeader { number: 6, ..good }, "where batch 5 belongs"),
            (BatchHeader { previous_chain: 7, ..good }, "where batch 5 belongs"),
        ] {
            let bytes = segment(&[wrong]);
            let defect = Scan::new(&bytes, &head()).advance().unwrap_err();
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
            assert_eq!(Scan::new(&cut(at), &head()).advance(), Ok(Found::Torn), "cut at {at}");
            for wrong in [0, 9, 17] {
                let mut bytes = cut(at);
                bytes[HEAD_BYTES + wrong] ^= 0x10;
                let defect = Scan::new(&bytes, &head()).advance().unwrap_err();
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
        assert_eq!(Scan::new(&shifted, &head()).advance(), Ok(Found::Torn));
        let same_life = segment(&[BatchHeader { salt: 77, number: 9, ..BatchHeader::default() }]);
        shifted[HEAD_BYTES + SECTOR_BYTES..].copy_from_slice(&same_life[HEAD_BYTES..7680]);
        let defect = Scan::new(&shifted, &head()).advance().unwrap_err();
        assert!(defect.what.contains("a later one follows at 4608"), "{}", defect.what);
    }
}
