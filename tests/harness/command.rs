//! The commands of the Raft suites, integers and strings, and their bytes.

use std::fmt;

const NUMBER: u8 = 1;
const TEXT: u8 = 2;

/// One command.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Command {
    Number(i64),
    Text(String),
}

impl Command {
    /// A kind byte; then 8 bytes little-endian, or UTF-8.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let (kind, content): (u8, &[u8]) = match self {
            Self::Number(number) => (NUMBER, &number.to_le_bytes()),
            Self::Text(text) => (TEXT, text.as_bytes()),
        };
        [&[kind], content].concat()
    }

    /// The command in `bytes`, if they are one.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (&kind, content) = bytes.split_first()?;
        match kind {
            NUMBER => Some(Self::Number(i64::from_le_bytes(content.try_into().ok()?))),
            TEXT => Some(Self::Text(String::from_utf8(content.to_vec()).ok()?)),
            _ => None,
        }
    }

    /// Its number, if it is one.
    pub(crate) fn number(&self) -> Option<i64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(_) => None,
        }
    }
}

impl From<i64> for Command {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<String> for Command {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) if text.len() <= 20 => write!(f, "{text:?}"),
            Self::Text(text) => write!(f, "a text of {} bytes", text.len()),
        }
    }
}
