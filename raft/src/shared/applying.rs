//! The applier's visits to the lock. It comes for what is committed, and where writes cost nothing it
//! takes along what callers left to it.
//!
//! Callers that were answered together come together again. If each of them wrote and sent its own
//! command, every one would pay for messages of its own; and to wake a thread that does it for all
//! costs more than the write. The applier is awake anyway: it has just answered them, and looks for
//! more next. So a command that comes in company while the applier is about to look is left to it.

use oarlock_sync::planted;

use super::{Shared, State};
use crate::rules::{ApplyWork, Due};
use crate::types::Index;

impl Shared {
    /// The applier sleeps here until there is something to apply; it has done everything up to
    /// `applied`. `None` once the peer stops.
    pub(crate) fn take_committed(&self, applied: Index) -> Option<ApplyWork> {
        let mut state = self.running().ok()?;
        state.applier_looks = true;
        // Ahead of what it came for, but once: or those who left their commands would wait for as
        // long as there is something to apply or to read, or those who wait for that as long as
        // others leave theirs.
        let mut writes = true;
        loop {
            let now = oarlock_sync::now();
            if writes
                && state.is_left_to_applier()
                && let Due::Now((writer, work)) = state.take_writes(now)
            {
                writes = false;
                self.end_step_writing(&mut state);
                drop(state);
                writer.write_for(self, work);
                state = self.running().ok()?;
                continue;
            }
            let due = state.rules.apply_due(applied, now);
            if let Due::Now(work) = due {
                self.end_step(&mut state);
                return Some(work);
            }
            if !writes && state.is_left_to_applier() {
                // They came while it wrote.
                writes = true;
                continue;
            }
            if !planted("commands are left to an applier that sleeps") {
                state.applier_looks = false;
            }
            self.end_step(&mut state);
            match due {
                Due::Now(_) => unreachable!("it was just dealt with"),
                Due::At(deadline) => {
                    debug_assert!(deadline > now, "a wait for a moment that has passed is a spin");
                    let ends = !planted("the end of the applier's rest wakes nobody");
                    state = self.sleep(state, &self.committed, ends.then_some(deadline));
                }
                Due::WhenWoken => state = self.sleep(state, &self.committed, None),
            }
            state.applier_looks = true;
            if state.stopped.is_some() {
                return None;
            }
        }
    }
}

impl State {
    /// Whether what is queued is for the applier to write: it came in company, and the applier looks
    /// before it sleeps.
    pub(super) fn is_left_to_applier(&self) -> bool {
        self.applier_looks && self.rules.leaves_writes()
    }
}
