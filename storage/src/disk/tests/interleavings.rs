//! The thread that makes spare segments, the writer that takes them and a borrower of their space,
//! under every order in which they may run (`oarlock_sync::model`): each operation of the simulated
//! disk is a moment at which another may.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use oarlock_sync::model::{deadlines_come_early, explore, find, pause};
use oarlock_sync::{Condvar, Mutex, now, thread};

use super::DIR;
use crate::disk::files::Files;
use crate::disk::format::SectorSums;
use crate::disk::spare::Spares;
use crate::fs::OpenMode;
use crate::fs::sim::{Fault, SimFs};

const SCHEDULES: usize = 2000;
const FILE_BYTES: u64 = 1024;

fn spares() -> (SimFs, Spares) {
    let fs = SimFs::new();
    let files = Files::new(Arc::new(fs.clone()), Path::new(DIR));
    let spares = Spares::new(Arc::new(files), FILE_BYTES);
    (fs, spares)
}

fn wait(time: Duration) {
    let until = now() + time;
    let (mutex, never) = (Mutex::new(()), Condvar::new());
    while !never.wait_until(&mut mutex.lock(), until).timed_out() {}
}

#[track_caller]
fn take(spares: &Spares) {
    let spare = spares.take().expect("one was asked for, and there is space");
    let zeros = vec![0; FILE_BYTES as usize];
    assert_eq!(spare.file.read_at(0, FILE_BYTES).expect("it is whole"), zeros, "{}", spare.name);
}

/// A writer takes what it asked for, one after the other.
fn taken() {
    let (_, mut spares) = spares();
    spares.prepare(2);
    take(&spares);
    spares.prepare(2);
    take(&spares);
    take(&spares);
    assert!(spares.take().is_none(), "no more were asked for");
    // The thread may be about to fall asleep when the log is closed.
    pause();
    drop(spares);
}

/// The space is lent while spares are made; none of it is used meanwhile, and then they are made.
fn lent() {
    let (fs, mut spares) = spares();
    let lender = spares.lender();
    spares.prepare(2);
    let borrower = thread::spawn(move || {
        let loan = lender.lend();
        assert_eq!(fs.used_bytes(), 0, "lent, and used");
        drop(loan);
    });
    borrower.join().expect("a borrower");
    // Taken once the loan is over, and the thread has found out.
    wait(Duration::from_millis(50));
    if !deadlines_come_early() {
        take(&spares);
        take(&spares);
    }
}

/// A writer and a borrower at once: both get on, and what the writer gets is whole.
fn lent_and_taken() {
    let (_, mut spares) = spares();
    let lender = spares.lender();
    spares.prepare(2);
    let borrower = thread::spawn(move || drop(lender.lend()));
    for _ in 0..2 {
        if let Some(spare) = spares.take() {
            assert_eq!(spare.file.len().expect("it is there"), FILE_BYTES, "{}", spare.name);
        }
    }
    borrower.join().expect("a borrower");
}

/// The log gives a file back while the space is lent: it is there, or it is gone, and never both.
fn given_while_lent() {
    let (fs, spares) = spares();
    let files = Files::new(Arc::new(fs.clone()), Path::new(DIR));
    let file = files.open("used-1.tmp", OpenMode::Create).expect("a file");
    file.write_at(&[1; FILE_BYTES as usize], 0).expect("room");
    let lender = spares.lender();
    let borrower = thread::spawn(move || drop(lender.lend()));
    spares.promise("used-1.tmp".to_owned(), SectorSums::of_zeros(FILE_BYTES));
    spares.settle();
    borrower.join().expect("a borrower");
    let left = if spares.take().is_some() { FILE_BYTES } else { 0 };
    assert_eq!(fs.used_bytes() as u64, left);
}

/// The log is closed at any moment, perhaps while its space is lent.
fn closed() {
    let (fs, mut spares) = spares();
    let lender = spares.lender();
    spares.prepare(2);
    let borrower = thread::spawn(move || drop(lender.lend()));
    drop(spares);
    borrower.join().expect("a borrower");
    let used = fs.used_bytes() as u64;
    assert!(used <= 2 * FILE_BYTES, "{used} bytes are left");
}

/// There is no space for an operation, and then there is.
fn full(operation: u64) {
    let (fs, mut spares) = spares();
    fs.plan(operation, Fault::Error(std::io::ErrorKind::StorageFull));
    spares.prepare(1);
    assert!(spares.take().is_none() || !spares.is_short());
    wait(Duration::from_millis(50));
    assert!(!spares.is_short() || deadlines_come_early(), "it is tried again without being asked");
}

#[test]
fn spares_are_made_as_they_are_wanted() {
    explore(SCHEDULES, taken);
}

#[test]
fn the_space_of_spares_is_lent() {
    explore(SCHEDULES, lent);
    explore(SCHEDULES, lent_and_taken);
    explore(SCHEDULES, given_while_lent);
}

#[test]
fn spares_end_at_any_moment() {
    explore(SCHEDULES, closed);
}

#[test]
fn spares_come_once_there_is_space() {
    for operation in 0..3 {
        explore(SCHEDULES / 2, move || full(operation));
    }
}

#[test]
fn mistakes_with_spares_are_found() {
    let mistakes: [(&str, fn()); 4] = [
        ("a spare is ready without a word", taken),
        ("a loan ends without a word", lent),
        ("a loan does not wait for the spare in the making", lent),
        ("the spares are told to end without the lock", taken),
    ];
    for (mistake, scene) in mistakes {
        let found = find(mistake, SCHEDULES, scene).expect(mistake);
        eprintln!("| {mistake} | {} | {}", found.schedules, found.message);
    }
}
