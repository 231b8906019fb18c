//! The commands that read and write data: their words into an operation, and the shape of the
//! reply its answer becomes. Nothing here executes anything.

use super::parse::Words;
use super::reply::{Reply, Writer};
use crate::data::parse_integer;
use crate::op::{Answer, Bytes, Condition, Op};

/// A command that is understood: what to do, and how to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Planned {
    pub(super) op: Op,
    pub(super) shape: Shape,
}

/// How an answer becomes a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// As it is.
    Plain,
    /// 1 if done, 0 if not (`SETNX`).
    DoneAsInteger,
    /// A key that exists has a type (`TYPE`).
    TypeName,
    /// A key that exists never expires (`TTL`).
    NeverExpires,
    /// A key that never expires cannot be made to (`PERSIST`).
    Zero,
}

impl Shape {
    /// Writes the reply to a command whose operation was answered.
    pub(super) fn write(self, answer: &Answer, writer: &mut Writer<'_>) {
        match (self, answer) {
            (Self::Plain, _) | (_, Answer::Error(_)) => writer.answer(answer),
            (Self::DoneAsInteger, _) => writer.integer(i64::from(*answer == Answer::Ok)),
            (Self::TypeName, _) => {
                let exists = *answer != Answer::Integer(0);
                writer.reply(&Reply::status(if exists { "string" } else { "none" }));
            }
            (Self::NeverExpires, _) => {
                writer.integer(if *answer == Answer::Integer(0) { -2 } else { -1 });
            }
            (Self::Zero, _) => writer.integer(0),
        }
    }
}

/// Why a command is not understood: the text of an error reply.
pub(super) type Refusal = String;

const SYNTAX: &str = "ERR syntax error";
const NOT_AN_INTEGER: &str = "ERR value is not an integer or out of range";
const NO_EXPIRY: &str = "ERR expiry is not supported: keys stay until they are deleted";
const COUNT_MAX: i64 = 100_000;

/// The words of a command behind its name, in order.
pub(super) struct Rest(std::vec::IntoIter<Vec<u8>>);

impl Rest {
    pub(super) fn new(words: Words) -> Self {
        let mut words = words.into_iter();
        words.next();
        Self(words)
    }

    /// The next word. The table of commands has checked that there are as many as must be.
    fn next(&mut self) -> Bytes {
        self.0.next().unwrap_or_default().into()
    }

    fn option(&mut self) -> Option<Vec<u8>> {
        self.0.next()
    }

    fn value_of_option(&mut self) -> Result<Bytes, Refusal> {
        self.0.next().map(Bytes::from).ok_or_else(|| SYNTAX.to_owned())
    }

    fn all(self) -> Vec<Bytes> {
        self.0.map(Bytes::from).collect()
    }

    fn pairs(self, command: &str) -> Result<Vec<(Bytes, Bytes)>, Refusal> {
        if !self.0.len().is_multiple_of(2) {
            return Err(wrong_number(command));
        }
        let mut words = self.0.map(Bytes::from);
        Ok(std::iter::from_fn(|| Some((words.next()?, words.next()?))).collect())
    }
}

/// The text for a command with too few or too many words.
pub(super) fn wrong_number(command: &str) -> Refusal {
    format!("ERR wrong number of arguments for '{command}' command")
}

/// The text for a command that cannot do what it is asked because keys do not expire.
pub(super) fn no_expiry(_: Rest) -> Result<Planned, Refusal> {
    Err(NO_EXPIRY.to_owned())
}

#[expect(clippy::unnecessary_wraps, reason = "what every plan ends in, which may fail")]
fn plain(op: Op) -> Result<Planned, Refusal> {
    Ok(Planned { op, shape: Shape::Plain })
}

#[expect(clippy::unnecessary_wraps, reason = "what every plan ends in, which may fail")]
fn shaped(op: Op, shape: Shape) -> Result<Planned, Refusal> {
    Ok(Planned { op, shape })
}

fn integer(word: &[u8]) -> Result<i64, Refusal> {
    parse_integer(word).ok_or_else(|| NOT_AN_INTEGER.to_owned())
}

pub(super) fn get(mut rest: Rest) -> Result<Planned, Refusal> {
    plain(Op::Get { key: rest.next() })
}

pub(super) fn set(mut rest: Rest) -> Result<Planned, Refusal> {
    let (key, value) = (rest.next(), rest.next());
    let mut condition = Condition::Always;
    let mut get = false;
    while let Some(option) = rest.option() {
        let wanted = match option.to_ascii_uppercase().as_slice() {
            b"NX" => Condition::Absent,
            b"XX" => Condition::Present,
            b"IFEQ" => Condition::Equals(rest.value_of_option()?),
            b"IFNE" => Condition::Differs(rest.value_of_option()?),
            b"GET" => {
                get = true;
                continue;
            }
            // Nothing expires, so there is nothing to keep.
            b"KEEPTTL" => continue,
            b"EX" | b"PX" | b"EXAT" | b"PXAT" => return Err(NO_EXPIRY.to_owned()),
            _ => return Err(SYNTAX.to_owned()),
        };
        if condition != Condition::Always {
            return Err(SYNTAX.to_owned());
        }
        condition = wanted;
    }
    if condition == Condition::Always && !get {
        return plain(Op::Put { key, value });
    }
    plain(Op::Set { key, value, condition, get })
}

pub(super) fn setnx(mut rest: Rest) -> Result<Planned, Refusal> {
    let (key, value) = (rest.next(), rest.next());
    let op = Op::Set { key, value, condition: Condition::Absent, get: false };
    shaped(op, Shape::DoneAsInteger)
}

pub(super) fn getset(mut rest: Rest) -> Result<Planned, Refusal> {
    let (key, value) = (rest.next(), rest.next());
    plain(Op::Set { key, value, condition: Condition::Always, get: true })
}

pub(super) fn getdel(mut rest: Rest) -> Result<Planned, Refusal> {
    plain(Op::GetDel { key: rest.next() })
}

pub(super) fn append(mut rest: Rest) -> Result<Planned, Refusal> {
    plain(Op::Append { key: rest.next(), value: rest.next() })
}

pub(super) fn strlen(mut rest: Rest) -> Result<Planned, Refusal> {
    plain(Op::StrLen { key: rest.next() })
}

pub(super) fn del(rest: Rest) -> Result<Planned, Refusal> {
    plain(Op::Del { keys: rest.all() })
}

/// `DELEX key [IFEQ value | IFNE value]`.
pub(super) fn delex(mut rest: Rest) -> Result<Planned, Refusal> {
    let key = rest.next();
    let condition = match rest.option().map(|option| option.to_ascii_uppercase()).as_deref() {
        None => Condition::Always,
        Some(b"IFEQ") => Condition::Equals(rest.value_of_option()?),
        Some(b"IFNE") => Condition::Differs(rest.value_of_option()?),
        Some(_) => return Err(SYNTAX.to_owned()),
    };
    if rest.option().is_some() {
        return Err(SYNTAX.to_owned());
    }
    plain(Op::DelIf { key, condition })
}

/// `DELIFEQ key value`.
pub(super) fn delifeq(mut rest: Rest) -> Result<Planned, Refusal> {
    plain(Op::DelIf { key: rest.next(), condition: Condition::Equals(rest.next()) })
}

pub(super) fn exists(rest: Rest) -> Result<Planned, Refusal> {
    plain(Op::Exists { keys: rest.all() })
}

pub(super) fn incr(mut rest: Rest) -> Result<Planned, Refusal> {
    plain(Op::IncrBy { key: rest.next(), by: 1 })
}

pub(super) fn decr(mut rest: Rest) -> Result<Planned, Refusal> {
    plain(Op::IncrBy { key: rest.next(), by: -1 })
}

pub(super) fn incrby(mut rest: Rest) -> Result<Planned, Refusal> {
    plain(Op::IncrBy { key: rest.next(), by: integer(&rest.next())? })
}

pub(super) fn decrby(mut rest: Rest) -> Result<Planned, Refusal> {
    let key = rest.next();
    let by = integer(&rest.next())?.checked_neg();
    plain(Op::IncrBy { key, by: by.ok_or("ERR decrement would overflow")? })
}

pub(super) fn mget(rest: Rest) -> Result<Planned, Refusal> {
    plain(Op::MGet { keys: rest.all() })
}

pub(super) fn mset(rest: Rest) -> Result<Planned, Refusal> {
    plain(Op::MSet { pairs: rest.pairs("mset")? })
}

pub(super) fn msetnx(rest: Rest) -> Result<Planned, Refusal> {
    plain(Op::MSetNx { pairs: rest.pairs("msetnx")? })
}

pub(super) fn kind(mut rest: Rest) -> Result<Planned, Refusal> {
    shaped(Op::Exists { keys: vec![rest.next()] }, Shape::TypeName)
}

pub(super) fn ttl(mut rest: Rest) -> Result<Planned, Refusal> {
    shaped(Op::Exists { keys: vec![rest.next()] }, Shape::NeverExpires)
}

pub(super) fn persist(mut rest: Rest) -> Result<Planned, Refusal> {
    shaped(Op::Exists { keys: vec![rest.next()] }, Shape::Zero)
}

pub(super) fn keys(mut rest: Rest) -> Result<Planned, Refusal> {
    plain(Op::Keys { pattern: rest.next() })
}

pub(super) fn dbsize(_: Rest) -> Result<Planned, Refusal> {
    plain(Op::DbSize)
}

/// `SCAN cursor [MATCH pattern] [COUNT n] [TYPE type]`.
pub(super) fn scan(mut rest: Rest) -> Result<Planned, Refusal> {
    let cursor = std::str::from_utf8(&rest.next()).ok().and_then(|text| text.parse().ok());
    let mut cursor = cursor.ok_or("ERR invalid cursor")?;
    let (mut count, mut pattern) = (10, None);
    while let Some(option) = rest.option() {
        let value = rest.value_of_option()?;
        match option.to_ascii_uppercase().as_slice() {
            b"MATCH" => pattern = Some(value),
            b"COUNT" => match integer(&value)? {
                n @ 1.. => count = n.min(COUNT_MAX).unsigned_abs(),
                _ => return Err(SYNTAX.to_owned()),
            },
            b"TYPE" if value.eq_ignore_ascii_case(b"string") => {}
            // There is no key of another type: a scan that is over at once says so.
            b"TYPE" => (cursor, pattern) = (u64::MAX, Some(Bytes::from(b"[]"))),
            _ => return Err(SYNTAX.to_owned()),
        }
    }
    plain(Op::Scan { cursor, count, pattern })
}

#[cfg(test)]
#[path = "data_commands_tests.rs"]
mod tests;
