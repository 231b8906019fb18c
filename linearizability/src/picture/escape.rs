//! Texts of unknown content, inside HTML.

use std::fmt::{self, Write};

/// Shown as it is, whatever it has in it: markup as text, control characters as their pictures.
pub(crate) struct Escaped<'a>(pub(crate) &'a str);

/// The symbols for the control characters begin here.
const CONTROL_PICTURES: u32 = 0x2400;

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c if u32::from(c) < 0x20 => {
                    f.write_char(char::from_u32(CONTROL_PICTURES + u32::from(c)).unwrap_or(' '))?;
                }
                c if c.is_control() || is_direction(c) => {
                    f.write_char(char::REPLACEMENT_CHARACTER)?;
                }
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// Whether it turns the direction of the text around it.
fn is_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_that_means_something_to_a_browser() {
        let escaped = Escaped("a<b>&'\"\n\u{0}\u{7f}\u{202e}ü").to_string();
        assert_eq!(escaped, "a&lt;b&gt;&amp;&#39;&quot;\u{240a}\u{2400}\u{fffd}\u{fffd}ü");
    }
}
