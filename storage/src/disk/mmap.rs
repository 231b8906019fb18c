//! Memory-mapped snapshots and old segments: the only `unsafe` of the whole workspace.
#![expect(unsafe_code, reason = "mapping a file is unsafe by nature; the argument is at the call")]

use std::fs::File;
use std::io;
use std::sync::Arc;

use memmap2::{Mmap, MmapOptions};

use crate::SnapshotBytes;

impl SnapshotBytes for Mmap {
    fn bytes(&self) -> &[u8] {
        self
    }
}

/// Maps `len` bytes of `file` from `offset`. A file that is already too short is an error here
/// instead of a signal later. Pages come into memory when they are looked at: to bring them all in
/// would take the longer the larger a state is, and count them all as memory of this process.
///
/// The caller has verified the content through `read`, or has just written it, and nobody changes it
/// any more: it is a snapshot under its final name or about to get it, or the batches of a segment that takes no more.
pub(crate) fn map(file: &File, offset: u64, len: usize) -> io::Result<Arc<dyn SnapshotBytes>> {
    if len == 0 {
        return Ok(Arc::new(Vec::new()));
    }
    let end = offset.checked_add(len as u64);
    if end.is_none_or(|end| file.metadata().is_ok_and(|metadata| metadata.len() < end)) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    // SAFETY: the slice must not change while it is borrowed. Only this crate writes the file. A
    // snapshot was written aside, by one writer that is complete, and about to be consumed, when the
    // file is mapped; it is read-only by then, is renamed, and only ever unlinked, or written over once
    // the last handle on this mapping is gone (`shelf`). Of a segment only the bytes up to the
    // end of its last batch are mapped, and it is not the last segment of the log: nothing is
    // written to it any more except its seal, which stands behind that end; then it is only ever
    // unlinked. Unlinking leaves the mapping and its pages in place. The directory's lock keeps
    // other Oarlock processes away. The mapping is private and read-only, `offset + len` lies
    // inside the file's length, compared just above, and the `Mmap` owns the address range until
    // the last `Arc` to it is dropped. What remains is an outsider who overwrites or cuts the file
    // by hand, or a disk that fails to read what it read before: that means SIGBUS on access,
    // which operators are told; whoever cannot exclude that switches mapping off (`map_files`).
    let map = unsafe { MmapOptions::new().offset(offset).len(len).map(file)? };
    Ok(Arc::new(map))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn maps_what_the_file_holds_and_survives_its_removal() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let mut file = File::create_new(&path).unwrap();
        file.write_all(&[7; 5000]).unwrap();
        let file = File::open(&path).unwrap();
        let bytes = map(&file, 4096, 904).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(bytes.bytes(), &[7; 904]);
        assert!(map(&file, 4096, 0).unwrap().bytes().is_empty());
    }

    #[test]
    fn a_file_that_is_too_short_is_an_error_not_a_signal() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = File::create_new(dir.path().join("f")).unwrap();
        file.write_all(&[7; 100]).unwrap();
        let file = File::open(dir.path().join("f")).unwrap();
        assert!(map(&file, 4096, 1 << 20).is_err());
    }
}
