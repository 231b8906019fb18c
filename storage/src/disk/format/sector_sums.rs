//! What each sector of a file holds, known by its checksum: how a sector that a write has not reached
//! is told from one that was hurt, in a segment that stands on the bytes of an earlier one.

use crc32fast::Hasher;

use super::SECTOR_BYTES;
use super::block::{get_u32, put_u32};

const SUM_BYTES: usize = 4;

/// The CRC of each sector of a file, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SectorSums(Vec<u32>);

/// How many bytes the sums of a file of `file_bytes` bytes take: whole sectors.
pub(crate) fn sums_bytes(file_bytes: u64) -> u64 {
    (file_bytes / SECTOR_BYTES as u64 * SUM_BYTES as u64).next_multiple_of(SECTOR_BYTES as u64)
}

impl SectorSums {
    /// Of a file of zeros.
    pub(crate) fn of_zeros(file_bytes: u64) -> Self {
        let sectors = usize::try_from(file_bytes).expect("a segment fits in memory") / SECTOR_BYTES;
        Self(vec![crc32fast::hash(&[0; SECTOR_BYTES]); sectors])
    }

    /// Takes up to `count_max` of the sectors that `runs` fill one after the other, the first of them
    /// at `at`, as what is there from now on. Returns how many were there before.
    pub(crate) fn replace<'a>(
        &mut self,
        at: u64,
        count_max: usize,
        runs: impl IntoIterator<Item = &'a [u8]>,
    ) -> u32 {
        let first = sector_of(at);
        let mut sums = self.0[first..].iter_mut().take(count_max);
        let (mut begun, mut missing, mut unchanged) = (Hasher::new(), SECTOR_BYTES, 0);
        for mut run in runs {
            while !run.is_empty() {
                let (now, later) = run.split_at(run.len().min(missing));
                begun.update(now);
                (missing, run) = (missing - now.len(), later);
                if missing == 0 {
                    let sum = std::mem::take(&mut begun).finalize();
                    let Some(known) = sums.next() else { return unchanged };
                    unchanged += u32::from(*known == sum);
                    (*known, missing) = (sum, SECTOR_BYTES);
                }
            }
        }
        unchanged
    }

    /// The sum of the sector at `at`.
    #[cfg(test)]
    pub(crate) fn at(&self, at: u64) -> u32 {
        self.0[sector_of(at)]
    }

    /// `bytes`, from `at` to the end of the file, as they would be if the file had been full of zeros
    /// before it was written to: a sector that is as it was before is zeros here, and one of zeros
    /// that was not is none.
    pub(crate) fn as_if_on_zeros(&self, at: usize, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        let sums = &self.0[sector_of(at as u64)..];
        for (sector, before) in bytes.chunks_mut(SECTOR_BYTES).zip(sums) {
            if crc32fast::hash(sector) == *before {
                sector.fill(0);
            } else if super::is_zero(sector) {
                sector.fill(0xff);
            }
        }
        bytes
    }

    /// The bytes they are kept as, and their CRC.
    pub(crate) fn encode(&self) -> (Vec<u8>, u32) {
        let mut bytes = vec![0; sums_bytes((self.0.len() * SECTOR_BYTES) as u64) as usize];
        for (nth, sum) in self.0.iter().enumerate() {
            put_u32(&mut bytes, nth * SUM_BYTES, *sum);
        }
        let crc = crc32fast::hash(&bytes);
        (bytes, crc)
    }

    /// What was kept as `bytes` of a file of `file_bytes` bytes; `None` if their CRC is not `crc`.
    pub(crate) fn decode(bytes: &[u8], file_bytes: u64, crc: u32) -> Option<Self> {
        assert_eq!(bytes.len() as u64, sums_bytes(file_bytes), "the caller reads all of them");
        if crc32fast::hash(bytes) != crc {
            return None;
        }
        let sectors = sector_of(file_bytes);
        Some(Self((0..sectors).map(|nth| get_u32(bytes, nth * SUM_BYTES)).collect()))
    }
}

fn sector_of(at: u64) -> usize {
    usize::try_from(at).expect("a segment fits in memory") / SECTOR_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE_BYTES: u64 = 8192;

    #[test]
    fn sums_come_back_as_they_were_and_damage_is_found() {
        let mut sums = SectorSums::of_zeros(FILE_BYTES);
        sums.replace(1024, usize::MAX, [&[7; 700][..], &[8; 836]]);
        let (mut bytes, crc) = sums.encode();
        assert_eq!(bytes.len(), 512, "whole sectors");
        assert_eq!(SectorSums::decode(&bytes, FILE_BYTES, crc), Some(sums));
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SectorSums::decode(&bytes, FILE_BYTES, crc), None, "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn runs_of_any_length_are_the_sectors_they_fill() {
        let bytes: Vec<u8> = (0..3072_usize).map(|at| (at % 251) as u8).collect();
        let mut whole = SectorSums::of_zeros(FILE_BYTES);
        assert_eq!(whole.replace(512, usize::MAX, [&bytes[..]]), 0);
        for len in [1, 100, 511, 512, 513, 1500] {
            let mut sums = SectorSums::of_zeros(FILE_BYTES);
            assert_eq!(sums.replace(512, usize::MAX, bytes.chunks(len)), 0, "runs of {len}");
            assert_eq!(sums, whole, "runs of {len}");
            assert_eq!(sums.replace(512, 4, bytes.chunks(len)), 4, "they are there already");
        }
        let mut first = SectorSums::of_zeros(FILE_BYTES);
        first.replace(512, 1, bytes.chunks(100));
        assert_eq!(first.at(512), whole.at(512));
        assert_eq!(first.at(1024), SectorSums::of_zeros(FILE_BYTES).at(0), "only one");
    }

    #[test]
    fn what_is_as_before_looks_blank_and_new_zeros_do_not() {
        let mut sums = SectorSums::of_zeros(FILE_BYTES);
        sums.replace(4096, usize::MAX, [&[1; 512][..], &[2; 512], &[3; 512]]);
        let mut bytes = [[1; 512], [0; 512], [9; 512]].concat();
        bytes.resize(4096, 0);
        let found = sums.as_if_on_zeros(4096, &bytes);
        assert!(super::super::is_zero(&found[..512]), "as before");
        assert_eq!(found[512..1024], [0xff; 512], "zeros that were not there");
        assert_eq!(found[1024..1536], [9; 512], "something new");
        assert!(super::super::is_zero(&found[1536..]), "zeros as before");
    }
}
