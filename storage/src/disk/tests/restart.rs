//! What opening does and does not change.

use super::workload::{Model, random_steps, run};
use super::{open, open_with, options};
use crate::disk::DiskOptions;
use crate::disk::format::{Generation, Identity, VoteSlot};
use crate::fs::sim::{Fault, SimFs};
use crate::{Batch, Entry, EntryId, HardState, Persister, SnapshotMeta};

fn append(index: u64, len: usize) -> Batch {
    let entry = Entry { id: EntryId::new(index, 1), tag: 0, data: vec![5; len].into() };
    Batch { entries: vec![entry], ..Batch::default() }
}

pub(super) fn snapshot(persister: &mut dyn Persister, index: u64) {
    let meta = SnapshotMeta { last_included: EntryId::new(index, 1), ..SnapshotMeta::default() };
    let staged = persister.snapshot_stage().write_all(meta, format!("at {index}").as_bytes());
    persister.save_state_and_snapshot(&Batch::default(), staged.unwrap()).unwrap();
}

#[test]
fn opening_again_without_writing_changes_no_byte() {
    for seed in 0..20 {
        let fs = SimFs::new();
        run(&fs, &random_steps(seed, 40));
        drop(open(&fs).unwrap());
        let once = fs.contents();
        drop(open(&fs).unwrap());
        assert!(fs.contents() == once, "seed {seed}");
    }
}

#[test]
fn the_log_is_kept_from_the_previous_snapshot_on() {
    let fs = SimFs::new();
    let mut persister = open(&fs).unwrap();
    let first_segment = || fs.contents().into_keys().find(|name| name.starts_with("wal-")).unwrap();
    for index in 1..=30 {
        persister.persist(&append(index, 1000)).unwrap();
    }
    let oldest = first_segment();
    snapshot(&mut persister, 28);
    assert_eq!(first_segment(), oldest, "one snapshot alone replaces nothing");
    snapshot(&mut persister, 30);
    assert!(first_segment() > oldest, "two do");
    let snapshots = fs.contents().into_keys().filter(|name| name.starts_with("snapshot-")).count();
    assert_eq!(snapshots, 2);
}

fn snapshot_of_20(content: &[u8]) -> Vec<u8> {
    let fs = SimFs::new();
    let mut persister = open(&fs).unwrap();
    let meta = SnapshotMeta { last_included: EntryId::new(20, 1), ..SnapshotMeta::default() };
    let staged = persister.snapshot_stage().write_all(meta, content).unwrap();
    persister.save_state_and_snapshot(&Batch::default(), staged).unwrap();
    fs.content("snapshot-00000000000000000020-00000000000000000001.snap").unwrap()
}

#[test]
fn the_previous_snapshot_stands_in_for_a_damaged_one() {
    for damage in ["missing", "cut", "flipped", "older", "another"] {
        let fs = SimFs::new();
        let mut persister = open(&fs).unwrap();
        for index in 1..=30 {
            persister.persist(&append(index, 400)).unwrap();
            if index == 10 || index == 20 {
                snapshot(&mut persister, index);
            }
        }
        drop(persister);
        let mut contents = fs.contents();
        let names: Vec<String> =
            contents.keys().filter(|name| name.starts_with("snapshot-")).cloned().collect();
        let [older, newer] = &names[..] else { panic!("two snapshots: {names:?}") };
        match damage {
            "missing" => _ = contents.remove(newer),
            "cut" => contents.get_mut(newer).unwrap().truncate(4100),
            "flipped" => contents.get_mut(newer).unwrap()[4097] ^= 4,
            "older" => _ = contents.insert(newer.clone(), contents[older].clone()),
            // Good in itself, of the same entry and length, but not the one that was saved.
            _ => _ = contents.insert(newer.clone(), snapshot_of_20(b"AT 20")),
        }
        let fs = SimFs::holding(&contents);
        let mut persister = open(&fs).unwrap();
        let found = persister.load();
        assert_eq!(&*found.snapshot.unwrap(), b"at 10", "{damage}");
        assert_eq!(found.entries.len(), 20, "{damage}");
        // The next ones take over, whichever was lost.
        for index in [15, 22] {
            snapshot(&mut persister, index);
            let copy = fs.after_power_cut(|| false);
            let found = open(&copy).unwrap().load();
            assert_eq!(*found.snapshot.unwrap(), *format!("at {index}").as_bytes(), "{damage}");
            assert_eq!(found.entries.len() as u64, 30 - index, "{damage}");
        }
    }
}

#[test]
fn the_whole_log_stands_in_for_a_first_snapshot() {
    let fs = SimFs::new();
    let mut persister = open(&fs).unwrap();
    for index in 1..=20 {
        persister.persist(&append(index, 900)).unwrap();
    }
    snapshot(&mut persister, 20);
    drop(persister);
    let mut contents = fs.contents();
    contents.retain(|name, _| !name.starts_with("snapshot-"));
    let found = open(&SimFs::holding(&contents)).unwrap().load();
    assert!(found.snapshot.is_none());
    assert_eq!(found.entries.len(), 20);
}

#[test]
fn nothing_stands_in_for_an_installed_snapshot() {
    let fs = SimFs::new();
    let mut persister = open(&fs).unwrap();
    persister.persist(&append(1, 10)).unwrap();
    snapshot(&mut persister, 50);
    drop(persister);
    let mut contents = fs.contents();
    contents.retain(|name, _| !name.starts_with("snapshot-"));
    let error = open(&SimFs::holding(&contents)).err().unwrap().to_string();
    assert!(
        error.contains("snapshot-00000000000000000050") && error.contains("missing"),
        "{error}"
    );
}

/// The last thing in the log is a vote, and its batch is lost: the second copy has it.
#[test]
fn a_vote_survives_the_loss_of_either_copy() {
    let fs = SimFs::new();
    let mut persister = open(&fs).unwrap();
    persister.persist(&append(1, 10)).unwrap();
    let hard_state = HardState { current_term: 6, voted_for: Some(3) };
    let before = fs.contents();
    persister.persist(&Batch { hard_state: Some(hard_state), ..Batch::default() }).unwrap();
    drop(persister);
    let after = fs.contents();
    let wal = "wal-00000000000000000001.log";
    let at = before[wal].iter().zip(&after[wal]).position(|(a, b)| a != b).unwrap() / 512 * 512;
    let expected =
        Model { hard_state, ..Model::of(&open(&SimFs::holding(&before)).unwrap().load()) };

    let check = |name: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let mut contents = after.clone();
        change(contents.get_mut(name).unwrap());
        let fs = SimFs::holding(&contents);
        for _ in 0..3 {
            let found = Model::of(&open(&fs).unwrap().load());
            assert_eq!(found, expected, "{name}");
        }
    };
    check(wal, &|bytes| bytes[at..at + 512].fill(0));
    check(wal, &|bytes| bytes[at + 20] ^= 1);
    check(wal, &|bytes| bytes[at + 511] ^= 1);
    for slot in [0, 4096] {
        check("VOTE", &|bytes| bytes[slot + 17] ^= 1);
        check("VOTE", &|bytes| bytes[slot..slot + 512].fill(0));
    }
    check("VOTE", &|bytes| bytes.fill(0));
    check("VOTE", &|bytes| bytes.truncate(100));
}

/// An entry that was acknowledged together with a vote cannot be rebuilt, and is missed.
#[test]
fn the_second_copy_is_a_witness_for_the_end_of_the_log() {
    let fs = SimFs::new();
    let mut persister = open(&fs).unwrap();
    let before = fs.contents();
    let hard_state = Some(HardState { current_term: 6, voted_for: Some(3) });
    persister.persist(&Batch { hard_state, ..append(1, 10) }).unwrap();
    drop(persister);
    let mut contents = fs.contents();
    contents.insert(
        "wal-00000000000000000001.log".to_owned(),
        before["wal-00000000000000000001.log"].clone(),
    );
    let error = open(&SimFs::holding(&contents)).err().unwrap().to_string();
    assert!(error.contains("batch 1 is gone") && error.contains("offset 4096"), "{error}");
}

#[test]
fn what_a_segment_was_born_with_is_never_taken_for_torn() {
    let fs = SimFs::new();
    let mut persister = open(&fs).unwrap();
    persister.persist(&append(1, 10)).unwrap();
    persister.persist(&append(2, 10)).unwrap();
    drop(persister);
    // Copied into a new file, synced as a whole: no write to it can have been cut short.
    drop(open(&fs).unwrap());
    let name = "wal-00000000000000000001.log";
    for range in [4096..4608, 4608..5120] {
        let mut contents = fs.contents();
        contents.get_mut(name).unwrap()[range.clone()].fill(0);
        let error = open(&SimFs::holding(&contents)).err().unwrap().to_string();
        assert!(error.contains(&format!("damaged at offset {}", range.start)), "{error}");
    }
}

#[test]
fn a_copied_segment_has_a_salt_of_its_own() {
    let fs = SimFs::new();
    let mut persister = open(&fs).unwrap();
    persister.persist(&append(1, 10)).unwrap();
    drop(persister);
    let salt = || fs.content("wal-00000000000000000001.log").unwrap()[40..48].to_vec();
    let before = salt();
    drop(open(&fs).unwrap());
    assert_ne!(salt(), before, "bytes of the old file cannot pass for the new one's");
}

#[test]
fn a_vote_that_is_vouched_for_is_in_both_places() {
    // The process dies between the write of the slot and its sync, or before either.
    for operation in [2, 3] {
        let fs = SimFs::new();
        let mut persister = open(&fs).unwrap();
        fs.plan(operation, Fault::Crash);
        let hard_state = HardState { current_term: 6, voted_for: Some(3) };
        persister.persist(&Batch { hard_state: Some(hard_state), ..Batch::default() }).unwrap_err();
        let restarted = fs.after_kill();
        assert_eq!(open(&restarted).unwrap().load().hard_state, hard_state);
        let slot =
            restarted.after_power_cut(|| false).content("VOTE").unwrap()[4096..4608].to_vec();
        let slot = VoteSlot::decode(&slot).unwrap();
        assert_eq!(slot.hard_state, hard_state, "crash at operation {operation}");
    }
}

#[test]
fn equal_snapshots_of_two_peers_are_equal_files() {
    let file = |node_id: u64, restarts: bool| {
        let fs = SimFs::new();
        let options = DiskOptions { node_id, ..options() };
        let mut persister = open_with(&fs, &options).unwrap();
        for index in 1..=9 {
            persister.persist(&append(index, 400)).unwrap();
            if restarts {
                drop(persister);
                persister = open_with(&fs, &options).unwrap();
            }
        }
        snapshot(&mut persister, 7);
        fs.content("snapshot-00000000000000000007-00000000000000000001.snap").unwrap()
    };
    assert_eq!(file(1, false), file(2, true));
}

#[test]
fn a_slot_that_contradicts_the_log_is_refused() {
    let fs = SimFs::new();
    let mut persister = open(&fs).unwrap();
    let hard_state = HardState { current_term: 6, voted_for: Some(3) };
    persister.persist(&Batch { hard_state: Some(hard_state), ..append(1, 10) }).unwrap();
    persister.persist(&append(2, 10)).unwrap();
    drop(persister);
    let contents = fs.contents();
    let slot = VoteSlot::decode(&contents["VOTE"][4096..4608]).unwrap();
    let another_vote = HardState { voted_for: Some(4), ..hard_state };
    let another_node = Identity { node_id: 9, ..slot.identity };
    for (wrong, what) in [
        (VoteSlot { hard_state: another_vote, ..slot }, "contradicts the log"),
        (VoteSlot { generation: Generation(3), ..slot }, "contradicts the log"),
        (VoteSlot { identity: another_node, ..slot }, "another node's"),
    ] {
        let mut contents = contents.clone();
        contents.get_mut("VOTE").unwrap()[4096..4608].copy_from_slice(&wrong.encode());
        let error = open(&SimFs::holding(&contents)).err().unwrap().to_string();
        assert!(error.contains(what) && error.contains("VOTE"), "{error}");
    }
}
