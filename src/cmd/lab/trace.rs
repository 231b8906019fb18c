//! `oarlock lab trace`: a trace, with a column for each server.

use std::fs;
use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::columns::Columns;
use super::trace_line::Event;

/// Where the paper is no terminal.
const WIDTH: usize = 160;

/// Show the trace of a test, with a column for each server.
///
/// A trace is what the suites print with `OARLOCK_TRACE` set (`lab run --trace`), and what they print
/// of a test that failed. Each line is an event: the time since the test began in 0.1 ms, a topic,
/// the server, what happened there.
#[derive(clap::Args)]
#[command(after_help = "\
Topics: TIMR VOTE TERM LEAD REPL CMIT APLY PERS SNAP READ CONF NETW CLNT TEST

Examples:
  oarlock lab trace lab-logs/figure_8_2c-disk-3-seed-7.log --topics VOTE,LEAD,TEST | less
  OARLOCK_TRACE=all cargo test --test labs re_election -- --nocapture 2>&1 | oarlock lab trace -")]
pub(crate) struct Args {
    /// A file with a trace in it, such as the log of a failed run; `-` reads standard input.
    file: PathBuf,
    /// Show only events of these topics: `VOTE,LEAD`.
    #[arg(long, value_delimiter = ',', value_name = "TOPICS")]
    topics: Vec<String>,
    /// How wide a line may be, in characters [default: as wide as the terminal].
    #[arg(long, value_name = "N")]
    width: Option<usize>,
    /// Leave out lines that are no events.
    #[arg(long)]
    only_events: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let text = read(&args.file)?;
    let coloured = io::stdout().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let width = args.width.or_else(terminal_width).unwrap_or(WIDTH);
    let shown = show(&String::from_utf8_lossy(&text), &args.topics, args.only_events, |events| {
        Columns::new(events.iter().copied(), width, coloured)
    });
    match io::stdout().write_all(shown.as_bytes()) {
        // Whoever reads it has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    if file == Path::new("-") {
        let mut text = Vec::new();
        io::stdin().read_to_end(&mut text)?;
        return Ok(text);
    }
    fs::read(file).with_context(|| format!("{} cannot be read", file.display()))
}

fn terminal_width() -> Option<usize> {
    let stdout = io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(&stdout).ok()?;
    Some(size.ws_col.into()).filter(|&width| width > 0)
}

/// The trace in columns, and the lines around it.
fn show(
    text: &str,
    topics: &[String],
    only_events: bool,
    columns: impl FnOnce(&[Event<'_>]) -> Columns,
) -> String {
    let is_wanted = |event: &Event<'_>| {
        topics.is_empty()
            || topics.iter().any(|topic| topic.trim().eq_ignore_ascii_case(event.topic))
    };
    let events: Vec<_> = text.lines().filter_map(Event::parse).filter(is_wanted).collect();
    let columns = columns(&events);
    let mut shown = columns.head();
    for line in text.lines() {
        match Event::parse(line) {
            Some(event) if is_wanted(&event) => shown += &columns.lay_out(&event),
            Some(_) => {}
            None if only_events => {}
            None => {
                shown += line;
                shown.push('\n');
            }
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
Test (2A): election ... (OARLOCK_SEED=7)
000100 VOTE S1 T1 stands for election
000110 TERM S0 T1 from S1
000120 LEAD S1 T1 elected
  ... Passed --   3.1  2    58   3956    0
";

    #[track_caller]
    fn check(topics: &[&str], only_events: bool, expected: &str) {
        let topics: Vec<_> = topics.iter().map(|&topic| topic.to_owned()).collect();
        let columns = |events: &[Event<'_>]| Columns::new(events.iter().copied(), 80, false);
        assert_eq!(show(LOG, &topics, only_events, columns), expected);
    }

    #[test]
    fn lines_around_the_trace_pass_through() {
        check(
            &[],
            false,
            "             S0                                S1
Test (2A): election ... (OARLOCK_SEED=7)
000100 VOTE                                    T1 stands for election
000110 TERM  T1 from S1
000120 LEAD                                    T1 elected
  ... Passed --   3.1  2    58   3956    0
",
        );
    }

    #[test]
    fn topics_are_chosen() {
        check(
            &["lead", "TERM"],
            true,
            "             S0                                S1
000110 TERM  T1 from S1
000120 LEAD                                    T1 elected
",
        );
        check(&["SNAP"], true, "");
    }
}
