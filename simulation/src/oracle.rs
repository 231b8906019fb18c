//! What the service ought to have answered: every committed request executed once, in order, by a few
//! lines that know nothing of sessions. Invariants 5, 17, 18, 19 and 20.

use std::collections::BTreeMap;

use oarlock_kvserver::{Answer, Answers, ClientId, Op, Outcome, Request};
use oarlock_raft::{Index, PeerId};
use oarlock_rpc::codec;

use crate::fingerprint::mix_bytes;
use crate::invariant::{Checks, Invariant};
use crate::store::Applied;

/// A command at its place in the log, as the first peer applied it.
#[derive(Debug)]
struct Done {
    request: u64,
    outcome: Outcome,
    state: Option<u64>,
}

/// A value, from the index at which it was written.
type Version = (Index, Vec<u8>);

/// The service as it should be.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    done: BTreeMap<Index, Done>,
    values: BTreeMap<Vec<u8>, Vec<Version>>,
    executed: BTreeMap<(ClientId, u64), (Index, Answers)>,
    /// The last command there is.
    through: Index,
    pub(crate) duplicates: u64,
}

impl Oracle {
    /// A peer applied a command.
    pub(crate) fn applied(&mut self, peer: PeerId, applied: &Applied, checks: &mut Checks) {
        let index = applied.id.index;
        let bytes = codec::encode(&applied.request).expect("it came from the log");
        let request = mix_bytes(applied.id.term, &bytes);
        if index > self.through {
            self.execute(peer, applied, checks);
            let outcome = applied.outcome.clone();
            self.done.insert(index, Done { request, outcome, state: applied.state });
            self.through = index;
            return;
        }
        let done = self.done.get(&index);
        let same = done.is_some_and(|done| done.request == request);
        checks.require(Invariant::StateMachineSafety, same, || {
            format!("S{peer} applies another command at {index} than others did")
        });
        let Some(done) = done else { return };
        checks.require(Invariant::ExactlyOnce, done.outcome == applied.outcome, || {
            let (theirs, ours) = (&done.outcome, &applied.outcome);
            format!("at {index} S{peer} answers {ours:?}, another peer {theirs:?}")
        });
        checks.require(Invariant::StatesEqual, done.state == applied.state, || {
            format!("the state of S{peer} at {index} differs from another peer's")
        });
    }

    fn execute(&mut self, peer: PeerId, applied: &Applied, checks: &mut Checks) {
        let Request { client, seq, ops, .. } = &applied.request;
        let index = applied.id.index;
        let Ok(answers) = &applied.outcome else { return };
        if let Some((first, before)) = self.executed.get(&(*client, *seq)) {
            self.duplicates += 1;
            return checks.require(Invariant::ExactlyOnce, before == answers, || {
                format!(
                    "request {seq} of {client}, executed at {first} as {before:?}, comes again at \
                     {index} and S{peer} answers {answers:?}"
                )
            });
        }
        let expected: Vec<Answer> = ops.iter().map(|op| self.perform(index, op)).collect();
        checks.require(Invariant::ExactlyOnce, expected[..] == answers[..], || {
            format!("at {index} S{peer} answers {answers:?} instead of {expected:?}")
        });
        self.executed.insert((*client, *seq), (index, answers.clone()));
    }

    fn perform(&mut self, index: Index, op: &Op) -> Answer {
        let (key, value, appends) = match op {
            Op::Put { key, value } => (key, value, false),
            Op::Append { key, value } => (key, value, true),
            other => unreachable!("no clerk writes {other:?}"),
        };
        let versions = self.values.entry(key.to_vec()).or_default();
        let mut next = Vec::new();
        if appends && let Some((_, before)) = versions.last() {
            next.extend_from_slice(before);
        }
        next.extend_from_slice(value);
        let len = i64::try_from(next.len()).expect("a short value");
        versions.push((index, next));
        if appends { Answer::Integer(len) } else { Answer::Ok }
    }

    /// A clerk is answered, and had seen everything up to `seen` when it asked; returns what it has
    /// seen now.
    pub(crate) fn written(
        &self,
        (client, seq): (ClientId, u64),
        answers: &Answers,
        seen: Index,
        checks: &mut Checks,
    ) -> Index {
        let executed = self.executed.get(&(client, seq));
        let right = executed.is_some_and(|(at, said)| *at > seen && said == answers);
        checks.require(Invariant::WritesLinearizable, right, || {
            format!("request {seq} of {client} is answered {answers:?} behind {seen}: {executed:?}")
        });
        executed.map_or(seen, |(at, _)| *at)
    }

    /// The same for a read of `key`.
    pub(crate) fn read(&self, key: &[u8], found: &[u8], seen: Index, checks: &mut Checks) -> Index {
        let versions = self.values.get(key).map_or(&[][..], Vec::as_slice);
        let ends = versions.iter().skip(1).map(|(index, _)| *index).chain([Index::MAX]);
        let first_end = versions.first().map_or(Index::MAX, |(index, _)| *index);
        let nothing = (found.is_empty() && first_end > seen).then_some(0);
        let version = versions
            .iter()
            .zip(ends)
            .find(|((_, value), end)| value == found && *end > seen)
            .map(|((index, _), _)| *index);
        let from = nothing.or(version);
        checks.require(Invariant::ReadsLinearizable, from.is_some(), || {
            let known = versions.last().map(|(index, value)| (index, value.escape_ascii().to_string()));
            format!(
                "a read of {:?} finds {:?} though everything up to {seen} had been seen; newest {known:?}",
                key.escape_ascii().to_string(),
                found.escape_ascii().to_string(),
            )
        });
        from.map_or(seen, |from| from.max(seen))
    }

    /// The last value of a key.
    pub(crate) fn value(&self, key: &[u8]) -> &[u8] {
        self.values.get(key).and_then(|versions| versions.last()).map_or(&[], |(_, value)| value)
    }
}
