//! The state as bytes, and back. Equal states give equal bytes, in whatever layers they are kept.
//! Keys and values are not taken out of the bytes, but looked at where they are (`base`).
//!
//! All integers are little-endian. Of what comes from anywhere nothing is believed before it is checked:
//! a count is never allocated for, a length never exceeds what is left, keys and clients must ascend, and
//! every byte must be used. Of a snapshot of this peer's, or from its leader, the records are taken as
//! they are: storage has verified that they are what was written, and to look at each would take the
//! longer the larger the state.
//!
//! ```text
//! u8   version, 2
//! u64  the session table's horizon
//! u64  number of sessions, then for each, by client:
//!        u64 born, u64 nonce, u64 last_used, u64 floor
//!        u32 number of answers, then for each, by number:
//!          u64 seq, u32 length, the encoded `Answers` (length 0: only the fact is kept)
//! u64  number of keys, then for each, in the order of `Key`:
//!        u32 length, the key, u32 length, the value
//! the index, for each mark (`marks`):
//!        u64 hash of a key, u64 offset of its record behind the first one
//! u64  number of marks
//! u64  sum of the lengths of keys and values
//! ```
//!
//! Version 1, which is read as well, ends with the records.

use std::io::{self, Write};

use oarlock_raft::Snapshot;
use oarlock_rpc::codec;

use crate::base::{self, Base, Record};
use crate::data::Data;
use crate::marks::Marker;
use crate::op::Answers;
use crate::request::ClientId;
use crate::session::{Limits, Session, SessionTable, Sessions};

const VERSION: u8 = 2;
/// Without an index.
const VERSION_BARE: u8 = 1;

/// The state as bytes.
pub(crate) fn encode(sessions: &SessionTable, data: &Data) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + len_of(data.len_bytes(), data.len()) as usize);
    let (horizon, sessions) = (sessions.horizon(), sessions.sessions());
    write(&mut out, (horizon, sessions), data.len(), data.iter()).expect("memory takes everything");
    out
}

/// About how many bytes a state takes of `key_count` keys which, with their values, have `data_bytes`.
pub(crate) fn len_of(data_bytes: u64, key_count: usize) -> u64 {
    data_bytes + 8 * key_count as u64
}

/// Writes a state to `out`: a horizon and sessions, and `key_count` records in order. Returns where the
/// first of these begins.
pub(crate) fn write<'a>(
    out: &mut dyn Write,
    (horizon, sessions): (u64, &Sessions),
    key_count: usize,
    records: impl Iterator<Item = Record<'a>>,
) -> io::Result<usize> {
    let mut piece = vec![VERSION];
    put_u64(&mut piece, horizon);
    put_u64(&mut piece, sessions.len() as u64);
    let mut begin = 0;
    for (client, session) in sessions {
        for number in [client.born, client.nonce, session.last_used, session.floor] {
            put_u64(&mut piece, number);
        }
        put_u32(&mut piece, session.answers.len());
        for (seq, answers) in &session.answers {
            put_u64(&mut piece, *seq);
            put_bytes(&mut piece, &answers.as_ref().map(encode_answers).unwrap_or_default());
        }
        out.write_all(&piece)?;
        begin += piece.len();
        piece.clear();
    }
    put_u64(&mut piece, key_count as u64);
    out.write_all(&piece)?;
    begin += piece.len();
    let (mut marker, mut bytes) = (Marker::default(), 0);
    for Record { hash, key, value } in records {
        for part in [key, value] {
            out.write_all(&length(part.len()).to_le_bytes())?;
            out.write_all(part)?;
        }
        marker.push(hash, 8 + key.len() + value.len());
        bytes += (key.len() + value.len()) as u64;
    }
    out.write_all(&base::tail(&marker.into_bytes(), bytes))?;
    Ok(begin)
}

/// Whether the records of a snapshot are believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Records {
    /// They are what was written.
    AsWritten,
    /// They may be anything.
    Unknown,
}

/// The state of these bytes, whose keys and values stay where they are; an error says what is wrong
/// with them.
pub(crate) fn decode(
    content: &Snapshot,
    limits: Limits,
    records: Records,
) -> Result<(SessionTable, Data), String> {
    let mut input = Input(content);
    let [version] = input.array("the version")?;
    if version != VERSION && version != VERSION_BARE {
        return Err(format!("snapshot version {version}, but this build reads 1 and {VERSION}"));
    }
    let horizon = input.u64("the horizon")?;
    let session_count = input.u64("the number of sessions")?;
    let sessions = (0..session_count).map(|_| input.session());
    let table = SessionTable::from_parts(limits, horizon, sessions)?;
    let key_count = input.u64("the number of keys")?;
    let begin = content.len() - input.0.len();
    let has_index = version == VERSION;
    let (base, bytes) = if has_index && records == Records::AsWritten {
        Base::indexed(content.clone(), begin)?
    } else {
        Base::checked(content.clone(), begin, key_count, has_index)?
    };
    let len = usize::try_from(key_count).map_err(|_| "more keys than memory can hold")?;
    Ok((table, Data::of(base, len, bytes)))
}

fn encode_answers(answers: &Answers) -> Vec<u8> {
    codec::encode(answers).expect("kept answers are far smaller than the codec's limit")
}

fn put_u64(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn put_u32(out: &mut Vec<u8>, number: usize) {
    out.extend_from_slice(&length(number).to_le_bytes());
}

fn length(number: usize) -> u32 {
    u32::try_from(number).expect("every length and count here is bounded")
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
        base::take(&mut self.0, what, limit)
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
