//! A line into words, as a person types it: separated by blanks, with `"…"` (and its escapes) and
//! `'…'` around words that hold blanks.

/// The words of `line`; `None` if a quote is not closed, or not at the end of its word.
pub(super) fn split(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut rest = line;
    loop {
        rest = rest.trim_ascii_start();
        if rest.is_empty() {
            return Some(words);
        }
        let (word, behind) = next_word(rest)?;
        words.push(word);
        rest = behind;
    }
}

fn next_word(mut rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut word = Vec::new();
    loop {
        match rest {
            [] => return Some((word, rest)),
            [blank, ..] if blank.is_ascii_whitespace() || *blank == 0 => {
                return Some((word, &rest[1..]));
            }
            [quote @ (b'"' | b'\''), inside @ ..] => {
                let behind = quoted(*quote, inside, &mut word)?;
                let ends_word = behind.first().is_none_or(u8::is_ascii_whitespace);
                return ends_word.then_some((word, behind));
            }
            [byte, behind @ ..] => {
                word.push(*byte);
                rest = behind;
            }
        }
    }
}

/// Adds what is before the closing quote to `word`; what is behind it.
fn quoted<'a>(quote: u8, mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let (&byte, behind) = rest.split_first()?;
        rest = behind;
        if byte == quote {
            return Some(rest);
        }
        if byte != b'\\' {
            word.push(byte);
            continue;
        }
        match (quote, rest) {
            (b'"', [b'x', high, low, behind @ ..])
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                word.push(hex(*high) << 4 | hex(*low));
                rest = behind;
            }
            (b'"', [escaped, behind @ ..]) => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'a' => 7,
                    other => *other,
                });
                rest = behind;
            }
            (b'\'', [b'\'', behind @ ..]) => {
                word.push(b'\'');
                rest = behind;
            }
            _ => word.push(b'\\'),
        }
    }
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, words: Option<&[&str]>) {
        let expected = words.map(|w| w.iter().map(|w| w.as_bytes().to_vec()).collect::<Vec<_>>());
        assert_eq!(split(line.as_bytes()), expected, "{line}");
    }

    #[test]
    fn lines_as_people_type_them() {
        check("", Some(&[]));
        check("  \t ", Some(&[]));
        check("PING", Some(&["PING"]));
        check(" set  k v ", Some(&["set", "k", "v"]));
        check(r#"set k "a b" 'c d'"#, Some(&["set", "k", "a b", "c d"]));
        check(r#""\x41\n\"\\\q" '\'' '\n'"#, Some(&["A\n\"\\q", "'", "\\n"]));
        check(r#"set k """#, Some(&["set", "k", ""]));
        check(r#"pre"fix""#, Some(&["prefix"]));
        check(r#""open"#, None);
        check("'open", None);
        check(r#""a"b"#, None);
    }
}
