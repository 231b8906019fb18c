//! Opening a long log, in a process of its own, beside reading the same files and adding up their
//! checksums.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use oarlock_storage::{DiskOptions, DiskPersister, Entry, Persister};

use super::append::Log;
use super::document::grouped;
use super::{Plan, directory, median};

/// Names the directory that a process started by this one is to open.
pub(crate) const CHILD: &str = "OARLOCK_BENCH_OPEN";

const ENTRIES: u64 = 256;
const VALUE: usize = 256;
const MIB: f64 = (1 << 20) as f64;

pub(crate) fn run(plan: &Plan) -> String {
    let dir = directory();
    let log_dir = dir.path().join("log");
    let mut log = Log::open(&log_dir, DiskOptions::new(1), VALUE);
    let mut batch = log.batch(ENTRIES);
    let batches = (plan.log_mib << 20) / (ENTRIES * VALUE as u64);
    for _ in 0..batches {
        log.append(&mut batch);
    }
    drop(log);
    let (mut scans, mut opens, mut reports) = (Vec::new(), Vec::new(), Vec::new());
    let (mut scan_cpus, mut cpus) = (Vec::new(), Vec::new());
    // The first one reads what the disk still has to fetch, and does not count.
    for round in 0..=plan.rounds() {
        let before = processor_seconds();
        let scan = raw_scan(&log_dir);
        let scan_cpu = processor_seconds() - before;
        let report = open_in_child(&log_dir);
        if round > 0 {
            scans.push(scan);
            scan_cpus.push(scan_cpu);
            opens.push(report.seconds);
            cpus.push(report.processor);
            reports.push(report);
        }
    }
    let report = reports.pop().expect("there was a round");
    let expected = (batches * ENTRIES) as f64;
    assert!((report.entries - expected).abs() < 0.5, "all of the log was found");
    let (scan, open) = (median(scans), median(opens));
    let (scan_cpu, cpu) = (median(scan_cpus), median(cpus));
    let (entries, anonymous) = (grouped(report.entries), report.anonymous / MIB);
    let index = report.entries * size_of::<Entry>() as f64 / MIB;
    format!(
        "{entries} entries of {VALUE} B, {} MiB, in batches of {ENTRIES}.\n\n\
         | | raw checked scan | open |\n\
         |---|---|---|\n\
         | time | {scan:.2} s | {open:.2} s |\n\
         | processor time | {scan_cpu:.2} s | {cpu:.2} s, on two threads |\n\
         | memory of its own afterwards | | {anonymous:.0} MiB, of which {index:.0} the entries |\n\
         | the most memory, files' pages included | | {:.0} MiB |\n",
        plan.log_mib,
        report.peak / MIB,
    )
}

/// Reads every segment, piece by piece, and checks it as a whole.
fn raw_scan(dir: &Path) -> f64 {
    let began = Instant::now();
    let mut buffer = vec![0; 256 * 1024];
    let mut sum = 0;
    for item in std::fs::read_dir(dir).expect("the log's directory") {
        let mut file = File::open(item.expect("an entry").path()).expect("a file of the log");
        let mut hasher = crc32fast::Hasher::new();
        loop {
            let len = file.read(&mut buffer).expect("a disk that reads");
            if len == 0 {
                break;
            }
            hasher.update(&buffer[..len]);
        }
        sum ^= hasher.finalize();
    }
    std::hint::black_box(sum);
    began.elapsed().as_secs_f64()
}

/// What a process found and took.
struct Report {
    seconds: f64,
    /// Seconds of all its threads.
    processor: f64,
    entries: f64,
    /// Memory that is not a file's, once all is open, in bytes.
    anonymous: f64,
    /// The most memory it ever had, its files' included.
    peak: f64,
}

fn open_in_child(dir: &Path) -> Report {
    let program = std::env::current_exe().expect("our own name");
    let output = Command::new(program).env(CHILD, dir).output().expect("a process");
    let text = String::from_utf8_lossy(&output.stdout);
    let numbers: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [seconds, processor, entries, anonymous, peak] = numbers[..] else {
        panic!("{text} {}", String::from_utf8_lossy(&output.stderr));
    };
    Report { seconds, processor, entries, anonymous, peak }
}

/// The other side of [`open_in_child`].
pub(crate) fn in_child(dir: &Path) {
    let began = Instant::now();
    let mut persister =
        DiskPersister::open(dir, DiskOptions::new(1)).expect("a log without damage");
    let found = persister.load();
    let seconds = began.elapsed().as_secs_f64();
    let (processor, entries) = (processor_seconds(), found.entries.len());
    println!("{seconds} {processor} {entries} {} {}", memory("RssAnon:"), memory("VmHWM:"));
}

/// A field of the process's memory, in bytes; 0 where the system does not say.
fn memory(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// What this process has taken of the processors so far, in seconds; 0 where the system does not say.
/// Unlike the time on the clock, it does not depend on who else wants them.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let behind_name = stat.rsplit(')').next().unwrap_or_default();
    let fields = behind_name.split_whitespace().skip(11).take(2);
    // In hundredths, on every Linux that people run.
    fields.filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / 100.0
}
