//! The threads that work a schedule off, each with one process at a time.

use std::num::NonZeroUsize;
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded, select, unbounded};

use super::job::{Case, Run, Setting};
use super::schedule::{Next, Schedule};

/// Why the work ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Done,
    /// Somebody asked for it.
    Interrupted,
}

/// Works the schedule off, `jobs` runs at a time, and hands each run that is over to `on_run`. A
/// message on `stop_requests` kills what is under way.
///
/// # Errors
///
/// If a run cannot be started, or its log not be written. The other runs are killed.
pub(crate) fn work_off(
    setting: &Setting,
    cases: &[Case],
    schedule: &Schedule,
    jobs: NonZeroUsize,
    stop_requests: &Receiver<()>,
    mut on_run: impl FnMut(Next, &Run),
) -> anyhow::Result<Ended> {
    let (events, finished) = unbounded();
    // Never sent on: dropping `stop` is the message.
    let (stop, stopped) = bounded::<()>(0);
    thread::scope(|scope| {
        for number in 0..jobs.get() {
            let (events, stopped) = (events.clone(), stopped.clone());
            thread::Builder::new()
                .name(format!("lab-{number}"))
                .spawn_scoped(scope, move || work(setting, cases, schedule, &stopped, &events))?;
        }
        drop(events);
        let mut stop = Some(stop);
        let mut ended = Ok(Ended::Done);
        loop {
            select! {
                recv(finished) -> event => match event {
                    Ok((next, Ok(run))) => {
                        schedule.took(next.case, run.took);
                        on_run(next, &run);
                    }
                    Ok((_, Err(error))) => {
                        stop = None;
                        ended = Err(error);
                    }
                    Err(_) => return ended,
                },
                recv(stop_requests) -> _ => {
                    stop = None;
                    ended = ended.and(Ok(Ended::Interrupted));
                }
            }
            if stop.is_none() {
                schedule.close();
            }
        }
    })
}

type Event = (Next, anyhow::Result<Run>);

fn work(
    setting: &Setting,
    cases: &[Case],
    schedule: &Schedule,
    stopped: &Receiver<()>,
    events: &Sender<Event>,
) {
    while let Some(next) = schedule.next() {
        let run = setting.run(&cases[next.case], next.round, stopped).transpose();
        let Some(run) = run else { return };
        if setting.fail_fast && run.as_ref().is_ok_and(Run::has_failed) {
            // Here, before this thread or another takes one more.
            schedule.close();
        }
        if events.send((next, run)).is_err() {
            return;
        }
    }
}
