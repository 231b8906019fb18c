//! Who runs next: a scheduler of `shuttle`'s, but for the clock, which comes last, so that time
//! passes only when nobody can run; or, a few times in an execution, at any moment.

use std::cell::Cell;

use shuttle::scheduler::{Schedule, Scheduler, Task, TaskId};

thread_local! {
    static CLOCK: Cell<Option<TaskId>> = const { Cell::new(None) };
    static EXECUTIONS: Cell<usize> = const { Cell::new(0) };
}

/// Tells the scheduler which thread is the clock.
pub(crate) fn this_is_the_clock() {
    CLOCK.set(Some(shuttle::current::me()));
}

/// How many executions this thread has begun since it was last asked.
pub(crate) fn take_executions() -> usize {
    EXECUTIONS.take()
}

/// At one decision in so many the clock may run though others can, as long as it may at all.
const EARLY_ONE_IN: u64 = 12;

/// A scheduler for which time is apart.
pub(crate) struct TimeLast<S> {
    inner: S,
    /// How often in an execution time may pass though somebody can run.
    early_max: usize,
    early_left: usize,
    random: u64,
}

impl<S: Scheduler> TimeLast<S> {
    pub(crate) fn new(inner: S, early_max: usize, seed: u64) -> Self {
        Self { inner, early_max, early_left: 0, random: seed }
    }

    /// `SplitMix64`.
    fn one_in(&mut self, count: u64) -> bool {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)).is_multiple_of(count)
    }
}

impl<S: Scheduler> Scheduler for TimeLast<S> {
    fn new_execution(&mut self) -> Option<Schedule> {
        CLOCK.set(None);
        self.early_left = self.early_max;
        let schedule = self.inner.new_execution()?;
        EXECUTIONS.set(EXECUTIONS.get() + 1);
        Some(schedule)
    }

    fn next_task(
        &mut self,
        runnable: &[&Task],
        current: Option<TaskId>,
        is_yielding: bool,
    ) -> Option<TaskId> {
        let Some(clock) = CLOCK.get() else {
            return self.inner.next_task(runnable, current, is_yielding);
        };
        let can_tick = runnable.iter().any(|task| task.id() == clock && task.runnable());
        if can_tick && self.early_left > 0 && self.one_in(EARLY_ONE_IN) {
            self.early_left -= 1;
            return Some(clock);
        }
        let others = runnable.iter().copied().filter(|task| task.id() != clock);
        // A thread that is parked could wake for no reason; only the clock ever is.
        let others: Vec<&Task> = others.filter(|task| task.runnable()).collect();
        if others.is_empty() {
            return Some(clock);
        }
        self.inner.next_task(&others, current, is_yielding)
    }

    fn next_u64(&mut self) -> u64 {
        self.inner.next_u64()
    }
}
