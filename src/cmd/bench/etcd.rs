//! The little of gRPC over HTTP/2 (RFC 9113) that a measurement of etcd needs: one call after
//! another on a connection, each a `Put` or a linearizable `Range` of one key.
//!
//! Headers are sent without compression, and those that come are not looked at: a call that ends
//! without a message has failed. Requests are small beside the window that every connection begins
//! with, and the server returns it as it reads; so only what comes is accounted for.

use super::protocol::{Answer, Ask, Heard, Protocol};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Kind and flags of frames.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GO_AWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const FRAME_HEAD: usize = 9;
/// The longest frame that is taken: what HTTP/2 allows a server that was told nothing else.
const FRAME_BYTES_MAX: usize = 16 << 10;
/// Once so many bytes have come, the server may send as many again.
const WINDOW_STEP: u32 = 16 << 10;

/// A client's side of a connection.
#[derive(Default)]
pub(super) struct Etcd {
    calls: u32,
    /// Whether the call that is answered next reads, oldest first.
    reads: std::collections::VecDeque<bool>,
    /// The message of the call that is being answered, as far as it has come.
    message: Vec<u8>,
    unreturned: u32,
}

impl Protocol for Etcd {
    fn hello(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(PREFACE);
        frame(out, SETTINGS, 0, 0, &[]);
    }

    fn ask(&mut self, ask: Ask<'_>, out: &mut Vec<u8>) {
        let mut message = Vec::new();
        let path = match ask {
            Ask::Set { key, value } => {
                field(&mut message, 1, key);
                field(&mut message, 2, value);
                "/etcdserverpb.KV/Put"
            }
            Ask::Get { key } => {
                field(&mut message, 1, key);
                "/etcdserverpb.KV/Range"
            }
            Ask::Ping => unreachable!("the command line does not allow it"),
        };
        let stream = self.calls * 2 + 1;
        self.calls += 1;
        self.reads.push_back(matches!(ask, Ask::Get { .. }));
        frame(out, HEADERS, END_HEADERS, stream, &headers(path));
        let mut data = vec![0];
        data.extend_from_slice(&u32::try_from(message.len()).expect("a few KiB").to_be_bytes());
        data.extend_from_slice(&message);
        let mut parts = data.chunks(FRAME_BYTES_MAX).peekable();
        while let Some(part) = parts.next() {
            let flags = if parts.peek().is_none() { END_STREAM } else { 0 };
            frame(out, DATA, flags, stream, part);
        }
    }

    fn hear(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<Heard, String> {
        let Some(head) = input.first_chunk::<FRAME_HEAD>() else { return Ok(Heard::Part) };
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let (kind, flags) = (head[3], head[4]);
        if length > FRAME_BYTES_MAX {
            return Err(format!("a frame of {length} bytes"));
        }
        let bytes = FRAME_HEAD + length;
        let Some(payload) = input.get(FRAME_HEAD..bytes) else { return Ok(Heard::Part) };
        let mut answer = None;
        match kind {
            DATA => {
                self.message.extend_from_slice(payload);
                self.unreturned += length as u32;
                if self.unreturned >= WINDOW_STEP {
                    frame(out, WINDOW_UPDATE, 0, 0, &self.unreturned.to_be_bytes());
                    self.unreturned = 0;
                }
            }
            SETTINGS if flags & ACK == 0 => frame(out, SETTINGS, ACK, 0, &[]),
            PING if flags & ACK == 0 => frame(out, PING, ACK, 0, payload),
            RST_STREAM => answer = Some(self.failed()),
            GO_AWAY => return Err("the server ends the connection".to_owned()),
            _ => {}
        }
        if matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
            answer = Some(self.answered()?);
        }
        Ok(Heard::Whole { bytes, answer })
    }
}

impl Etcd {
    fn failed(&mut self) -> Answer {
        self.reads.pop_front();
        self.message.clear();
        Answer::Error("CALL failed".to_owned())
    }

    /// The call ended.
    fn answered(&mut self) -> Result<Answer, String> {
        if self.message.len() < 5 {
            return Ok(self.failed());
        }
        let reads = self.reads.pop_front().ok_or("an answer nobody asked for")?;
        let message = std::mem::take(&mut self.message);
        if !reads {
            return Ok(Answer::Done);
        }
        let value = match find(&message[5..], 2)? {
            None => None,
            Some(pair) => find(pair, 5)?.map(<[u8]>::to_vec),
        };
        Ok(Answer::Value(value))
    }
}

/// The headers of a call: names and values as they are, but for those with a number of their own
/// (RFC 7541, appendix A).
fn headers(path: &str) -> Vec<u8> {
    let mut block = vec![0x83, 0x86, 0x04];
    text(&mut block, path);
    block.push(0x01);
    text(&mut block, "etcd");
    block.extend([0x0f, 0x10]);
    text(&mut block, "application/grpc");
    block.push(0x00);
    text(&mut block, "te");
    text(&mut block, "trailers");
    block
}

fn text(block: &mut Vec<u8>, text: &str) {
    block.push(u8::try_from(text.len()).ok().filter(|&len| len < 127).expect("short names"));
    block.extend_from_slice(text.as_bytes());
}

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).expect("cut into frames before").to_be_bytes();
    out.extend_from_slice(&length[1..]);
    out.extend([kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// Adds a field of bytes to a message (protocol buffers).
fn field(message: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    message.push(number << 3 | 2);
    let mut length = bytes.len();
    while length >= 0x80 {
        message.push(0x80 | (length & 0x7f) as u8);
        length >>= 7;
    }
    message.push(length as u8);
    message.extend_from_slice(bytes);
}

/// The first field of bytes of this number, if there is one.
fn find(mut message: &[u8], number: u64) -> Result<Option<&[u8]>, String> {
    let cut = || "a message that ends too early".to_owned();
    while !message.is_empty() {
        let key = varint(&mut message).ok_or_else(cut)?;
        match key & 7 {
            0 => drop(varint(&mut message).ok_or_else(cut)?),
            2 => {
                let length = varint(&mut message).ok_or_else(cut)? as usize;
                let (bytes, rest) = message.split_at_checked(length).ok_or_else(cut)?;
                if key >> 3 == number {
                    return Ok(Some(bytes));
                }
                message = rest;
            }
            kind => return Err(format!("a field of kind {kind}")),
        }
    }
    Ok(None)
}

fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = message.split_first()?;
        *message = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_behind_others() {
        let mut message = vec![0x08, 0x96, 0x01];
        field(&mut message, 2, &[7; 300]);
        assert_eq!(find(&message, 2), Ok(Some(&[7; 300][..])));
        assert_eq!(find(&message, 5), Ok(None));
        assert!(find(&message[..20], 2).is_err());
    }

    #[test]
    fn a_call_is_answered_when_its_stream_ends() {
        let mut etcd = Etcd::default();
        let mut out = Vec::new();
        etcd.ask(Ask::Get { key: b"k" }, &mut out);
        let (mut pair, mut message) = (Vec::new(), Vec::new());
        field(&mut pair, 1, b"k");
        field(&mut pair, 5, b"value");
        field(&mut message, 2, &pair);
        let mut data = vec![0, 0, 0, 0, message.len() as u8];
        data.extend(message);
        let mut input = Vec::new();
        frame(&mut input, DATA, 0, 1, &data);
        let part = input.len();
        frame(&mut input, HEADERS, END_HEADERS | END_STREAM, 1, &[]);
        let first = etcd.hear(&input, &mut out).unwrap();
        assert_eq!(first, Heard::Whole { bytes: part, answer: None });
        let value = Answer::Value(Some(b"value".to_vec()));
        let end = Heard::Whole { bytes: FRAME_HEAD, answer: Some(value) };
        assert_eq!(etcd.hear(&input[part..], &mut out), Ok(end));
    }

    #[test]
    fn settings_and_pings_are_acknowledged() {
        let (mut etcd, mut out) = (Etcd::default(), Vec::new());
        let mut input = Vec::new();
        frame(&mut input, PING, 0, 0, &[1; 8]);
        assert!(etcd.hear(&input, &mut out).is_ok());
        assert_eq!((out[3], out[4], &out[9..]), (PING, ACK, &[1; 8][..]));
    }
}
