//! Workloads for the engine, and the model that says what it must hold after each step.

use super::{open_with, options};
use crate::disk::{DiskOptions, DiskPersister};
use crate::fs::sim::SimFs;
use crate::{Batch, Entry, EntryId, HardState, Persister, Recovered, SnapshotMeta, StorageError};

/// One call of the persister, or a restart of the process.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Persist(Batch),
    Snapshot(Batch, EntryId, Vec<u8>),
    Restart,
}

/// What a persister holds, as plain values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Model {
    pub(super) hard_state: HardState,
    pub(super) snapshot: Option<(SnapshotMeta, Vec<u8>)>,
    pub(super) entries: Vec<Entry>,
}

impl Model {
    pub(super) fn base(&self) -> EntryId {
        self.snapshot.as_ref().map_or(EntryId::default(), |(meta, _)| meta.last_included)
    }

    pub(super) fn last(&self) -> EntryId {
        self.entries.last().map_or(self.base(), |entry| entry.id)
    }

    pub(super) fn of(found: &Recovered) -> Self {
        let snapshot = found.snapshot.as_ref();
        Self {
            hard_state: found.hard_state,
            snapshot: snapshot.map(|found| (found.meta.clone(), found.to_vec())),
            entries: found.entries.clone(),
        }
    }

    /// The state after `step`, by the contract's own words.
    pub(super) fn after(&self, step: &Step) -> Self {
        let mut next = self.clone();
        let (Step::Persist(batch) | Step::Snapshot(batch, ..)) = step else { return next };
        if let Some(hard_state) = batch.hard_state {
            next.hard_state = hard_state;
        }
        if let Some(from) = batch.truncate_from {
            next.entries.retain(|entry| entry.id.index < from);
        }
        next.entries.extend_from_slice(&batch.entries);
        if let Step::Snapshot(_, id, content) = step {
            let keeps = next.entries.iter().any(|entry| entry.id == *id);
            next.entries.retain(|entry| keeps && entry.id.index > id.index);
            next.snapshot = Some((meta(*id), content.clone()));
        }
        next
    }
}

/// Three small numbers from which a step that fits any model is made: so a list of them can be
/// shortened and still makes sense.
pub(super) type Seed = (u8, u8, u8);

/// The step that `seed` stands for in state `model`.
pub(super) fn step(model: &Model, (kind, a, b): Seed) -> Step {
    let batch = Batch::default();
    match kind % 16 {
        0..6 => Step::Persist(Batch { entries: appended(model.last(), a, b), ..batch }),
        6 | 7 => Step::Persist(Batch { hard_state: Some(voted(model, a, b)), ..batch }),
        8 => Step::Persist(Batch {
            hard_state: Some(voted(model, b, a)),
            entries: appended(model.last(), a, b),
            ..batch
        }),
        9 | 10 => Step::Persist(truncated(model, a, b)),
        11 => Step::Restart,
        12 | 13 if !model.entries.is_empty() => {
            let id = model.entries[a as usize % model.entries.len()].id;
            Step::Snapshot(batch, id, content(a, b))
        }
        14 => {
            // Another history, as a snapshot from a leader is.
            let base = model.base();
            let id = EntryId::new(base.index + 1 + u64::from(a % 8), model.last().term + 1);
            Step::Snapshot(
                Batch { hard_state: Some(voted(model, a, b)), ..batch },
                id,
                content(b, a),
            )
        }
        _ => Step::Persist(batch),
    }
}

fn voted(model: &Model, a: u8, b: u8) -> HardState {
    let HardState { current_term, voted_for } = model.hard_state;
    if a.is_multiple_of(3) && voted_for.is_none() {
        return HardState { current_term, voted_for: Some(u64::from(b)) };
    }
    let voted_for = (!b.is_multiple_of(3)).then_some(u64::from(b));
    HardState { current_term: current_term + 1 + u64::from(a % 3), voted_for }
}

/// One to three entries behind `last`, of all sizes, some of them zeros.
fn appended(last: EntryId, a: u8, b: u8) -> Vec<Entry> {
    let sizes = [0, 5, 250, 340, 700, 1500];
    (1..=1 + u64::from(a % 3))
        .map(|i| {
            let len = sizes[(a as usize + b as usize * i as usize) % sizes.len()];
            let data = vec![if b.is_multiple_of(4) { 0 } else { b }; len].into();
            let id = EntryId::new(last.index + i, last.term + u64::from(a.is_multiple_of(5)));
            Entry { id, tag: b, data }
        })
        .collect()
}

fn truncated(model: &Model, a: u8, b: u8) -> Batch {
    let mut batch = Batch::default();
    if let Some(keep) = model.entries.len().checked_sub(1 + a as usize % 4) {
        batch.truncate_from = Some(model.base().index + 1 + keep as u64);
        let last = keep.checked_sub(1).map_or(model.base(), |last| model.entries[last].id);
        if b.is_multiple_of(2) {
            batch.entries = appended(EntryId::new(last.index, model.last().term), a, b);
        }
    }
    batch
}

fn meta(last_included: EntryId) -> SnapshotMeta {
    let configuration = format!("members at {last_included}").into_bytes();
    SnapshotMeta { last_included, configuration: configuration.into() }
}

fn content(a: u8, b: u8) -> Vec<u8> {
    vec![b; a as usize * 5]
}

/// The steps that `seeds` stand for, one after the other.
pub(super) fn steps(seeds: &[Seed]) -> Vec<Step> {
    let mut model = Model::default();
    seeds
        .iter()
        .map(|seed| {
            let step = step(&model, *seed);
            model = model.after(&step);
            step
        })
        .collect()
}

/// `count` random steps.
pub(super) fn random_steps(seed: u64, count: usize) -> Vec<Step> {
    let mut random = fastrand::Rng::with_seed(seed);
    let seeds: Vec<Seed> =
        (0..count).map(|_| (random.u8(..), random.u8(..), random.u8(..))).collect();
    steps(&seeds)
}

/// `count` random steps of a log that goes round: snapshots again and again, and no restart, so that
/// segments are used again.
pub(super) fn rounds(seed: u64, count: usize) -> Vec<Step> {
    const KINDS: [u8; 10] = [0, 0, 0, 0, 0, 6, 8, 9, 12, 12];
    let mut random = fastrand::Rng::with_seed(seed);
    let mut seed = || (KINDS[random.usize(..KINDS.len())], random.u8(..), random.u8(..));
    let seeds: Vec<Seed> = (0..count).map(|_| seed()).collect();
    steps(&seeds)
}

/// Does `step`.
pub(super) fn perform(persister: &mut DiskPersister, step: &Step) -> Result<(), StorageError> {
    match step {
        Step::Persist(batch) => persister.persist(batch),
        Step::Snapshot(batch, last_included, content) => {
            let staged = persister.snapshot_stage().write_all(meta(*last_included), content)?;
            persister.save_state_and_snapshot(batch, staged).map(drop)
        }
        Step::Restart => unreachable!("the caller opens anew"),
    }
}

/// How far a workload came.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    /// What was acknowledged.
    pub(super) acked: Model,
    /// What it would be with the step that did not return.
    pub(super) in_flight: Option<Model>,
}

impl Progress {
    /// Whether a crash may leave `found`: the acknowledged state, or the one that was on its way.
    pub(super) fn allows(&self, found: &Model) -> bool {
        *found == self.acked || self.in_flight.as_ref() == Some(found)
    }
}

/// Runs `steps` on `fs` until one fails.
pub(super) fn run(fs: &SimFs, steps: &[Step]) -> Progress {
    run_with(fs, &options(), steps)
}

/// The same with other options.
pub(super) fn run_with(fs: &SimFs, options: &DiskOptions, steps: &[Step]) -> Progress {
    let mut progress = Progress::default();
    let Ok(mut persister) = open_with(fs, options) else { return progress };
    for step in steps {
        if matches!(step, Step::Restart) {
            drop(persister);
            match open_with(fs, options) {
                Ok(opened) => persister = opened,
                Err(_) => return progress,
            }
            let found = Model::of(&persister.load());
            assert_eq!(found, progress.acked, "a restart finds what was acknowledged");
            continue;
        }
        progress.in_flight = Some(progress.acked.after(step));
        if perform(&mut persister, step).is_err() {
            return progress;
        }
        progress.acked = progress.in_flight.take().expect("it was just set");
    }
    progress
}
