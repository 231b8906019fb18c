//! The simulated disk forgets what it should, and only that.

use std::io;
use std::path::Path;

use super::{Fault, SimFs};
use crate::fs::{Fs, OpenMode};

fn fs_with_unsynced_sectors() -> SimFs {
    let fs = SimFs::new();
    let file = fs.open(Path::new("d/f"), OpenMode::Create).unwrap();
    file.write_all_at(&[1; 1024], 0).unwrap();
    file.sync_data().unwrap();
    fs.sync_dir(Path::new("d")).unwrap();
    file.write_all_at(&[2; 1024], 0).unwrap();
    fs
}

#[test]
fn a_power_cut_takes_what_was_not_synced() {
    let fs = fs_with_unsynced_sectors();
    assert_eq!(fs.choices(), 2);
    assert_eq!(fs.after_kill().content("f"), Some(vec![2; 1024]));
    assert_eq!(fs.after_power_cut(|| false).content("f"), Some(vec![1; 1024]));
    let mut turn = false;
    let mixed = fs.after_power_cut(|| std::mem::replace(&mut turn, true));
    assert_eq!(mixed.content("f"), Some([[1; 512], [2; 512]].concat()));
}

#[test]
fn a_failed_sync_leaves_what_it_lost_readable() {
    let fs = fs_with_unsynced_sectors();
    let file = fs.open(Path::new("d/f"), OpenMode::Write).unwrap();
    fs.plan(0, Fault::Error(io::ErrorKind::Other));
    file.sync_data().unwrap_err();
    file.sync_data().unwrap();
    assert_eq!(fs.after_kill().content("f"), Some(vec![2; 1024]));
    assert_eq!(fs.after_power_cut(|| true).content("f"), Some(vec![1; 1024]));
    assert_eq!(fs.after_failure(), ["sync"]);
}

#[test]
fn unsynced_names_are_lost() {
    let fs = fs_with_unsynced_sectors();
    fs.rename(Path::new("d/f"), Path::new("d/g")).unwrap();
    assert!(fs.after_power_cut(|| false).content("f").is_some());
    assert!(fs.after_power_cut(|| true).content("g").is_some());
}
