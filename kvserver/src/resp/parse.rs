//! Bytes into commands: RESP arrays of bulk strings, and inline commands (plain lines).
//!
//! Bytes may come in pieces of any size; the commands are the same. Nothing is allocated on the
//! word of a length: memory grows with the bytes that have come. Every length has a limit, and a
//! smaller one before a client has authenticated itself.

use std::ops::Range;

use super::inline;
use crate::data::parse_integer;
use crate::op::VALUE_BYTES_MAX;
use crate::request::REQUEST_BYTES_MAX;

/// A command: its name, and its arguments.
pub type Words = Vec<Vec<u8>>;

/// How large commands may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseLimits {
    /// The most words of one command.
    pub words_max: usize,
    /// The longest word, in bytes.
    pub word_bytes_max: usize,
    /// The longest command, in bytes as they come.
    pub command_bytes_max: usize,
}

impl ParseLimits {
    /// For clients that may do as they like.
    pub const NORMAL: Self = Self {
        words_max: 1 << 20,
        word_bytes_max: VALUE_BYTES_MAX,
        command_bytes_max: REQUEST_BYTES_MAX,
    };
    /// For clients that have yet to authenticate themselves.
    pub const UNAUTHENTICATED: Self =
        Self { words_max: 10, word_bytes_max: 16 << 10, command_bytes_max: 64 << 10 };
}

/// The longest line: an inline command, or a length.
const LINE_BYTES_MAX: usize = 64 << 10;

/// A buffer that has grown past this is given back when it is empty, in bytes.
const BUFFER_BYTES_KEPT: usize = 64 << 10;

/// The bytes are not RESP, or too many. Nothing behind them can be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Protocol error: {0}")]
pub struct ProtocolError(String);

impl From<&str> for ProtocolError {
    fn from(what: &str) -> Self {
        Self(what.to_owned())
    }
}

/// Takes bytes, gives commands.
#[derive(Debug)]
pub struct Parser {
    limits: ParseLimits,
    buffer: Vec<u8>,
    /// Where the bytes not yet understood begin.
    at: usize,
    /// How many of them are known to hold no end of line.
    scanned: usize,
    partial: Option<Partial>,
}

/// An array of which some is still to come.
#[derive(Debug)]
struct Partial {
    words: Words,
    missing: usize,
    /// The length of the next word, once its line has come.
    word_len: Option<usize>,
    bytes: usize,
}

impl Parser {
    /// A parser at the beginning of a connection.
    pub fn new(limits: ParseLimits) -> Self {
        Self { limits, buffer: Vec::new(), at: 0, scanned: 0, partial: None }
    }

    /// Changes the limits, from the next length on.
    pub fn set_limits(&mut self, limits: ParseLimits) {
        self.limits = limits;
    }

    /// Takes more bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.at);
        self.at = 0;
        if self.buffer.is_empty() && self.buffer.capacity() > BUFFER_BYTES_KEPT {
            self.buffer = Vec::new();
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// How many bytes have come that are in no command yet.
    pub(super) fn unread_bytes(&self) -> usize {
        self.buffer.len() - self.at
    }

    /// The next complete command, if there is one; never an empty one. After an error the
    /// connection is of no further use.
    pub fn next_command(&mut self) -> Result<Option<Words>, ProtocolError> {
        loop {
            if self.partial.is_some() {
                return self.next_of_array();
            }
            match self.buffer.get(self.at) {
                None => return Ok(None),
                Some(b'*') => {
                    let Some(line) = self.line("too big mbulk count string")? else {
                        return Ok(None);
                    };
                    self.begin_array(parse_integer(&self.buffer[line.start + 1..line.end]))?;
                }
                Some(_) => {
                    let Some(line) = self.line("too big inline request")? else {
                        return Ok(None);
                    };
                    let words =
                        inline::split(&self.buffer[line]).ok_or("unbalanced quotes in request")?;
                    if !words.is_empty() {
                        return Ok(Some(words));
                    }
                }
            }
        }
    }

    fn begin_array(&mut self, count: Option<i64>) -> Result<(), ProtocolError> {
        let count = count.ok_or("invalid multibulk length")?;
        // Empty and null arrays are skipped.
        let Ok(missing @ 1..) = usize::try_from(count) else { return Ok(()) };
        if missing > self.limits.words_max {
            return Err("invalid multibulk length".into());
        }
        self.partial = Some(Partial { words: Vec::new(), missing, word_len: None, bytes: 0 });
        Ok(())
    }

    fn next_of_array(&mut self) -> Result<Option<Words>, ProtocolError> {
        let mut partial = self.partial.take().expect("the caller looked");
        while partial.missing > 0 {
            if !self.next_word(&mut partial)? {
                self.partial = Some(partial);
                return Ok(None);
            }
        }
        Ok(Some(partial.words))
    }

    /// Adds one word to `partial`; false if it has not come yet.
    fn next_word(&mut self, partial: &mut Partial) -> Result<bool, ProtocolError> {
        let len = if let Some(len) = partial.word_len {
            len
        } else {
            let Some(len) = self.word_len()? else { return Ok(false) };
            // The lines count as well: an empty word takes memory, too.
            partial.bytes = partial.bytes.saturating_add(len + b"$0\r\n\r\n".len());
            if partial.bytes > self.limits.command_bytes_max {
                return Err("command too large".into());
            }
            partial.word_len = Some(len);
            len
        };
        let rest = &self.buffer[self.at..];
        if rest.len() < len + 2 {
            return Ok(false);
        }
        if rest[len..len + 2] != *b"\r\n" {
            return Err("expected CRLF behind a bulk string".into());
        }
        partial.words.push(rest[..len].to_vec());
        partial.missing -= 1;
        partial.word_len = None;
        self.at += len + 2;
        Ok(true)
    }

    /// The length of the next word, if its line has come.
    fn word_len(&mut self) -> Result<Option<usize>, ProtocolError> {
        match self.buffer.get(self.at) {
            None => return Ok(None),
            Some(b'$') => {}
            Some(&other) => {
                let shown = char::from(other).escape_default();
                return Err(ProtocolError(format!("expected '$', got '{shown}'")));
            }
        }
        let Some(line) = self.line("too big bulk count string")? else { return Ok(None) };
        let len = parse_integer(&self.buffer[line.start + 1..line.end])
            .and_then(|len| usize::try_from(len).ok());
        let len = len.filter(|len| *len <= self.limits.word_bytes_max);
        Ok(Some(len.ok_or("invalid bulk length")?))
    }

    /// Where the next line without its end is in the buffer, if it has come.
    fn line(&mut self, too_long: &str) -> Result<Option<Range<usize>>, ProtocolError> {
        let rest = &self.buffer[self.at..];
        let within = &rest[..rest.len().min(LINE_BYTES_MAX)];
        let Some(end) = within[self.scanned..].iter().position(|byte| *byte == b'\n') else {
            self.scanned = within.len();
            return if within.len() < LINE_BYTES_MAX { Ok(None) } else { Err(too_long.into()) };
        };
        let end = self.scanned + end;
        let line_len = rest[..end].strip_suffix(b"\r").map_or(end, <[u8]>::len);
        let line = self.at..self.at + line_len;
        self.at += end + 1;
        self.scanned = 0;
        Ok(Some(line))
    }
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
