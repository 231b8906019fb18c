//! Messages of bytes that no peer sent: an error, or a message that is written as it was read.

use std::fmt::Debug;

use oarlock_rpc::codec;
use oarlock_storage::Entry;
use proptest::prelude::*;

use super::*;

/// Decodes, and writes again what could be decoded.
fn check<T: Wire + Debug>(bytes: &[u8]) {
    if let Ok(message) = codec::decode::<T>(bytes) {
        let again = codec::encode(&message).expect("what was read can be written");
        assert_eq!(again, bytes, "{message:?}");
    }
}

fn check_all(bytes: &[u8]) {
    check::<RequestVoteArgs>(bytes);
    check::<RequestVoteReply>(bytes);
    check::<AppendEntriesReply>(bytes);
    check::<InstallSnapshotArgs>(bytes);
    check::<InstallSnapshotReply>(bytes);
    check::<AppendEntriesArgs>(bytes);
    let args = AppendEntriesArgs::decode(bytes);
    assert_eq!(
        args.as_ref().ok(),
        codec::decode(bytes).ok().as_ref(),
        "with entries that stay together, or apart"
    );
    assert_eq!(args.as_ref().ok(), AppendEntriesArgs::decode_owned(bytes.to_vec()).as_ref().ok());
    if let Ok(args) = args {
        // Indexes and terms of all sizes, and entries that do not follow each other.
        args.is_well_formed();
    }
}

fn append_entries() -> impl Strategy<Value = AppendEntriesArgs> {
    let entry = (any::<u64>(), 0..5u64, 0..4u8, proptest::collection::vec(any::<u8>(), 0..9));
    (any::<u64>(), any::<u64>(), proptest::collection::vec(entry, 0..4)).prop_map(
        |(term, prev, entries)| AppendEntriesArgs {
            term,
            leader_id: PeerId(1),
            prev_log: EntryId::new(prev, 0),
            leader_commit: prev,
            entries: entries
                .into_iter()
                .map(|(index, term, tag, data)| Entry {
                    id: EntryId::new(index, term),
                    tag,
                    data: data.into(),
                })
                .collect(),
        },
    )
}

proptest! {
    #[test]
    fn any_bytes_are_a_message_or_an_error(
        bytes in proptest::collection::vec(any::<u8>(), 0..120),
    ) {
        check_all(&bytes);
        // With the schema that is known.
        check_all(&[&[1], &bytes[..]].concat());
    }

    #[test]
    fn a_changed_message_is_a_message_or_an_error(
        args in append_entries(),
        at in any::<prop::sample::Index>(),
        number in any::<u64>(),
        width in 1..=8usize,
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = codec::encode(&args).expect("it is small");
        check_all(&bytes[..cut.index(bytes.len())]);
        // A length, an index or a term becomes any number.
        let at = at.index(bytes.len());
        let width = width.min(bytes.len() - at);
        bytes[at..at + width].copy_from_slice(&number.to_le_bytes()[..width]);
        check_all(&bytes);
    }
}
