//! Comparing the content of a snapshot with its checksums, on two threads if it is long.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;

use super::files::File;
use super::format::{CHUNK_BYTES, HEAD_BYTES};
use crate::StorageError;

/// So many chunks, 256 KiB, are read with one call: few enough to stay in the processor's cache until
/// they are checked.
const PIECE_CHUNKS: usize = (256 << 10) / CHUNK_BYTES;

/// Content of so many bytes is read by two threads: one waits for the disk while the other adds up.
const THREADED_BYTES_MIN: u64 = 32 << 20;

/// Reads the content once, piece by piece, through `read`: so a disk that cannot read it says so
/// here, as an error. The inner one is where the content is wrong. `tell` is given the bytes that are
/// read, again and again.
pub(crate) fn verify_content(
    file: &File,
    content_bytes: u64,
    crcs: &[u8],
    mut tell: impl FnMut(u64),
) -> Result<Result<(), u64>, StorageError> {
    assert_eq!(
        crcs.len() as u64 / 4,
        content_bytes.div_ceil(CHUNK_BYTES as u64),
        "the table's length follows from the content's"
    );
    let work = Work {
        file,
        content_bytes,
        crcs,
        next: AtomicUsize::new(0),
        done_bytes: AtomicU64::new(0),
        has_failed: AtomicBool::new(false),
    };
    if content_bytes < THREADED_BYTES_MIN {
        return verdict(work.run(&mut tell).into_iter());
    }
    thread::scope(|scope| {
        let builder = thread::Builder::new().name("oarlock-open".to_owned());
        // Without it, this one does everything.
        let other = builder.spawn_scoped(scope, || work.run(|_| {})).ok();
        let here = work.run(&mut tell);
        // One that panicked ends the scope with its panic.
        let there = other.and_then(|other| {
            other.join().unwrap_or_else(|panic| {
                std::panic::resume_unwind(panic);
            })
        });
        verdict(here.into_iter().chain(there))
    })
}

/// Where it could not be read, or is wrong.
struct Found {
    at: u64,
    error: Option<StorageError>,
}

/// What was found first in the file: whatever is in front of it was looked at.
fn verdict(found: impl Iterator<Item = Found>) -> Result<Result<(), u64>, StorageError> {
    match found.min_by_key(|found| found.at) {
        None => Ok(Ok(())),
        Some(Found { at, error: None }) => Ok(Err(at)),
        Some(Found { error: Some(error), .. }) => Err(error),
    }
}

/// What is to be verified, for whoever takes the next piece.
struct Work<'a> {
    file: &'a File,
    content_bytes: u64,
    /// Four bytes for each chunk.
    crcs: &'a [u8],
    /// The first chunk of the next piece.
    next: AtomicUsize,
    done_bytes: AtomicU64,
    /// No further piece need be looked at.
    has_failed: AtomicBool,
}

impl Work<'_> {
    /// Verifies pieces until there are no more, or something is wrong.
    fn run(&self, mut tell: impl FnMut(u64)) -> Option<Found> {
        let longest = self.content_bytes.min((PIECE_CHUNKS * CHUNK_BYTES) as u64);
        let mut buffer = vec![0; usize::try_from(longest).expect("a piece at most")];
        while !self.has_failed.load(Ordering::Relaxed) {
            let chunk = self.next.fetch_add(PIECE_CHUNKS, Ordering::Relaxed);
            let begin = chunk as u64 * CHUNK_BYTES as u64;
            if begin >= self.content_bytes {
                return None;
            }
            let len = (self.content_bytes - begin).min(longest);
            let piece = &mut buffer[..usize::try_from(len).expect("a piece at most")];
            let found = self.verify(piece, begin, &self.crcs[chunk * 4..]);
            if found.is_some() {
                self.has_failed.store(true, Ordering::Relaxed);
                return found;
            }
            tell(self.done_bytes.fetch_add(len, Ordering::Relaxed) + len);
        }
        None
    }

    fn verify(&self, piece: &mut [u8], begin: u64, crcs: &[u8]) -> Option<Found> {
        let mut at = HEAD_BYTES as u64 + begin;
        if let Err(error) = self.file.read_into(piece, at) {
            return Some(Found { at, error: Some(error) });
        }
        for (chunk, crc) in piece.chunks(CHUNK_BYTES).zip(crcs.chunks_exact(4)) {
            if crc32fast::hash(chunk).to_le_bytes() != crc {
                return Some(Found { at, error: None });
            }
            at += chunk.len() as u64;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::disk::files::Files;
    use crate::fs::{OpenMode, RealFs};

    /// Of so many bytes of content; two of them are wrong, or the file is too short.
    #[test]
    fn what_is_wrong_first_is_found_on_one_thread_and_on_two() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(Arc::new(RealFs::default()), dir.path());
        for len in [3 * CHUNK_BYTES + 7, THREADED_BYTES_MIN as usize + (5 << 20) + 7] {
            let mut content: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
            let crcs: Vec<u8> = content
                .chunks(CHUNK_BYTES)
                .flat_map(|chunk| crc32fast::hash(chunk).to_le_bytes())
                .collect();
            let file = files.open("f", OpenMode::Create).unwrap();
            let head = HEAD_BYTES as u64;
            file.write_at(&content, head).unwrap();
            let mut told = 0;
            let tell = |done: u64| told = told.max(done);
            verify_content(&file, len as u64, &crcs, tell).unwrap().unwrap();
            assert!(told > 0 && told <= len as u64, "{told} of {len} bytes are read");
            for wrong in [len - 1, len / 2] {
                content[wrong] ^= 1;
                file.write_at(&content, head).unwrap();
                let found = verify_content(&file, len as u64, &crcs, |_| {}).unwrap();
                let chunk = wrong / CHUNK_BYTES * CHUNK_BYTES;
                assert_eq!(found, Err(head + chunk as u64));
            }
            let file = files.open("f", OpenMode::Create).unwrap();
            file.write_at(&content[..len - 1], head).unwrap();
            let sound = verify_content(&file, len as u64, &crcs, |_| {});
            assert!(sound.is_err() || sound.unwrap().is_err(), "it is too short");
        }
    }
}
