//! What the clients of a store did and saw.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::time::Duration;

/// One call of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Who made it; only shown.
    pub client: usize,
    /// The key it is about.
    pub key: String,
    /// What it did, or saw.
    pub action: Action,
    /// When it was made, from a moment that is the same for the whole history.
    pub called: Duration,
    /// When its answer came; `None` if none did. Never before [`called`](Self::called). Of equal
    /// times, calls come before returns: such calls overlap.
    pub returned: Option<Duration>,
}

/// What a call did, or saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Asked for the value. The text counts only if the call returned.
    Get {
        /// The value, empty if there was none.
        found: String,
    },
    /// Set the value to this text.
    Put(String),
    /// Added this text at the end of the value.
    Append(String),
}

/// All operations of a run, in the order in which they were recorded, which need not be that of
/// time.
///
/// Values that only grow are kept once: a value found that begins with the one found before it on
/// that key, or the other way round, shares its memory.
#[derive(Clone, Debug, Default)]
pub struct History {
    entries: Vec<Entry>,
    keys: Vec<Key>,
    by_name: HashMap<String, usize>,
}

#[derive(Clone, Debug)]
struct Key {
    name: String,
    /// What gets found here: each of them found the beginning of one of these.
    texts: Vec<String>,
    entries: Vec<usize>,
}

/// An operation as it is kept.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) client: usize,
    pub(crate) key: usize,
    pub(crate) effect: Effect,
    pub(crate) called: Duration,
    pub(crate) returned: Option<Duration>,
}

/// An action as it is kept.
#[derive(Clone, Debug)]
pub(crate) enum Effect {
    /// Found so many bytes of one of the texts of its key.
    Get {
        text: usize,
        len: usize,
    },
    Put(String),
    Append(String),
}

impl History {
    /// Adds an operation.
    ///
    /// # Panics
    ///
    /// If it returned before it was called.
    pub fn push(&mut self, operation: Operation) {
        let Operation { client, key, action, called, returned } = operation;
        assert!(
            returned.is_none_or(|returned| called <= returned),
            "called at {called:?}, returned at {returned:?}"
        );
        let key = self.key_of(key);
        let effect = match action {
            Action::Get { found } => self.keys[key].found(found),
            Action::Put(value) => Effect::Put(value),
            Action::Append(value) => Effect::Append(value),
        };
        self.keys[key].entries.push(self.entries.len());
        self.entries.push(Entry { client, key, effect, called, returned });
    }

    /// How many operations there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The operation that was pushed after `index` others.
    ///
    /// # Panics
    ///
    /// If there are no more than `index`.
    pub fn operation(&self, index: usize) -> Operation {
        let entry = &self.entries[index];
        let action = match &entry.effect {
            Effect::Get { .. } => Action::Get { found: self.text(entry).to_owned() },
            Effect::Put(value) => Action::Put(value.clone()),
            Effect::Append(value) => Action::Append(value.clone()),
        };
        let key = self.keys[entry.key].name.clone();
        let Entry { client, called, returned, .. } = *entry;
        Operation { client, key, action, called, returned }
    }

    pub(crate) fn entry(&self, index: usize) -> &Entry {
        &self.entries[index]
    }

    /// The value that was found, put or appended.
    pub(crate) fn text<'a>(&'a self, entry: &'a Entry) -> &'a str {
        match &entry.effect {
            Effect::Get { text, len } => &self.keys[entry.key].texts[*text][..*len],
            Effect::Put(value) | Effect::Append(value) => value,
        }
    }

    /// The numbers of all keys.
    pub(crate) fn keys(&self) -> Range<usize> {
        0..self.keys.len()
    }

    pub(crate) fn key_name(&self, key: usize) -> &str {
        &self.keys[key].name
    }

    /// The operations of a key.
    pub(crate) fn entries_of(&self, key: usize) -> &[usize] {
        &self.keys[key].entries
    }

    /// The texts that [`Effect::Get`] refers to.
    pub(crate) fn texts_of(&self, key: usize) -> &[String] {
        &self.keys[key].texts
    }

    fn key_of(&mut self, name: String) -> usize {
        if let Some(&key) = self.by_name.get(&name) {
            return key;
        }
        self.keys.push(Key { name: name.clone(), texts: Vec::new(), entries: Vec::new() });
        self.by_name.insert(name, self.keys.len() - 1);
        self.keys.len() - 1
    }
}

impl Key {
    fn found(&mut self, found: String) -> Effect {
        let len = found.len();
        match self.texts.last_mut() {
            Some(last) if last.starts_with(&found) => {}
            Some(last) if found.starts_with(last.as_str()) => last.push_str(&found[last.len()..]),
            _ => self.texts.push(found),
        }
        Effect::Get { text: self.texts.len() - 1, len }
    }
}

impl FromIterator<Operation> for History {
    fn from_iter<I: IntoIterator<Item = Operation>>(operations: I) -> Self {
        let mut history = Self::default();
        operations.into_iter().for_each(|operation| history.push(operation));
        history
    }
}

/// The characters of a value that a line of text shows.
const SHOWN_MAX: usize = 60;

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, value) = match &self.action {
            Action::Get { .. } if self.returned.is_none() => ("Get", None),
            Action::Get { found } => ("Get found", Some(found)),
            Action::Put(value) => ("Put", Some(value)),
            Action::Append(value) => ("Append", Some(value)),
        };
        write!(f, "client {} {what}", self.client)?;
        if let Some(value) = value {
            let hidden = value.chars().count().saturating_sub(SHOWN_MAX);
            let end: String = value.chars().skip(hidden).collect();
            match hidden {
                0 => write!(f, " {end:?}")?,
                _ => write!(f, " {} bytes, the last {end:?}", value.len())?,
            }
        }
        match self.returned {
            Some(returned) => write!(f, ", from {:?} to {returned:?}", self.called),
            None => write!(f, ", from {:?}, without an answer", self.called),
        }
    }
}
