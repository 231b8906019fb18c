//! What a run came to: for people, for programs, and every latency for a table.

use std::fmt::Write as _;

use hdrhistogram::Histogram;

use super::driver::Outcome;
use crate::cmd::table::aligned;

/// The percentiles of the tables.
const PERCENTILES: [(&str, f64); 4] =
    [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p99.9", 99.9)];

/// The kinds that were asked, by name.
pub(super) fn kinds(outcome: &Outcome) -> Vec<(&'static str, &Histogram<u64>)> {
    [("SET", &outcome.sets), ("GET", &outcome.gets), ("PING", &outcome.pings)]
        .into_iter()
        .filter(|(_, histogram)| !histogram.is_empty())
        .collect()
}

/// A latency in milliseconds.
#[expect(clippy::cast_precision_loss, reason = "three digits are worth reading")]
pub(super) fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}

/// How many a second.
#[expect(clippy::cast_precision_loss, reason = "three digits are worth reading")]
fn rate(histogram: &Histogram<u64>, outcome: &Outcome) -> f64 {
    histogram.len() as f64 / outcome.measured.as_secs_f64()
}

/// For people.
pub(super) fn text(outcome: &Outcome) -> String {
    let head = ["", "answered", "per second", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "max ms"];
    let rows: Vec<_> = kinds(outcome)
        .into_iter()
        .map(|(name, histogram)| {
            let at = |percentile| format!("{:.3}", ms(histogram.value_at_percentile(percentile)));
            let [p50, p90, p99, p999] = PERCENTILES.map(|(_, percentile)| at(percentile));
            let max = format!("{:.3}", ms(histogram.max()));
            let per_second = format!("{:.0}", rate(histogram, outcome));
            [name.to_owned(), histogram.len().to_string(), per_second, p50, p90, p99, p999, max]
        })
        .collect();
    let mut text = aligned(head, &rows);
    let errors: u64 = outcome.errors.values().sum();
    let line = format!(
        "in {:.1?}; {errors} errors, {} wrong answers; the longest time without an answer: {:.1?}\n",
        outcome.measured,
        outcome.wrong.len(),
        outcome.pause
    );
    text.push_str(&line);
    for (error, count) in &outcome.errors {
        _ = writeln!(text, "  {error}: {count} times");
    }
    for wrong in &outcome.wrong {
        _ = writeln!(text, "  wrong: {wrong}");
    }
    text
}

/// For programs: one line.
pub(super) fn json(outcome: &Outcome) -> String {
    let mut object = serde_json::Map::new();
    for (name, histogram) in kinds(outcome) {
        let mut figures = serde_json::Map::new();
        figures.insert("count".to_owned(), histogram.len().into());
        figures.insert("per_second".to_owned(), rate(histogram, outcome).into());
        for (label, percentile) in PERCENTILES {
            let latency = ms(histogram.value_at_percentile(percentile));
            figures.insert(format!("{label}_ms"), latency.into());
        }
        figures.insert("max_ms".to_owned(), ms(histogram.max()).into());
        object.insert(name.to_lowercase(), figures.into());
    }
    object.insert("errors".to_owned(), outcome.errors.values().sum::<u64>().into());
    object.insert("wrong".to_owned(), outcome.wrong.len().into());
    object.insert("pause_ms".to_owned(), (outcome.pause.as_secs_f64() * 1e3).into());
    format!("{}\n", serde_json::Value::from(object))
}

/// Every latency that came, and how often: at most so many microseconds.
pub(super) fn csv(outcome: &Outcome) -> String {
    let mut csv = "request,latency_us_at_most,count\n".to_owned();
    for (name, histogram) in kinds(outcome) {
        for step in histogram.iter_recorded() {
            let at_most = ms(step.value_iterated_to()) * 1e3;
            _ = writeln!(csv, "{name},{at_most:.1},{}", step.count_at_value());
        }
    }
    csv
}
