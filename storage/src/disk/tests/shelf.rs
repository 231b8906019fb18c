//! The file of an old snapshot is written over by the next, and never while anybody looks at it, nor
//! where a crash could bring back its name.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use super::full::wait_until;
use super::{open, open_with, options};
use crate::disk::files::Files;
use crate::disk::{DiskOptions, DiskPersister, snapshot};
use crate::fs::sim::SimFs;
use crate::fs::{OpenMode, RealFs};
use crate::{Batch, Entry, EntryId, Persister, Snapshot, SnapshotBytes, SnapshotMeta};

/// What is on the shelf.
fn on_shelf(disk: &SimFs) -> Option<Vec<u8>> {
    disk.contents().into_iter().find(|(name, _)| is_shelf(name)).map(|(_, content)| content)
}

fn is_shelf(name: &str) -> bool {
    name.starts_with("used-snapshot")
}

/// A persister whose log is compacted.
struct Rounds {
    persister: DiskPersister,
    last: u64,
}

impl Rounds {
    fn of(mut persister: DiskPersister) -> Self {
        persister.load();
        Self { persister, last: 0 }
    }

    fn append(&mut self, count: u64) {
        for _ in 0..count {
            self.last += 1;
            let id = EntryId::new(self.last, 1);
            let entry = Entry { id, tag: 0, data: vec![7; 900].into() };
            self.persister.persist(&Batch { entries: vec![entry], ..Batch::default() }).unwrap();
        }
    }

    fn meta(&self) -> SnapshotMeta {
        SnapshotMeta { last_included: EntryId::new(self.last, 1), ..SnapshotMeta::default() }
    }

    /// A snapshot of this, behind enough entries for a new segment.
    fn snapshot(&mut self, content: &[u8]) -> Snapshot {
        self.append(16);
        let staged = self.persister.snapshot_stage().write_all(self.meta(), content).unwrap();
        self.persister.save_state_and_snapshot(&Batch::default(), staged).unwrap()
    }
}

fn is_on_shelf(fs: &SimFs) -> bool {
    on_shelf(fs).is_some()
}

/// The file that a snapshot is written to.
fn aside(disk: &SimFs) -> Vec<u8> {
    let is_aside = |name: &str| name.starts_with("snapshot-") && name.contains(".tmp");
    let found = disk.contents().into_iter().find(|(name, _)| is_aside(name));
    found.expect("there is one").1
}

#[test]
fn a_snapshot_is_written_over_the_oldest_one() {
    let disk = SimFs::new();
    let mut rounds = Rounds::of(open(&disk).unwrap());
    for round in 0..10 {
        let old = on_shelf(&disk);
        assert_eq!(old.is_some(), round > 2, "two are kept, in round {round}");
        rounds.append(16);
        let stage = rounds.persister.snapshot_stage();
        let writer = stage.begin(rounds.meta()).unwrap();
        // The head is new already.
        let is_over = old.is_some_and(|old| aside(&disk)[4096..] == old[4096..]);
        assert_eq!(is_over, round > 2, "round {round}");
        assert!(!is_on_shelf(&disk));
        let staged = {
            let mut writer = writer;
            writer.write(&[round; 5000]).unwrap();
            writer.finish().unwrap()
        };
        rounds.persister.save_state_and_snapshot(&Batch::default(), staged).unwrap();
    }
    drop(rounds);
    assert!(!is_on_shelf(&disk), "nothing stays");
}

#[test]
fn one_whose_name_a_crash_could_bring_back_is_not_written_over() {
    let disk = SimFs::new();
    let mut rounds = Rounds::of(open(&disk).unwrap());
    for _ in 0..3 {
        rounds.snapshot(&[3; 5000]);
    }
    assert!(is_on_shelf(&disk));
    let stage = rounds.persister.snapshot_stage();
    drop(stage.begin(rounds.meta()).unwrap());
    assert!(is_on_shelf(&disk), "it was left alone");
    rounds.append(16);
    drop(stage.begin(rounds.meta()).unwrap());
    assert!(!is_on_shelf(&disk), "it was taken, and dropped with what was written over it");
}

#[test]
fn whatever_was_longer_what_is_found_is_the_newest() {
    let disk = SimFs::new();
    let mut rounds = Rounds::of(open(&disk).unwrap());
    let mut random = fastrand::Rng::with_seed(5);
    for round in 0..40 {
        let lens = [0, 10, 70_000, 65_536, 140_000, 300_000];
        let content: Vec<u8> = (0..lens[random.usize(..lens.len())]).map(|_| round).collect();
        assert!(*rounds.snapshot(&content) == content);
        let found = open(&disk.after_power_cut(|| random.bool())).unwrap().load();
        assert!(*found.snapshot.unwrap() == content, "round {round}");
    }
}

fn on_real_disk(dir: &Path) -> Rounds {
    Rounds::of(DiskPersister::open(dir, options()).unwrap())
}

fn is_on_real_shelf(dir: &Path) -> bool {
    let mut names = fs::read_dir(dir).unwrap().map(|item| item.unwrap().file_name());
    names.any(|name| is_shelf(&name.to_string_lossy()))
}

/// Which file the newest snapshot is in.
fn inode(dir: &Path, rounds: &Rounds) -> u64 {
    let name = snapshot::name(EntryId::new(rounds.last, 1));
    fs::metadata(dir.join(name)).unwrap().ino()
}

#[test]
fn whoever_looks_at_an_old_snapshot_sees_what_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let mut rounds = on_real_disk(dir.path());
    let (mut held, mut inodes) = (Vec::new(), Vec::new());
    let mut written_over = 0;
    for round in 0..12 {
        let snapshot = rounds.snapshot(&vec![round; 100_000]);
        // Some are looked at for ever.
        if round % 3 == 0 {
            held.push((round, snapshot));
        }
        let inode = inode(dir.path(), &rounds);
        written_over += usize::from(inodes.contains(&inode));
        inodes.push(inode);
        for (round, snapshot) in &held {
            assert!(**snapshot == vec![*round; 100_000], "the one of round {round} has changed");
        }
    }
    assert!(written_over > 2, "others are written over, {written_over} times");
}

#[test]
fn one_that_has_another_name_is_not_written_over() {
    let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut rounds = on_real_disk(dir.path());
    let mut linked = Vec::new();
    for round in 0..8 {
        rounds.snapshot(&vec![round; 100_000]);
        let name = snapshot::name(EntryId::new(rounds.last, 1));
        let copied = copy.path().join(&name);
        fs::hard_link(dir.path().join(&name), &copied).unwrap();
        linked.push((copied.clone(), fs::read(copied).unwrap()));
        assert!(!is_on_real_shelf(dir.path()));
    }
    for (path, content) in linked {
        assert!(fs::read(&path).unwrap() == content, "{} has changed", path.display());
    }
}

#[test]
fn a_log_that_is_short_of_space_gets_that_of_the_old_snapshot() {
    for prepare_spares in [false, true] {
        let disk = SimFs::new();
        let options = DiskOptions { prepare_spares, ..options() };
        let mut rounds = Rounds::of(open_with(&disk, &options).unwrap());
        for _ in 0..3 {
            rounds.snapshot(&vec![3; 50_000]);
        }
        assert!(is_on_shelf(&disk), "spares: {prepare_spares}");
        disk.set_capacity(Some(disk.used_bytes()));
        // Segments that the log has done with come first.
        for _ in 0..100 {
            rounds.append(1);
            if !is_on_shelf(&disk) {
                break;
            }
        }
        wait_until("it is known if there is room", || rounds.persister.wal.is_settled());
        assert!(rounds.persister.has_room(), "spares: {prepare_spares}");
        assert!(!is_on_shelf(&disk), "spares: {prepare_spares}");
    }
}

#[test]
fn a_snapshot_that_is_short_of_space_gets_that_of_the_old_one() {
    let disk = SimFs::new();
    let mut rounds = Rounds::of(open(&disk).unwrap());
    for _ in 0..3 {
        rounds.snapshot(&vec![3; 50_000]);
    }
    // The one on the shelf must not be written over yet.
    assert!(is_on_shelf(&disk));
    disk.set_capacity(Some(disk.used_bytes() + 30_000));
    let stage = rounds.persister.snapshot_stage();
    assert!(stage.write_all(rounds.meta(), &vec![4; 50_000]).is_ok());
    assert!(!is_on_shelf(&disk));
}

#[test]
fn while_there_is_no_room_old_snapshots_are_removed() {
    let disk = SimFs::new();
    let options = DiskOptions { prepare_spares: true, ..options() };
    let mut rounds = Rounds::of(open_with(&disk, &options).unwrap());
    rounds.snapshot(&vec![3; 50_000]);
    rounds.snapshot(&vec![3; 50_000]);
    rounds.append(1);
    let staged = rounds.persister.snapshot_stage().write_all(rounds.meta(), &vec![4; 50_000]);
    disk.set_capacity(Some(disk.used_bytes()));
    for _ in 0..100 {
        if !rounds.persister.has_room() {
            break;
        }
        rounds.append(1);
        wait_until("it is known if there is room", || rounds.persister.wal.is_settled());
    }
    assert!(!rounds.persister.has_room());
    rounds.persister.save_state_and_snapshot(&Batch::default(), staged.unwrap()).unwrap();
    assert!(!is_on_shelf(&disk));
    wait_until("there is room again", || rounds.persister.has_room());
}

/// How many removed files this process has open below `dir`.
fn removed_but_open(dir: &Path) -> usize {
    let open = fs::read_dir("/proc/self/fd").unwrap();
    let targets = open.filter_map(|item| fs::read_link(item.unwrap().path()).ok());
    let is_removed = |path: &Path| path.to_string_lossy().ends_with(" (deleted)");
    targets.filter(|path| path.starts_with(dir) && is_removed(path)).count()
}

#[test]
fn what_is_removed_after_all_takes_no_room() {
    let dir = tempfile::tempdir().unwrap();
    let files = Files::new(Arc::new(RealFs::default()), dir.path());
    for is_unwanted in [true, false] {
        let mut held = Vec::new();
        for index in 1..4 {
            let (name, id) = (format!("{index}.snap"), EntryId::new(index, 1));
            let file = files.open(&name, OpenMode::Create).unwrap();
            file.write_at(&[7; 1000], 0).unwrap();
            let content = file.map(0, 1000).unwrap();
            files.shelf().published(id, file, &content);
            held.push((name, id, content));
        }
        for (name, id, _content) in held {
            assert!(!files.shelf().take_over(&files, &name, id, is_unwanted).unwrap());
            files.unlink(&name).unwrap();
        }
        assert_eq!(removed_but_open(dir.path()), 0);
    }
}

#[test]
fn two_owners_of_a_directory_have_shelves_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let owners = [(); 2].map(|()| Files::new(Arc::new(RealFs::default()), dir.path()));
    for (index, files) in (1..).zip(&owners) {
        let (name, id) = (format!("{index}.snap"), EntryId::new(index, 1));
        let file = files.open(&name, OpenMode::Create).unwrap();
        files.shelf().published(id, file, &(Arc::new(Vec::new()) as Arc<dyn SnapshotBytes>));
        assert!(files.shelf().take_over(files, &name, id, false).unwrap());
        files.shelf().settle();
    }
    let [earlier, later] = &owners;
    earlier.shelf().abandon();
    assert!(!earlier.shelf().give_up(earlier));
    assert!(later.shelf().take(later, "aside.tmp").unwrap().is_some(), "it is where it was left");
}

#[test]
fn a_loan_is_of_what_comes_onto_the_shelf_later_too() {
    let disk = SimFs::new();
    let mut rounds = Rounds::of(open(&disk).unwrap());
    rounds.snapshot(&vec![3; 50_000]);
    rounds.snapshot(&vec![3; 50_000]);
    rounds.append(1);
    let stage = rounds.persister.snapshot_stage();
    let staged = stage.write_all(rounds.meta(), &vec![3; 50_000]).unwrap();
    let mut writer = stage.begin(rounds.meta()).unwrap();
    disk.set_capacity(Some(disk.used_bytes() + 30_000));
    assert!(writer.write(&vec![4; 200_000]).is_err(), "it has all that there is");
    disk.set_capacity(None);
    rounds.persister.save_state_and_snapshot(&Batch::default(), staged).unwrap();
    assert!(is_on_shelf(&disk));
    disk.set_capacity(Some(disk.used_bytes() + 1000));
    writer.write(&vec![4; 2 * 65_536]).unwrap();
    assert!(!is_on_shelf(&disk));
}

#[test]
fn there_is_one_place() {
    let dir = tempfile::tempdir().unwrap();
    let files = Files::new(Arc::new(RealFs::default()), dir.path());
    for index in 1..4 {
        let (name, id) = (format!("{index}.snap"), EntryId::new(index, 1));
        let file = files.open(&name, OpenMode::Create).unwrap();
        files.shelf().published(id, file, &(Arc::new(Vec::new()) as Arc<dyn SnapshotBytes>));
        let is_taken = files.shelf().take_over(&files, &name, id, false).unwrap();
        assert_eq!(is_taken, index == 1, "{name}");
        assert_eq!(files.open_existing(&name).unwrap().is_none(), is_taken, "{name}");
    }
    files.shelf().close(&files);
    assert!(!is_on_real_shelf(dir.path()));
}
