//! Tests of the engine as a whole, most of them on the simulated disk.

mod crash;
mod damage;
mod directory;
mod failure;
mod full;
mod golden;
mod hostile;
mod inspect;
#[cfg(feature = "interleavings")]
mod interleavings;
mod model;
mod reading;
mod repair;
mod repair_crash;
mod restart;
mod shelf;
mod spares;
mod standby;
mod tree;
mod used;
mod workload;

use std::path::Path;
use std::sync::Arc;

use super::{DiskOptions, DiskPersister};
use crate::StorageError;
use crate::fs::sim::SimFs;

/// The one directory of a simulated disk.
pub(crate) const DIR: &str = "dir";

/// Segments so small that a few batches fill one, and no thread.
pub(crate) fn options() -> DiskOptions {
    DiskOptions { segment_bytes: 8192, prepare_spares: false, ..DiskOptions::new(1) }
}

/// Opens a simulated disk's directory.
pub(crate) fn open(fs: &SimFs) -> Result<DiskPersister, StorageError> {
    open_with(fs, &options())
}

/// The same with other options.
fn open_with(fs: &SimFs, options: &DiskOptions) -> Result<DiskPersister, StorageError> {
    DiskPersister::open_on(Arc::new(fs.clone()), Path::new(DIR), options)
}
