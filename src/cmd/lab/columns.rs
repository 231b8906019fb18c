//! Events laid out in columns: time and topic at the left, then a column for each server.

use super::trace_line::Event;

/// A column is not made narrower than this, however narrow the paper.
const COLUMN_MIN: usize = 12;
const GAP: &str = "  ";
const TOPIC_WIDTH: usize = 4;
/// Sets everything back.
const PLAIN: &str = "\x1b[0m";

/// Where columns are, and whether they are coloured.
pub(crate) struct Columns {
    peers: usize,
    time_width: usize,
    column_width: usize,
    coloured: bool,
}

impl Columns {
    /// For these events, on lines of `width` characters.
    pub(crate) fn new<'a>(
        events: impl IntoIterator<Item = Event<'a>>,
        width: usize,
        coloured: bool,
    ) -> Self {
        let (mut peers, mut time_width) = (0, 0);
        for event in events {
            peers = peers.max(event.peer.map_or(0, |peer| peer + 1));
            time_width = time_width.max(event.time.len());
        }
        let left = time_width + 1 + TOPIC_WIDTH;
        let room = width.saturating_sub(left + peers * GAP.len());
        let column_width = (room / peers.max(1)).max(COLUMN_MIN);
        Self { peers, time_width, column_width, coloured }
    }

    /// The line of the servers' names; empty without any.
    pub(crate) fn head(&self) -> String {
        if self.peers == 0 {
            return String::new();
        }
        let names = (0..self.peers).map(|peer| format!("S{peer}"));
        let cells = names.map(|name| format!("{GAP}{name:0$}", self.column_width));
        let left = " ".repeat(self.left());
        format!("{}\n", (left + &cells.collect::<String>()).trim_end())
    }

    /// An event, as one line or several.
    pub(crate) fn lay_out(&self, event: &Event<'_>) -> String {
        let (before, width) = match event.peer {
            Some(peer) => (peer * (self.column_width + GAP.len()), self.column_width),
            // What is nobody's may have the whole line.
            None => (0, self.peers.max(1) * (self.column_width + GAP.len()) - GAP.len()),
        };
        let indent = " ".repeat(before + GAP.len());
        let mut text = String::new();
        for (number, line) in wrapped(event.text, width).iter().enumerate() {
            let left = if number == 0 {
                format!("{:0>1$} {2}", event.time, self.time_width, event.topic)
            } else {
                " ".repeat(self.left())
            };
            let line = format!("{left}{indent}{line}");
            text += &self.coloured(event.topic, line.trim_end());
            text.push('\n');
        }
        text
    }

    fn left(&self) -> usize {
        self.time_width + 1 + TOPIC_WIDTH
    }

    fn coloured(&self, topic: &str, line: &str) -> String {
        match colour(topic) {
            Some(colour) if self.coloured => format!("\x1b[{colour}m{line}{PLAIN}"),
            _ => line.to_owned(),
        }
    }
}

/// The colour of a topic, as terminals count them.
fn colour(topic: &str) -> Option<u8> {
    Some(match topic {
        "TIMR" => 90,
        "VOTE" => 36,
        "TERM" => 35,
        "LEAD" => 33,
        "REPL" => 34,
        "CMIT" => 32,
        "APLY" => 92,
        "PERS" => 95,
        "SNAP" => 94,
        "READ" => 96,
        "CONF" => 93,
        "NETW" => 37,
        "CLNT" => 91,
        "TEST" => 31,
        _ => return None,
    })
}

/// Lines of at most `width` characters, parted between words where a word fits at all; at least one.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split_whitespace() {
        let letters: Vec<char> = word.chars().collect();
        for (number, piece) in letters.chunks(width).enumerate() {
            let space = usize::from(used > 0);
            if number > 0 || used + space + piece.len() > width {
                if used > 0 {
                    lines.push(String::new());
                }
                used = 0;
            }
            let line = lines.last_mut().expect("there is always a line");
            if used > 0 {
                line.push(' ');
                used += 1;
            }
            line.extend(piece);
            used += piece.len();
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: [&str; 4] = [
        "000100 VOTE S2 T1 stands for election",
        "000113 VOTE S0 T1 grants S2",
        "000120 LEAD S2 T1 elected votes=2/3",
        "000200 TEST disconnect(2), and something that is quite long",
    ];

    fn laid_out(width: usize, coloured: bool) -> String {
        let events: Vec<_> = TRACE.iter().map(|line| Event::parse(line).unwrap()).collect();
        let columns = Columns::new(events.iter().copied(), width, coloured);
        columns.head() + &events.iter().map(|event| columns.lay_out(event)).collect::<String>()
    }

    #[test]
    fn a_column_for_each_server() {
        // 11 for time and topic, then 3 of 2 and 13.
        let expected = "
             S0             S1             S2
000100 VOTE                                T1 stands for
                                           election
000113 VOTE  T1 grants S2
000120 LEAD                                T1 elected
                                           votes=2/3
000200 TEST  disconnect(2), and something that is quite
             long
";
        assert_eq!(format!("\n{}", laid_out(56, false)), expected);
    }

    #[test]
    fn no_line_is_wider_than_asked() {
        for width in 53..200 {
            for line in laid_out(width, false).lines() {
                assert!(line.chars().count() <= width, "{width}: {line:?}");
            }
        }
    }

    #[test]
    fn columns_never_vanish() {
        assert!(laid_out(0, false).contains("T1 stands"));
    }

    #[test]
    fn a_row_has_the_colour_of_its_topic() {
        let laid_out = laid_out(200, true);
        assert!(laid_out.contains("\x1b[36m000113 VOTE  T1 grants S2\x1b[0m\n"), "{laid_out}");
        assert!(!self::laid_out(200, false).contains('\x1b'));
    }

    #[test]
    fn longer_times_widen_the_left() {
        let lines = ["999999 TERM S0 T1", "1000000 TERM S0 T2"];
        let events = lines.map(|line| Event::parse(line).unwrap());
        let columns = Columns::new(events, 80, false);
        assert_eq!(columns.head(), "              S0\n");
        assert_eq!(columns.lay_out(&events[0]), "0999999 TERM  T1\n");
        assert_eq!(columns.lay_out(&events[1]), "1000000 TERM  T2\n");
    }

    #[test]
    fn words_stay_whole_where_they_can() {
        for (text, expected) in [
            ("", &[""][..]),
            ("one two", &["one two"]),
            ("one two three", &["one two", "three"]),
            ("abcdefghij", &["abcdefg", "hij"]),
            ("one abcdefghij k", &["one", "abcdefg", "hij k"]),
            ("→→→→→→→→", &["→→→→→→→", "→"]),
        ] {
            assert_eq!(wrapped(text, 7), expected, "{text:?}");
        }
    }
}
