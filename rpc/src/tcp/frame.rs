//! The bytes of one frame: laid out here, taken apart here, and nowhere else. No I/O.

use crate::codec::MAX_BYTES;

/// The length and the checksum, which stand before the body of every frame.
pub(super) const PREFIX_LEN: usize = 8;
/// Kind and call id, which stand first in every body.
const BODY_LEN_MIN: usize = 9;
/// The longest name of a method, in bytes: its length travels in one byte.
const METHOD_LEN_MAX: usize = u8::MAX as usize;
/// The longest body a frame may claim, in bytes.
pub(super) const BODY_LEN_MAX: usize = MAX_BYTES + BODY_LEN_MIN + 1 + METHOD_LEN_MAX;
/// The most bytes that stand before a payload.
const HEADER_LEN_MAX: usize = PREFIX_LEN + BODY_LEN_MIN + 1 + METHOD_LEN_MAX;

const REQUEST: u8 = 1;
const REPLY: u8 = 2;
const NO_REPLY: u8 = 3;

/// Why a frame cannot be written, or why bytes are not a frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FrameError {
    #[error("a payload of {len} bytes, more than the {MAX_BYTES} allowed")]
    PayloadTooLong { len: usize },
    #[error("a method's name of {len} bytes, more than the {METHOD_LEN_MAX} allowed")]
    MethodTooLong { len: usize },
    #[error("a frame of {len} bytes, but one has {BODY_LEN_MIN} to {BODY_LEN_MAX}")]
    Length { len: u32 },
    #[error("a frame with checksum {found:08x}, but its bytes have {expected:08x}")]
    Checksum { found: u32, expected: u32 },
    #[error("a frame of kind {0}, but there are only 1 to 3")]
    Kind(u8),
    #[error("a request whose method's name is cut off or not UTF-8")]
    Method,
    #[error("a frame without a payload that carries {len} bytes")]
    Payload { len: usize },
}

/// One frame, borrowed from the bytes it was read into.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    Request { call_id: u64, method: &'a str, args: &'a [u8] },
    Reply { call_id: u64, payload: &'a [u8] },
    NoReply { call_id: u64 },
}

/// Everything of a frame that stands before its payload.
pub(super) struct Header {
    bytes: [u8; HEADER_LEN_MAX],
    len: usize,
}

impl Header {
    /// The header of a request that carries `args`.
    pub(super) fn request(call_id: u64, method: &str, args: &[u8]) -> Result<Self, FrameError> {
        let method_len = u8::try_from(method.len())
            .map_err(|_| FrameError::MethodTooLong { len: method.len() })?;
        let mut header = Self::begin(REQUEST, call_id);
        header.push(&[method_len]);
        header.push(method.as_bytes());
        header.finish(args)
    }

    /// The header of a reply that carries `payload`.
    pub(super) fn reply(call_id: u64, payload: &[u8]) -> Result<Self, FrameError> {
        Self::begin(REPLY, call_id).finish(payload)
    }

    /// The whole frame that says that a call gets no reply.
    pub(super) fn no_reply(call_id: u64) -> Self {
        Self::begin(NO_REPLY, call_id).finish(&[]).expect("an empty payload is not too long")
    }

    /// The bytes to send in front of the payload.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn begin(kind: u8, call_id: u64) -> Self {
        let mut header = Self { bytes: [0; HEADER_LEN_MAX], len: PREFIX_LEN };
        header.push(&[kind]);
        header.push(&call_id.to_le_bytes());
        header
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    fn finish(mut self, payload: &[u8]) -> Result<Self, FrameError> {
        if payload.len() > MAX_BYTES {
            return Err(FrameError::PayloadTooLong { len: payload.len() });
        }
        let body_len = u32::try_from(self.len - PREFIX_LEN + payload.len())
            .expect("the limit on payloads is far below 4 GiB");
        let mut crc = crc32fast::Hasher::new();
        crc.update(&self.bytes[PREFIX_LEN..self.len]);
        crc.update(payload);
        self.bytes[..4].copy_from_slice(&body_len.to_le_bytes());
        self.bytes[4..PREFIX_LEN].copy_from_slice(&crc.finalize().to_le_bytes());
        Ok(self)
    }
}

/// The length of the whole frame that begins `bytes`, once enough bytes are there to tell.
///
/// A length that no frame may have is an error, before anyone makes room for it.
pub(super) fn frame_len(bytes: &[u8]) -> Result<Option<usize>, FrameError> {
    let Some(len) = bytes.first_chunk() else { return Ok(None) };
    let len = u32::from_le_bytes(*len);
    let body_len = len as usize;
    if !(BODY_LEN_MIN..=BODY_LEN_MAX).contains(&body_len) {
        return Err(FrameError::Length { len });
    }
    Ok(Some(PREFIX_LEN + body_len))
}

/// Takes a whole frame apart; `bytes` has the length that [`frame_len`] told.
pub(super) fn parse(bytes: &[u8]) -> Result<Frame<'_>, FrameError> {
    let (prefix, body) = bytes.split_at(PREFIX_LEN);
    let found = u32::from_le_bytes([prefix[4], prefix[5], prefix[6], prefix[7]]);
    let expected = crc32fast::hash(body);
    if found != expected {
        return Err(FrameError::Checksum { found, expected });
    }
    let (start, rest) = body.split_at(BODY_LEN_MIN);
    let call_id = u64::from_le_bytes(
        start[1..].try_into().expect("a body starts with one byte of kind and eight of id"),
    );
    match start[0] {
        REQUEST => {
            let (&method_len, rest) = rest.split_first().ok_or(FrameError::Method)?;
            let (method, args) =
                rest.split_at_checked(usize::from(method_len)).ok_or(FrameError::Method)?;
            let method = std::str::from_utf8(method).map_err(|_| FrameError::Method)?;
            Ok(Frame::Request { call_id, method, args })
        }
        REPLY => Ok(Frame::Reply { call_id, payload: rest }),
        NO_REPLY if rest.is_empty() => Ok(Frame::NoReply { call_id }),
        NO_REPLY => Err(FrameError::Payload { len: rest.len() }),
        kind => Err(FrameError::Kind(kind)),
    }
}

#[cfg(test)]
#[path = "frame_fuzz.rs"]
mod fuzz;

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(header: &Header, payload: &[u8]) -> Vec<u8> {
        [header.bytes(), payload].concat()
    }

    /// A frame around any body, with a good length and a good checksum.
    fn frame(body: &[u8]) -> Vec<u8> {
        let len = u32::try_from(body.len()).unwrap();
        [&len.to_le_bytes()[..], &crc32fast::hash(body).to_le_bytes(), body].concat()
    }

    #[test]
    fn a_request_has_the_documented_bytes() {
        let bytes = joined(&Header::request(0x0102, "A.B", b"xy").unwrap(), b"xy");
        let body = [&[1, 2, 1, 0, 0, 0, 0, 0, 0, 3][..], b"A.Bxy"].concat();
        assert_eq!(bytes, frame(&body));
        assert_eq!(frame_len(&bytes), Ok(Some(bytes.len())));
        let expected = Frame::Request { call_id: 0x0102, method: "A.B", args: b"xy" };
        assert_eq!(parse(&bytes), Ok(expected));
    }

    #[test]
    fn replies_come_back_as_they_were_sent() {
        let bytes = joined(&Header::reply(7, b"abc").unwrap(), b"abc");
        assert_eq!(parse(&bytes), Ok(Frame::Reply { call_id: 7, payload: b"abc" }));
        let bytes = joined(&Header::no_reply(8), b"");
        assert_eq!(parse(&bytes), Ok(Frame::NoReply { call_id: 8 }));
    }

    #[test]
    fn a_length_is_judged_by_its_four_bytes_alone() {
        assert_eq!(frame_len(&[0xFF; 3]), Ok(None));
        assert_eq!(frame_len(&[0xFF; 4]), Err(FrameError::Length { len: u32::MAX }));
        let one_too_many = u32::try_from(BODY_LEN_MAX + 1).unwrap();
        assert!(frame_len(&one_too_many.to_le_bytes()).is_err());
        assert_eq!(
            frame_len(&(one_too_many - 1).to_le_bytes()),
            Ok(Some(PREFIX_LEN + BODY_LEN_MAX))
        );
        assert!(frame_len(&8u32.to_le_bytes()).is_err());
    }

    #[test]
    fn any_flipped_bit_after_the_length_is_found() {
        let good = joined(&Header::request(3, "S.M", b"payload").unwrap(), b"payload");
        for at in 4..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            assert!(matches!(parse(&bad), Err(FrameError::Checksum { .. })), "at {at}");
        }
    }

    #[test]
    fn bodies_that_make_no_sense_are_refused() {
        let with_kind = |kind: u8, rest: &[u8]| frame(&[&[kind; 9][..], rest].concat());
        assert_eq!(parse(&with_kind(9, b"")), Err(FrameError::Kind(9)));
        assert_eq!(parse(&with_kind(1, b"")), Err(FrameError::Method));
        assert_eq!(parse(&with_kind(1, &[200, b'A'])), Err(FrameError::Method));
        assert_eq!(parse(&with_kind(1, &[1, 0xFF])), Err(FrameError::Method));
        assert_eq!(parse(&with_kind(3, b"x")), Err(FrameError::Payload { len: 1 }));
    }

    #[test]
    fn what_is_too_long_is_not_sent() {
        let name = "m".repeat(256);
        assert_eq!(
            Header::request(1, &name, b"").err(),
            Some(FrameError::MethodTooLong { len: 256 })
        );
        assert!(Header::request(1, &name[..255], b"").is_ok());
        let payload = vec![0; MAX_BYTES + 1];
        assert_eq!(
            Header::reply(1, &payload).err(),
            Some(FrameError::PayloadTooLong { len: MAX_BYTES + 1 })
        );
    }
}
