//! The document that figures stand in: the tables of each part between two lines that mark their place.

use std::fs;
use std::path::Path;

/// The document, from the root of the source.
const DOCUMENT: &str = "docs/performance.md";

/// Puts the tables of a part in their place in the document; everything else stays as it is.
pub(crate) fn write(part: &str, tables: &str) {
    let mut roots = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let path = roots.find_map(|root| Some(root.join(DOCUMENT)).filter(|path| path.is_file()));
    let path = path.expect("the document is there");
    let text = fs::read_to_string(&path).expect("the document can be read");
    let [begin, end] = ["begin", "end"].map(|which| format!("<!-- {part}: {which} -->\n"));
    let place = text.split_once(&begin).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(&end)?;
        Some((before, after))
    });
    let (before, after) = place.unwrap_or_else(|| panic!("{DOCUMENT} has no place for {part}"));
    let text = format!("{before}{begin}\n{}\n\n{end}{after}", tables.trim());
    fs::write(&path, text).expect("the document can be written");
}

/// What it runs on, as far as the system says, and how busy that is: a line.
pub(crate) fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("?", |line| line.trim_start_matches([' ', '\t', ':']));
    let cores = cpu.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    let load = load.split_whitespace().next().unwrap_or("?");
    format!("{cores} × {model}, Linux {}, load {load} at the beginning.", kernel.trim())
}

/// A number with its thousands apart.
pub(crate) fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut grouped = String::new();
    for (nth, digit) in digits.chars().enumerate() {
        if nth > 0 && (digits.len() - nth).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}
