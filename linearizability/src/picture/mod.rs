//! A picture of a history and what the check made of it: one HTML file that needs nothing else.
//!
//! A section for each key, illegal ones first; in each a lane for each client, a box for each
//! operation, the operation to blame in red, and a line through the order that was found.

mod chart;
mod escape;
mod layout;

use std::collections::HashSet;
use std::fmt::Write;

use crate::check::{Undecided, Verdict, Violation};
use crate::history::History;
use chart::chart;
use escape::Escaped;

/// The operations that are drawn of one key: before the one to blame and behind it,
const BEFORE_MAX: usize = 600;
const BEHIND_MAX: usize = 60;
/// and of a key on which nothing is to blame, the first ones.
const OTHERS_MAX: usize = 200;

/// What is drawn of one key.
struct Section<'a> {
    key: &'a str,
    about: String,
    /// Numbers in the history, by the time of their calls.
    drawn: Vec<usize>,
    order: &'a [usize],
    offending: Option<usize>,
}

/// The picture as the text of an HTML file. `title` is shown on top of it.
///
/// Of keys with very many operations, some hundred are drawn: those around the one to blame.
pub fn picture(history: &History, verdict: &Verdict, title: &str) -> String {
    let (violations, undecided): (&[Violation], &[Undecided]) = match verdict {
        Verdict::Linearizable => (&[], &[]),
        Verdict::Illegal(violations) => (violations, &[]),
        Verdict::Unknown(undecided) => (&[], undecided),
    };
    let mut page = String::new();
    let mut shown = HashSet::new();
    for violation in violations {
        shown.insert(violation.key.as_str());
        page += &section(history, &blamed(history, violation), "not linearizable", true);
    }
    for undecided in undecided {
        shown.insert(undecided.key.as_str());
        let about = format!("{} of {} placed", undecided.placed, undecided.operations);
        page += &section(history, &plain(history, &undecided.key, about), "undecided", true);
    }
    let mut others: Vec<&str> = history.keys().map(|key| history.key_name(key)).collect();
    others.retain(|key| !shown.contains(key));
    others.sort_unstable();
    // Among violations others may be undecided, which is not told apart here.
    let state = if violations.is_empty() { "linearizable" } else { "nothing illegal found" };
    for key in others {
        page += &section(history, &plain(history, key, String::new()), state, false);
    }
    let summary = match verdict {
        Verdict::Linearizable => "Linearizable.".to_owned(),
        Verdict::Illegal(violations) => format!("Not linearizable: {} key(s).", violations.len()),
        Verdict::Unknown(undecided) => format!("Undecided: {} key(s).", undecided.len()),
    };
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\n\
         <style>{STYLE}</style></head><body>\n<h1>{title}</h1>\n<p>{summary} {} operations.</p>\n\
         {LEGEND}\n{page}</body></html>\n",
        history.len(),
        title = Escaped(title),
    )
}

fn blamed<'a>(history: &History, violation: &'a Violation) -> Section<'a> {
    let all = by_call(history, &violation.key);
    let at = all.iter().position(|&index| index == violation.offending).unwrap_or(0);
    let from = at.saturating_sub(BEFORE_MAX);
    let to = all.len().min(at + BEHIND_MAX);
    Section {
        key: &violation.key,
        about: format!("{}. {}", violation.reason(), part_of(from, to, all.len())),
        drawn: all[from..to].to_vec(),
        order: &violation.order,
        offending: Some(violation.offending),
    }
}

fn plain<'a>(history: &History, key: &'a str, mut about: String) -> Section<'a> {
    let mut drawn = by_call(history, key);
    if !about.is_empty() {
        about.push_str(". ");
    }
    about += &part_of(0, drawn.len().min(OTHERS_MAX), drawn.len());
    drawn.truncate(OTHERS_MAX);
    Section { key, about, drawn, order: &[], offending: None }
}

fn part_of(from: usize, to: usize, all: usize) -> String {
    match (from, to) {
        (0, to) if to == all => format!("All {all} operations:"),
        _ => format!("Operations {} to {to} of {all}, by the time of their calls:", from + 1),
    }
}

fn by_call(history: &History, key: &str) -> Vec<usize> {
    let number = history.keys().find(|&number| history.key_name(number) == key);
    let mut all = number.map_or_else(Vec::new, |number| history.entries_of(number).to_vec());
    all.sort_by_key(|&index| history.entry(index).called);
    all
}

fn section(history: &History, section: &Section<'_>, state: &str, open: bool) -> String {
    let mut text = String::new();
    write!(
        text,
        "<details{}><summary>Key <code>{}</code>: {state}</summary>\n<p>{}</p>\n{}</details>\n",
        if open { " open" } else { "" },
        Escaped(section.key),
        Escaped(&section.about),
        chart(history, section),
    )
    .expect("a string takes everything");
    text
}

const STYLE: &str = "
body { font: 14px/1.45 system-ui, 'DejaVu Sans', sans-serif; color: #1c2430; background: #fff;
  margin: 24px 32px; }
h1 { font-size: 20px; font-weight: 600; margin: 0 0 4px; }
p { margin: 4px 0 10px; max-width: 110ch; overflow-wrap: anywhere; }
summary { font-size: 16px; font-weight: 600; cursor: pointer; padding: 6px 0; }
details { border-top: 1px solid #d9dee6; margin-top: 10px; }
code { background: #f1f4f8; padding: 1px 5px; border-radius: 3px; }
.legend { display: flex; flex-wrap: wrap; gap: 6px 20px; color: #4c5766; font-size: 13px; }
.legend i { display: inline-block; width: 22px; height: 12px; border-radius: 3px;
  margin-right: 6px; vertical-align: -1px; border: 1px solid; box-sizing: border-box; }
.frame { display: flex; }
.lanes { flex: none; } .time { overflow-x: auto; }
text { font: 12px 'DejaVu Sans Mono', ui-monospace, monospace; fill: #1c2430; }
.lane, .tick { fill: #6a7584; font-size: 11px; }
.grid { stroke: #e9edf2; } .rule { stroke: #d9dee6; }
.get, i.get { fill: #e4eefb; background: #e4eefb; stroke: #7da7d9; border-color: #7da7d9; }
.put, i.put { fill: #e3f4e6; background: #e3f4e6; stroke: #7cbf8a; border-color: #7cbf8a; }
.append, i.append { fill: #fdf1dc; background: #fdf1dc; stroke: #dfb15b; border-color: #dfb15b; }
.out { fill-opacity: .35; stroke-dasharray: 2 3; }
i.out { background: #f8f9fb; border: 1px dashed #98a2b0; }
.blame, i.blame { fill: #fbd9d7; background: #fbd9d7; stroke: #cc2f26; border-color: #cc2f26;
  stroke-width: 2.5; fill-opacity: 1; stroke-dasharray: none; }
.order { fill: none; stroke: #5b4bb5; stroke-opacity: .45; stroke-width: 1.3; }
.point { fill: #5b4bb5; }
";

const LEGEND: &str = "<div class=\"legend\"><span><i class=\"get\"></i>get</span>\
<span><i class=\"put\"></i>put</span><span><i class=\"append\"></i>append</span>\
<span><i class=\"blame\"></i>has no place</span>\
<span><i class=\"out\"></i>not in the order that was found</span>\
<span><svg width=\"34\" height=\"12\"><path class=\"order\" d=\"M3 9L31 3\"/>\
<circle class=\"point\" cx=\"3\" cy=\"9\" r=\"3\"/><circle class=\"point\" cx=\"31\" cy=\"3\" r=\"3\"/>\
</svg> the order that was found, with its numbers</span>\
<span>A box reaches from the call to the return, from left to right in the order of time but not to \
scale; one that is open to the right never returned. Hover for the whole text.</span></div>";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check;
    use crate::history::{Action, Operation};
    use std::time::Duration;

    #[test]
    fn values_cannot_break_out_of_the_page() {
        let evil = "</text><script>alert('x')</script>&\"\u{1}\n";
        let operation = |action, called| Operation {
            client: 0,
            key: evil.to_owned(),
            action,
            called: Duration::from_millis(called),
            returned: Some(Duration::from_millis(called + 1)),
        };
        let get = Action::Get { found: format!("{evil}{evil}") };
        let history: History = [
            operation(Action::Put(evil.to_owned()), 0),
            operation(Action::Append(evil.to_owned()), 2),
            operation(get, 4),
            operation(Action::Get { found: String::new() }, 6),
        ]
        .into_iter()
        .collect();
        let page = picture(&history, &check(&history, Duration::from_secs(9)), evil);
        assert!(page.contains("&lt;script&gt;"), "{page}");
        assert!(!page.contains("<script"), "{page}");
        assert!(!page.contains('\u{1}'), "{page}");
        assert_eq!(page.matches("class=\"box get blame\"").count(), 1, "{page}");
        assert!(!page.contains("http"), "no outside resources");
    }
}
