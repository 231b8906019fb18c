//! Latencies by percentile, as a picture: the tail has as much room as the rest.

use std::fmt::Write as _;

use super::driver::Outcome;
use super::report::{kinds, ms};

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 50.0;
const COLOURS: [&str; 3] = ["#1b6ca8", "#c0392b", "#27864b"];
/// The percentiles that are named below the picture, by how many nines they have.
const NINES: [(&str, f64); 6] = [
    ("0 %", 0.0),
    ("90 %", 1.0),
    ("99 %", 2.0),
    ("99.9 %", 3.0),
    ("99.99 %", 4.0),
    ("99.999 %", 5.0),
];
const STEPS_PER_NINE: u32 = 20;

/// The picture.
pub(super) fn svg(outcome: &Outcome) -> String {
    let kinds = kinds(outcome);
    let most = kinds.iter().map(|(_, histogram)| ms(histogram.max())).fold(1.0, f64::max);
    let least = kinds.iter().map(|(_, histogram)| ms(histogram.min())).fold(most, f64::min);
    let (low, high) = (least.max(0.001).log10().floor(), most.log10().ceil());
    let last_nine = NINES[NINES.len() - 1].1;
    let x = |nines: f64| LEFT + (WIDTH - LEFT - RIGHT) * nines / last_nine;
    let y = |latency: f64| {
        let part = (latency.max(1e-6).log10() - low) / (high - low).max(1.0);
        HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * part
    };
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"18\">latency in ms, by percentile</text>\n"
    );
    for (name, nines) in NINES {
        let (at, end) = (x(nines), HEIGHT - BOTTOM);
        line(&mut svg, (at, TOP), (at, end));
        text(&mut svg, (at, end + 18.0), "middle", name);
    }
    let mut decade = low;
    while decade <= high {
        let at = y(10f64.powf(decade));
        line(&mut svg, (LEFT, at), (WIDTH - RIGHT, at));
        text(&mut svg, (LEFT - 6.0, at + 4.0), "end", &10f64.powf(decade).to_string());
        decade += 1.0;
    }
    for ((name, histogram), (row, colour)) in kinds.iter().zip((0u32..).zip(COLOURS)) {
        let steps = STEPS_PER_NINE * (NINES.len() as u32 - 1);
        let points = (0..=steps).map(|step| {
            let nines = f64::from(step) / f64::from(STEPS_PER_NINE);
            let percentile = 100.0 * (1.0 - 10f64.powf(-nines));
            format!("{:.1},{:.1}", x(nines), y(ms(histogram.value_at_percentile(percentile))))
        });
        let points = points.collect::<Vec<_>>().join(" ");
        _ = writeln!(
            svg,
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{points}\"/>\n\
             <text x=\"{}\" y=\"{}\" fill=\"{colour}\">{name}</text>",
            LEFT + 12.0,
            TOP + 18.0 + 16.0 * f64::from(row)
        );
    }
    svg.push_str("</svg>\n");
    svg
}

fn line(svg: &mut String, from: (f64, f64), to: (f64, f64)) {
    let ((x1, y1), (x2, y2)) = (from, to);
    _ = writeln!(
        svg,
        "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"#ddd\"/>"
    );
}

fn text(svg: &mut String, at: (f64, f64), anchor: &str, text: &str) {
    let (x, y) = at;
    _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"#555\">{text}</text>"
    );
}
