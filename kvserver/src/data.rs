//! The keys and values, and what each operation does to them. Pure and deterministic: the same
//! operations in the same order give the same answers and the same data at every peer.

use std::fmt::Debug;
use std::sync::Arc;

use oarlock_storage::Payload;

use crate::base::Base;
use crate::glob;
use crate::layers::{Below, Layers};
use crate::merge::Merged;
use crate::op::{
    ANSWER_BYTES_MAX, ANSWER_ITEM_BYTES, Answer, Bytes, Condition, KEY_BYTES_MAX, Op, OpError,
    VALUE_BYTES_MAX,
};
use crate::value::Value;

/// How much more the answers to one request may hold.
#[derive(Debug)]
pub(crate) struct Budget(usize);

impl Default for Budget {
    fn default() -> Self {
        Self::of(ANSWER_BYTES_MAX)
    }
}

impl Budget {
    /// One of so many bytes.
    pub(crate) const fn of(bytes: usize) -> Self {
        Self(bytes)
    }

    /// Takes `len` bytes of it, or an error if it has not so many.
    fn spend(&mut self, len: usize) -> Result<(), OpError> {
        let cost = len.saturating_add(ANSWER_ITEM_BYTES);
        self.0 = self.0.checked_sub(cost).ok_or(OpError::AnswerTooLarge)?;
        Ok(())
    }
}

/// The keys and values.
#[derive(Clone, Debug, Default)]
pub(crate) struct Data(Layers);

impl Data {
    /// The data whose keys and values are all in `base`: so many, and so many bytes of them.
    pub(crate) fn of(base: Base, len: usize, bytes: u64) -> Self {
        Self(Layers::of(base, len, bytes))
    }

    /// How many keys there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The sum of the lengths of all keys and values.
    pub(crate) fn len_bytes(&self) -> u64 {
        self.0.len_bytes()
    }

    /// Whether neither the data nor anything that it is kept in has more bytes than this.
    pub(crate) fn is_within(&self, limit: u64) -> bool {
        self.0.is_within(limit)
    }

    /// Every key and its value, in the order of [`Key`](crate::key::Key).
    pub(crate) fn iter(&self) -> Merged<'_> {
        self.0.iter()
    }

    /// All of it as it is now, whatever changes here later.
    pub(crate) fn freeze(&mut self) -> Below {
        self.0.freeze()
    }

    /// What was frozen last is in `base` now. Returns what that replaces; dropping it may take long.
    pub(crate) fn rebase(&mut self, base: Base) -> Below {
        self.0.rebase(base)
    }

    /// Makes ready for executing `ops`; changes nothing.
    pub(crate) fn look_ahead<B: AsRef<[u8]>>(&self, ops: &[Op<B>]) {
        // A single one would only be looked for twice.
        if ops.len() > 1 {
            self.0.look_ahead(ops.iter().filter_map(|op| match op {
                Op::Put { key, .. } | Op::Set { key, .. } => Some(key.as_ref()),
                _ => None,
            }));
        }
    }

    /// Executes one operation. Values that lie in `entry` may be kept there.
    pub(crate) fn execute<B: AsRef<[u8]> + Debug>(
        &mut self,
        op: Op<B>,
        entry: Option<&Arc<Payload>>,
        budget: &mut Budget,
    ) -> Answer {
        if op.is_read() {
            return self.read(&op, budget);
        }
        self.try_execute(op, entry, budget).unwrap_or_else(Answer::Error)
    }

    /// Answers an operation that only reads.
    pub(crate) fn read<B: AsRef<[u8]> + Debug>(&self, op: &Op<B>, budget: &mut Budget) -> Answer {
        self.try_read(op, budget).unwrap_or_else(Answer::Error)
    }

    fn try_read<B: AsRef<[u8]> + Debug>(
        &self,
        op: &Op<B>,
        budget: &mut Budget,
    ) -> Result<Answer, OpError> {
        budget.spend(0)?;
        Ok(match op {
            Op::Get { key } => Answer::from_value(self.copy(key.as_ref(), budget)?),
            Op::MGet { keys } => {
                let copy = |key: &B| Ok(self.copy(key.as_ref(), budget)?.map(Bytes::from));
                let values = keys.iter().map(copy);
                Answer::List(values.collect::<Result<_, OpError>>()?)
            }
            Op::StrLen { key } => integer(self.get(key.as_ref()).map_or(0, <[u8]>::len)),
            Op::Exists { keys } => {
                integer(keys.iter().filter(|key| self.get(key.as_ref()).is_some()).count())
            }
            Op::DbSize => integer(self.len()),
            Op::Scan { cursor, count, pattern } => {
                self.scan(*cursor, *count, pattern.as_ref().map(AsRef::as_ref), budget)?
            }
            Op::Keys { pattern } => {
                let found =
                    self.iter().filter(|record| glob::matches(pattern.as_ref(), record.key));
                let copied = found.map(|record| {
                    budget.spend(record.key.len())?;
                    Ok(Some(Bytes::from(record.key)))
                });
                Answer::List(copied.collect::<Result<_, OpError>>()?)
            }
            _ => unreachable!("{op:?} does not only read"),
        })
    }

    fn try_execute<B: AsRef<[u8]> + Debug>(
        &mut self,
        op: Op<B>,
        entry: Option<&Arc<Payload>>,
        budget: &mut Budget,
    ) -> Result<Answer, OpError> {
        budget.spend(0)?;
        let value_of = |bytes: &B| Value::of(bytes.as_ref(), entry);
        match op {
            Op::Put { key, value } => self.put(key.as_ref(), value_of(&value)).map(|()| Answer::Ok),
            Op::Set { key, value, condition, get } => {
                self.set(key.as_ref(), value_of(&value), &condition, get, budget)
            }
            Op::Append { key, value } => self.append(key.as_ref(), value_of(&value)),
            Op::IncrBy { key, by } => self.increment(key.as_ref(), by),
            Op::GetDel { key } => {
                let value = self.copy(key.as_ref(), budget)?;
                self.remove(key.as_ref());
                Ok(Answer::from_value(value))
            }
            Op::Del { keys } => {
                Ok(integer(keys.iter().filter(|key| self.remove(key.as_ref())).count()))
            }
            Op::DelIf { key, condition } => {
                let holds = condition.holds(self.get(key.as_ref()));
                Ok(integer(usize::from(holds && self.remove(key.as_ref()))))
            }
            Op::MSet { pairs } => self.put_all(&pairs, value_of).map(|()| Answer::Ok),
            Op::MSetNx { pairs } => {
                if pairs.iter().any(|(key, _)| self.get(key.as_ref()).is_some()) {
                    return Ok(Answer::Integer(0));
                }
                self.put_all(&pairs, value_of).map(|()| Answer::Integer(1))
            }
            _ => unreachable!("{op:?} only reads"),
        }
    }

    fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.0.get(key)
    }

    /// A copy of the value, for an answer.
    fn copy(&self, key: &[u8], budget: &mut Budget) -> Result<Option<Vec<u8>>, OpError> {
        let value = self.get(key);
        budget.spend(value.map_or(0, <[u8]>::len))?;
        Ok(value.map(<[u8]>::to_vec))
    }

    fn put(&mut self, key: &[u8], value: Value) -> Result<(), OpError> {
        check_lengths(key, value.len())?;
        self.0.set(key, value);
        Ok(())
    }

    fn put_all<B: AsRef<[u8]>>(
        &mut self,
        pairs: &[(B, B)],
        value_of: impl Fn(&B) -> Value,
    ) -> Result<(), OpError> {
        for (key, value) in pairs {
            check_lengths(key.as_ref(), value.as_ref().len())?;
        }
        for (key, value) in pairs {
            self.put(key.as_ref(), value_of(value))?;
        }
        Ok(())
    }

    fn set<B: AsRef<[u8]>>(
        &mut self,
        key: &[u8],
        value: Value,
        condition: &Condition<B>,
        get: bool,
        budget: &mut Budget,
    ) -> Result<Answer, OpError> {
        let before = if get { self.copy(key, budget)? } else { None };
        let holds = condition.holds(self.get(key));
        if holds {
            self.put(key, value)?;
        }
        Ok(match (get, holds) {
            (true, _) => Answer::from_value(before),
            (false, true) => Answer::Ok,
            (false, false) => Answer::Nil,
        })
    }

    fn append(&mut self, key: &[u8], value: Value) -> Result<Answer, OpError> {
        let added = value.len();
        if let Some(old) = self.get(key) {
            let len = old.len().saturating_add(added);
            check_lengths(key, len)?;
            self.0.append(key, &value);
            return Ok(integer(len));
        }
        self.put(key, value)?;
        Ok(integer(added))
    }

    fn increment(&mut self, key: &[u8], by: i64) -> Result<Answer, OpError> {
        let before = self.get(key).map_or(Ok(0), |v| parse_integer(v).ok_or(OpError::NotAnInteger));
        let after = before?.checked_add(by).ok_or(OpError::Overflow)?;
        self.put(key, after.to_string().into_bytes().into())?;
        Ok(Answer::Integer(after))
    }

    fn remove(&mut self, key: &[u8]) -> bool {
        self.0.remove(key)
    }

    /// Looks at `count` keys from `cursor` on, and at all that share the last one's hash: a cursor
    /// cannot point between those.
    fn scan(
        &self,
        cursor: u64,
        count: u64,
        pattern: Option<&[u8]>,
        budget: &mut Budget,
    ) -> Result<Answer, OpError> {
        let mut keys = Vec::new();
        let (mut seen, mut last_hash) = (0, None);
        for record in self.0.from(cursor) {
            if seen >= count.max(1) && last_hash != Some(record.hash) {
                return Ok(Answer::Page { cursor: record.hash, keys });
            }
            seen += 1;
            last_hash = Some(record.hash);
            if pattern.is_none_or(|pattern| glob::matches(pattern, record.key)) {
                budget.spend(record.key.len())?;
                keys.push(Bytes::from(record.key));
            }
        }
        Ok(Answer::Page { cursor: 0, keys })
    }
}

fn integer(n: usize) -> Answer {
    Answer::Integer(i64::try_from(n).unwrap_or(i64::MAX))
}

fn check_lengths(key: &[u8], value_len: usize) -> Result<(), OpError> {
    if key.len() > KEY_BYTES_MAX {
        return Err(OpError::KeyTooLong);
    }
    if value_len > VALUE_BYTES_MAX {
        return Err(OpError::ValueTooLong);
    }
    Ok(())
}

/// A decimal number of 64 bits, written the one way Redis takes: no `+`, no spaces, no leading
/// zeros, no `-0`.
pub(crate) fn parse_integer(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let canonical = match digits {
        [b'0'] => digits.len() == text.len(),
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    // Checked to be ASCII just now.
    if canonical { std::str::from_utf8(text).ok()?.parse().ok() } else { None }
}

#[cfg(test)]
#[path = "data_tests.rs"]
mod tests;
