//! The calls of the system under an exploring scheduler.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::{AtomicU32, Condvar, Mutex, accident};

/// The value, and who sleeps here.
#[derive(Default)]
pub(crate) struct Word(AtomicU32, Mutex<Vec<(NonZeroU32, Arc<Condvar>)>>);

/// No moment: in explorations the clock calls whoever sleeps until one.
#[derive(Clone, Copy)]
pub(crate) enum Moment {}

impl Word {
    pub(crate) fn value(&self) -> &AtomicU32 {
        &self.0
    }

    pub(crate) fn wait(&self, seen: u32, bits: NonZeroU32, _deadline: Option<Moment>) -> bool {
        let mut waiters = self.1.lock();
        if self.0.load(Ordering::SeqCst) != seen || accident() {
            return false;
        }
        let woken = Arc::new(Condvar::new());
        waiters.push((bits, Arc::clone(&woken)));
        while waiters.iter().any(|(_, waiter)| Arc::ptr_eq(waiter, &woken)) {
            woken.wait(&mut waiters);
        }
        false
    }

    pub(crate) fn wake(&self, bits: NonZeroU32) -> usize {
        let mut waiters = self.1.lock();
        let is_meant = |waiter: &mut (NonZeroU32, _)| waiter.0.get() & bits.get() != 0;
        let woken: Vec<_> = waiters.extract_if(.., is_meant).collect();
        drop(waiters);
        for (_, waiter) in &woken {
            waiter.notify_all();
        }
        woken.len()
    }
}
