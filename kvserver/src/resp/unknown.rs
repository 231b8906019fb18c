//! Commands that are not known: what they are answered, and those that are none.

use super::parse::Words;

/// Whether this is the beginning of a line of HTTP: a web page that talks to a port it should not
/// know. What follows may look like commands.
pub(super) fn is_http(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"POST") || name.eq_ignore_ascii_case(b"Host:")
}

/// The usual text, which clients look for: with the beginnings of the arguments.
pub(super) fn refusal(words: &Words) -> String {
    const SHOWN_MAX: usize = 128;
    let show = |word: &[u8]| {
        let word = &word[..word.len().min(SHOWN_MAX)];
        String::from_utf8_lossy(word).into_owned()
    };
    let mut text = format!("ERR unknown command '{}', with args beginning with: ", show(&words[0]));
    let mut shown = 0;
    for word in &words[1..] {
        if shown >= SHOWN_MAX {
            break;
        }
        let argument = format!("'{}' ", show(&word[..word.len().min(SHOWN_MAX - shown)]));
        shown += argument.len();
        text.push_str(&argument);
    }
    text
}
