//! Three nodes on file systems of 64 MiB that fill up under load: writes are refused, reads go on,
//! and everything resumes by itself when there is space.
//!
//! The file systems are mounted in a mount namespace of the test's own. Where the machine does not
//! allow that, the test says so and proves nothing: the engine's tests on a simulated disk
//! (`storage/src/disk/tests/full.rs`) and the peers' (`raft/src/full_disk_tests.rs`) remain.
//! `OARLOCK_FULL_CYCLES=200` fills and frees that many times.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use redis::Commands as _;

use crate::processes::{Nodes, PATIENCE, Start, wait_for};

const DISK_MIB: u64 = 64;
const SEGMENT_BYTES: u64 = 1 << 20;
const VALUE_BYTES: usize = 16 << 10;
const WRITERS: u64 = 4;
const KEYS_EACH: u64 = 16;
/// More than the disks hold, so that logs must have been compacted on the way.
const WRITTEN_FIRST_MIB: u64 = 100;
/// No write for so long means that the disks are full.
const FULL_AFTER: Duration = Duration::from_millis(1500);
/// How soon writes must resume once there is space.
const RESUMES_WITHIN: Duration = Duration::from_secs(5);

/// Three small file systems in a mount namespace, which ends with this value.
struct SmallDisks {
    holder: Child,
    enter: Vec<String>,
}

impl SmallDisks {
    /// Mounts them on `dir/node-1` to `dir/node-3`, as root or as somebody who may pretend to be.
    fn mount(dir: &Path) -> Result<Self, String> {
        for id in 1..=3 {
            fs::create_dir_all(dir.join(format!("node-{id}"))).expect("a directory");
        }
        let as_root = Self::mount_with(dir, &["-m"], &["-m"]);
        as_root.or_else(|_| {
            Self::mount_with(dir, &["-U", "-r", "-m"], &["-U", "--preserve-credentials", "-m"])
        })
    }

    fn mount_with(dir: &Path, unshare: &[&str], enter: &[&str]) -> Result<Self, String> {
        let script = format!(
            "for id in 1 2 3; do mount -t tmpfs -o size={DISK_MIB}m oarlock \"$0/node-$id\" || exit; \
             done; echo mounted; exec cat"
        );
        let mut holder = Command::new("unshare")
            .args(unshare)
            .args(["sh", "-c", &script])
            .arg(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("unshare: {error}"))?;
        let mut line = String::new();
        let stdout = holder.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).map_err(|error| error.to_string())?;
        if line.trim() != "mounted" {
            drop(holder.stdin.take());
            let status = holder.wait().map_err(|error| error.to_string())?;
            return Err(format!("unshare {unshare:?} and mount: {status}"));
        }
        let pid = holder.id().to_string();
        let enter = ["nsenter", "-t", &pid].into_iter().chain(enter.iter().copied());
        Ok(Self { enter: enter.map(str::to_owned).collect(), holder })
    }

    /// A file of a node's disk, seen from outside the namespace.
    fn path(&self, inside: &Path) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(inside.strip_prefix("/").expect("an absolute path"))
    }

    /// Runs the program under test inside.
    fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(&self.enter[0]);
        command.args(&self.enter[1..]).arg(env!("CARGO_BIN_EXE_oarlock")).args(args);
        command.output().expect("the program starts")
    }
}

impl Drop for SmallDisks {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        drop(self.holder.wait());
    }
}

/// What the writers have seen.
#[derive(Default)]
struct Seen {
    stop: AtomicBool,
    acknowledged: AtomicU64,
    refused: AtomicU64,
    /// The last number that was acknowledged, for each key.
    last: Mutex<BTreeMap<String, u64>>,
}

impl Seen {
    fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::SeqCst)
    }

    fn refused(&self) -> u64 {
        self.refused.load(Ordering::SeqCst)
    }
}

fn value(number: u64) -> Vec<u8> {
    let mut value = format!("{number}:").into_bytes();
    value.resize(VALUE_BYTES, b'x');
    value
}

/// Overwrites a few keys again and again. A write that failed is not made again: what counts is
/// what was acknowledged.
fn write(nodes: &Nodes, writer: u64, seen: &Seen) {
    let mut connection = nodes.redis(1 + writer as usize % 3);
    for number in 1.. {
        if seen.stop.load(Ordering::SeqCst) {
            return;
        }
        let key = format!("key-{writer}-{}", number % KEYS_EACH);
        match connection.set::<_, _, ()>(&key, value(number)) {
            Ok(()) => {
                seen.last.lock().expect("no writer panics").insert(key, number);
                seen.acknowledged.fetch_add(1, Ordering::SeqCst);
            }
            Err(error) => {
                match error.code() {
                    Some("MISCONF") => _ = seen.refused.fetch_add(1, Ordering::SeqCst),
                    // One that was under way when the disks filled up, or a leader that gave way.
                    Some("UNKNOWNRESULT" | "CLUSTERDOWN") => {}
                    _ => panic!("write {number} of writer {writer}: {error}"),
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

/// Every key, at node `id`, has the value that was acknowledged last, or a later one.
fn assert_nothing_is_lost(nodes: &Nodes, id: usize, seen: &Seen) {
    let last = seen.last.lock().expect("no writer panics").clone();
    let mut connection = nodes.redis(id);
    for (key, number) in &last {
        let text: String = wait_for("a read", || connection.get(key).ok());
        let found: u64 = text.split(':').next().and_then(|n| n.parse().ok()).expect("a number");
        assert!(found >= *number, "{key} is {found}, and {number} was acknowledged");
    }
}

/// Takes what free space there is, and what comes free, until no write succeeds any more.
fn fill_up(disks: &SmallDisks, nodes: &Nodes, seen: &Seen) {
    let mut fillers = [1, 2, 3].map(|id| {
        let path = disks.path(&nodes.dir_of(id).join("filler.tmp"));
        OpenOptions::new().create(true).append(true).open(path).expect("a filler")
    });
    let began = Instant::now();
    let mut last = (seen.acknowledged(), Instant::now());
    let refused = seen.refused();
    while last.1.elapsed() < FULL_AFTER || seen.refused() < refused + 10 {
        assert!(began.elapsed() < PATIENCE, "the disks are not full");
        fillers.iter_mut().for_each(take_free_space);
        std::thread::sleep(Duration::from_millis(20));
        if seen.acknowledged() != last.0 {
            last = (seen.acknowledged(), Instant::now());
        }
    }
}

fn take_free_space(filler: &mut File) {
    let block = vec![1; 64 << 10];
    while filler.write_all(&block).is_ok() {}
}

fn free(disks: &SmallDisks, nodes: &Nodes) {
    for id in 1..=3 {
        fs::remove_file(disks.path(&nodes.dir_of(id).join("filler.tmp"))).expect("it is there");
    }
}

fn disks_by_status(nodes: &Nodes) -> Option<Vec<bool>> {
    let members = nodes.status(1)?["members"].as_array()?.clone();
    members.iter().map(|member| member["status"]["has_room"].as_bool()).collect()
}

#[test]
fn small_disks_fill_up_and_are_freed_again() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let disks = match SmallDisks::mount(dir.path()) {
        Ok(disks) => disks,
        Err(why) => {
            eprintln!("NOT TESTED: this machine lets nobody mount a file system ({why})");
            return;
        }
    };
    let enter = disks.enter.clone();
    let through = [enter.clone(), enter.clone(), enter];
    let args = vec!["--segment-bytes".to_owned(), SEGMENT_BYTES.to_string()];
    let mut nodes = Nodes::start_in(dir, Start { through, args });
    let seen = Seen::default();
    std::thread::scope(|scope| {
        // Whatever fails here, the writers must end.
        let _stop = StopAtEnd(&seen.stop);
        for writer in 0..WRITERS {
            let (nodes, seen) = (&nodes, &seen);
            scope.spawn(move || write(nodes, writer, seen));
        }
        let enough = (WRITTEN_FIRST_MIB << 20) / VALUE_BYTES as u64;
        wait_for("writes beyond the size of the disks", || {
            (seen.acknowledged() >= enough).then_some(())
        });
        eprintln!("{} writes, {} refused on the way", seen.acknowledged(), seen.refused());
        let cycles =
            std::env::var("OARLOCK_FULL_CYCLES").map_or(2, |n| n.parse().expect("a number"));
        for cycle in 1..=cycles {
            fill_up(&disks, &nodes, &seen);
            wait_for("status tells", || {
                let rooms = disks_by_status(&nodes)?;
                (rooms.iter().filter(|has_room| !**has_room).count() >= 2).then_some(())
            });
            (1..=3).for_each(|id| assert_nothing_is_lost(&nodes, id, &seen));
            let (before, freed) = (seen.acknowledged(), Instant::now());
            free(&disks, &nodes);
            wait_for("writes resume", || (seen.acknowledged() > before).then_some(()));
            let resumed = freed.elapsed();
            eprintln!("cycle {cycle}: {before} writes, resumed after {resumed:.1?}");
            assert!(resumed < RESUMES_WITHIN, "writes resumed only after {resumed:?}");
            wait_for("room everywhere", || {
                disks_by_status(&nodes)?.iter().all(|has_room| *has_room).then_some(())
            });
            eprintln!("cycle {cycle}: room everywhere after {:.1?}", freed.elapsed());
        }
    });
    (1..=3).for_each(|id| assert!(nodes.ended(id).is_none(), "node {id} ended"));
    (1..=3).for_each(|id| nodes.kill(id));
    for id in 1..=3 {
        let node_dir = nodes.dir_of(id).display().to_string();
        let verified = disks.run(&["log", "verify", &node_dir]);
        let said = String::from_utf8_lossy(&verified.stdout).into_owned();
        assert!(verified.status.success(), "{said}");
        nodes.start_node(id);
    }
    (1..=3).for_each(|id| assert_nothing_is_lost(&nodes, id, &seen));
    eprintln!("{} acknowledged writes, none lost", seen.acknowledged());
}

struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
