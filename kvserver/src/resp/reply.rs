//! Replies into bytes, in either version of the protocol.

use crate::op::{Answer, OpError};

/// Which version a connection speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// What every connection begins with.
    #[default]
    Resp2,
    /// With maps, sets and a null of its own; asked for by `HELLO 3`.
    Resp3,
}

impl Protocol {
    /// The number clients know it by.
    pub fn number(self) -> i64 {
        match self {
            Self::Resp2 => 2,
            Self::Resp3 => 3,
        }
    }
}

/// A reply, before it is known which version of the protocol it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A short status, such as `OK`.
    Status(String),
    /// A failure; its first word is a code that clients look at.
    Error(String),
    /// A number.
    Integer(i64),
    /// A byte string.
    Bulk(Vec<u8>),
    /// Text for people; a verbatim string in RESP3.
    Text(String),
    /// Nothing.
    Null,
    /// A list.
    Array(Vec<Reply>),
    /// A list whose order means nothing; an array in RESP2.
    Set(Vec<Reply>),
    /// Names and values; in RESP2 an array of both in turn.
    Map(Vec<(Reply, Reply)>),
}

impl Reply {
    /// `OK`.
    pub fn ok() -> Self {
        Self::status("OK")
    }

    /// A status.
    pub fn status(text: &str) -> Self {
        Self::Status(text.to_owned())
    }

    /// A failure under the general code.
    pub fn error(text: impl std::fmt::Display) -> Self {
        Self::Error(format!("ERR {text}"))
    }

    /// A byte string.
    pub fn bulk(text: impl Into<Vec<u8>>) -> Self {
        Self::Bulk(text.into())
    }

    /// Whether it tells of a failure.
    pub fn is_error(&self) -> bool {
        matches!(self, Self::Error(_))
    }
}

/// Writes replies behind each other.
#[derive(Debug)]
pub struct Writer<'a> {
    /// Where to.
    pub out: &'a mut Vec<u8>,
    /// In which version.
    pub protocol: Protocol,
}

impl Writer<'_> {
    /// Writes a whole reply.
    pub fn reply(&mut self, reply: &Reply) {
        match reply {
            Reply::Status(text) => self.line(b'+', text.as_bytes()),
            Reply::Error(text) => self.error(text),
            Reply::Integer(n) => self.integer(*n),
            Reply::Bulk(bytes) => self.bulk(bytes),
            Reply::Text(text) => self.text(text),
            Reply::Null => self.null(),
            Reply::Array(items) => {
                self.array(items.len());
                for item in items {
                    self.reply(item);
                }
            }
            Reply::Set(items) => {
                self.head(if self.protocol == Protocol::Resp3 { b'~' } else { b'*' }, items.len());
                for item in items {
                    self.reply(item);
                }
            }
            Reply::Map(pairs) => {
                match self.protocol {
                    Protocol::Resp2 => self.head(b'*', 2 * pairs.len()),
                    Protocol::Resp3 => self.head(b'%', pairs.len()),
                }
                for (name, value) in pairs {
                    self.reply(name);
                    self.reply(value);
                }
            }
        }
    }

    /// Writes what an operation came back with.
    pub fn answer(&mut self, answer: &Answer) {
        match answer {
            Answer::Nil => self.null(),
            Answer::Ok => self.line(b'+', b"OK"),
            Answer::Integer(n) => self.integer(*n),
            Answer::Bytes(bytes) => self.bulk(bytes),
            Answer::List(items) => {
                self.array(items.len());
                for item in items {
                    match item {
                        Some(bytes) => self.bulk(bytes),
                        None => self.null(),
                    }
                }
            }
            Answer::Page { cursor, keys } => {
                self.array(2);
                self.bulk(cursor.to_string().as_bytes());
                self.array(keys.len());
                for key in keys {
                    self.bulk(key);
                }
            }
            Answer::Error(error) => self.op_error(*error),
        }
    }

    /// Begins an array; the caller writes its items.
    pub fn array(&mut self, len: usize) {
        self.head(b'*', len);
    }

    /// Writes a byte string.
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.head(b'$', bytes.len());
        self.out.extend_from_slice(bytes);
        self.out.extend_from_slice(b"\r\n");
    }

    /// Writes a number.
    pub fn integer(&mut self, n: i64) {
        self.line(b':', n.to_string().as_bytes());
    }

    /// Writes nothing, as a reply.
    pub fn null(&mut self) {
        self.out.extend_from_slice(match self.protocol {
            Protocol::Resp2 => b"$-1\r\n",
            Protocol::Resp3 => b"_\r\n",
        });
    }

    /// Writes an error; a line break in it would end it early, so it becomes a blank.
    pub fn error(&mut self, text: &str) {
        let blank_out = |byte| if byte == b'\r' || byte == b'\n' { b' ' } else { byte };
        self.out.push(b'-');
        self.out.extend(text.bytes().map(blank_out));
        self.out.extend_from_slice(b"\r\n");
    }

    fn op_error(&mut self, error: OpError) {
        self.error(&format!("ERR {error}"));
    }

    fn text(&mut self, text: &str) {
        if self.protocol == Protocol::Resp2 {
            return self.bulk(text.as_bytes());
        }
        self.head(b'=', b"txt:".len() + text.len());
        self.out.extend_from_slice(b"txt:");
        self.out.extend_from_slice(text.as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }

    fn head(&mut self, kind: u8, len: usize) {
        self.line(kind, len.to_string().as_bytes());
    }

    fn line(&mut self, kind: u8, text: &[u8]) {
        self.out.push(kind);
        self.out.extend_from_slice(text);
        self.out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(protocol: Protocol, write: impl FnOnce(&mut Writer<'_>)) -> String {
        let mut out = Vec::new();
        write(&mut Writer { out: &mut out, protocol });
        String::from_utf8(out).unwrap()
    }

    #[track_caller]
    fn check(reply: &Reply, resp2: &str, resp3: &str) {
        assert_eq!(write(Protocol::Resp2, |w| w.reply(reply)), resp2);
        assert_eq!(write(Protocol::Resp3, |w| w.reply(reply)), resp3);
    }

    #[test]
    fn each_kind_of_reply_in_both_versions() {
        check(&Reply::ok(), "+OK\r\n", "+OK\r\n");
        check(&Reply::error("a\r\nb"), "-ERR a  b\r\n", "-ERR a  b\r\n");
        check(&Reply::Integer(-3), ":-3\r\n", ":-3\r\n");
        check(&Reply::bulk("ab"), "$2\r\nab\r\n", "$2\r\nab\r\n");
        check(&Reply::Text("ab".to_owned()), "$2\r\nab\r\n", "=6\r\ntxt:ab\r\n");
        check(&Reply::Null, "$-1\r\n", "_\r\n");
        let items = vec![Reply::Integer(1), Reply::Null];
        check(&Reply::Array(items), "*2\r\n:1\r\n$-1\r\n", "*2\r\n:1\r\n_\r\n");
        check(&Reply::Set(vec![Reply::Integer(1)]), "*1\r\n:1\r\n", "~1\r\n:1\r\n");
        let pairs = vec![(Reply::bulk("a"), Reply::Integer(1))];
        check(&Reply::Map(pairs), "*2\r\n$1\r\na\r\n:1\r\n", "%1\r\n$1\r\na\r\n:1\r\n");
    }

    #[test]
    fn each_kind_of_answer() {
        let check = |answer: Answer, expected: &str| {
            assert_eq!(write(Protocol::Resp2, |w| w.answer(&answer)), expected);
        };
        let bytes = |text: &str| crate::Bytes::from(text.as_bytes());
        check(Answer::Nil, "$-1\r\n");
        check(Answer::Ok, "+OK\r\n");
        check(Answer::Integer(7), ":7\r\n");
        check(Answer::Bytes(bytes("v")), "$1\r\nv\r\n");
        check(Answer::List(vec![Some(bytes("v")), None]), "*2\r\n$1\r\nv\r\n$-1\r\n");
        check(
            Answer::Page { cursor: 42, keys: vec![bytes("k")] },
            "*2\r\n$2\r\n42\r\n*1\r\n$1\r\nk\r\n",
        );
        check(
            Answer::Error(OpError::NotAnInteger),
            "-ERR value is not an integer or out of range\r\n",
        );
    }
}
