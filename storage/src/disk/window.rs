//! A file read from its beginning to its end, of which only a part is in memory at a time: small
//! enough to stay in the processor's cache between being read and being checked.

use super::files::File;
use crate::StorageError;

/// How much is read with one call, unless what is looked for is longer.
const READ_BYTES: usize = 128 * 1024;

/// The part of a file that is in memory.
pub(crate) struct Window<'a> {
    file: &'a File,
    file_bytes: usize,
    /// Whether everything read so far stays, from the beginning of the file on.
    keep: bool,
    buffer: Vec<u8>,
    /// Where in the file the buffer begins.
    begin: usize,
    /// How many bytes of the buffer are the file's.
    len: usize,
}

impl<'a> Window<'a> {
    /// The beginning of a file of `file_bytes`. `buffer` is memory to use again.
    pub(crate) fn new(
        file: &'a File,
        file_bytes: usize,
        keep: bool,
        buffer: Vec<u8>,
    ) -> Result<Self, StorageError> {
        let mut window = Self { file, file_bytes, keep, buffer, begin: 0, len: 0 };
        window.read_on(0)?;
        Ok(window)
    }

    /// What is in memory of the file from `at` on.
    pub(crate) fn rest(&self, at: usize) -> &[u8] {
        let from = at.saturating_sub(self.begin).min(self.len);
        &self.buffer[from..self.len]
    }

    /// Whether nothing is left to be read.
    pub(crate) fn is_complete(&self) -> bool {
        self.begin + self.len == self.file_bytes
    }

    /// Reads on, and forgets what is before `at` unless it is to be kept: at least doubles what is in
    /// memory from there on, so that a long batch takes few calls.
    pub(crate) fn read_on(&mut self, at: usize) -> Result<(), StorageError> {
        assert!(at >= self.begin, "read on from {at}, which is forgotten");
        if !self.keep {
            let from = (at - self.begin).min(self.len);
            self.buffer.copy_within(from..self.len, 0);
            self.begin += from;
            self.len -= from;
        }
        let offset = self.begin + self.len;
        let wanted = READ_BYTES.max(offset - at.min(offset));
        let count = wanted.min(self.file_bytes - offset);
        let end = self.len + count;
        if self.buffer.len() < end {
            self.buffer.resize(end, 0);
        }
        self.file.read_into(&mut self.buffer[self.len..end], offset as u64)?;
        self.len = end;
        Ok(())
    }

    /// The memory: the file from its beginning on, if that was to be kept.
    pub(crate) fn into_buffer(mut self) -> Vec<u8> {
        if self.keep {
            self.buffer.truncate(self.len);
        }
        self.buffer
    }
}
