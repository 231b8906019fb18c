//! What a client can ask of the store, and what it gets back.
//!
//! Both enums are flat, so that decoding them can neither recurse nor surprise. The commands of the
//! Redis protocol map onto these operations many to one: `SETNX`, `GETSET` and `SET … IFEQ` are all
//! an [`Op::Set`], and the front end words the reply.

use std::sync::Arc;

use oarlock_rpc::codec::Wire;
use serde::{Deserialize, Serialize};

/// A byte string: keys and values are any bytes at all.
pub type Bytes = serde_bytes::ByteBuf;

/// The longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 64 << 10;

/// The longest value, in bytes.
pub const VALUE_BYTES_MAX: usize = 4 << 20;

/// The most bytes the answers to one request may have together. An operation whose answer would
/// exceed it has no effect and answers [`OpError::AnswerTooLarge`].
pub const ANSWER_BYTES_MAX: usize = 48 << 20;

/// What an answer, and each item in one, counts for besides its bytes: even an empty one takes
/// memory.
pub(crate) const ANSWER_ITEM_BYTES: usize = 16;

/// One operation on the store. `B` are its keys and values: its own, or borrowed from where it was
/// decoded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op<B = Bytes> {
    /// The value: [`Answer::Bytes`] or [`Answer::Nil`].
    Get {
        /// The key.
        key: B,
    },
    /// The values of several keys: [`Answer::List`].
    MGet {
        /// The keys, in the order of the answer.
        keys: Vec<B>,
    },
    /// The length of the value, 0 without one: [`Answer::Integer`].
    StrLen {
        /// The key.
        key: B,
    },
    /// How many of the keys exist, a repeated one counted each time: [`Answer::Integer`].
    Exists {
        /// The keys.
        keys: Vec<B>,
    },
    /// How many keys there are: [`Answer::Integer`].
    DbSize,
    /// Some of the keys, and where to go on: [`Answer::Page`].
    ///
    /// A key that exists from the first page to the last is in exactly one of them. The cursor
    /// means the same at every peer and outlives restarts.
    Scan {
        /// Where to begin: 0, or the last page's cursor.
        cursor: u64,
        /// About how many keys to look at; at least one is.
        count: u64,
        /// Only keys that match, in the glob language of `KEYS`.
        pattern: Option<B>,
    },
    /// All keys that match a glob pattern, in no particular order: [`Answer::List`].
    Keys {
        /// The pattern.
        pattern: B,
    },
    /// Sets the value: [`Answer::Ok`].
    Put {
        /// The key.
        key: B,
        /// The new value.
        value: B,
    },
    /// Sets the value if `condition` holds.
    ///
    /// With `get`, the answer is the value before, set or not; without, [`Answer::Ok`] if it was
    /// set and [`Answer::Nil`] if not.
    Set {
        /// The key.
        key: B,
        /// The new value.
        value: B,
        /// When to set it.
        condition: Condition<B>,
        /// Whether to answer with the value before.
        get: bool,
    },
    /// Appends to the value, or sets it: [`Answer::Integer`], the new length.
    Append {
        /// The key.
        key: B,
        /// What to append.
        value: B,
    },
    /// Adds to a value that is a decimal number, or to 0: [`Answer::Integer`], the new number.
    IncrBy {
        /// The key.
        key: B,
        /// What to add.
        by: i64,
    },
    /// Deletes the key and answers with its value.
    GetDel {
        /// The key.
        key: B,
    },
    /// Deletes keys: [`Answer::Integer`], how many there were.
    Del {
        /// The keys.
        keys: Vec<B>,
    },
    /// Deletes the key if it exists and `condition` holds: [`Answer::Integer`], 1 or 0.
    DelIf {
        /// The key.
        key: B,
        /// When to delete it.
        condition: Condition<B>,
    },
    /// Sets several values, a repeated key to its last one: [`Answer::Ok`].
    MSet {
        /// Keys and values.
        pairs: Vec<(B, B)>,
    },
    /// Sets several values if none of the keys exists: [`Answer::Integer`], 1 or 0.
    MSetNx {
        /// Keys and values.
        pairs: Vec<(B, B)>,
    },
}

impl<B> Op<B> {
    /// Whether this operation changes nothing, so that it need not go through the log.
    pub fn is_read(&self) -> bool {
        match self {
            Self::Get { .. }
            | Self::MGet { .. }
            | Self::StrLen { .. }
            | Self::Exists { .. }
            | Self::DbSize
            | Self::Scan { .. }
            | Self::Keys { .. } => true,
            Self::Put { .. }
            | Self::Set { .. }
            | Self::Append { .. }
            | Self::IncrBy { .. }
            | Self::GetDel { .. }
            | Self::Del { .. }
            | Self::DelIf { .. }
            | Self::MSet { .. }
            | Self::MSetNx { .. } => false,
        }
    }

    /// How many keys it looks at, if that is known before.
    pub(crate) fn keys_looked_at(&self) -> Option<usize> {
        match self {
            Self::MGet { keys } | Self::Exists { keys } => Some(keys.len()),
            Self::Scan { .. } | Self::Keys { .. } => None,
            _ => Some(1),
        }
    }
}

impl<B> Op<B> {
    /// The most that the answer may take of [`ANSWER_BYTES_MAX`], as far as the operation alone
    /// tells.
    pub(crate) fn answer_bytes_max(&self) -> usize {
        const VALUE: usize = ANSWER_ITEM_BYTES + VALUE_BYTES_MAX;
        ANSWER_ITEM_BYTES.saturating_add(match self {
            Self::Get { .. } | Self::GetDel { .. } | Self::Set { get: true, .. } => VALUE,
            Self::MGet { keys } => keys.len().saturating_mul(VALUE),
            Self::Keys { .. } | Self::Scan { .. } => ANSWER_BYTES_MAX,
            _ => 0,
        })
    }
}

/// When a [`Op::Set`] or [`Op::DelIf`] is to happen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Condition<B = Bytes> {
    /// In any case.
    Always,
    /// If the key does not exist.
    Absent,
    /// If the key exists.
    Present,
    /// If the key exists and has this value.
    Equals(B),
    /// If the key does not exist, or has another value.
    Differs(B),
}

impl<B: AsRef<[u8]>> Condition<B> {
    /// Whether the condition holds for a key with this value.
    pub fn holds(&self, value: Option<&[u8]>) -> bool {
        match self {
            Self::Always => true,
            Self::Absent => value.is_none(),
            Self::Present => value.is_some(),
            Self::Equals(wanted) => value == Some(wanted.as_ref()),
            Self::Differs(unwanted) => value != Some(unwanted.as_ref()),
        }
    }
}

/// What one operation comes back with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// No such key, or a condition that did not hold.
    Nil,
    /// Done.
    Ok,
    /// A number.
    Integer(i64),
    /// A value.
    Bytes(Bytes),
    /// Several values, or keys; `None` where there is no such key.
    List(Vec<Option<Bytes>>),
    /// A part of the keys.
    Page {
        /// Where the next page begins; 0 after the last.
        cursor: u64,
        /// The keys of this page.
        keys: Vec<Bytes>,
    },
    /// The operation had no effect, for this reason. Others of the same request are not concerned.
    Error(OpError),
}

impl Answer {
    /// The answer for a value that may not be there.
    pub fn from_value(value: Option<Vec<u8>>) -> Self {
        value.map_or(Self::Nil, |value| Self::Bytes(value.into()))
    }

    /// About how much memory this answer takes, in bytes.
    pub(crate) fn cost_bytes(&self) -> usize {
        const EACH: usize = std::mem::size_of::<Answer>();
        EACH + match self {
            Self::Nil | Self::Ok | Self::Integer(_) | Self::Error(_) => 0,
            Self::Bytes(bytes) => bytes.len(),
            Self::List(items) => {
                items.iter().map(|i| EACH + i.as_ref().map_or(0, |b| b.len())).sum()
            }
            Self::Page { keys, .. } => keys.iter().map(|k| EACH + k.len()).sum(),
        }
    }
}

/// Why an operation had no effect. Its text is that of the Redis protocol, without the first word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum OpError {
    /// The value is not a decimal number of 64 bits.
    #[error("value is not an integer or out of range")]
    NotAnInteger,
    /// The sum does not fit in 64 bits.
    #[error("increment or decrement would overflow")]
    Overflow,
    /// The key would be longer than [`KEY_BYTES_MAX`].
    #[error("key exceeds maximum allowed size ({KEY_BYTES_MAX} bytes)")]
    KeyTooLong,
    /// The value would be longer than [`VALUE_BYTES_MAX`].
    #[error("string exceeds maximum allowed size (proto-max-bulk-len)")]
    ValueTooLong,
    /// The answers would be larger than [`ANSWER_BYTES_MAX`].
    #[error("the reply would exceed {ANSWER_BYTES_MAX} bytes; ask for less at a time")]
    AnswerTooLarge,
}

/// The answers to one request, one for each of its operations. Cloning shares them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answers(pub Arc<[Answer]>);

impl Wire for Answers {
    const MAX_BYTES: usize = 64 << 20;
}

impl Answers {
    /// About how much memory these answers take, in bytes.
    pub(crate) fn cost_bytes(&self) -> usize {
        self.0.iter().map(Answer::cost_bytes).sum()
    }
}

impl From<Vec<Answer>> for Answers {
    fn from(answers: Vec<Answer>) -> Self {
        Self(answers.into())
    }
}

impl std::ops::Deref for Answers {
    type Target = [Answer];
    fn deref(&self) -> &[Answer] {
        &self.0
    }
}
