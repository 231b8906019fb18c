//! The threads that handlers run on: a crew that grows when all are busy and shrinks when idle.
//!
//! A job never waits for another one. It goes straight into the hands of an idle worker, or of a new
//! one when there is none: a handler that blocks for seconds delays nobody. The price is that the
//! crew is as large as the number of jobs that run at once, bounded by nothing else. The worker that
//! rested last is taken first, so a steady load stays on a few warm threads and the others go home.

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};
use parking_lot::Mutex;

/// What a worker runs.
pub(crate) type Job = Box<dyn FnOnce() + Send>;

/// What a thread that panicked died of.
pub(crate) type Panic = Box<dyn Any + Send>;

/// What an idle worker is told.
enum Order {
    Run(Job),
    Leave,
}

/// The crew.
pub(crate) struct Workers {
    crew: Arc<Crew>,
}

struct Crew {
    /// How long a worker stays without work.
    idle_max: Duration,
    roster: Mutex<Roster>,
}

#[derive(Default)]
struct Roster {
    closed: bool,
    last_worker: u64,
    /// Those who wait for an order, the last to rest at the end. Each has an empty channel of one
    /// place, and only who takes it off this list may send: no send ever blocks.
    idle: Vec<(u64, Sender<Order>)>,
    threads: HashMap<u64, JoinHandle<()>>,
    /// The last worker to have left by itself; the next one to leave joins it.
    retired: Option<JoinHandle<()>>,
}

impl Workers {
    /// A crew of nobody yet, whose members leave after `idle_max` without work.
    pub(crate) fn new(idle_max: Duration) -> Self {
        Self { crew: Arc::new(Crew { idle_max, roster: Mutex::default() }) }
    }

    /// Starts `job` at once on a thread of the crew, or gives it back if the crew is dismissed.
    pub(crate) fn run(&self, job: Job) -> Result<(), Job> {
        let mut roster = self.crew.roster.lock();
        if roster.closed {
            return Err(job);
        }
        if let Some((_, worker)) = roster.idle.pop() {
            drop(roster);
            let sent = worker.send(Order::Run(job));
            sent.expect("an idle worker listens until it is off the list and has got its order");
            return Ok(());
        }
        roster.last_worker += 1;
        let id = roster.last_worker;
        let crew = Arc::clone(&self.crew);
        // Under the lock, so that whoever dismisses the crew finds every thread there is.
        let thread = thread::Builder::new()
            .name(format!("labrpc-{id}"))
            .spawn(move || crew.work(id, job))
            .expect("the system has room for another thread");
        roster.threads.insert(id, thread);
        Ok(())
    }

    /// Tells everybody to leave after the job in hand; does not wait for them.
    pub(crate) fn dismiss(&self) {
        let mut roster = self.crew.roster.lock();
        roster.closed = true;
        let idle = std::mem::take(&mut roster.idle);
        drop(roster);
        for (_, worker) in idle {
            // A send fails for nobody: see `run`.
            drop(worker.send(Order::Leave));
        }
    }

    /// Waits until the dismissed workers have left, the calling thread excepted if it is one of
    /// them; returns the first panic that killed one.
    pub(crate) fn join(&self) -> Option<Panic> {
        let mut roster = self.crew.roster.lock();
        assert!(roster.closed, "workers are joined before they are dismissed");
        let threads = std::mem::take(&mut roster.threads);
        let retired = roster.retired.take();
        drop(roster);
        let mut first = None;
        for thread in threads.into_values().chain(retired) {
            first = first.or(join_thread(thread));
        }
        first
    }
}

impl Crew {
    /// The life of worker `id`.
    fn work(&self, id: u64, first: Job) {
        let (worker, orders) = bounded(1);
        let mut job = first;
        loop {
            job();
            if !self.rest(id, worker.clone()) {
                return;
            }
            let order = orders.recv_timeout(self.idle_max).or_else(|_| {
                // Who is off the list already has an order on its way.
                if self.retire(id) { Ok(Order::Leave) } else { orders.recv() }
            });
            match order.expect("the channel is open: this thread holds its sender") {
                Order::Run(next) => job = next,
                Order::Leave => return,
            }
        }
    }

    /// Puts a worker on the idle list, unless the crew is dismissed.
    fn rest(&self, id: u64, worker: Sender<Order>) -> bool {
        let mut roster = self.roster.lock();
        if !roster.closed {
            roster.idle.push((id, worker));
        }
        !roster.closed
    }

    /// Takes a worker off the idle list for good; false if an order was faster.
    fn retire(&self, id: u64) -> bool {
        let mut roster = self.roster.lock();
        let Some(place) = roster.idle.iter().position(|&(idle, _)| idle == id) else {
            return false;
        };
        roster.idle.remove(place);
        let own = roster.threads.remove(&id);
        let predecessor = std::mem::replace(&mut roster.retired, own);
        drop(roster);
        // It left the same way, so it has no panic to report and ends by itself.
        drop(predecessor.map(JoinHandle::join));
        true
    }
}

/// Joins a thread unless it is this one; returns the panic that killed it.
pub(crate) fn join_thread(thread: JoinHandle<()>) -> Option<Panic> {
    if thread.thread().id() == thread::current().id() {
        return None;
    }
    thread.join().err()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::Receiver;
    use std::time::Instant;

    const SOON: Duration = Duration::from_secs(5);

    impl Workers {
        fn thread_count(&self) -> usize {
            self.crew.roster.lock().threads.len()
        }

        fn submit(&self, job: impl FnOnce() + Send + 'static) {
            assert!(self.run(Box::new(job)).is_ok(), "the crew is dismissed");
        }

        /// A job that runs until the returned sender is dropped, and its sign of life.
        fn submit_blocked(&self) -> (Sender<()>, Receiver<()>) {
            let (release, released) = bounded::<()>(0);
            let (started, has_started) = bounded(1);
            self.submit(move || {
                started.send(()).unwrap();
                assert!(released.recv().is_err(), "released by a drop");
            });
            (release, has_started)
        }

        #[track_caller]
        fn wait_for_idle(&self, count: usize) {
            let deadline = Instant::now() + SOON;
            while self.crew.roster.lock().idle.len() != count {
                assert!(Instant::now() < deadline, "never {count} idle workers");
                thread::yield_now();
            }
        }
    }

    #[test]
    fn a_blocked_job_delays_nobody() {
        let workers = Workers::new(SOON);
        let blocked: Vec<_> = (0..20).map(|_| workers.submit_blocked()).collect();
        for (_, started) in &blocked {
            started.recv_timeout(SOON).expect("every job starts while the others block");
        }
        assert_eq!(workers.thread_count(), 20);
        drop(blocked);
        workers.dismiss();
        assert!(workers.join().is_none());
    }

    #[test]
    fn an_idle_worker_is_used_again() {
        let workers = Workers::new(SOON);
        for _ in 0..50 {
            workers.submit(|| {});
            workers.wait_for_idle(1);
        }
        assert_eq!(workers.thread_count(), 1);
        workers.dismiss();
        assert!(workers.join().is_none());
    }

    #[test]
    fn idle_workers_leave_after_a_while() {
        let workers = Workers::new(Duration::from_millis(20));
        let blocked: Vec<_> = (0..5).map(|_| workers.submit_blocked()).collect();
        for (_, started) in &blocked {
            started.recv_timeout(SOON).unwrap();
        }
        assert_eq!(workers.thread_count(), 5);
        drop(blocked);
        let deadline = Instant::now() + SOON;
        while workers.thread_count() > 0 {
            assert!(Instant::now() < deadline, "idle workers stay");
            thread::sleep(Duration::from_millis(5));
        }
        workers.submit(|| {});
        workers.dismiss();
        assert!(workers.join().is_none());
    }

    #[test]
    fn a_dismissed_crew_finishes_the_work_in_hand_and_takes_no_more() {
        let workers = Workers::new(SOON);
        let (release, started) = workers.submit_blocked();
        started.recv_timeout(SOON).unwrap();
        workers.dismiss();
        assert!(workers.run(Box::new(|| {})).is_err());
        assert_eq!(workers.thread_count(), 1);
        drop(release);
        assert!(workers.join().is_none());
        assert_eq!(workers.thread_count(), 0);
    }

    #[test]
    fn a_panic_is_handed_to_who_joins() {
        let workers = Workers::new(SOON);
        workers.submit(|| std::panic::resume_unwind(Box::new("the job's own words")));
        workers.dismiss();
        let panic = workers.join().expect("the panic is kept");
        assert_eq!(panic.downcast_ref(), Some(&"the job's own words"));
    }
}
