//! The next segments, filled with zeros ahead of time by a thread of their own, so that the writer
//! does not wait for it; and, because of that, the first to notice that the disk is full.
//!
//! A write into a segment that is filled with zeros needs no space any more, so a full disk shows
//! here, where no promise depends on it. The thread then tries again, once in a while, until there
//! is space. What is ready is a reserve meanwhile: for what must be written all the same, and, on
//! loan, for the snapshot whose end gives space back.
//!
//! Segments that the log has done with are used again, as they are: they need no room that the file
//! system does not have already, and no write but that of the sums of what they hold.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use oarlock_sync::thread::{self, JoinHandle};
use oarlock_sync::{Condvar, Mutex, MutexGuard, now, planted};

use super::files::Files;
use super::format::SectorSums;
use super::segment::{Blank, Filling};
use crate::StorageError;

/// How many are kept ready for a log that grows.
pub(crate) const SPARES_MAX: usize = 2;

/// How many segments that the log has done with are kept to be used again: with the spares that were
/// made, as many as it takes to become as long as it was at most of late, and to have as many
/// spares then; but so many in any case,
const USED_MIN: usize = 4;
/// and no more than so many.
const USED_MAX: usize = 32;

/// How many of the log's last purges are "of late": it is a segment or two longer at one than at the
/// other, and what is removed at one would have to be made for the next.
const PURGES_OF_LATE: usize = 8;

/// How long after a failure for want of space the next try is made.
const RETRY_AFTER: Duration = Duration::from_millis(if cfg!(test) { 5 } else { 500 });

/// The name of a spare: not a segment's, and one that the next opening removes.
fn name(number: u64) -> String {
    format!("spare-{number}.tmp")
}

/// The spare segments, and the thread that makes them.
pub(crate) struct Spares {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    files: Arc<Files>,
    file_bytes: u64,
    state: Mutex<State>,
    /// Notified when `state` changes, or `stop` is set. The thread waits for work, the writer for
    /// the spare that is being made, a borrower for the one that no longer is.
    changed: Condvar,
    /// Somebody waits for the spare in the making: no more consideration.
    hurry: AtomicBool,
    /// The spare in the making is not to be finished: its space is lent.
    give_way: AtomicBool,
    stop: AtomicBool,
}

#[derive(Default)]
struct State {
    /// Those that were made, oldest first.
    ready: VecDeque<Blank>,
    /// Those that the log has done with, oldest first: as good as made.
    used: VecDeque<Blank>,
    /// The same, which a crash may still bring back under their old names: not to be written to.
    promised: Vec<(String, SectorSums)>,
    /// How many closed segments there were before each of the last purges.
    lengths: VecDeque<usize>,
    /// How many were asked for last.
    wanted: usize,
    /// How many are still to be made, the one in the making included.
    missing: usize,
    /// How many of those that are ready are not to be lent.
    kept: usize,
    /// How many were begun.
    begun: u64,
    /// There is a file in the making.
    is_filling: bool,
    /// Since there was no space for one that is missing: when to try again. It stays until none is.
    short: Option<Instant>,
    /// How many have borrowed the space.
    loans: usize,
    /// The thread has ended: there will be no more.
    is_over: bool,
}

impl State {
    /// How many can be taken.
    fn count(&self) -> usize {
        self.ready.len() + self.used.len()
    }

    /// Gives up the spares that need not be kept: they are missing from now on, for want of space.
    fn give_up(&mut self) -> VecDeque<Blank> {
        let kept_used = self.kept.min(self.used.len());
        let kept_ready = (self.kept - kept_used).min(self.ready.len());
        let mut given_up = self.ready.split_off(kept_ready);
        self.missing += given_up.len();
        given_up.extend(self.used.split_off(kept_used));
        self.missing = self.missing.max(self.wanted.saturating_sub(self.count()));
        if self.missing > 0 {
            self.short = Some(now());
        }
        given_up
    }
}

impl Spares {
    /// Spares of `file_bytes` bytes. Nothing is made before it is asked for.
    pub(crate) fn new(files: Arc<Files>, file_bytes: u64) -> Self {
        let shared = Arc::new(Shared {
            files,
            file_bytes,
            state: Mutex::default(),
            changed: Condvar::new(),
            hurry: AtomicBool::new(false),
            give_way: AtomicBool::new(false),
            stop: AtomicBool::new(false),
        });
        Self { shared, thread: None }
    }

    /// Asks for `count` spares, those that are ready or on their way included. Does not wait.
    pub(crate) fn prepare(&mut self, count: usize) {
        assert!(count <= SPARES_MAX, "{count} spares are more than anyone keeps");
        let (is_new, is_missing) = {
            let mut state = self.shared.state.lock();
            let missing = count.saturating_sub(state.count());
            state.wanted = count;
            let is_new = missing > state.missing && !state.is_over;
            if is_new {
                state.missing = missing;
            }
            (is_new, state.missing > 0)
        };
        if is_new {
            self.shared.changed.notify_all();
        }
        // Not only for what is new: those that were given back may have been lent since.
        if is_missing && self.thread.is_none() {
            let shared = Arc::clone(&self.shared);
            let thread = thread::Builder::new().name("oarlock-spare".to_owned());
            match thread.spawn(move || shared.run()) {
                Ok(thread) => self.thread = Some(thread),
                Err(error) => {
                    log::warn!("no thread for spare segments: {error}");
                    self.shared.state.lock().missing = 0;
                }
            }
        }
    }

    /// Takes a spare; waits for the one that is being made, if none is ready. `None` if none was asked
    /// for, or it cannot be made now.
    pub(crate) fn take(&self) -> Option<Blank> {
        let mut state = self.shared.state.lock();
        self.shared.wait_for_one(&mut state);
        state.used.pop_front().or_else(|| state.ready.pop_front())
    }

    /// Whether a spare is ready, once the one that is being made is, or cannot be.
    pub(crate) fn is_one_ready(&self) -> bool {
        let mut state = self.shared.state.lock();
        self.shared.wait_for_one(&mut state);
        state.count() > 0
    }

    /// Whether there was no space for one that is wanted, when it was last tried.
    pub(crate) fn is_short(&self) -> bool {
        self.shared.state.lock().short.is_some()
    }

    /// Whether everything that was asked for is there, or there is no space for it.
    #[cfg(test)]
    pub(crate) fn is_settled(&self) -> bool {
        let state = self.shared.state.lock();
        state.missing == 0 || state.short.is_some()
    }

    /// How many were filled with zeros, or begun to be.
    #[cfg(test)]
    pub(crate) fn begun(&self) -> u64 {
        self.shared.state.lock().begun
    }

    /// Says how many of those that are ready must not be lent.
    pub(crate) fn keep(&self, count: usize) {
        self.shared.state.lock().kept = count;
    }

    /// How many files that nobody needs any more are welcome, when of `had` closed segments the log
    /// keeps `left`. None while there is little space: then it is to be had by removing them.
    pub(crate) fn used_wanted(&self, had: usize, left: usize) -> usize {
        let mut state = self.shared.state.lock();
        if state.lengths.len() == PURGES_OF_LATE {
            state.lengths.pop_front();
        }
        state.lengths.push_back(had);
        let longest = state.lengths.iter().max().map_or(had, |most| *most);
        let wanted = (longest - left + SPARES_MAX).clamp(USED_MIN, USED_MAX);
        let is_scarce = state.short.is_some() || state.loans > 0 || state.is_over;
        let there = state.count() + state.missing + state.promised.len();
        if is_scarce { 0 } else { wanted.saturating_sub(there) }
    }

    /// Takes over a file of a spare's length, now called `name`, that holds what `sums` says. It is
    /// overwritten only after [`settle`](Self::settle).
    pub(crate) fn promise(&self, name: String, sums: SectorSums) {
        self.shared.state.lock().promised.push((name, sums));
    }

    /// That the files which were promised have no other name is durable.
    pub(crate) fn settle(&self) {
        let shared = &self.shared;
        let promised = mem::take(&mut shared.state.lock().promised);
        for (name, sums) in promised {
            let used = Blank::used(&shared.files, name.clone(), shared.file_bytes, sums);
            let mut state = shared.state.lock();
            match used {
                Ok(used) if state.loans == 0 => state.used.push_back(used),
                unwanted => {
                    drop((state, unwanted));
                    shared.remove(&name);
                }
            }
        }
    }

    /// A way to borrow their space.
    pub(crate) fn lender(&self) -> Lender {
        Lender(Arc::clone(&self.shared))
    }
}

impl Drop for Spares {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        {
            // Under the lock, so that the thread cannot miss it between its look and its wait.
            let is_careless = planted("the spares are told to end without the lock");
            let _state = (!is_careless).then(|| self.shared.state.lock());
            self.shared.stop.store(true, Ordering::Relaxed);
        }
        self.shared.changed.notify_all();
        if thread.join().is_err() {
            log::error!("the thread for spare segments panicked");
        }
    }
}

/// Lends the space that spares take.
pub(crate) struct Lender(Arc<Shared>);

impl Lender {
    /// Removes the spares that need not be kept, and makes no more until the loan is over. From here
    /// on until one is ready again, the log counts as short of space.
    pub(crate) fn lend(&self) -> Loan {
        let shared = &self.0;
        let (lent, promised) = {
            let mut state = shared.state.lock();
            state.loans += 1;
            shared.give_way.store(true, Ordering::Relaxed);
            let mut lent = state.give_up();
            shared.changed.notify_all();
            while state.is_filling && !planted("a loan does not wait for the spare in the making") {
                shared.changed.wait(&mut state);
            }
            // It may have been as good as made, and is ready now.
            lent.extend(state.give_up());
            (lent, mem::take(&mut state.promised))
        };
        shared.files.shelf().give_up(&shared.files);
        for (name, _) in promised {
            shared.remove(&name);
        }
        for Blank { name, file, .. } in lent {
            // The space is free when nobody has the file open any more.
            drop(file);
            shared.remove(&name);
        }
        Loan(Arc::clone(shared))
    }

    /// For whoever has a loan already: the space of an old snapshot that is kept, if one is by now.
    pub(crate) fn lend_more(&self) -> bool {
        self.0.files.shelf().give_up(&self.0.files)
    }
}

/// While it lives, no spares are made.
pub(crate) struct Loan(Arc<Shared>);

impl Drop for Loan {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.loans -= 1;
        if state.loans == 0 {
            self.0.give_way.store(false, Ordering::Relaxed);
        }
        drop(state);
        if !planted("a loan ends without a word") {
            self.0.changed.notify_all();
        }
    }
}

/// Whatever ends the thread, a panic included: nobody waits for a spare that does not come.
struct NoMore<'a>(&'a Shared);

impl Drop for NoMore<'_> {
    fn drop(&mut self) {
        {
            let mut state = self.0.state.lock();
            state.missing = 0;
            state.is_filling = false;
            state.is_over = true;
        }
        self.0.changed.notify_all();
    }
}

impl Shared {
    fn run(&self) {
        let _no_more = NoMore(self);
        let mut filling = None;
        while let Some(number) = self.wait_until_wanted(&mut filling) {
            let made = self.fill(&mut filling, number);
            let is_full = made.as_ref().is_err_and(StorageError::is_for_want_of_space);
            // Without the lock, since it may take long.
            let has_more = is_full && self.files.shelf().give_up(&self.files);
            let mut state = self.state.lock();
            match made {
                Ok(true) => {
                    let made = filling.take().expect("it was just filled").finish();
                    state.ready.push_back(made);
                    state.missing = state.missing.saturating_sub(1);
                    state.is_filling = false;
                    if state.missing == 0 && state.short.take().is_some() {
                        log::info!("there is room for the next segments again");
                    }
                }
                // It is to stop, or to give way: the next look at the state tells.
                Ok(false) => {}
                Err(_) if has_more => state.is_filling = filling.is_some(),
                Err(error) if is_full => {
                    if state.short.is_none() {
                        log::warn!("no room for the next segments: {}", error.of_something_new());
                    }
                    state.short = Some(now() + RETRY_AFTER);
                    state.is_filling = filling.is_some();
                }
                Err(error) => {
                    log::warn!("no spare segment: {error}");
                    state.missing = 0;
                    state.is_filling = false;
                    drop(state);
                    self.discard(&mut filling);
                }
            }
            if !planted("a spare is ready without a word") {
                self.changed.notify_all();
            }
        }
    }

    /// Goes on with the spare in the making, or begins spare `number`. Returns whether it is ready.
    ///
    /// What was written before the disk was full stays, so that trying again costs next to nothing;
    /// but not what a failed sync leaves.
    fn fill(&self, filling: &mut Option<Filling>, number: u64) -> Result<bool, StorageError> {
        if filling.is_none() {
            *filling = Some(Filling::begin(&self.files, name(number), self.file_bytes)?);
        }
        let file = filling.as_mut().expect("it was just begun");
        while !file.is_full() {
            if self.stop.load(Ordering::Relaxed) || self.give_way.load(Ordering::Relaxed) {
                return Ok(false);
            }
            file.write_step()?;
            let is_gentle = !self.hurry.load(Ordering::Relaxed);
            if (file.is_full() || is_gentle)
                && let Err(error) = file.sync()
            {
                self.discard(filling);
                return Err(error);
            }
        }
        Ok(true)
    }

    /// Waits until a spare is wanted and may be tried; `None` once the owner is going away. Gives up
    /// the one in the making while its space is lent.
    fn wait_until_wanted(&self, filling: &mut Option<Filling>) -> Option<u64> {
        let mut state = self.state.lock();
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return None;
            }
            if state.loans > 0 && state.is_filling {
                drop(state);
                self.discard(filling);
                state = self.state.lock();
                state.is_filling = false;
                self.changed.notify_all();
            } else if state.loans > 0 || state.missing == 0 {
                self.changed.wait(&mut state);
            } else if let Some(at) = state.short.filter(|at| now() < *at) {
                let _ = self.changed.wait_until(&mut state, at);
            } else {
                state.begun += u64::from(!state.is_filling);
                state.is_filling = true;
                return Some(state.begun);
            }
        }
    }

    /// Waits until a spare is ready, if one is being made and there is space for it.
    fn wait_for_one(&self, state: &mut MutexGuard<'_, State>) {
        while state.count() == 0 && state.missing > 0 && state.short.is_none() && state.loans == 0 {
            self.hurry.store(true, Ordering::Relaxed);
            self.changed.wait(state);
        }
        self.hurry.store(false, Ordering::Relaxed);
    }

    fn discard(&self, filling: &mut Option<Filling>) {
        if let Some(filling) = filling.take() {
            let name = filling.name().to_owned();
            drop(filling);
            self.remove(&name);
        }
    }

    fn remove(&self, name: &str) {
        if let Err(error) = self.files.unlink(name) {
            log::warn!("a spare segment stays until the next opening: {error}");
        }
    }
}
