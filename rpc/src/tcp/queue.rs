//! Bytes on their way to a socket, in order: small frames side by side, large payloads as they are.

use std::collections::VecDeque;
use std::io::IoSlice;

/// A payload of up to this many bytes is copied next to its neighbours; a larger one is moved in.
const COPY_MAX: usize = 16 << 10;
/// A segment of copied frames is full at this many bytes.
const SEGMENT_LEN_MAX: usize = 64 << 10;
/// The most bytes offered to the socket at once: progress is noticed about this often.
const WRITE_LEN_MAX: usize = 1 << 20;
/// The most slices offered to the socket at once.
pub(super) const SLICES_MAX: usize = 32;

/// A row of frames, of which the first bytes may be gone already.
#[derive(Debug, Default)]
pub(super) struct Queue {
    segments: VecDeque<Segment>,
    /// How many bytes of the first segment are gone.
    head: usize,
    /// How many bytes are still to be sent.
    len: usize,
    /// An empty buffer from an earlier segment, so that a steady trickle allocates nothing.
    spare: Vec<u8>,
}

#[derive(Debug)]
struct Segment {
    bytes: Vec<u8>,
    /// Whether further frames may be copied behind these bytes.
    open: bool,
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts a frame behind everything else.
    pub(super) fn push(&mut self, header: &[u8], payload: Vec<u8>) {
        self.len += header.len() + payload.len();
        if payload.len() <= COPY_MAX {
            let segment = self.open_segment(header.len() + payload.len());
            segment.extend_from_slice(header);
            segment.extend_from_slice(&payload);
        } else {
            self.open_segment(header.len()).extend_from_slice(header);
            self.segments.push_back(Segment { bytes: payload, open: false });
        }
    }

    /// The next bytes to send, in order, as slices for one write.
    pub(super) fn fill<'a>(&'a self, slices: &mut [IoSlice<'a>; SLICES_MAX]) -> usize {
        let (mut count, mut room, mut skip) = (0, WRITE_LEN_MAX, self.head);
        for segment in self.segments.iter().take(SLICES_MAX) {
            let bytes = &segment.bytes[skip..];
            let bytes = &bytes[..bytes.len().min(room)];
            if bytes.is_empty() {
                break;
            }
            slices[count] = IoSlice::new(bytes);
            (count, room, skip) = (count + 1, room - bytes.len(), 0);
        }
        count
    }

    /// Drops the first `sent` bytes: they are the socket's now.
    pub(super) fn advance(&mut self, sent: usize) {
        assert!(sent <= self.len, "{sent} bytes sent of {} queued", self.len);
        self.len -= sent;
        self.head += sent;
        while let Some(first) = self.segments.front() {
            if self.head < first.bytes.len() {
                break;
            }
            self.head -= first.bytes.len();
            let gone = self.segments.pop_front().expect("it was there a line ago");
            if gone.open && gone.bytes.capacity() <= 2 * SEGMENT_LEN_MAX {
                self.spare = gone.bytes;
                self.spare.clear();
            }
        }
    }

    /// The buffer to copy `more` bytes into, behind everything else.
    fn open_segment(&mut self, more: usize) -> &mut Vec<u8> {
        let fits = |last: &Segment| last.open && last.bytes.len() + more <= SEGMENT_LEN_MAX;
        if !self.segments.back().is_some_and(fits) {
            let bytes = std::mem::take(&mut self.spare);
            self.segments.push_back(Segment { bytes, open: true });
        }
        &mut self.segments.back_mut().expect("just made sure").bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends everything, at most `step` bytes at a time, and says what went out.
    fn drain(queue: &mut Queue, step: usize) -> Vec<u8> {
        let mut out = Vec::new();
        while !queue.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let count = queue.fill(&mut slices);
            let offered = slices[..count].iter().map(|slice| slice.len()).sum::<usize>();
            assert!(0 < offered && offered <= WRITE_LEN_MAX);
            let sent = offered.min(step);
            out.extend(slices[..count].iter().flat_map(|slice| slice.iter()).take(sent));
            queue.advance(sent);
        }
        out
    }

    #[test]
    fn bytes_leave_in_the_order_they_came() {
        let sizes = [3, 0, COPY_MAX, COPY_MAX + 1, 5, 2 * WRITE_LEN_MAX, 1, SEGMENT_LEN_MAX, 7];
        for step in [1000, 4096, 70_000, usize::MAX] {
            let mut queue = Queue::default();
            let mut expected = Vec::new();
            for round in 0..12u8 {
                for (i, size) in (0u8..).zip(sizes) {
                    let payload = vec![round.wrapping_mul(31) ^ i; size];
                    expected.extend_from_slice(&[0xEE, i]);
                    expected.extend_from_slice(&payload);
                    queue.push(&[0xEE, i], payload);
                }
            }
            assert_eq!(queue.len, expected.len());
            assert!(drain(&mut queue, step) == expected, "step {step}");
            assert_eq!(queue.len, 0);
        }
    }

    #[test]
    fn small_frames_share_a_segment_and_its_buffer_is_used_again() {
        let mut queue = Queue::default();
        for _ in 0..100 {
            queue.push(b"head", vec![1; 10]);
        }
        assert_eq!(queue.segments.len(), 1);
        let buffer = queue.segments[0].bytes.as_ptr();
        queue.advance(queue.len);
        queue.push(b"head", vec![2; 10]);
        assert_eq!(queue.segments[0].bytes.as_ptr(), buffer);
    }
}
