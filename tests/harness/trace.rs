//! The test logger: one line per event, in columns, from the peers and from the test itself.
//!
//! ```text
//! 004213 VOTE S1 T3 grants S2 T3 their last=17@2 ours=17@2
//! 004298 LEAD S2 T3 elected last=17@2 commit=15
//! 005000 TEST disconnect(2)
//! ```
//!
//! Time since the test began in units of 0.1 ms, topic, peer, term, event. The environment variable
//! `OARLOCK_TRACE` chooses the topics that are printed as they happen: `VOTE,LEAD`, or `all`. All
//! topics are remembered for a while, and shown when a test fails: threads never run the same way
//! twice, so the failing run is the one to have the trace of.

use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::OnceLock;
use std::time::Instant;

use log::{LevelFilter, Log, Metadata, Record};
use parking_lot::Mutex;

const VARIABLE: &str = "OARLOCK_TRACE";
const ALL: &str = "all";
/// The lines that are remembered.
const RECENT_MAX: usize = 20_000;

static TRACER: OnceLock<Tracer> = OnceLock::new();

struct Tracer {
    printed: Vec<String>,
    course: Mutex<Course>,
}

/// The course of the present test.
struct Course {
    began: Instant,
    recent: VecDeque<String>,
}

/// A test begins: its time is 0 now.
pub(crate) fn begin() {
    let course = || Course { began: Instant::now(), recent: VecDeque::new() };
    let tracer = TRACER.get_or_init(|| Tracer {
        printed: topics(&std::env::var(VARIABLE).unwrap_or_default()),
        course: Mutex::new(course()),
    });
    *tracer.course.lock() = course();
    // Refused from the second test on: the logger is there.
    if log::set_logger(tracer).is_ok() {
        log::set_max_level(LevelFilter::Debug);
    }
}

/// The last lines of all topics, oldest first.
pub(crate) fn recent() -> String {
    let Some(tracer) = TRACER.get() else { return String::new() };
    let mut text = String::new();
    for line in &tracer.course.lock().recent {
        text.push_str(line);
        text.push('\n');
    }
    text
}

fn topics(choice: &str) -> Vec<String> {
    choice.split(',').map(|topic| topic.trim().to_uppercase()).filter(|t| !t.is_empty()).collect()
}

impl Tracer {
    fn prints(&self, topic: &str) -> bool {
        self.printed.iter().any(|chosen| chosen == topic || chosen.eq_ignore_ascii_case(ALL))
    }
}

impl Log for Tracer {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let mut line = String::with_capacity(80);
        let mut course = self.course.lock();
        let tenths_ms = course.began.elapsed().as_micros() / 100;
        write!(line, "{tenths_ms:06} {} {}", record.target(), record.args())
            .expect("a string takes everything");
        if self.prints(record.target()) {
            eprintln!("{line}");
        }
        if course.recent.len() == RECENT_MAX {
            course.recent.pop_front();
        }
        course.recent.push_back(line);
    }

    fn flush(&self) {}
}
