//! The glob language of `KEYS` and `SCAN … MATCH`: `*`, `?`, `[abc]`, `[^a-c]`, and `\` before a
//! character that is meant literally.
//!
//! Matching takes time proportional to the pattern times the text at worst: a failed attempt goes
//! back to the last `*` alone, since an earlier one could not help where the later one did not.

/// Whether `text` matches `pattern` as a whole.
pub(crate) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Behind the last `*` seen, and how far into the text it reaches so far.
    let mut star: Option<(usize, usize)> = None;
    loop {
        if p < pattern.len() && pattern[p] == b'*' {
            p += 1;
            star = Some((p, t));
            continue;
        }
        if t == text.len() {
            return p == pattern.len();
        }
        if let Some(width) = match_one(&pattern[p..], text[t]) {
            p += width;
            t += 1;
        } else if let Some((behind, reach)) = star {
            p = behind;
            t = reach + 1;
            star = Some((behind, t));
        } else {
            return false;
        }
    }
}

/// Matches one byte against the element `pattern` begins with; the element's width if it does.
fn match_one(pattern: &[u8], byte: u8) -> Option<usize> {
    match *pattern {
        [] => None,
        [b'?', ..] => Some(1),
        [b'\\', literal, ..] => (literal == byte).then_some(2),
        [b'[', ref class @ ..] => {
            let (matched, width) = match_class(class, byte);
            matched.then_some(1 + width)
        }
        [literal, ..] => (literal == byte).then_some(1),
    }
}

/// Matches one byte against a class, its `[` taken off; an unclosed one ends with the pattern.
/// Gives the width up to and including the `]`.
fn match_class(class: &[u8], byte: u8) -> (bool, usize) {
    let negated = class.first() == Some(&b'^');
    let mut at = usize::from(negated);
    let mut found = false;
    loop {
        match class[at..] {
            [] => break,
            [b']', ..] => {
                at += 1;
                break;
            }
            [b'\\', literal, ..] => {
                found |= literal == byte;
                at += 2;
            }
            [low, b'-', high, ..] => {
                found |= (low.min(high)..=low.max(high)).contains(&byte);
                at += 3;
            }
            [literal, ..] => {
                found |= literal == byte;
                at += 1;
            }
        }
    }
    (found != negated, at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, yes: &[&str], no: &[&str]) {
        for text in yes {
            assert!(matches(pattern.as_bytes(), text.as_bytes()), "{pattern} takes {text}");
        }
        for text in no {
            assert!(!matches(pattern.as_bytes(), text.as_bytes()), "{pattern} refuses {text}");
        }
    }

    #[test]
    fn the_glob_language() {
        check("", &[""], &["a"]);
        check("*", &["", "a", "abc"], &[]);
        check("a*c", &["ac", "abc", "abcbc"], &["a", "abcd", "bac"]);
        check("*a*b*", &["ab", "xaxbx", "aab"], &["ba", "a", ""]);
        check("h?llo", &["hello", "hxllo"], &["hllo", "heello"]);
        check("h[ae]llo", &["hello", "hallo"], &["hillo", "hllo"]);
        check("h[^e]llo", &["hallo"], &["hello", "hllo"]);
        check("h[a-c]llo", &["hbllo"], &["hdllo"]);
        check("h[c-a]llo", &["hbllo"], &["hdllo"]);
        check(r"a\*b", &["a*b"], &["axb", r"a\*b"]);
        check(r"[\]]", &["]"], &["\\"]);
        check("[ab", &["a", "b"], &["c", "[ab"]);
        check("a[", &[], &["a", "ab"]);
        check("user:*:name", &["user:1:name"], &["user:1:names"]);
        check(r"a\", &[r"a\"], &["a"]);
        check("a-[x-", &["a-x", "a--"], &["a-y"]);
    }

    #[test]
    fn many_stars_do_not_explode() {
        let pattern = "a*".repeat(40) + "b";
        assert!(!matches(pattern.as_bytes(), "a".repeat(4000).as_bytes()));
    }
}
