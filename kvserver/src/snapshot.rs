//! The state as bytes, and back. Equal states give equal bytes.
//!
//! All integers are little-endian. Nothing in the bytes is believed before it is checked: a count
//! is never allocated for, a length never exceeds what is left, keys and clients must ascend, and
//! every byte must be used.
//!
//! ```text
//! u8   version, 1
//! u64  the session table's horizon
//! u64  number of sessions, then for each, by client:
//!        u64 born, u64 nonce, u64 last_used, u64 floor
//!        u32 number of answers, then for each, by number:
//!          u64 seq, u32 length, the encoded `Answers` (length 0: only the fact is kept)
//! u64  number of keys, then for each, in the order of `Key`:
//!        u32 length, the key, u32 length, the value
//! ```

use oarlock_rpc::codec;

use crate::data::Data;
use crate::key::Key;
use crate::op::{Answers, KEY_BYTES_MAX, VALUE_BYTES_MAX};
use crate::request::ClientId;
use crate::session::{Limits, Session, SessionTable};

const VERSION: u8 = 1;

/// The state as bytes.
pub(crate) fn encode(sessions: &SessionTable, data: &Data) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + data.len_bytes() as usize + 8 * data.len());
    out.push(VERSION);
    put_u64(&mut out, sessions.horizon());
    put_u64(&mut out, sessions.len() as u64);
    for (client, session) in sessions.iter() {
        for number in [client.born, client.nonce, session.last_used, session.floor] {
            put_u64(&mut out, number);
        }
        put_u32(&mut out, session.answers.len());
        for (seq, answers) in &session.answers {
            put_u64(&mut out, *seq);
            put_bytes(&mut out, &answers.as_ref().map(encode_answers).unwrap_or_default());
        }
    }
    put_u64(&mut out, data.len() as u64);
    for (key, value) in data.iter() {
        put_bytes(&mut out, key.bytes());
        put_bytes(&mut out, value);
    }
    out
}

/// The state of these bytes; an error says what is wrong with them.
pub(crate) fn decode(bytes: &[u8], limits: Limits) -> Result<(SessionTable, Data), String> {
    let mut input = Input(bytes);
    let [version] = input.array("the version")?;
    if version != VERSION {
        return Err(format!("snapshot version {version}, but this build reads {VERSION}"));
    }
    let horizon = input.u64("the horizon")?;
    let session_count = input.u64("the number of sessions")?;
    let sessions = (0..session_count).map(|_| input.session());
    let table = SessionTable::from_parts(limits, horizon, sessions)?;
    let mut data = Data::default();
    for _ in 0..input.u64("the number of keys")? {
        let key = Key::new(input.bytes("a key", KEY_BYTES_MAX)?);
        let value = input.bytes("a value", VALUE_BYTES_MAX)?.to_vec();
        if !data.push_back(key, value) {
            return Err("the keys are out of order".to_owned());
        }
    }
    match input.0.len() {
        0 => Ok((table, data)),
        left => Err(format!("{left} bytes left over")),
    }
}

fn encode_answers(answers: &Answers) -> Vec<u8> {
    codec::encode(answers).expect("kept answers are far smaller than the codec's limit")
}

fn put_u64(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn put_u32(out: &mut Vec<u8>, number: usize) {
    let number = u32::try_from(number).expect("every length and count here is bounded");
    out.extend_from_slice(&number.to_le_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_u32(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// The bytes not yet read.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], String> {
        let (head, rest) = self.0.split_first_chunk().ok_or_else(|| format!("no {what} left"))?;
        self.0 = rest;
        Ok(*head)
    }

    fn u64(&mut self, what: &str) -> Result<u64, String> {
        self.array(what).map(u64::from_le_bytes)
    }

    fn u32(&mut self, what: &str) -> Result<u32, String> {
        self.array(what).map(u32::from_le_bytes)
    }

    fn bytes(&mut self, what: &str, limit: usize) -> Result<&'a [u8], String> {
        let len = self.u32(what)? as usize;
        if len > limit {
            return Err(format!("{what} of {len} bytes, more than the {limit} allowed"));
        }
        let (head, rest) =
            self.0.split_at_checked(len).ok_or_else(|| format!("{what} of {len} bytes is cut"))?;
        self.0 = rest;
        Ok(head)
    }

    fn session(&mut self) -> Result<(ClientId, Session), String> {
        let client = ClientId { born: self.u64("a birth")?, nonce: self.u64("a nonce")? };
        let mut session = Session::new(self.u64("a use")?, self.u64("a floor")?);
        let mut above = session.floor;
        for _ in 0..self.u32("a number of answers")? {
            let seq = self.u64("a seq")?;
            if seq < above {
                return Err(format!("seq {seq} of client {client} is out of order"));
            }
            above = seq.checked_add(1).ok_or("a seq beyond all others")?;
            let bytes = self.bytes("answers", codec::MAX_BYTES)?;
            let answers = match bytes {
                [] => None,
                bytes => Some(codec::decode::<Answers>(bytes).map_err(|e| e.to_string())?),
            };
            session.insert(seq, answers);
        }
        Ok((client, session))
    }
}

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;
