//! Layers against a plain map, over many random histories of operations, freezes, snapshots that are
//! published, fail or are overtaken, and restores.
//!
//! Goal: nothing shows of where a key is. Method: the same operations on [`Data`] and on a
//! `BTreeMap`; after each step some answers are compared, and every frozen state is written at some
//! later time and must be what the map was when it was frozen.

use std::collections::BTreeMap;

use oarlock_raft::{Snapshot, SnapshotMeta};
use oarlock_rpc::codec;
use oarlock_storage::Payload;

use super::*;
use crate::base;
use crate::data::{Budget, Data};
use crate::key::hash;
use crate::marks::Marker;
use crate::op::{Answer, Bytes, Op};
use crate::request::{ClientId, Request};
use crate::session::{Limits, SessionTable};
use crate::snapshot::{self, Records};

/// What [`Layers`] stands for, as simply as it can be said: by hash, then by key.
type Model = BTreeMap<(u64, Vec<u8>), Vec<u8>>;

/// Two keys of one hash: a known collision of FNV-1a.
const TWINS: [&[u8]; 2] = [b"8yn0iYCKYHlIj4-BwPqk", b"GReLUrM4wMqfg9yzV3KQ"];

/// A state that is being written.
struct Freezing {
    below: Below,
    len: usize,
    meant: Vec<u8>,
}

struct World {
    data: Data,
    model: Model,
    random: fastrand::Rng,
    freezing: Option<Freezing>,
}

fn place(key: &[u8]) -> (u64, Vec<u8>) {
    (hash(key), key.to_vec())
}

fn write_records<'a>(
    len: usize,
    records: impl Iterator<Item = crate::base::Record<'a>>,
) -> (Vec<u8>, usize) {
    let mut out = Vec::new();
    let table = SessionTable::new(Limits::default());
    let begin = snapshot::write(&mut out, (0, table.sessions()), len, records).unwrap();
    (out, begin)
}

/// The bytes of a model, written from nothing but itself.
fn bytes_of(model: &Model) -> Vec<u8> {
    let mut out = vec![2];
    out.extend([0; 16]);
    out.extend((model.len() as u64).to_le_bytes());
    let (mut marker, mut sum) = (Marker::default(), 0);
    for ((hash, key), value) in model {
        for bytes in [key, value] {
            out.extend((bytes.len() as u32).to_le_bytes());
            out.extend(bytes);
        }
        marker.push(*hash, 8 + key.len() + value.len());
        sum += key.len() + value.len();
    }
    out.extend(base::tail(&marker.into_bytes(), sum as u64));
    out
}

/// The same, of before there was an index.
fn bare_bytes_of(model: &Model) -> Vec<u8> {
    let records = model.iter().map(|((_, key), value)| 8 + key.len() + value.len());
    let mut out = bytes_of(model);
    out.truncate(25 + records.sum::<usize>());
    out[0] = 1;
    out
}

fn snapshot_of(bytes: Vec<u8>) -> Snapshot {
    Snapshot::new(SnapshotMeta::default(), Arc::new(bytes))
}

impl World {
    fn new(seed: u64) -> Self {
        let random = fastrand::Rng::with_seed(seed);
        Self { data: Data::default(), model: Model::new(), random, freezing: None }
    }

    fn key(&mut self) -> Vec<u8> {
        match self.random.u32(..40) {
            0 => Vec::new(),
            n @ 1..=2 => TWINS[n as usize - 1].to_vec(),
            n => format!("key:{n}").into_bytes(),
        }
    }

    fn value(&mut self) -> Vec<u8> {
        // Some of more than a step of the index.
        let len = self.random.choice([0, 1, 8, 100, 700, 5000]).unwrap();
        (0..len).map(|_| self.random.u8(b'a'..=b'z')).collect()
    }

    /// Executes it, from memory of its own or from an entry of the log.
    fn run(&mut self, op: Op) -> Answer {
        let budget = &mut Budget::default();
        if self.random.u8(..4) == 0 {
            // With another, since nothing is looked for that is alone; and all of it shows nowhere.
            let other = Op::Put { key: self.key().into(), value: Bytes::from(b"") };
            self.data.look_ahead(&[op.clone(), other]);
        }
        if self.random.bool() {
            return self.data.execute(op, None, budget);
        }
        let client = ClientId { born: 0, nonce: 0 };
        let request = Request { client, seq: 0, acked_below: 0, ops: vec![op] };
        let entry = Arc::new(Payload::from(codec::encode(&request).unwrap()));
        let Request::<&serde_bytes::Bytes> { mut ops, .. } =
            codec::decode_as::<Request, _>(&entry).unwrap();
        self.data.execute(ops.remove(0), Some(&entry), budget)
    }

    fn operate(&mut self) {
        let (key, value) = (self.key(), self.value());
        let (k, v) = (Bytes::from(key.clone()), Bytes::from(value.clone()));
        let at = place(&key);
        let int = |n: usize| Answer::Integer(i64::try_from(n).unwrap());
        let before = self.model.get(&at).cloned();
        let (op, meant) = match self.random.u32(..12) {
            0..=3 => {
                self.model.insert(at, value);
                (Op::Put { key: k, value: v }, Answer::Ok)
            }
            4..=5 => {
                let entry = self.model.entry(at).or_default();
                entry.extend(value);
                (Op::Append { key: k, value: v }, int(entry.len()))
            }
            6..=8 => {
                let there = self.model.remove(&at).is_some();
                (Op::Del { keys: vec![k.clone(), k] }, int(usize::from(there)))
            }
            9 => {
                self.model.remove(&at);
                (Op::GetDel { key: k }, Answer::from_value(before))
            }
            10 => (Op::StrLen { key: k }, int(before.map_or(0, |value| value.len()))),
            _ => (Op::Get { key: k }, Answer::from_value(before)),
        };
        let shown = format!("{op:?}");
        assert_eq!(self.run(op), meant, "{shown}");
    }

    /// A page of a scan, from anywhere.
    fn scan(&mut self) {
        let cursor = match self.random.u32(..3) {
            0 => 0,
            1 => hash(&self.key()),
            _ => self.random.u64(..),
        };
        let count = self.random.u64(..8);
        let (mut keys, mut next, mut last) = (Vec::new(), 0, None);
        for (hash, key) in self.model.range((cursor, Vec::new())..).map(|(place, _)| place) {
            if keys.len() as u64 >= count.max(1) && last != Some(*hash) {
                next = *hash;
                break;
            }
            last = Some(*hash);
            keys.push(Bytes::from(key.clone()));
        }
        let page = self.run(Op::Scan { cursor, count, pattern: None });
        assert_eq!(page, Answer::Page { cursor: next, keys });
    }

    /// Everything there is to see.
    fn check(&mut self) {
        assert_eq!(self.data.len(), self.model.len());
        let bytes: usize = self.model.iter().map(|((_, key), value)| key.len() + value.len()).sum();
        assert_eq!(self.data.len_bytes(), bytes as u64);
        let there = self.data.iter().map(|r| ((r.hash, r.key.to_vec()), r.value.to_vec()));
        assert!(there.eq(self.model.clone()), "the same in the same order");
        let (written, _) = write_records(self.data.len(), self.data.iter());
        assert_eq!(written, bytes_of(&self.model));
    }

    fn freeze(&mut self) {
        let meant = bytes_of(&self.model);
        let below = self.data.freeze();
        self.freezing = Some(Freezing { below, len: self.data.len(), meant });
    }

    /// What was frozen is written; it is published, or it was in vain.
    fn end_freezing(&mut self) {
        let Some(Freezing { below, len, meant }) = self.freezing.take() else { return };
        let (bytes, begin) = write_records(len, below.from(0));
        assert!(bytes == meant, "a frozen state has changed");
        if self.random.u32(..4) > 0 {
            drop(self.data.rebase(Base::indexed(snapshot_of(bytes), begin).unwrap().0));
        }
    }

    /// A snapshot comes from elsewhere, of this very state.
    fn restore(&mut self) {
        self.freezing = None;
        let (bytes, records) = match self.random.u32(..3) {
            0 => (bytes_of(&self.model), Records::AsWritten),
            1 => (bytes_of(&self.model), Records::Unknown),
            _ => (bare_bytes_of(&self.model), Records::AsWritten),
        };
        let content = snapshot_of(bytes);
        (_, self.data) = snapshot::decode(&content, Limits::default(), records).unwrap();
    }
}

#[test]
fn nothing_shows_of_where_a_key_is() {
    for seed in 0..300 {
        let mut world = World::new(seed);
        for _ in 0..150 {
            match world.random.u32(..30) {
                0..=1 if world.freezing.is_none() => world.freeze(),
                0..=2 => world.end_freezing(),
                3 if world.random.u32(..4) == 0 => world.restore(),
                4..=6 => world.scan(),
                7 => world.check(),
                _ => world.operate(),
            }
        }
        world.end_freezing();
        world.check();
    }
}

#[test]
fn states_that_cannot_be_written_do_not_pile_up() {
    let mut layers = Layers::default();
    for n in 0..100u32 {
        layers.set(&n.to_le_bytes(), vec![0; 10].into());
        layers.remove(&(n / 2).to_le_bytes());
        drop(layers.freeze());
    }
    assert_eq!(layers.below.frozen.len(), FROZEN_MAX);
    assert_eq!((layers.len(), layers.iter().count(), layers.len_bytes()), (50, 50, 50 * 14));
}
