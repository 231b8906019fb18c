//! The crew with jobs that end at once, block, and panic.

use super::*;
use crossbeam_channel::{Receiver, Sender, bounded};

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
            started.send(()).expect("the test waits until the job has started");
            assert!(released.recv().is_err(), "released by a drop");
        });
        (release, has_started)
    }

    #[track_caller]
    fn wait_for(&self, what: &str, condition: impl Fn(&Roster) -> bool) {
        let deadline = Instant::now() + SOON;
        while !condition(&self.crew.roster.lock()) {
            assert!(Instant::now() < deadline, "never {what}");
            thread::sleep(Duration::from_millis(1));
        }
    }
}

#[test]
fn blocked_jobs_delay_nobody_for_long() {
    let workers = Workers::new(SOON);
    // The second time the foreman has been idle, and half of the crew is.
    for jobs in [32, 64] {
        let start = Instant::now();
        let blocked: Vec<_> = (0..jobs).map(|_| workers.submit_blocked()).collect();
        for (_, started) in &blocked {
            started.recv_timeout(SOON).expect("every job starts while the others block");
        }
        let took = start.elapsed();
        assert!(took < Duration::from_millis(500), "{jobs} blocked jobs took {took:?} to start");
        let hired = workers.thread_count();
        assert!((jobs..jobs + 6).contains(&hired), "{hired} workers for {jobs} blocked jobs");
        drop(blocked);
        workers.wait_for("idle", |roster| roster.idle.len() == roster.threads.len());
    }
    workers.dismiss();
    assert!(workers.join().is_none());
}

#[test]
fn a_stuck_crew_is_doubled_and_a_slow_one_grows_by_one() {
    let now = Instant::now();
    let mut roster = Roster::default();
    let job =
        |waited| (now.checked_sub(waited).expect("an instant long ago"), Box::new(|| {}) as Job);
    roster.queue.extend((0..10).map(|_| job(PATIENCE)));
    roster.queue.push_back(job(PATIENCE / 2));
    assert_eq!(roster.hires_needed(now, true), 1, "a crew of nobody");
    roster.threads.extend((0..4).map(|id| (id, thread::spawn(|| {}))));
    assert_eq!(roster.hires_needed(now, true), 4);
    assert_eq!(roster.hires_needed(now, false), 1);
    roster.threads.extend((4..20).map(|id| (id, thread::spawn(|| {}))));
    assert_eq!(roster.hires_needed(now, true), 10, "no more than there are late jobs");
    roster.coming = 1;
    assert_eq!(roster.hires_needed(now, true), 0, "who is coming comes first");
    for thread in roster.threads.into_values() {
        assert!(join_thread(thread).is_none());
    }
}

#[test]
fn short_jobs_need_few_workers() {
    let workers = Workers::new(SOON);
    let (tx, done) = bounded(2000);
    for _ in 0..2000 {
        let tx = tx.clone();
        workers.submit(move || tx.send(()).unwrap());
    }
    for _ in 0..2000 {
        done.recv_timeout(SOON).expect("every job runs");
    }
    let hired = workers.crew.roster.lock().last_worker;
    assert!(hired < 40, "{hired} workers for 2000 short jobs");
    workers.dismiss();
    assert!(workers.join().is_none());
}

#[test]
fn an_idle_worker_is_used_again() {
    let workers = Workers::new(SOON);
    for _ in 0..50 {
        workers.submit(|| {});
        workers.wait_for("idle again", |roster| roster.idle.len() == 1);
    }
    assert_eq!(workers.thread_count(), 1);
    workers.dismiss();
    assert!(workers.join().is_none());
}

#[test]
fn idle_workers_leave_after_a_while() {
    let workers = Workers::new(Duration::from_millis(20));
    let blocked: Vec<_> = (0..10).map(|_| workers.submit_blocked()).collect();
    for (_, started) in &blocked {
        started.recv_timeout(SOON).unwrap();
    }
    assert!(workers.thread_count() >= 10);
    drop(blocked);
    workers.wait_for("empty", |roster| roster.threads.is_empty() && roster.idle.is_empty());
    let (tx, done) = bounded(1);
    workers.submit(move || tx.send(()).unwrap());
    assert!(done.recv_timeout(SOON).is_ok(), "the crew goes on");
    workers.dismiss();
    assert!(workers.join().is_none());
}

#[test]
fn a_dismissed_crew_finishes_its_work_and_takes_no_more() {
    let workers = Workers::new(SOON);
    let blocked: Vec<_> = (0..PROMPT_WORKERS).map(|_| workers.submit_blocked()).collect();
    for (_, started) in &blocked {
        started.recv_timeout(SOON).unwrap();
    }
    let (tx, done) = bounded(1);
    workers.submit(move || tx.send(()).unwrap());
    workers.dismiss();
    assert!(workers.run(Box::new(|| {})).is_err());
    assert!(done.recv_timeout(SOON).is_ok(), "queued before the dismissal, while all block");
    let start = Instant::now();
    drop(blocked);
    assert!(workers.join().is_none());
    assert!(start.elapsed() < SOON / 2, "the dismissed rest before they leave");
    assert_eq!(workers.thread_count(), 0);
}

#[test]
fn a_panic_is_handed_to_who_joins_and_costs_no_worker() {
    let workers = Workers::new(SOON);
    for words in ["the first job's own words", "the second's"] {
        workers.submit(move || panic::resume_unwind(Box::new(words)));
        workers.wait_for("idle again", |roster| roster.idle.len() == 1);
    }
    assert_eq!(workers.thread_count(), 1);
    workers.dismiss();
    let panic = workers.join().expect("the panic is kept");
    assert_eq!(panic.downcast_ref(), Some(&"the first job's own words"));
}
