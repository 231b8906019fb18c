//! What the clients of a round did and saw.

use std::time::{Duration, Instant};

use oarlock_linearizability::{Action, History, Operation};
use parking_lot::Mutex;

/// The record of all clients; they share it.
pub(crate) struct Record {
    began: Instant,
    state: Mutex<State>,
}

/// What a record holds.
#[derive(Default)]
pub(crate) struct State {
    /// Calls on the keys that the clients share.
    pub(crate) history: History,
    /// Keys that were written once, and acknowledged, with their values.
    pub(crate) acknowledged: Vec<(String, String)>,
    /// How calls ended.
    pub(crate) counts: Counts,
    /// When the last call was answered, and the longest time in which none was.
    last_answer: Duration,
    pub(crate) longest_pause: Duration,
    /// Answers that no call may ever get.
    pub(crate) surprises: Vec<String>,
}

/// How calls ended.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// With an answer.
    pub(crate) answered: u64,
    /// Nobody knows whether it took effect.
    pub(crate) unknown: u64,
    /// It had no effect, as the client was told.
    pub(crate) refused: u64,
}

/// How a call ended.
#[derive(Clone, Debug)]
pub(crate) enum End<T> {
    /// With an answer.
    Answered(T),
    /// It may have taken effect, or may still do so.
    Unknown,
    /// It has not, and will not.
    Refused,
    /// With something that is no answer to it.
    Surprise(String),
}

impl Record {
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), state: Mutex::default() }
    }

    /// The time since the round began.
    pub(crate) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// A call on a shared key.
    pub(crate) fn shared(
        &self,
        client: usize,
        key: &str,
        called: Duration,
        action: Action,
        end: &End<()>,
    ) {
        let returned = self.now();
        let mut state = self.state.lock();
        state.count(end, returned);
        let returned = match end {
            End::Answered(()) => Some(returned),
            // A read without an answer says nothing.
            End::Unknown if !matches!(action, Action::Get { .. }) => None,
            _ => return,
        };
        state.history.push(Operation { client, key: key.to_owned(), action, called, returned });
    }

    /// A write of a key that nobody writes again.
    pub(crate) fn single(&self, key: String, value: String, end: &End<()>) {
        let now = self.now();
        let mut state = self.state.lock();
        state.count(end, now);
        if matches!(end, End::Answered(())) {
            state.acknowledged.push((key, value));
        }
    }

    /// What is in it, once nobody records any more.
    pub(crate) fn take(&self) -> State {
        std::mem::take(&mut self.state.lock())
    }
}

impl State {
    fn count(&mut self, end: &End<()>, now: Duration) {
        match end {
            End::Answered(()) => {
                self.counts.answered += 1;
                let pause = now.saturating_sub(self.last_answer);
                self.longest_pause = self.longest_pause.max(pause);
                self.last_answer = now.max(self.last_answer);
            }
            End::Unknown => self.counts.unknown += 1,
            End::Refused => self.counts.refused += 1,
            End::Surprise(text) => self.surprises.push(text.clone()),
        }
    }
}
