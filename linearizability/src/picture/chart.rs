//! The chart of one key, as SVG.

use std::collections::HashMap;
use std::fmt::{Arguments, Write};

use super::Section;
use super::escape::Escaped;
use super::layout::{Layout, Place};
use crate::history::{Effect, Entry, History};

const ROW_HEIGHT: usize = 34;
const BOX_HEIGHT: usize = 24;
const TOP: usize = 22;
const LABEL_WIDTH: usize = 84;
const CHARACTER_WIDTH: usize = 8;
/// A box is never narrower, in pixels.
const BOX_WIDTH_MIN: usize = 8;
/// Times are written this far apart, in pixels.
const TICK_DISTANCE: usize = 110;
/// From a point of the order to the next at least, in pixels.
const POINT_DISTANCE: usize = 3;
/// The characters of a value that are shown on hovering: from the front, and from the back.
const HOVER_FRONT: usize = 400;
const HOVER_BACK: usize = 1600;

/// The chart of `section`.
pub(super) fn chart(history: &History, section: &Section<'_>) -> String {
    let layout = Layout::new(history, &section.drawn);
    let ranks: HashMap<usize, usize> =
        section.order.iter().enumerate().map(|(i, &index)| (index, i + 1)).collect();
    let height = TOP + layout.rows * ROW_HEIGHT + 4;
    let mut svg =
        format!("<div class=\"frame\"><div class=\"lanes\">{}</div>", lanes(&layout, height));
    add(
        &mut svg,
        format_args!("<div class=\"time\"><svg width=\"{}\" height=\"{height}\">", layout.width),
    );
    svg += &axis(&layout, height);
    for (place, &index) in layout.places.iter().zip(&section.drawn) {
        let entry = history.entry(index);
        let class = match (section.offending == Some(index), ranks.contains_key(&index)) {
            (true, _) => " blame",
            (false, false) if section.offending.is_some() => " out",
            (false, _) => "",
        };
        svg += &operation(history, entry, place, class, ranks.get(&index).copied());
    }
    svg += &order(section, &layout);
    svg + "</svg></div></div>\n"
}

fn lanes(layout: &Layout, height: usize) -> String {
    let mut svg = format!("<svg width=\"{LABEL_WIDTH}\" height=\"{height}\">");
    for &(client, row, rows) in &layout.lanes {
        let y = TOP + row * ROW_HEIGHT + rows * ROW_HEIGHT / 2;
        add(
            &mut svg,
            format_args!("<text class=\"lane\" x=\"0\" y=\"{y}\">client {client}</text>"),
        );
    }
    svg + "</svg>"
}

fn axis(layout: &Layout, height: usize) -> String {
    let mut svg = String::new();
    let mut next = 0;
    for &(x, nanos) in layout.moments.iter().filter(|moment| moment.0 > 0) {
        if x >= next {
            next = x + TICK_DISTANCE;
            let (ms, us) = (nanos / 1_000_000, nanos / 1000 % 1000);
            add(
                &mut svg,
                format_args!(
                    "<path class=\"grid\" d=\"M{x} {TOP}V{height}\"/>\
                     <text class=\"tick\" x=\"{x}\" y=\"14\">{ms}.{us:03} ms</text>",
                ),
            );
        }
    }
    for &(_, row, _) in &layout.lanes {
        let y = TOP + row * ROW_HEIGHT;
        add(&mut svg, format_args!("<path class=\"rule\" d=\"M0 {y}H{}\"/>", layout.width));
    }
    svg
}

fn operation(
    history: &History,
    entry: &Entry,
    place: &Place,
    class: &str,
    rank: Option<usize>,
) -> String {
    let kind = match entry.effect {
        Effect::Get { .. } => "get",
        Effect::Put(_) => "put",
        Effect::Append(_) => "append",
    };
    let value = if entry.returned.is_none() && kind == "get" { "" } else { history.text(entry) };
    let (x, y) = (place.left, TOP + place.row * ROW_HEIGHT + (ROW_HEIGHT - BOX_HEIGHT) / 2);
    let width = (place.right.saturating_sub(x + 2)).max(BOX_WIDTH_MIN);
    // The right border of one that never returned is out of sight.
    let drawn_width = if entry.returned.is_some() { width - 2 } else { width + 20 };
    let number = rank.map_or_else(String::new, |rank| format!("{rank} · "));
    let front = format!("{number}{kind} ");
    let room = (width / CHARACTER_WIDTH).saturating_sub(front.chars().count() + 2);
    format!(
        "<svg x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{BOX_HEIGHT}\"><g><title>{}</title>\
         <rect class=\"box {kind}{class}\" x=\"1\" y=\"1\" width=\"{drawn_width}\" height=\"{}\" \
         rx=\"4\"/><text x=\"6\" y=\"16\">{}{}</text></g></svg>",
        Escaped(&hover(entry, kind, value, rank)),
        BOX_HEIGHT - 2,
        Escaped(&front),
        Escaped(&end_of(value, room)),
    )
}

/// The value in quotes, or as much of its end as there is room for.
fn end_of(value: &str, room: usize) -> String {
    let hidden = value.chars().count().saturating_sub(room);
    if hidden == 0 {
        return format!("\"{value}\"");
    }
    let end: String = value.chars().skip(hidden + 1).collect();
    format!("…{end}\"")
}

fn hover(entry: &Entry, kind: &str, value: &str, rank: Option<usize>) -> String {
    let count = value.chars().count();
    let value = if count <= HOVER_FRONT + HOVER_BACK {
        value.to_owned()
    } else {
        let front: String = value.chars().take(HOVER_FRONT).collect();
        let back: String = value.chars().skip(count - HOVER_BACK).collect();
        format!("{front} … {count} characters … {back}")
    };
    let returned = match entry.returned {
        Some(returned) => format!("to {returned:?}"),
        None => "without an answer".to_owned(),
    };
    let place = match rank {
        Some(rank) => format!("number {rank} of the order"),
        None => "not in the order".to_owned(),
    };
    format!(
        "client {} {kind} \"{value}\" from {:?} {returned}; {place}",
        entry.client, entry.called
    )
}

/// A line through the operations in their order, each at the earliest moment that is left for it.
fn order(section: &Section<'_>, layout: &Layout) -> String {
    let places: HashMap<usize, &Place> =
        section.drawn.iter().copied().zip(&layout.places).collect();
    let (mut path, mut points, mut earliest) = (String::new(), String::new(), 0);
    for place in section.order.iter().filter_map(|index| places.get(index)) {
        let x = earliest.max(place.left + POINT_DISTANCE).min(place.right);
        earliest = earliest.max(x + POINT_DISTANCE);
        let y = TOP + place.row * ROW_HEIGHT + ROW_HEIGHT - 5;
        path.push(if path.is_empty() { 'M' } else { 'L' });
        add(&mut path, format_args!("{x} {y}"));
        add(&mut points, format_args!("<circle class=\"point\" cx=\"{x}\" cy=\"{y}\" r=\"3\"/>"));
    }
    format!("<path class=\"order\" d=\"{path}\"/>{points}")
}

fn add(to: &mut String, what: Arguments<'_>) {
    to.write_fmt(what).expect("a string takes everything");
}
