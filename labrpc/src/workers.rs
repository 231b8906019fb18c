//! The threads that handlers run on: a crew that takes jobs from one queue, and a foreman who sees to
//! it that a blocked job does not hold up the others.
//!
//! A few workers share the queue. As long as jobs are short, a worker that has finished one finds the
//! next without going to sleep, which is much cheaper than to wake a thread for each. If a job has
//! waited for [`PATIENCE`] nevertheless, the others block (or the machine is very busy): the foreman
//! then hires one worker more, and doubles the crew if none has taken a job since he last looked. So
//! blocked jobs delay another by [`PATIENCE`], or by a few times as much if dozens come at once, and
//! the crew is bounded by nothing but the number of jobs that block at the same time. Who rested last
//! is called first, so that the others stay idle, and leave.

use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// How long a job may wait before the foreman hires somebody for it.
const PATIENCE: Duration = Duration::from_millis(1);

/// So many workers are hired as soon as there is work for them.
const PROMPT_WORKERS: usize = 4;

/// What a worker runs.
pub(crate) type Job = Box<dyn FnOnce() + Send>;

/// What a job that panicked died of.
pub(crate) type Panic = Box<dyn Any + Send>;

/// The crew.
pub(crate) struct Workers {
    crew: Arc<Crew>,
}

struct Crew {
    /// How long a worker stays without work.
    idle_max: Duration,
    roster: Mutex<Roster>,
    /// The foreman waits here for a job that finds nobody idle, or for the end.
    backlog: Condvar,
}

#[derive(Default)]
struct Roster {
    closed: bool,
    /// Jobs, and since when they wait.
    queue: VecDeque<(Instant, Job)>,
    /// Jobs ever taken off the queue.
    taken: u64,
    /// Workers called or hired who have not come to the queue yet.
    coming: usize,
    /// Those who wait for a call, the last to rest at the end. Off this list means called.
    idle: Vec<Seat>,
    last_worker: u64,
    threads: HashMap<u64, JoinHandle<()>>,
    /// The last worker to have left by itself; the next one to leave joins it.
    retired: Option<JoinHandle<()>>,
    /// Hired with the first backlog.
    foreman: Option<JoinHandle<()>>,
    /// The foreman knows of the backlog.
    watched: bool,
    /// The first panic of a job.
    panic: Option<Panic>,
}

/// Where an idle worker waits: one condition variable each, so that a call wakes one.
#[derive(Clone)]
struct Seat {
    worker: u64,
    called: Arc<Condvar>,
}

impl Workers {
    /// A crew of nobody yet, whose members leave after `idle_max` without work.
    pub(crate) fn new(idle_max: Duration) -> Self {
        let roster = Mutex::default();
        Self { crew: Arc::new(Crew { idle_max, roster, backlog: Condvar::new() }) }
    }

    /// Has `job` run on a thread of the crew, or gives it back if the crew is dismissed.
    pub(crate) fn run(&self, job: Job) -> Result<(), Job> {
        let mut roster = self.crew.roster.lock();
        if roster.closed {
            return Err(job);
        }
        roster.queue.push_back((Instant::now(), job));
        if let Some(seat) = roster.idle.pop() {
            roster.coming += 1;
            drop(roster);
            seat.called.notify_all();
        } else if roster.threads.len() < PROMPT_WORKERS {
            self.crew.hire(&mut roster);
        } else if !roster.watched {
            roster.watched = true;
            let hired = roster.foreman.is_some();
            if !hired {
                let crew = Arc::clone(&self.crew);
                roster.foreman = Some(spawn("labrpc-foreman".to_owned(), move || crew.watch()));
            }
            drop(roster);
            self.crew.backlog.notify_all();
        }
        Ok(())
    }

    /// Keeps the panic of a job that ran elsewhere, unless there is one already.
    pub(crate) fn keep_panic(&self, panic: Panic) {
        self.crew.roster.lock().panic.get_or_insert(panic);
    }

    /// Sends everybody home once the queue is empty, without waiting for it.
    pub(crate) fn dismiss(&self) {
        let mut roster = self.crew.roster.lock();
        roster.closed = true;
        let idle = std::mem::take(&mut roster.idle);
        roster.coming += idle.len();
        drop(roster);
        self.crew.backlog.notify_all();
        for seat in idle {
            seat.called.notify_all();
        }
    }

    /// Waits until all of the dismissed crew have left, the calling thread excepted if it is one of
    /// them; returns the first panic of a job.
    pub(crate) fn join(&self) -> Option<Panic> {
        let mut roster = self.crew.roster.lock();
        assert!(roster.closed, "workers are joined before they are dismissed");
        // The foreman first: he hires until the queue is empty.
        let foreman = roster.foreman.take();
        drop(roster);
        let panic = foreman.and_then(join_thread);
        let mut roster = self.crew.roster.lock();
        let threads = std::mem::take(&mut roster.threads);
        let retired = roster.retired.take();
        drop(roster);
        let panic = threads.into_values().chain(retired).fold(panic, |first, thread| {
            let panic = join_thread(thread);
            first.or(panic)
        });
        panic.or_else(|| self.crew.roster.lock().panic.take())
    }
}

impl Crew {
    /// Under the lock, so that whoever dismisses the crew finds every thread there is.
    fn hire(self: &Arc<Self>, roster: &mut Roster) {
        roster.last_worker += 1;
        let worker = roster.last_worker;
        roster.coming += 1;
        let crew = Arc::clone(self);
        let thread = spawn(format!("labrpc-{worker}"), move || crew.work(worker));
        roster.threads.insert(worker, thread);
    }

    /// The life of a worker.
    fn work(&self, worker: u64) {
        let seat = Seat { worker, called: Arc::new(Condvar::new()) };
        self.roster.lock().coming -= 1;
        while let Some(job) = self.next_job(&seat) {
            if let Err(panic) = panic::catch_unwind(AssertUnwindSafe(job)) {
                self.roster.lock().panic.get_or_insert(panic);
            }
        }
    }

    /// Waits for a job; `None` if the worker may leave.
    fn next_job(&self, seat: &Seat) -> Option<Job> {
        let mut roster = self.roster.lock();
        let mut leaves_at = None;
        loop {
            if let Some((_, job)) = roster.queue.pop_front() {
                roster.taken += 1;
                return Some(job);
            }
            if roster.closed {
                return None;
            }
            let leaves_at = *leaves_at.get_or_insert_with(|| Instant::now() + self.idle_max);
            roster.idle.push(seat.clone());
            while roster.is_idle(seat) {
                if seat.called.wait_until(&mut roster, leaves_at).timed_out() && roster.strike(seat)
                {
                    let predecessor = roster.retire(seat);
                    drop(roster);
                    // It left the same way, so it ends by itself.
                    drop(predecessor.map(JoinHandle::join));
                    return None;
                }
            }
            roster.coming -= 1;
        }
    }

    /// The life of the foreman.
    fn watch(self: &Arc<Self>) {
        let mut roster = self.roster.lock();
        // The jobs that were taken, or will be by those hired for them, when he last looked.
        let mut expected = roster.taken;
        let mut next_look = Instant::now();
        loop {
            let Some(&(oldest, _)) = roster.queue.front() else {
                if roster.closed {
                    return;
                }
                roster.watched = false;
                self.backlog.wait(&mut roster);
                expected = roster.taken;
                continue;
            };
            let now = Instant::now();
            next_look = next_look.max(oldest + PATIENCE);
            if now < next_look {
                self.backlog.wait_until(&mut roster, next_look);
                continue;
            }
            let hires = roster.hires_needed(now, roster.taken <= expected);
            for _ in 0..hires {
                self.hire(&mut roster);
            }
            expected = roster.taken + hires as u64;
            next_look = now + PATIENCE;
        }
    }
}

impl Roster {
    /// How many workers to hire for the jobs that are late, if the crew is stuck or merely slow.
    fn hires_needed(&self, now: Instant, stuck: bool) -> usize {
        if self.coming > 0 {
            // They will take the late jobs as soon as the machine lets them run.
            return 0;
        }
        let late = self.queue.iter().take_while(|(since, _)| *since + PATIENCE <= now);
        late.take(if stuck { self.threads.len().max(1) } else { 1 }).count()
    }

    fn is_idle(&self, seat: &Seat) -> bool {
        self.idle.iter().any(|idle| idle.worker == seat.worker)
    }

    /// Takes a worker off the idle list; false if it has been called.
    fn strike(&mut self, seat: &Seat) -> bool {
        let idle = self.is_idle(seat);
        self.idle.retain(|idle| idle.worker != seat.worker);
        idle
    }

    /// Takes a worker off the crew; returns the one that left before, to be joined.
    fn retire(&mut self, seat: &Seat) -> Option<JoinHandle<()>> {
        let own = self.threads.remove(&seat.worker);
        std::mem::replace(&mut self.retired, own)
    }
}

fn spawn(name: String, f: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    thread::Builder::new().name(name).spawn(f).expect("the system has room for another thread")
}

/// Joins a thread unless it is this one; returns the panic that killed it.
pub(crate) fn join_thread(thread: JoinHandle<()>) -> Option<Panic> {
    if thread.thread().id() == thread::current().id() {
        return None;
    }
    thread.join().err()
}

#[cfg(test)]
mod tests;
