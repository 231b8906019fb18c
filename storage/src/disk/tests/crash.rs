//! Crashes at every operation, with every kind of loss: what comes back is what was acknowledged, or
//! that and the one step that was under way.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

use super::damage::reference::stands_on_used;
use super::workload::{Model, Progress, Step, perform, random_steps, rounds, run};
use super::{DIR, open, open_with, options};
use crate::disk::{DiskOptions, DiskPersister};
use crate::fs::Fs as _;
use crate::fs::sim::{Fault, SimFs};
use crate::{Batch, Entry, EntryId, Persister};

/// A workload that goes through everything: appends of one and many sectors, rotation, conflict,
/// votes, both kinds of snapshot, purging, and restarts between them.
fn standard() -> Vec<Step> {
    random_steps(4, 40)
}

/// The same without restarts, and so long that segments are used again.
fn round_and_round() -> Vec<Step> {
    rounds(3, 70)
}

/// Opens the disk of a crashed machine, checks what is found, and that it is there for good.
#[track_caller]
fn check(fs: &SimFs, progress: &Progress, context: &str) -> Model {
    let found = match open(fs) {
        Ok(mut persister) => Model::of(&persister.load()),
        Err(error) => panic!("{context}: {error}"),
    };
    assert!(progress.allows(&found), "{context}: found {found:#?}\nof {progress:#?}");
    let unfinished = fs.contents().into_keys().find(|name| name.contains(".tmp"));
    assert_eq!(unfinished, None, "{context}: left over");
    // The sums of what it stands on would have to be known to go on with it.
    assert!(!ends_on_used(fs), "{context}: the last segment stands on another");
    // Whatever was answered from this state, it must not have been only in memory.
    let later = open(&fs.after_power_cut(|| false)).map(|mut later| Model::of(&later.load()));
    assert_eq!(later.as_ref().ok(), Some(&found), "{context}: lost after opening: {later:?}");
    found
}

/// Whether the last segment stands on the bytes of an earlier one.
fn ends_on_used(fs: &SimFs) -> bool {
    let contents = fs.contents();
    contents.iter().next_back().is_some_and(|(name, content)| stands_on_used(name, content))
}

/// What can survive: nothing, everything, all but one, one alone, and random mixtures.
fn losses(fs: &SimFs, random: &mut fastrand::Rng, mixtures: usize) -> Vec<Vec<bool>> {
    let choices = fs.choices();
    if choices <= 6 {
        return (0..1_usize << choices)
            .map(|bits| (0..choices).map(|i| bits >> i & 1 == 1).collect())
            .collect();
    }
    let mut losses = vec![vec![false; choices], vec![true; choices]];
    for _ in 0..mixtures {
        let one = random.usize(..choices);
        losses.push((0..choices).map(|i| i == one).collect());
        losses.push((0..choices).map(|i| i != one).collect());
        losses.push((0..choices).map(|_| random.bool()).collect());
    }
    losses
}

fn cut(fs: &SimFs, loss: &[bool]) -> SimFs {
    let mut loss = loss.iter();
    fs.after_power_cut(|| loss.next().copied().unwrap_or(false))
}

/// A fingerprint of everything on the disk.
fn image(fs: &SimFs) -> u64 {
    let mut hasher = DefaultHasher::new();
    for (name, content) in fs.contents() {
        (name, content.len(), crc32fast::hash(&content)).hash(&mut hasher);
    }
    hasher.finish()
}

/// Crashes `steps` before each operation and calls `visit` with each disk that this can leave.
fn each_crash(
    steps: &[Step],
    seed: u64,
    mixtures: usize,
    mut visit: impl FnMut(&SimFs, &Progress, &str),
) -> HashSet<u64> {
    let mut distinct = HashSet::new();
    let mut random = fastrand::Rng::with_seed(seed);
    for operation in 0.. {
        fastrand::seed(seed);
        let fs = SimFs::new();
        fs.plan(operation, Fault::Crash);
        let progress = run(&fs, steps);
        if !fs.has_failed() {
            assert!(operation > 50, "the workload is long enough to mean something");
            break;
        }
        for loss in losses(&fs, &mut random, mixtures) {
            let crashed = cut(&fs, &loss);
            if distinct.insert(image(&crashed)) {
                visit(
                    &crashed,
                    &progress,
                    &format!("seed {seed}, operation {operation}, {loss:?}"),
                );
            }
        }
    }
    distinct
}

#[test]
fn every_crash_leaves_the_old_state_or_the_new() {
    let distinct = each_crash(&standard(), 1, 4, |crashed, progress, context| {
        check(crashed, progress, context);
    });
    assert!(distinct.len() > 400, "{} distinct states", distinct.len());
}

#[test]
fn every_crash_of_a_log_that_goes_round_leaves_the_old_state_or_the_new() {
    let (mut states, mut kept) = (0, 0);
    each_crash(&round_and_round(), 1, 4, |crashed, progress, context| {
        states += usize::from(ends_on_used(crashed));
        kept += usize::from(crashed.contents().keys().any(|name| name.starts_with("used-snap")));
        check(crashed, progress, context);
    });
    assert!(states > 200, "{states} states of segments used again");
    assert!(kept > 200, "{kept} states of a snapshot that is kept to be written over");
}

/// How many distinct states of the disk are tried; `OARLOCK_CRASH_STATES` asks for more.
fn crash_states() -> usize {
    std::env::var("OARLOCK_CRASH_STATES").map_or(100_000, |count| count.parse().expect("a number"))
}

#[test]
fn crashes_of_random_workloads_leave_the_old_state_or_the_new() {
    let (distinct, next_seed) = (Mutex::new(HashSet::new()), AtomicU64::new(100));
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while distinct.lock().len() < crash_states() {
                    let seed = next_seed.fetch_add(1, Ordering::Relaxed);
                    let is_round = seed.is_multiple_of(8);
                    let steps = if is_round { rounds(seed, 50) } else { random_steps(seed, 25) };
                    let found = each_crash(&steps, seed, 6, |crashed, progress, context| {
                        check(crashed, progress, context);
                    });
                    distinct.lock().extend(found);
                }
            });
        }
    });
    let (states, workloads) = (distinct.lock().len(), next_seed.load(Ordering::Relaxed) - 100);
    println!("{states} distinct states of {workloads} workloads in {:.1?}", began.elapsed());
}

#[test]
fn life_goes_on_after_a_crash() {
    each_crash(&round_and_round(), 2, 1, |crashed, progress, context| {
        let mut persister = open(crashed).unwrap();
        let mut model = Model::of(&persister.load());
        assert!(progress.allows(&model), "{context}");
        for _ in 0..3 {
            let id = EntryId::new(model.last().index + 1, model.last().term);
            let entry = Entry { id, tag: 0, data: vec![8; 3000].into() };
            let step = Step::Persist(Batch { entries: vec![entry], ..Batch::default() });
            perform(&mut persister, &step).unwrap();
            model = model.after(&step);
        }
        drop(persister);
        let progress = Progress { acked: model, in_flight: None };
        check(&crashed.after_power_cut(|| false), &progress, context);
    });
}

#[test]
fn a_killed_process_vouches_only_for_what_is_durable() {
    for steps in [standard(), round_and_round()] {
        for operation in 0.. {
            fastrand::seed(3);
            let fs = SimFs::new();
            fs.plan(operation, Fault::Crash);
            let progress = run(&fs, &steps);
            if !fs.has_failed() {
                break;
            }
            // The page cache still has what was not synced, so the new process sees it.
            check(&fs.after_kill(), &progress, &format!("operation {operation}"));
        }
    }
}

/// Crashes an opening of `crashed` before each of its operations, and calls `visit` with what that
/// can leave, if the process alone dies and if the power goes.
fn each_crash_of_opening(
    crashed: &SimFs,
    random: &mut fastrand::Rng,
    mut visit: impl FnMut(&SimFs, u64, &mut fastrand::Rng),
) {
    for operation in 0.. {
        let again = crashed.after_kill();
        again.plan(operation, Fault::Crash);
        let opened = open(&again);
        if !again.has_failed() {
            break;
        }
        assert!(opened.is_err(), "a crash is not survived");
        visit(&again.after_power_cut(|| random.bool()), operation, random);
        visit(&again.after_kill(), operation, random);
    }
}

/// A process is killed between giving a new segment its name and syncing the directory; the next
/// opening sees both segments, and seals the first; then the power goes, and takes the name of the
/// second, but not the seal that names it: the opening after that refused the directory. So no seal
/// is written before the directory is synced.
#[test]
fn a_power_cut_during_recovery_from_a_kill_is_survived() {
    let mut openings = 0;
    for operation in 0.. {
        fastrand::seed(5);
        let fs = SimFs::new();
        fs.plan(operation, Fault::Crash);
        let progress = run(&fs, &standard());
        if !fs.has_failed() {
            break;
        }
        let killed = fs.after_kill();
        for step in 0.. {
            let again = killed.after_kill();
            again.plan(step, Fault::Crash);
            let opened = open(&again);
            if !again.has_failed() {
                break;
            }
            assert!(opened.is_err(), "a crash is not survived");
            openings += 1;
            for survives in [false, true] {
                let cut = again.after_power_cut(|| survives);
                let context = format!("operation {operation}, then {step} of the opening");
                check(&cut, &progress, &context);
            }
        }
    }
    assert!(openings > 1000, "{openings} openings");
}

#[test]
fn a_crash_during_recovery_from_a_crash_is_survived_two_levels_deep() {
    let (mut states, mut deep_states) = (0, 0);
    let mut random = fastrand::Rng::with_seed(9);
    for steps in [standard(), round_and_round()] {
        each_crash(&steps, 4, 1, |crashed, progress, context| {
            if random.u8(..) > 40 {
                return;
            }
            each_crash_of_opening(crashed, &mut random, |once, first, random| {
                check(once, progress, &format!("{context}, then {first}"));
                states += 1;
                if random.u8(..) > 40 {
                    return;
                }
                each_crash_of_opening(once, random, |twice, second, _| {
                    check(twice, progress, &format!("{context}, then {first}, then {second}"));
                    deep_states += 1;
                });
            });
        });
    }
    assert!(states > 500 && deep_states > 1000, "{states} and {deep_states} states");
}

fn append(index: u64, len: usize, fill: u8) -> Batch {
    let data = vec![fill; len].into();
    let entry = Entry { id: EntryId::new(index, 1), tag: 1, data };
    Batch { entries: vec![entry], ..Batch::default() }
}

/// A persister whose active segment stands on the bytes of an earlier one: entries of `fill`, and
/// snapshots. Its last entry is alone behind the last snapshot.
fn on_used(fs: &SimFs, options: &DiskOptions, fill: u8) -> (DiskPersister, Model) {
    let mut persister = open_with(fs, options).unwrap();
    let mut model = Model::default();
    loop {
        if model.entries.len() == 1 && ends_on_used(fs) {
            // What the last snapshot removed, no crash brings back: the next segment would see to it.
            fs.sync_dir(Path::new(DIR)).unwrap();
            return (persister, model);
        }
        let next = model.last().index + 1;
        let step = if model.entries.len() < 5 {
            Step::Persist(append(next, 2000, fill))
        } else {
            Step::Snapshot(Batch::default(), EntryId::new(next - 2, 1), vec![1; 10])
        };
        perform(&mut persister, &step).unwrap();
        model = model.after(&step);
        assert!(next < 200, "no segment is used again");
    }
}

#[test]
fn every_subset_of_the_last_batchs_sectors_starts() {
    // Entries with and without sectors of zeros, of one to nine sectors.
    let mut unchanged = 0;
    for (len, fill) in [(10, 1), (3000, 7), (3000, 0), (4200, 0), (4200, 3)] {
        // On zeros; on other bytes, on the same, and on zeros that were entries.
        for before in [None, Some(5), Some(fill), Some(0)] {
            fastrand::seed(5);
            let fs = SimFs::new();
            let options = DiskOptions { segment_bytes: 16384, ..options() };
            let (mut persister, acked) = match before {
                None => {
                    let mut persister = open_with(&fs, &options).unwrap();
                    let first = append(1, 1, 1);
                    persister.persist(&first).unwrap();
                    (persister, Model::default().after(&Step::Persist(first)))
                }
                Some(fill) => on_used(&fs, &options, fill),
            };
            // The write is done, its sync is not.
            fs.plan(1, Fault::Crash);
            let last = append(acked.last().index + 1, len, fill);
            persister.persist(&last).unwrap_err();
            let in_flight = Some(acked.after(&Step::Persist(last)));
            let progress = Progress { acked, in_flight };
            let choices = fs.choices();
            assert_eq!(choices, (len + 165).div_ceil(512));
            for bits in 0..1_usize << choices {
                let loss: Vec<bool> = (0..choices).map(|i| bits >> i & 1 == 1).collect();
                let context = format!("{len} bytes of {fill} on {before:?}, {loss:?}");
                let found = check(&cut(&fs, &loss), &progress, &context);
                let is_whole = loss.iter().all(|survives| *survives);
                unchanged += usize::from(!is_whole && found != progress.acked);
                assert!(
                    !is_whole || found != progress.acked,
                    "{context}: not even all of it counts"
                );
            }
        }
    }
    assert!(unchanged > 20, "{unchanged} times what was lost was there before");
}

#[test]
fn every_cut_of_the_last_batch_starts() {
    for len in [0, 300, 1700] {
        fastrand::seed(6);
        let fs = SimFs::new();
        let mut persister = open(&fs).unwrap();
        persister.persist(&append(1, 10, 7)).unwrap();
        let before = fs.contents();
        persister.persist(&append(2, len, 7)).unwrap();
        drop(persister);
        let after = fs.contents();
        let name = "wal-00000000000000000001.log";
        let begin = before[name].iter().zip(&after[name]).position(|(a, b)| a != b).unwrap();
        let end = after[name].iter().rposition(|byte| *byte != 0).unwrap() + 1;
        assert!(begin.is_multiple_of(512) && end.is_multiple_of(512), "{begin} to {end}");
        let acked = Model::default().after(&Step::Persist(append(1, 10, 7)));
        let progress = Progress { acked, in_flight: None };
        for at in begin..end {
            let mut contents = after.clone();
            contents.get_mut(name).unwrap()[at..].fill(0);
            check(&SimFs::holding(&contents), &progress, &format!("{len} bytes, cut at {at}"));
        }
    }
}
