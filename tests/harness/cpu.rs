//! What a test costs the processor.

use std::fs;
use std::time::Duration;

/// Linux counts in hundredths of a second here, whatever its kernel's own clock.
const TICK: Duration = Duration::from_millis(10);
/// In `/proc/self/stat`, counted from the state, which follows the name: user and system time.
const UTIME: usize = 11;
const STIME: usize = 12;

/// The processor time of this process so far, all threads together, those that have ended included;
/// `None` where there is no Linux to tell.
pub(crate) fn time() -> Option<Duration> {
    parse(&fs::read_to_string("/proc/self/stat").ok()?)
}

fn parse(stat: &str) -> Option<Duration> {
    // The name stands in brackets, and may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = |field: usize| fields.get(field)?.parse::<u32>().ok();
    Some(TICK * ticks(UTIME)?.checked_add(ticks(STIME)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_system_time_are_added() {
        let stat = "7 (a) b (c) R 1 7 7 0 -1 4194304 100 0 0 0 250 31 9 9 20 0 1 0 99 1 2";
        assert_eq!(parse(stat), Some(Duration::from_millis(2810)));
        assert_eq!(parse("7 (a) R 1"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn work_takes_time() {
        let Some(before) = time() else { return };
        let work = || (0..1_000_000_u64).fold(0, |sum: u64, i| std::hint::black_box(sum ^ i));
        let took = || time().expect("it was told before").saturating_sub(before);
        while took() < TICK {
            std::hint::black_box(work());
        }
        assert!(took() >= TICK);
    }
}
