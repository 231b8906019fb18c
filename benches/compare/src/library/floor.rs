//! The floor: three threads that hand commands over, and nothing else. No protocol, no log, no codec.
//!
//! The first takes what callers have put into its inbox, hands it to the two others as one batch, and
//! answers the callers when one of the two has handed it back. The next batch does not wait for that.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use oarlock_rpc::{Promise, promise};

use super::command::{Answer, Applied, Tally, command};
use super::inbox::Inbox;
use super::window::Window;
use super::{System, Waking};

type Commands = Arc<Vec<Vec<u8>>>;

enum Input {
    Command(Vec<u8>, Promise<Answer>),
    Commands(Vec<Vec<u8>>, Arc<Window>),
    HandedBack(u64),
}

enum Waiter {
    One(Promise<Answer>),
    Window(Arc<Window>, usize),
}

struct Batch {
    commands: Commands,
    waiters: Vec<Waiter>,
}

/// Three threads.
pub struct Floor {
    leader: Arc<Inbox<Input>>,
    others: Vec<Arc<Inbox<(u64, Commands)>>>,
    applied: Vec<Arc<Applied>>,
    threads: Vec<JoinHandle<()>>,
}

impl Floor {
    /// Starts them.
    pub fn start(waking: Waking) -> Self {
        let leader = Arc::new(Inbox::new());
        let applied: Vec<Arc<Applied>> = (0..3).map(|_| Arc::default()).collect();
        let mut others = Vec::new();
        let mut threads = Vec::new();
        for applied in &applied[1..] {
            let (inbox, back) = (Arc::new(Inbox::new()), Arc::clone(&leader));
            others.push(Arc::clone(&inbox));
            let mut tally = Tally::new(Arc::clone(applied));
            threads.push(thread::spawn(move || follow(&inbox, &back, &mut tally)));
        }
        let mut tally = Tally::new(Arc::clone(&applied[0]));
        let (inbox, to) = (Arc::clone(&leader), others.clone());
        threads.push(thread::spawn(move || lead(&inbox, &to, &mut tally, waking)));
        Self { leader, others, applied, threads }
    }
}

fn follow(inbox: &Inbox<(u64, Commands)>, back: &Inbox<Input>, tally: &mut Tally) {
    let mut batches = Vec::new();
    while inbox.take(&mut batches, None) {
        let Some(&(last, _)) = batches.last() else { continue };
        back.push(Input::HandedBack(last));
        for (_, commands) in batches.drain(..) {
            for command in commands.iter() {
                tally.apply(command);
            }
        }
    }
}

fn lead(
    inbox: &Inbox<Input>,
    others: &[Arc<Inbox<(u64, Commands)>>],
    tally: &mut Tally,
    waking: Waking,
) {
    let mut inputs = Vec::new();
    let mut waiting: VecDeque<Batch> = VecDeque::new();
    let (mut sent, mut answered) = (0, 0);
    while inbox.take(&mut inputs, None) {
        let (mut commands, mut waiters) = (Vec::new(), Vec::new());
        let mut back = answered;
        for input in inputs.drain(..) {
            match input {
                Input::Command(command, promise) => {
                    commands.push(command);
                    waiters.push(Waiter::One(promise));
                }
                Input::Commands(more, window) => {
                    waiters.push(Waiter::Window(window, more.len()));
                    commands.extend(more);
                }
                Input::HandedBack(last) => back = back.max(last),
            }
        }
        if !commands.is_empty() {
            sent += 1;
            let commands = Arc::new(commands);
            for inbox in others {
                inbox.push((sent, Arc::clone(&commands)));
            }
            waiting.push_back(Batch { commands, waiters });
        }
        while answered < back {
            answered += 1;
            let batch = waiting.pop_front().expect("what is handed back was sent");
            waking.after(|| answer(batch, tally));
        }
    }
}

fn answer(Batch { commands, waiters }: Batch, tally: &mut Tally) {
    let mut answers = commands.iter().map(|command| tally.apply(command));
    for waiter in waiters {
        match waiter {
            Waiter::One(promise) => promise.keep(answers.next().expect("one for each")),
            Waiter::Window(window, count) => window.answered(answers.by_ref().take(count)),
        }
    }
}

impl System for Floor {
    fn submit(&self, number: u64) -> Answer {
        let (promise, answer) = promise();
        self.leader.push(Input::Command(command(number), promise));
        answer.wait().expect("the threads run")
    }

    fn submit_all(&self, first: u64, count: u64, window: &Arc<Window>) {
        let commands = (first..first + count).map(command).collect();
        self.leader.push(Input::Commands(commands, Arc::clone(window)));
    }

    fn applied(&self) -> Vec<Arc<Applied>> {
        self.applied.clone()
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        self.leader.close();
        self.others.iter().for_each(|inbox| inbox.close());
        for thread in self.threads.drain(..) {
            assert!(thread.join().is_ok() || thread::panicking(), "a thread of the floor panicked");
        }
    }
}
