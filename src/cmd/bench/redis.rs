//! The little of the Redis protocol that a measurement needs.

use std::io::Write as _;

use super::protocol::{Answer, Ask, Heard, Protocol};

/// The longest answer that is taken, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// A client's side of a connection.
pub(super) struct Redis;

impl Protocol for Redis {
    fn hello(&mut self, _out: &mut Vec<u8>) {}

    fn ask(&mut self, ask: Ask<'_>, out: &mut Vec<u8>) {
        match ask {
            Ask::Set { key, value } => command(out, &[b"SET", key, value]),
            Ask::Get { key } => command(out, &[b"GET", key]),
            Ask::Ping => command(out, &[b"PING"]),
        }
    }

    fn hear(&mut self, input: &[u8], _out: &mut Vec<u8>) -> Result<Heard, String> {
        let Some(end) = input.iter().position(|&byte| byte == b'\n') else {
            return Ok(Heard::Part);
        };
        let line = std::str::from_utf8(&input[..end]).map_err(|_| "an answer that is no text")?;
        let line = line.trim_end_matches('\r');
        let (kind, rest) = line.split_at_checked(1).ok_or("an empty answer")?;
        let whole = |bytes, answer| Ok(Heard::Whole { bytes, answer: Some(answer) });
        match kind {
            "+" => whole(end + 1, Answer::Done),
            "-" => whole(end + 1, Answer::Error(rest.to_owned())),
            "$" if rest == "-1" => whole(end + 1, Answer::Value(None)),
            "_" => whole(end + 1, Answer::Value(None)),
            "$" => {
                let length: usize = rest.parse().map_err(|_| format!("a length of {rest:?}"))?;
                if length > ANSWER_BYTES_MAX {
                    return Err(format!("a value of {length} bytes"));
                }
                let bytes = end + 1 + length + 2;
                let Some(value) = input.get(end + 1..bytes) else { return Ok(Heard::Part) };
                whole(bytes, Answer::Value(Some(value[..length].to_vec())))
            }
            _ => Err(format!("an answer nobody asked for: {line:?}")),
        }
    }
}

fn command(out: &mut Vec<u8>, words: &[&[u8]]) {
    // Writing to memory does not fail.
    _ = write!(out, "*{}\r\n", words.len());
    for word in words {
        _ = write!(out, "${}\r\n", word.len());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hear(input: &[u8]) -> Result<Heard, String> {
        Redis.hear(input, &mut Vec::new())
    }

    #[test]
    fn answers_are_understood_once_they_are_whole() {
        let whole = |bytes, answer| Ok(Heard::Whole { bytes, answer: Some(answer) });
        assert_eq!(hear(b"+OK\r\n+OK\r\n"), whole(5, Answer::Done));
        assert_eq!(hear(b"$-1\r\n"), whole(5, Answer::Value(None)));
        assert_eq!(hear(b"$3\r\nabc\r\n"), whole(9, Answer::Value(Some(b"abc".to_vec()))));
        assert_eq!(hear(b"-ERR no\r\n"), whole(9, Answer::Error("ERR no".to_owned())));
        for part in [&b""[..], b"+", b"+OK\r", b"$3\r\n", b"$3\r\nabc\r"] {
            assert_eq!(hear(part), Ok(Heard::Part), "{part:?}");
        }
        for bad in [&b"?\r\n"[..], b"$x\r\n", b"\r\n", b"$999999999999\r\n", b"\xff\n"] {
            assert!(hear(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn requests_are_arrays_of_words() {
        let mut out = Vec::new();
        Redis.ask(Ask::Set { key: b"k", value: b"\r\n" }, &mut out);
        Redis.ask(Ask::Ping, &mut out);
        assert_eq!(out, b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2\r\n\r\n\r\n*1\r\n$4\r\nPING\r\n");
    }
}
