//! Blocks whose checksum is right and whose fields are anything: what a bug could write, or a
//! checksum let pass. Each is taken or refused, and never makes a reader fall over.

use proptest::prelude::*;

use super::*;

/// A block of `len` bytes with these fields, sealed.
fn block(len: usize, magic: [u8; 8], fields: &[u8]) -> Vec<u8> {
    let mut block = vec![0; len];
    let fields_at = block::FIELDS_AT;
    let taken = fields.len().min(len - fields_at);
    block[fields_at..fields_at + taken].copy_from_slice(&fields[..taken]);
    block::seal(&mut block, magic);
    block
}

fn fields() -> impl Strategy<Value = Vec<u8>> {
    let number = prop_oneof![Just(0), Just(u64::MAX), 0..100u64, any::<u64>()];
    proptest::collection::vec(number, 0..40)
        .prop_map(|numbers| numbers.into_iter().flat_map(u64::to_le_bytes).collect())
}

proptest! {
    #[test]
    fn any_fields_are_taken_or_refused(fields in fields()) {
        _ = SegmentHead::decode(&block(HEAD_BYTES, *b"OARLKSEG", &fields));
        _ = Identity::decode(&block(IDENTITY_BYTES, *b"OARLKIDN", &fields));
        _ = VoteSlot::decode(&block(SLOT_BYTES, *b"OARLKVOT", &fields));
        _ = SnapshotHead::decode(&block(HEAD_BYTES, *b"OARLKSNP", &fields));
        if let Ok((footer, _)) = SnapshotFooter::decode(&block(FOOTER_BYTES, *b"OARLKSNE", &fields)) {
            // What it says of lengths is added up before anything is read.
            let (table, file) = (footer.table_at(), footer.file_bytes());
            prop_assert!(file.is_none() || table.is_some() && table < file, "{:?}", footer);
        }
    }

    #[test]
    fn any_batch_header_is_taken_or_refused(
        fields in fields(),
        len in BATCH_HEADER_BYTES..4 * SECTOR_BYTES,
    ) {
        let mut batch = vec![0; len];
        let taken = fields.len().min(BATCH_HEADER_BYTES - 8);
        batch[8..8 + taken].copy_from_slice(&fields[..taken]);
        batch[..4].copy_from_slice(b"OBAT");
        let crc = crc32fast::hash(&batch[8..BATCH_HEADER_BYTES]);
        batch[4..8].copy_from_slice(&crc.to_le_bytes());
        if let Some((header, _)) = BatchHeader::decode(&batch) {
            prop_assert!(header.extent() >= BATCH_HEADER_BYTES, "{:?}", header);
            if header.extent() <= batch.len() {
                let extent = header.extent();
                header.body_is_good(&batch[..extent]);
                lacks_sectors(&header, &batch[..extent]);
                has_no_end(&header, &batch[..extent]);
            }
        }
    }
}
