//! Round trips, canonical bytes, and bytes nobody wrote.

use std::sync::Arc;

use proptest::prelude::*;

use oarlock_raft::SnapshotMeta;

use super::*;
use crate::machine::KvMachine;
use crate::op::{Bytes, Op};
use crate::request::Request;

/// A machine that has seen some of everything.
fn machine(steps: &[(u64, u64, Vec<u8>, Vec<u8>)]) -> KvMachine {
    let mut machine = KvMachine::new(limits());
    for (n, (nonce, seq, key, value)) in steps.iter().enumerate() {
        let index = n as u64 + 1;
        let client = ClientId { born: 0, nonce: *nonce };
        let (key, value) = (Bytes::from(key.clone()), Bytes::from(value.clone()));
        let ops = vec![Op::Append { key: key.clone(), value }, Op::Get { key }];
        let request = Request { client, seq: *seq, acked_below: seq.saturating_sub(3), ops };
        drop(machine.apply_at(index, request));
    }
    machine
}

fn decoded(bytes: &[u8]) -> Result<(SessionTable, Data), String> {
    let content = Snapshot::new(SnapshotMeta::default(), Arc::new(bytes.to_vec()));
    decode(&content, limits(), Records::Unknown)
}

fn limits() -> Limits {
    Limits { sessions: 3, bytes_per_session: 400, ..Limits::default() }
}

fn steps() -> impl Strategy<Value = Vec<(u64, u64, Vec<u8>, Vec<u8>)>> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..6);
    proptest::collection::vec((0..5u64, 1..9u64, bytes(), bytes()), 0..40)
}

proptest! {
    #[test]
    fn a_state_comes_back_as_it_was(steps in steps()) {
        let bytes = machine(&steps).to_bytes();
        let mut restored = KvMachine::new(limits());
        restored.replace_by(&bytes).unwrap();
        prop_assert_eq!(restored.to_bytes(), bytes);
    }

    #[test]
    fn bytes_nobody_wrote_are_an_error_or_a_canonical_state(
        steps in steps(),
        cut in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let good = machine(&steps).to_bytes();
        let mut restored = KvMachine::new(limits());
        let cut = cut.index(good.len());
        prop_assert!(restored.replace_by(&good[..cut]).is_err(), "cut at {}", cut);
        let mut changed = good;
        let at = at.index(changed.len());
        changed[at] = byte;
        if restored.replace_by(&changed).is_ok() {
            prop_assert_eq!(restored.to_bytes(), changed);
        }
    }

    #[test]
    fn garbage_never_panics(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..200),
        version in VERSION_BARE..=VERSION,
    ) {
        if let Some(first) = bytes.first_mut() {
            *first = version;
        }
        drop(decoded(&bytes));
        let content = Snapshot::new(SnapshotMeta::default(), Arc::new(bytes));
        drop(decode(&content, limits(), Records::AsWritten));
    }
}

#[test]
fn the_order_of_writing_leaves_no_trace() {
    let write = |order: &[&str]| {
        let mut data = Data::default();
        for key in order {
            let op = Op::Put { key: Bytes::from(key.as_bytes()), value: Bytes::from(b"v") };
            data.execute(op, None, &mut crate::data::Budget::default());
        }
        encode(&SessionTable::new(limits()), &data)
    };
    assert_eq!(write(&["a", "b", "c"]), write(&["c", "a", "b", "a"]));
}

#[test]
fn claimed_counts_are_not_believed() {
    let mut bytes = vec![VERSION];
    bytes.extend([0; 8]);
    bytes.extend(u64::MAX.to_le_bytes());
    assert!(decoded(&bytes).is_err());
    let mut bytes = vec![VERSION];
    bytes.extend([0; 16]);
    bytes.extend(1u64.to_le_bytes());
    bytes.extend(u32::MAX.to_le_bytes());
    let Err(reason) = decoded(&bytes) else { panic!("accepted") };
    assert!(reason.contains("more than"), "{reason}");
}

#[test]
fn another_version_is_named() {
    let Err(reason) = decoded(&[9]) else { panic!("accepted") };
    assert_eq!(reason, "snapshot version 9, but this build reads 1 and 2");
}

/// Bytes of a snapshot without sessions and index: `keys`, each with an empty value.
fn of_keys(keys: &[&str]) -> Vec<u8> {
    let mut bytes = vec![VERSION_BARE];
    bytes.extend([0; 16]);
    bytes.extend((keys.len() as u64).to_le_bytes());
    for key in keys {
        put_bytes(&mut bytes, key.as_bytes());
        put_bytes(&mut bytes, b"");
    }
    bytes
}

#[test]
fn a_key_cannot_be_there_twice() {
    assert!(decoded(&of_keys(&["k"])).is_ok());
    let Err(reason) = decoded(&of_keys(&["k", "k"])) else { panic!("accepted") };
    assert_eq!(reason, "the keys are out of order");
}

#[test]
fn a_client_cannot_be_there_twice_or_be_used_before_its_birth() {
    let of_sessions = |sessions: &[[u64; 4]]| {
        let mut bytes = vec![VERSION];
        bytes.extend([0; 8]);
        bytes.extend((sessions.len() as u64).to_le_bytes());
        for numbers in sessions {
            bytes.extend(numbers.iter().flat_map(|n| n.to_le_bytes()));
            bytes.extend([0; 4]);
        }
        bytes.extend([0; 8]);
        bytes.extend(base::tail(&[], 0));
        decoded(&bytes).map(|(table, _)| table.len())
    };
    assert_eq!(of_sessions(&[[0, 1, 5, 1], [0, 2, 6, 1]]), Ok(2));
    assert!(of_sessions(&[[0, 1, 5, 1], [0, 1, 6, 1]]).unwrap_err().contains("out of order"));
    assert!(of_sessions(&[[0, 1, 5, 1], [0, 2, 5, 1]]).unwrap_err().contains("two sessions"));
    assert!(of_sessions(&[[5, 1, 5, 1]]).unwrap_err().contains("used at index 5"));
}
