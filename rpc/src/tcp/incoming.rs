//! The receiving half of a connection: many frames a read, each handed on where it lies.
//!
//! The buffer grows with the bytes that have come, never with the length that a frame claims.

use std::io::{self, Read};

use super::frame::{self, Frame, FrameError};
use super::outgoing::Outgoing;
use super::socket;

/// The buffer of a connection that carries small frames, in bytes.
const BUFFER_LEN: usize = 64 << 10;
/// A buffer that has grown past this for one large frame is given back after it, in bytes.
const BUFFER_LEN_KEPT: usize = 1 << 20;
/// At most this many frames are handled before the answers to the first go out.
const CORKED_MAX: usize = 32;

/// Why no more frames come.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("closed by the remote")]
    Closed,
    #[error("closed here")]
    ClosedHere,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("a frame of the wrong direction")]
    Direction,
}

/// What a reader does while the remote does not take in what it was sent.
///
/// One side of a connection must go on, or both could wait for each other for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WhileUnsent {
    /// It reads no more requests, so that their replies cannot pile up.
    Pause,
    /// It goes on: it reads only answers to what it asked.
    GoOn,
}

/// Reads `out`'s connection until it ends, and runs `on_frame` on each frame.
///
/// What `on_frame` sends in answer to several frames of one read leaves in one write.
pub(super) fn read_frames(
    out: &Outgoing,
    while_unsent: WhileUnsent,
    mut on_frame: impl FnMut(Frame<'_>) -> Result<(), ReadError>,
) -> ReadError {
    let mut incoming = Incoming::new();
    loop {
        match incoming.fill(&mut out.stream()) {
            Ok(0) => return ReadError::Closed,
            Ok(_) => {}
            Err(e) if socket::is_passing(&e) => {}
            Err(e) => return e.into(),
        }
        loop {
            match handle_batch(&mut incoming, out, &mut on_frame) {
                Ok(true) => {}
                Ok(false) => break,
                Err(e) => return e,
            }
            if while_unsent == WhileUnsent::Pause && !out.wait_for_room() {
                return ReadError::ClosedHere;
            }
        }
    }
}

/// Handles some of the frames in the buffer; false if there was none.
fn handle_batch(
    incoming: &mut Incoming,
    out: &Outgoing,
    on_frame: &mut impl FnMut(Frame<'_>) -> Result<(), ReadError>,
) -> Result<bool, ReadError> {
    // A cork pays only if a second frame is here already.
    let _cork = if incoming.holds_frames(2)? { out.cork() } else { None };
    for handled in 0..CORKED_MAX {
        let Some(frame) = incoming.next()? else { return Ok(handled > 0) };
        on_frame(frame)?;
        if !out.has_room() {
            break;
        }
    }
    Ok(true)
}

/// The bytes that have come and were not handled yet.
struct Incoming {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Incoming {
    fn new() -> Self {
        Self { buffer: vec![0; BUFFER_LEN], start: 0, end: 0 }
    }

    /// Reads more bytes, after [`Incoming::next`] has said that it needs them; 0 at the end.
    fn fill(&mut self, source: &mut impl Read) -> io::Result<usize> {
        self.make_room();
        let len = source.read(&mut self.buffer[self.end..])?;
        self.end += len;
        Ok(len)
    }

    /// The next whole frame, if all of it is here.
    fn next(&mut self) -> Result<Option<Frame<'_>>, FrameError> {
        let bytes = &self.buffer[self.start..self.end];
        match frame::frame_len(bytes)? {
            Some(len) if len <= bytes.len() => {
                self.start += len;
                frame::parse(&bytes[..len]).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Whether at least `count` whole frames are here.
    fn holds_frames(&self, count: usize) -> Result<bool, FrameError> {
        let mut bytes = &self.buffer[self.start..self.end];
        for _ in 0..count {
            match frame::frame_len(bytes)? {
                Some(len) if len <= bytes.len() => bytes = &bytes[len..],
                _ => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Makes sure that there is room behind the bytes of the frame that is still incomplete.
    fn make_room(&mut self) {
        let have = self.end - self.start;
        if have == 0 {
            (self.start, self.end) = (0, 0);
            if self.buffer.len() > BUFFER_LEN_KEPT {
                self.buffer = vec![0; BUFFER_LEN];
            }
            return;
        }
        let claimed = frame::frame_len(&self.buffer[self.start..self.end]).ok().flatten();
        let needed = claimed.unwrap_or(frame::PREFIX_LEN);
        if self.start + needed <= self.buffer.len() {
            return;
        }
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, have);
        if self.end == self.buffer.len() {
            let len = needed.min(2 * self.buffer.len());
            self.buffer.resize(len, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::Header;
    use super::*;

    fn reply(call_id: u64, len: usize) -> Vec<u8> {
        let payload = vec![call_id as u8; len];
        [Header::reply(call_id, &payload).unwrap().bytes(), &payload].concat()
    }

    /// A source that gives at most `step` bytes a read.
    struct Dribble<'a> {
        bytes: &'a [u8],
        step: usize,
    }

    impl Read for Dribble<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let len = self.step.min(into.len()).min(self.bytes.len());
            assert!(len > 0 || self.bytes.is_empty(), "no room to read into");
            into[..len].copy_from_slice(&self.bytes[..len]);
            self.bytes = &self.bytes[len..];
            Ok(len)
        }
    }

    #[test]
    fn frames_come_whole_however_the_bytes_are_cut() {
        let sizes = [0, 10, BUFFER_LEN - 17, BUFFER_LEN - 16, 3, 5 * BUFFER_LEN, 1, 3 << 20, 100];
        let bytes: Vec<u8> = (0..).zip(sizes).flat_map(|(id, len)| reply(id, len)).collect();
        for step in [1, 7, 4096, 100_000, usize::MAX] {
            if step == 1 {
                check_frames(&bytes[..reply(0, 0).len() + reply(1, 10).len()], step, &sizes[..2]);
            } else {
                check_frames(&bytes, step, &sizes);
            }
        }
    }

    fn check_frames(bytes: &[u8], step: usize, sizes: &[usize]) {
        let mut source = Dribble { bytes, step };
        let mut incoming = Incoming::new();
        let mut found = Vec::new();
        loop {
            while let Some(frame) = incoming.next().unwrap() {
                let Frame::Reply { call_id, payload } = frame else { panic!("{frame:?}") };
                assert_eq!(call_id, found.len() as u64);
                assert!(payload.iter().all(|&byte| byte == call_id as u8));
                found.push(payload.len());
            }
            if incoming.fill(&mut source).unwrap() == 0 {
                break;
            }
        }
        assert_eq!(found, sizes, "step {step}");
        assert!(incoming.buffer.len() <= BUFFER_LEN_KEPT, "a large buffer was kept");
    }

    #[test]
    fn a_claimed_length_takes_no_memory_before_its_bytes_come() {
        let frame = reply(1, 60 << 20);
        let mut incoming = Incoming::new();
        for (cut, buffer_max) in [(100, BUFFER_LEN), (BUFFER_LEN, 2 * BUFFER_LEN)] {
            incoming.end = 0;
            incoming.fill(&mut Dribble { bytes: &frame[..cut], step: usize::MAX }).unwrap();
            assert!(incoming.next().unwrap().is_none());
            incoming.make_room();
            assert!(incoming.buffer.len() <= buffer_max, "{} bytes", incoming.buffer.len());
        }
    }

    #[test]
    fn an_impossible_length_is_refused_before_there_is_room_for_it() {
        let mut incoming = Incoming::new();
        let bytes = u32::MAX.to_le_bytes();
        incoming.fill(&mut Dribble { bytes: &bytes, step: usize::MAX }).unwrap();
        assert_eq!(incoming.next(), Err(FrameError::Length { len: u32::MAX }));
        assert_eq!(incoming.buffer.len(), BUFFER_LEN);
    }
}
