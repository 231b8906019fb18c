//! One segment from its head to its end, past whatever is wrong on the way.

use super::super::files::Files;
use super::super::format::{BatchHeader, Identity, SegmentHead};
use super::super::scan::{End, Scan};
use super::super::segment;
use super::super::segment_reader::{Opened, SegmentReader};
use super::Defect;
use crate::StorageError;

/// What stands in a segment.
pub(super) enum Item<'a> {
    Head(&'a SegmentHead),
    /// A good batch: where it is, its header, and all its bytes.
    Batch(usize, &'a BatchHeader, &'a [u8]),
    Defect(Defect),
    /// What stands behind the last batch, and where.
    End(usize, End),
}

/// Shows `visit` everything in segment `number`, in order. Damage is an item; an error means that the
/// file could not be read.
pub(super) fn walk(
    files: &Files,
    identity: Identity,
    number: u64,
    visit: &mut dyn FnMut(Item<'_>),
) -> Result<(), StorageError> {
    let opened = SegmentReader { files, identity, map: false }.open(number);
    let Opened { file, head, before } = match opened {
        Ok(opened) => opened,
        Err(error) => {
            visit(Item::Defect(Defect::of(error)?));
            return Ok(());
        }
    };
    visit(Item::Head(&head));
    let bytes = file.read_at(0, head.file_bytes)?;
    let mut scan = Scan::new(&head);
    loop {
        let at = scan.at();
        let rest = &bytes[at.min(bytes.len())..];
        if let Some((header, batch)) = scan.batch(rest) {
            visit(Item::Batch(at, &header, batch));
            continue;
        }
        match before.judge(&scan, rest) {
            Ok(end) => visit(Item::End(at, end)),
            Err(defect) => {
                let path = files.path(&segment::name(number));
                visit(Item::Defect(Defect { path, offset: at as u64, what: defect.what }));
                if let Some((at, header)) = scan.later(rest) {
                    scan.skip_to(at, &header);
                    continue;
                }
            }
        }
        return Ok(());
    }
}
