//! The replicated state machine: the data, and the sessions that make each request count once.
//! Pure; what becomes of it depends on the log alone.

use std::fmt::Debug;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use oarlock_raft::{EntryId, Frozen, RestoreError, Snapshot, SnapshotMeta, StateMachine};
use oarlock_rpc::codec::{self, CodecError};
use oarlock_storage::Payload;

use crate::base::Base;
use crate::data::{Budget, Data};
use crate::layers::Below;
use crate::op::{Answer, Answers, Op, OpError};
use crate::request::Request;
use crate::session::{Admission, Limits, Refused, SessionTable, Sessions};
use crate::snapshot::{self, Records};

/// A state of at most so many bytes is not worth freezing.
const SMALL_BYTES: u64 = 64 << 10;

/// A look at more keys than this is not brief.
const BRIEF_KEYS: usize = 64;
/// Nor is one whose answers have more bytes.
const BRIEF_BYTES: usize = 256 << 10;

/// What applying a request comes to: its answers, or why it was not executed.
pub type Outcome = Result<Answers, Refused>;

/// Numbers about the state that may be looked at from outside without asking the machine.
///
/// Written by the machine after each entry; a reader sees a value that was true at this peer a
/// moment ago, and that may be behind the leader's. For display, never for decisions.
#[derive(Debug, Default)]
pub struct Gauges {
    /// How many keys there are.
    pub keys: AtomicU64,
    /// The sum of the lengths of all keys and values.
    pub data_bytes: AtomicU64,
    /// How many clients have a session.
    pub sessions: AtomicU64,
}

/// The key-value store as a state machine.
#[derive(Debug)]
pub struct KvMachine {
    data: Data,
    sessions: SessionTable,
    limits: Limits,
    gauges: Arc<Gauges>,
    /// Where the records of the state frozen last begin, once it is written.
    written: Arc<OnceLock<usize>>,
}

impl Default for KvMachine {
    fn default() -> Self {
        Self::new(Limits::default())
    }
}

impl KvMachine {
    /// An empty store.
    pub fn new(limits: Limits) -> Self {
        let (data, sessions) = (Data::default(), SessionTable::new(limits));
        Self { data, sessions, limits, gauges: Arc::default(), written: Arc::default() }
    }

    /// The numbers to look at from outside.
    pub fn gauges(&self) -> Arc<Gauges> {
        Arc::clone(&self.gauges)
    }

    /// Executes the request of the entry at `index`, unless its session knows better.
    pub fn apply_at(&mut self, index: u64, request: Request) -> Outcome {
        self.apply_from(index, request, None)
    }

    /// [`apply_at`](Self::apply_at), of the request that is encoded as `entry`. Values are not copied:
    /// they stay in there.
    pub fn apply_entry_at(&mut self, index: u64, entry: &Payload) -> Result<Outcome, CodecError> {
        let request: Request<&serde_bytes::Bytes> = codec::decode_as::<Request, _>(entry)?;
        Ok(self.apply_from(index, request, Some(&Arc::new(entry.clone()))))
    }

    fn apply_from<B: AsRef<[u8]> + Debug>(
        &mut self,
        index: u64,
        request: Request<B>,
        entry: Option<&Arc<Payload>>,
    ) -> Outcome {
        let Request { client, seq, acked_below, ops } = request;
        let outcome = match self.sessions.admit(index, client, seq, acked_below) {
            Admission::Remembered(answers) => Ok(answers),
            Admission::Refused(reason) => Err(reason),
            Admission::Execute => {
                self.data.look_ahead(&ops);
                let mut budget = Budget::default();
                let execute = |op| self.data.execute(op, entry, &mut budget);
                let answers: Vec<Answer> = ops.into_iter().map(execute).collect();
                let answers = Answers::from(answers);
                self.sessions.remember(client, seq, answers.clone());
                Ok(answers)
            }
        };
        self.publish();
        outcome
    }

    /// Answers operations that only read, all at this one point of the log.
    ///
    /// # Panics
    ///
    /// If one of them does not only read: that has no place outside the log.
    pub fn read(&self, ops: &[Op]) -> Answers {
        let mut budget = Budget::default();
        let answers: Vec<Answer> = ops.iter().map(|op| self.data.read(op, &mut budget)).collect();
        Answers::from(answers)
    }

    /// [`read`](Self::read), if that keeps a thread on which others rely for a moment only. Any of
    /// the keys may have to be read from a disk.
    pub(crate) fn read_briefly(&self, ops: &[Op]) -> Option<Answers> {
        let mut keys = ops.iter().map(Op::keys_looked_at);
        let key_count = keys.try_fold(0, |sum: usize, keys| sum.checked_add(keys?))?;
        if key_count > BRIEF_KEYS {
            return None;
        }
        let mut budget = Budget::of(BRIEF_BYTES);
        let answers = ops.iter().map(|op| match self.data.read(op, &mut budget) {
            Answer::Error(OpError::AnswerTooLarge) => None,
            answer => Some(answer),
        });
        Some(Answers::from(answers.collect::<Option<Vec<_>>>()?))
    }

    /// The whole state as bytes; equal states give equal bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        snapshot::encode(&self.sessions, &self.data)
    }

    /// Replaces the state by the one of `bytes`. On an error, which says what is wrong with them,
    /// the state stays as it was.
    pub fn replace_by(&mut self, bytes: &[u8]) -> Result<(), String> {
        let content = Arc::new(bytes.to_vec());
        self.replace(&Snapshot::new(SnapshotMeta::default(), content), Records::Unknown)
    }

    /// [`replace_by`](Self::replace_by), without a copy and without a look at each key and value: they
    /// stay in the snapshot, and are what was written into it.
    pub fn replace_by_snapshot(&mut self, snapshot: &Snapshot) -> Result<(), String> {
        self.replace(snapshot, Records::AsWritten)
    }

    fn replace(&mut self, snapshot: &Snapshot, records: Records) -> Result<(), String> {
        (self.sessions, self.data) = snapshot::decode(snapshot, self.limits, records)?;
        self.written = Arc::default();
        self.publish();
        Ok(())
    }

    /// The state as it is now, to be written while this one goes on changing. Copies a pointer for
    /// each session, and nothing else.
    pub fn freeze_state(&mut self) -> FrozenKv {
        self.written = Arc::default();
        FrozenKv {
            horizon: self.sessions.horizon(),
            sessions: self.sessions.sessions().clone(),
            key_count: self.data.len(),
            len_hint: self.sessions.len_bytes() as u64
                + snapshot::len_of(self.data.len_bytes(), self.data.len()),
            data: self.data.freeze(),
            written: Arc::clone(&self.written),
        }
    }

    /// What was frozen last is in `snapshot` now, where it is looked at from here on. Returns what is
    /// needed no more; dropping it may take long.
    pub fn rebase(&mut self, snapshot: &Snapshot) -> Option<Box<dyn Send>> {
        let begin = *self.written.get()?;
        let indexed = Base::indexed(snapshot.clone(), begin);
        let (base, _) = indexed.expect("storage keeps what was written");
        self.written = Arc::default();
        Some(Box::new(self.data.rebase(base)))
    }

    fn publish(&self) {
        self.gauges.keys.store(self.data.len() as u64, Ordering::Relaxed);
        self.gauges.data_bytes.store(self.data.len_bytes(), Ordering::Relaxed);
        self.gauges.sessions.store(self.sessions.len() as u64, Ordering::Relaxed);
    }
}

impl StateMachine for KvMachine {
    type Command = Request;
    type Output = Outcome;

    fn apply(&mut self, id: EntryId, command: Request) -> Outcome {
        self.apply_at(id.index, command)
    }

    fn apply_encoded(&mut self, id: EntryId, bytes: &Payload) -> Result<Outcome, CodecError> {
        self.apply_entry_at(id.index, bytes)
    }

    fn snapshot(&self) -> Vec<u8> {
        self.to_bytes()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        self.replace_by(snapshot).map_err(RestoreError)
    }

    fn freeze(&mut self) -> Option<Box<dyn Frozen>> {
        let is_small =
            self.data.is_within(SMALL_BYTES) && self.sessions.len_bytes() as u64 <= SMALL_BYTES;
        if is_small { None } else { Some(Box::new(self.freeze_state())) }
    }

    fn published(&mut self, snapshot: &Snapshot) -> Option<Box<dyn Send>> {
        self.rebase(snapshot)
    }

    fn restore_from(&mut self, snapshot: &Snapshot) -> Result<(), RestoreError> {
        self.replace_by_snapshot(snapshot).map_err(RestoreError)
    }
}

/// The whole store at one moment.
#[derive(Debug)]
pub struct FrozenKv {
    horizon: u64,
    sessions: Sessions,
    key_count: usize,
    /// About how many bytes all of it takes.
    len_hint: u64,
    data: Below,
    written: Arc<OnceLock<usize>>,
}

impl Frozen for FrozenKv {
    fn write_to(&self, out: &mut dyn Write) -> io::Result<()> {
        let sessions = (self.horizon, &self.sessions);
        let written = snapshot::write(out, sessions, self.key_count, self.data.from(0))?;
        // Whoever writes it a second time writes the same.
        _ = self.written.set(written);
        Ok(())
    }

    fn len_hint(&self) -> Option<u64> {
        Some(self.len_hint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::Bytes;
    use crate::request::ClientId;

    fn append(seq: u64, acked_below: u64, text: &str) -> Request {
        let client = ClientId { born: 0, nonce: 7 };
        let op = Op::Append { key: Bytes::from(b"k"), value: Bytes::from(text.as_bytes()) };
        Request { client, seq, acked_below, ops: vec![op] }
    }

    fn value(machine: &KvMachine) -> Vec<u8> {
        match &machine.read(&[Op::Get { key: Bytes::from(b"k") }])[0] {
            Answer::Bytes(bytes) => bytes.to_vec(),
            Answer::Nil => Vec::new(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_repeated_request_takes_effect_once_and_gets_the_same_answers() {
        let mut machine = KvMachine::default();
        let first = machine.apply_at(1, append(1, 1, "a")).unwrap();
        assert_eq!(machine.apply_at(2, append(2, 1, "b")).unwrap()[0], Answer::Integer(2));
        assert_eq!(machine.apply_at(3, append(1, 1, "a")).unwrap(), first);
        assert_eq!(value(&machine), b"ab");
    }

    #[test]
    fn only_a_few_keys_and_short_values_are_read_briefly() {
        let mut machine = KvMachine::default();
        let long = "v".repeat(BRIEF_BYTES / 2 - 100);
        machine.apply_at(1, append(1, 1, &long)).unwrap();
        let key = || Bytes::from(b"k");
        let mget = |count| Op::MGet { keys: (0..count).map(|_| key()).collect() };
        let absent = Op::MGet { keys: (0..62).map(|_| Bytes::from(b"a")).collect() };
        let mut ops = vec![absent, Op::StrLen { key: key() }, Op::DbSize];
        assert_eq!(machine.read_briefly(&ops), Some(machine.read(&ops)));
        ops.push(Op::DbSize);
        assert_eq!(machine.read_briefly(&ops), None, "65 keys");
        assert_eq!(machine.read_briefly(&[mget(2)]), Some(machine.read(&[mget(2)])));
        assert_eq!(machine.read_briefly(&[mget(3)]), None, "too long");
        assert_eq!(machine.read_briefly(&[Op::Keys { pattern: key() }]), None);
        assert_eq!(machine.read_briefly(&[Op::Scan { cursor: 0, count: 1, pattern: None }]), None);
    }

    #[test]
    fn values_stay_in_their_entry_until_a_snapshot_has_them() {
        let mut machine = KvMachine::default();
        let bytes: Arc<[u8]> = codec::encode(&append(1, 1, "a")).unwrap().into();
        let entry = Payload::from(Arc::clone(&bytes));
        assert!(machine.apply_entry_at(1, &entry).unwrap().is_ok());
        drop(entry);
        assert_eq!(Arc::strong_count(&bytes), 2, "the store has no copy");
        assert_eq!(value(&machine), b"a");
        let (state, mut content) = (machine.freeze_state(), Vec::new());
        state.write_to(&mut content).unwrap();
        drop(state);
        let snapshot = Snapshot::new(SnapshotMeta::default(), Arc::new(content));
        drop(machine.rebase(&snapshot).unwrap());
        assert_eq!(Arc::strong_count(&bytes), 1, "it needs the entry no more");
        assert_eq!(value(&machine), b"a");
    }

    #[test]
    fn how_long_a_snapshot_will_be_is_known_before() {
        let mut machine = KvMachine::default();
        for index in 1..2000u64 {
            let op = Op::Put {
                key: Bytes::from(&index.to_be_bytes()[..]),
                value: Bytes::from(b"value"),
            };
            let request = Request { ops: vec![op], ..append(index, index, "") };
            machine.apply_at(index, request).unwrap();
        }
        let (state, mut content) = (machine.freeze_state(), Vec::new());
        state.write_to(&mut content).unwrap();
        let hint = usize::try_from(state.len_hint().unwrap()).unwrap();
        assert!((hint..=hint * 11 / 10).contains(&content.len()), "{hint}, {}", content.len());
    }

    #[test]
    fn the_memory_of_requests_survives_a_snapshot() {
        let mut machine = KvMachine::default();
        machine.apply_at(1, append(1, 1, "a")).unwrap();
        let mut restored = KvMachine::default();
        restored.replace_by(&machine.to_bytes()).unwrap();
        assert_eq!(restored.gauges().keys.load(Ordering::Relaxed), 1);
        assert_eq!(restored.apply_at(2, append(1, 1, "a")).unwrap()[0], Answer::Integer(1));
        assert_eq!(value(&restored), b"a");
        assert_eq!(restored.to_bytes().len(), machine.to_bytes().len());
    }

    #[test]
    fn one_failed_operation_fails_alone() {
        let mut machine = KvMachine::default();
        let key = || Bytes::from(b"k");
        let put = Op::Put { key: key(), value: Bytes::from(b"text") };
        let request = Request {
            ops: vec![put, Op::IncrBy { key: key(), by: 1 }, Op::StrLen { key: key() }],
            ..append(1, 1, "")
        };
        let answers = machine.apply_at(1, request).unwrap();
        assert_eq!(answers[0], Answer::Ok);
        assert!(matches!(answers[1], Answer::Error(_)));
        assert_eq!(answers[2], Answer::Integer(4));
    }

    #[test]
    fn a_tiny_store_has_a_tiny_snapshot() {
        let mut machine = KvMachine::default();
        for index in 1..100 {
            machine.apply_at(index, append(index, index, "")).unwrap();
        }
        assert!(machine.to_bytes().len() <= 120, "{} bytes", machine.to_bytes().len());
    }

    #[test]
    fn a_bad_snapshot_leaves_the_state_alone() {
        let mut machine = KvMachine::default();
        machine.apply_at(1, append(1, 1, "a")).unwrap();
        machine.replace_by(b"nonsense").unwrap_err();
        assert_eq!(value(&machine), b"a");
    }
}
