//! The engine against a plain model, on random workloads.

use proptest::prelude::*;

use super::open;
use super::workload::{Model, Progress, Seed, Step, perform, run, steps};
use crate::Persister;
use crate::fs::sim::{Fault, SimFs};

fn seeds() -> impl Strategy<Value = Vec<Seed>> {
    proptest::collection::vec(any::<Seed>(), 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is done, and however often the process is restarted on the way, the engine holds
    /// what the model holds.
    #[test]
    fn the_engine_agrees_with_a_vector(seeds in seeds()) {
        let fs = SimFs::new();
        let mut persister = open(&fs).unwrap();
        let mut model = Model::default();
        for step in steps(&seeds) {
            if matches!(step, Step::Restart) {
                drop(persister);
                persister = open(&fs).unwrap();
                prop_assert_eq!(Model::of(&persister.load()), model.clone());
                continue;
            }
            perform(&mut persister, &step).unwrap();
            model = model.after(&step);
            let logical: u64 = model.entries.iter().map(crate::Entry::logical_bytes).sum();
            prop_assert_eq!(persister.raft_state_bytes(), crate::log_shape::FIXED_BYTES + logical);
        }
        drop(persister);
        let mut after = open(&fs.after_power_cut(|| false)).unwrap();
        prop_assert_eq!(Model::of(&after.load()), model);
    }

    /// The same with the power lost at a random moment.
    #[test]
    fn a_crash_at_any_moment_keeps_what_was_acknowledged(
        seeds in seeds(), operation in 0_u64..400, losses in proptest::collection::vec(any::<bool>(), 64),
    ) {
        let fs = SimFs::new();
        fs.plan(operation, Fault::Crash);
        let progress: Progress = run(&fs, &steps(&seeds));
        let mut losses = losses.into_iter().cycle();
        let crashed = fs.after_power_cut(|| losses.next().expect("it goes round"));
        let found = Model::of(&open(&crashed).unwrap().load());
        prop_assert!(progress.allows(&found), "found {:?} of {:?}", found, progress);
    }
}
