//! Memory that a disk can take data from by itself: at a page's border, and for what is long, in a huge
//! page where the system has one.
//!
//! A disk is told where data lies page by page, unless the pages lie side by side: of a huge page it
//! is told once. Of the time of a write and its sync that spares a fifth with 64 KiB, and a third with
//! 256 KiB and more.
//!
//! A write lies behind the last one, where there is room for it. What a disk has just taken may be in
//! the caches of whoever took it, the host of a virtual machine say, and is then dear to write to at once.

use std::io;

use memmap2::{Advice, MmapMut};
use parking_lot::Mutex;

/// Where data begins.
const PAGE_BYTES: usize = 4 << 10;
/// What is no longer is written from a short buffer, and how long that is.
const SHORT_BYTES: usize = 8 << 10;
const SHORT_ROOM_BYTES: usize = 8 * SHORT_BYTES;
/// The size of a huge page, and where in memory it begins.
const HUGE_BYTES: usize = 2 << 20;
/// How much is written at once: what the processor's cache still holds when it has been copied. With
/// 2 MiB and more, two writes are a tenth faster than one.
const PIECE_BYTES: usize = 3 << 19;

/// A place to copy to what is to be written.
pub(super) struct WriteBuffer {
    memory: MmapMut,
    /// Where in it the part begins that data goes to, how long that is, and where in that the next
    /// data goes.
    begin: usize,
    room: usize,
    next: usize,
    /// How much data it takes at once.
    size: usize,
}

impl WriteBuffer {
    fn short() -> io::Result<Self> {
        let memory = MmapMut::map_anon(SHORT_ROOM_BYTES)?;
        Ok(Self { memory, begin: 0, room: SHORT_ROOM_BYTES, next: 0, size: SHORT_BYTES })
    }

    fn long() -> io::Result<Self> {
        // Twice as much, so that a whole huge page lies in it; what is never used is never there.
        let memory = MmapMut::map_anon(2 * HUGE_BYTES)?;
        if let Err(error) = memory.advise(Advice::HugePage) {
            log::debug!("no huge page to write logs from: {error}");
        }
        let begin = memory.as_ptr().align_offset(HUGE_BYTES);
        Ok(Self { memory, begin, room: HUGE_BYTES, next: 0, size: PIECE_BYTES })
    }

    /// Room for the pieces in which to write `len` bytes, which are whole sectors of `sector` bytes:
    /// as few as there can be, and as long as each other, since a short one takes nearly as long.
    pub(super) fn piece(&mut self, len: usize, sector: usize) -> &mut [u8] {
        let count = len.div_ceil(self.size);
        let size = len.div_ceil(count).next_multiple_of(sector);
        let at = if self.next + size <= self.room { self.next } else { 0 };
        self.next = (at + size).next_multiple_of(PAGE_BYTES);
        &mut self.memory[self.begin + at..][..size]
    }
}

/// So many buffers are kept: for the one thread that writes nearly everything, and for the one that
/// fills files with zeros meanwhile.
const KEPT_MAX: usize = 2;

/// The buffers of a file system.
#[derive(Default)]
pub(super) struct WriteBuffers {
    /// The shortest first.
    kept: Mutex<Vec<WriteBuffer>>,
}

impl WriteBuffers {
    /// A buffer for `len` bytes; if that is long, for a part of them.
    pub(super) fn take(&self, len: usize) -> io::Result<WriteBuffer> {
        let wanted = len.min(PIECE_BYTES);
        let mut kept = self.kept.lock();
        if let Some(at) = kept.iter().position(|kept| kept.size >= wanted) {
            return Ok(kept.remove(at));
        }
        drop(kept);
        if wanted <= SHORT_BYTES { WriteBuffer::short() } else { WriteBuffer::long() }
    }

    /// Keeps a buffer for the next write.
    pub(super) fn give_back(&self, buffer: WriteBuffer) {
        let mut kept = self.kept.lock();
        let at = kept.partition_point(|kept| kept.size < buffer.size);
        kept.insert(at, buffer);
        let surplus = (kept.len() > KEPT_MAX).then(|| kept.remove(0));
        drop(kept);
        // To give memory back may take a while.
        drop(surplus);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_begins_at_a_page_and_the_longest_are_kept() {
        let buffers = WriteBuffers::default();
        let (short, long) = (8 << 10, 3 << 19);
        for (len, size) in [(512, short), (8 << 10, short), (8704, long), (512, short)] {
            let mut buffer = buffers.take(len).unwrap();
            assert_eq!(buffer.size, size, "for {len}");
            assert!(buffer.piece(len, 512).as_ptr().addr().is_multiple_of(4096), "for {len}");
            buffers.give_back(buffer);
        }
        let [first, second, third] = [5 << 20, 5 << 20, 512].map(|len| buffers.take(len).unwrap());
        assert_eq!(third.size, short, "the one that was kept");
        let begins = [&first, &second].map(|buffer| buffer.memory.as_ptr());
        for buffer in [first, third, second] {
            buffers.give_back(buffer);
        }
        let [first, second, third] = [512, 512, 512].map(|len| buffers.take(len).unwrap());
        assert_eq!(
            [first.size, second.size, third.size],
            [long, long, short],
            "two long ones stay"
        );
        assert!([&first, &second].iter().all(|buffer| begins.contains(&buffer.memory.as_ptr())));
    }

    #[test]
    fn a_write_lies_behind_the_last_one_at_a_page_of_its_own() {
        let mut buffer = WriteBuffer::long().unwrap();
        let begin = buffer.memory.as_ptr().addr() + buffer.begin;
        assert!(begin.is_multiple_of(HUGE_BYTES));
        let places =
            [(512, 0), (4608, 4 << 10), (1 << 20, 12 << 10), (1 << 20, 0), (1 << 20, 1 << 20)];
        for (len, at) in places.into_iter().chain([(512, 0)]) {
            let piece = buffer.piece(len, 512);
            assert_eq!((piece.as_ptr().addr() - begin, piece.len()), (at, len));
        }
        let mut short = WriteBuffer::short().unwrap();
        let mut addr = |len| short.piece(len, 512).as_ptr().addr();
        let first = addr(512);
        let others =
            (1..8).all(|nth| addr(SHORT_BYTES) == first + PAGE_BYTES + (nth - 1) * SHORT_BYTES);
        assert!(others && addr(SHORT_BYTES) == first);
    }

    #[test]
    fn the_pieces_of_a_write_are_few_and_alike() {
        let mut buffer = WriteBuffer::long().unwrap();
        let pieces = [(512, 512), (3 << 19, 3 << 19), ((3 << 19) + 512, (3 << 18) + 512)];
        for (len, expected) in pieces.into_iter().chain([(2 << 20, 1 << 20), (5 << 20, 5 << 18)]) {
            assert_eq!(buffer.piece(len, 512).len(), expected, "of {len}");
        }
    }
}
