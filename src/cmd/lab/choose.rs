//! Which tests are meant by `2C`, `all`, `figure_8` or `TestFigure8Unreliable2C`.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use anyhow::bail;

use super::course;

/// A part of the labs, such as 2C.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Part {
    lab: u8,
    letter: u8,
}

impl FromStr for Part {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match *text.as_bytes() {
            [lab, letter] if lab.is_ascii_digit() && letter.is_ascii_alphabetic() => {
                Ok(Self { lab: lab - b'0', letter: letter.to_ascii_uppercase() })
            }
            _ => Err(()),
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.lab, char::from(self.letter))
    }
}

/// A test of the labs' binary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Test {
    /// As libtest knows it: `raft_2c::figure_8_2c`.
    pub(crate) name: String,
}

impl Test {
    /// The test with this full name.
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }

    /// Its name without the modules: `figure_8_2c`.
    pub(crate) fn short(&self) -> &str {
        self.name.rsplit("::").next().unwrap_or(&self.name)
    }

    /// The part that its name ends with; none if it tests the harness.
    pub(crate) fn part(&self) -> Option<Part> {
        self.short().rsplit('_').next()?.parse().ok()
    }

    fn is_meant(&self, wanted: &str) -> bool {
        if wanted.eq_ignore_ascii_case("all") {
            return self.part().is_some();
        }
        if let Ok(part) = wanted.parse::<Part>() {
            return self.part() == Some(part);
        }
        let wanted = wanted.to_ascii_lowercase();
        let original = course::test(self.short()).map(|test| test.original.to_ascii_lowercase());
        self.name.to_ascii_lowercase().contains(&wanted)
            || original.is_some_and(|original| original.contains(&wanted))
    }
}

/// The tests of `all` that any of `wanted` means, in their order.
///
/// # Errors
///
/// If one of `wanted` means none: the message says what there is.
pub(crate) fn choose(all: &[Test], wanted: &[String]) -> anyhow::Result<Vec<Test>> {
    for word in wanted {
        if !all.iter().any(|test| test.is_meant(word)) {
            bail!("no test is meant by {word:?}; there are\n{}", offer(all));
        }
    }
    let is_meant = |test: &&Test| wanted.iter().any(|word| test.is_meant(word));
    Ok(all.iter().filter(is_meant).cloned().collect())
}

/// All tests, a paragraph for each part.
fn offer(all: &[Test]) -> String {
    let parts: BTreeSet<Part> = all.iter().filter_map(Test::part).collect();
    let paragraph = |part: Part| {
        let of_part = all.iter().filter(|test| test.part() == Some(part)).map(Test::short);
        format!("  {part}: {}\n", of_part.collect::<Vec<_>>().join(" "))
    };
    parts.into_iter().map(paragraph).chain(["  all: all of these".to_owned()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 6] = [
        "harness::linearizability::tests::stale_reads_are_illegal",
        "kv_3a::basic_3a",
        "raft_2b::basic_agree_2b",
        "raft_2c::figure_8_2c",
        "raft_2c::figure_8_unreliable_2c",
        "raft_2c::persist_1_2c",
    ];

    fn chosen(wanted: &[&str]) -> Result<Vec<String>, String> {
        let all = NAMES.map(Test::new);
        let wanted: Vec<_> = wanted.iter().map(|&word| word.to_owned()).collect();
        choose(&all, &wanted)
            .map(|tests| tests.into_iter().map(|test| test.short().to_owned()).collect())
            .map_err(|error| error.to_string())
    }

    #[track_caller]
    fn check(wanted: &[&str], expected: &[&str]) {
        assert_eq!(chosen(wanted).unwrap(), expected, "{wanted:?}");
    }

    #[test]
    fn parts_names_and_pieces_of_names() {
        check(&["2C"], &["figure_8_2c", "figure_8_unreliable_2c", "persist_1_2c"]);
        check(
            &["2c", "3A"],
            &["basic_3a", "figure_8_2c", "figure_8_unreliable_2c", "persist_1_2c"],
        );
        check(&["basic"], &["basic_3a", "basic_agree_2b"]);
        check(&["raft_2c::persist"], &["persist_1_2c"]);
        check(&["stale"], &["stale_reads_are_illegal"]);
    }

    #[test]
    fn a_test_that_is_meant_twice_is_chosen_once() {
        check(&["2b", "basic_agree"], &["basic_agree_2b"]);
    }

    #[test]
    fn the_names_of_the_originals_are_understood() {
        check(&["TestFigure8Unreliable2C"], &["figure_8_unreliable_2c"]);
        check(&["figure82c"], &["figure_8_2c"]);
    }

    #[test]
    fn all_leaves_out_the_tests_of_the_harness() {
        assert_eq!(chosen(&["all"]).unwrap().len(), NAMES.len() - 1);
    }

    #[test]
    fn what_means_nothing_is_named_beside_what_there_is() {
        for word in ["4B", "nonsense"] {
            let error = chosen(&["2c", word]).unwrap_err();
            assert!(error.contains(word), "{error}");
            assert!(error.contains("2B: basic_agree_2b\n"), "{error}");
        }
    }

    #[test]
    fn a_part_is_a_digit_and_a_letter() {
        assert_eq!("3b".parse::<Part>().unwrap().to_string(), "3B");
        for wrong in ["", "3", "b3", "33", "3bb", "3é"] {
            assert!(wrong.parse::<Part>().is_err(), "{wrong}");
        }
    }
}
