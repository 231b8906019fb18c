//! Where all requests that have not ended are, and what was heard of them.
//!
//! Whoever takes a request off the desk ends it: that is what makes it end exactly once. Answers
//! are delivered by whoever brings them. All other news is for the one thread that keeps the desk,
//! which also sees to the deadlines; it sleeps until the first of them, and is woken by news alone.
//!
//! Requests that come later end later, so their order is that of their deadlines, and one that goes
//! well need not wake anybody.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::pursuit::Pursuit;
use crate::error::ExecuteError;
use crate::node::Standing;
use crate::request::{KvCall, KvReply};

/// The most requests at a time. Whoever comes with one more is told to try again.
pub(super) const REQUESTS_MAX: usize = 16 << 10;

/// How long after an attempt that came to nothing the next one is made, if no new leader appears.
const PAUSE: Duration = Duration::from_millis(30);

/// The number of a request on the desk.
pub(super) type Id = u64;

/// What the keeper is to hear.
#[derive(Debug)]
pub(super) enum News {
    /// An attempt at a request ended with this reply, or without one; it has no answers.
    Reply(Id, Option<KvReply>),
    /// A request was not sent: nobody was known to lead.
    NotSent(Id),
    /// A leader is known, and it is not the one of before.
    NewLeader,
    /// A number may be free for those that wait for one.
    FreeNumber,
    /// This node has stopped.
    Stopped,
}

/// What the keeper is to do.
pub(super) enum Work {
    Hear(News),
    /// The pause after an attempt is over.
    Retry(Id),
    /// Its deadline has come, and it is off the desk.
    GiveUp(Pursuit),
}

/// What became of a request that was put on the desk.
pub(super) enum Admitted {
    /// It is there. If it was to be sent, this is how.
    As(Id, Arc<KvCall>),
    /// Another leader has become known meanwhile.
    LeaderChanged(Pursuit),
    /// There is no room, or no node any more.
    Refused(Pursuit, ExecuteError),
}

/// All requests that have not ended.
pub(crate) struct Desk {
    /// Taken before that of the numbering, where both are.
    state: Mutex<State>,
    /// Predicate: there is news, or a moment to wake at that is earlier than `wakes_at`, or the desk
    /// is closing. Waited for by the keeper alone.
    changed: Condvar,
    /// How often [`News::NewLeader`] was told; changed under the lock.
    leaders: AtomicU64,
}

#[derive(Default)]
struct State {
    last_id: Id,
    /// In the order of their deadlines.
    open: BTreeMap<Id, Pursuit>,
    news: VecDeque<News>,
    /// When to try again; the request may be gone by then.
    retries: BTreeSet<(Instant, Id)>,
    /// Which wait for a number, oldest first; they may be gone when one is free.
    unnumbered: VecDeque<Id>,
    /// When the sleeping keeper wakes by itself.
    wakes_at: Option<Instant>,
    stopped: bool,
    closing: bool,
}

impl Desk {
    pub(super) fn new() -> Self {
        let (state, changed) = (Mutex::default(), Condvar::new());
        Self { state, changed, leaders: AtomicU64::new(0) }
    }

    /// How often the leader has changed: to be known before looking who it is.
    pub(super) fn leaders(&self) -> u64 {
        self.leaders.load(Ordering::SeqCst)
    }

    /// Puts a request on the desk, to be given up after `timeout`. If `ask` names a leader, an
    /// attempt there is counted, provided that no other has become known since [`Desk::leaders`] was
    /// `leaders`. If not, the keeper takes over.
    pub(super) fn admit(
        &self,
        mut pursuit: Pursuit,
        timeout: Duration,
        ask: Option<(Standing, u64)>,
    ) -> Admitted {
        let mut state = self.state.lock();
        if state.stopped || state.closing {
            return Admitted::Refused(pursuit, ExecuteError::Stopped);
        }
        if state.open.len() >= REQUESTS_MAX {
            return Admitted::Refused(pursuit, ExecuteError::Busy);
        }
        if ask.is_some_and(|(_, leaders)| leaders != self.leaders()) {
            return Admitted::LeaderChanged(pursuit);
        }
        state.last_id += 1;
        let id = state.last_id;
        // Under the lock, so that later ones do not end earlier.
        let deadline = Instant::now() + timeout;
        pursuit.deadline = deadline;
        match ask {
            Some((standing, _)) => pursuit.count_attempt(standing),
            None if pursuit.is_numbered() => state.news.push_back(News::NotSent(id)),
            None => {
                state.unnumbered.push_back(id);
                // The last one may just have been given back.
                state.news.push_back(News::FreeNumber);
            }
        }
        let call = Arc::clone(&pursuit.call);
        state.open.insert(id, pursuit);
        let wake = ask.is_none() || state.wakes_at.is_none_or(|at| deadline < at);
        drop(state);
        if wake {
            self.changed.notify_all();
        }
        Admitted::As(id, call)
    }

    /// An attempt at a request ended with this reply, or without one.
    pub(super) fn on_reply(&self, id: Id, reply: Option<KvReply>) {
        let answers = match reply {
            Some(KvReply::Answers(answers)) => answers,
            other => return self.tell(News::Reply(id, other)),
        };
        let mut state = self.state.lock();
        let Some(pursuit) = state.open.remove(&id) else { return };
        drop(state);
        self.end(pursuit, Ok(answers));
    }

    /// Ends a request that is off the desk.
    pub(super) fn end(&self, pursuit: Pursuit, result: Result<crate::op::Answers, ExecuteError>) {
        pursuit.end(result);
        if !self.state.lock().unnumbered.is_empty() {
            self.tell(News::FreeNumber);
        }
    }

    /// Tells the keeper something.
    pub(super) fn tell(&self, news: News) {
        let mut state = self.state.lock();
        state.news.push_back(news);
        drop(state);
        self.changed.notify_all();
    }

    /// Another leader is known.
    pub(crate) fn new_leader(&self) {
        let mut state = self.state.lock();
        self.leaders.fetch_add(1, Ordering::SeqCst);
        state.news.push_back(News::NewLeader);
        drop(state);
        self.changed.notify_all();
    }

    /// This node has stopped: nothing more is taken.
    pub(crate) fn stopped(&self) {
        self.state.lock().stopped = true;
        self.tell(News::Stopped);
    }

    /// Nothing more is taken, and the keeper ends.
    pub(super) fn close(&self) {
        self.state.lock().closing = true;
        self.changed.notify_all();
    }

    /// Sleeps until there is something to do; `None` when the desk closes.
    pub(super) fn next(&self) -> Option<Work> {
        let mut state = self.state.lock();
        loop {
            if state.closing {
                return None;
            }
            if let Some(news) = state.news.pop_front() {
                return Some(Work::Hear(news));
            }
            // The clock is read only if there is something to compare it with.
            let retry = state.retries.first().copied();
            let first = state.open.first_key_value().map(|(&id, pursuit)| (pursuit.deadline, id));
            let Some(earliest) = retry.into_iter().chain(first).min() else {
                state.wakes_at = None;
                self.changed.wait(&mut state);
                continue;
            };
            if earliest.0 > Instant::now() {
                // Kept when those it was for are gone: who comes next need not wake us.
                state.wakes_at = Some(earliest.0);
                self.changed.wait_until(&mut state, earliest.0);
                continue;
            }
            if retry == Some(earliest) {
                state.retries.pop_first();
                return Some(Work::Retry(earliest.1));
            }
            if let Some((_, pursuit)) = state.open.pop_first() {
                return Some(Work::GiveUp(pursuit));
            }
        }
    }

    /// Does something with a request, if it is still here.
    pub(super) fn with<T>(&self, id: Id, f: impl FnOnce(&mut Pursuit) -> T) -> Option<T> {
        self.state.lock().open.get_mut(&id).map(f)
    }

    /// Takes a request off the desk, if it is still here.
    pub(super) fn take(&self, id: Id) -> Option<Pursuit> {
        self.state.lock().open.remove(&id)
    }

    /// Takes them all.
    pub(super) fn take_all(&self) -> BTreeMap<Id, Pursuit> {
        std::mem::take(&mut self.state.lock().open)
    }

    /// Which requests are here.
    pub(super) fn ids(&self) -> Vec<Id> {
        self.state.lock().open.keys().copied().collect()
    }

    /// Tries again after a pause.
    pub(super) fn retry(&self, id: Id) {
        self.state.lock().retries.insert((Instant::now() + PAUSE, id));
    }

    /// Lets a request wait for a number.
    pub(super) fn wait_for_number(&self, id: Id) {
        self.state.lock().unnumbered.push_back(id);
    }

    /// Who has waited longest for a number.
    pub(super) fn next_unnumbered(&self) -> Option<Id> {
        self.state.lock().unnumbered.front().copied()
    }

    /// The one that has waited longest has a number, or is gone.
    pub(super) fn is_numbered(&self, id: Id) {
        let first = self.state.lock().unnumbered.pop_front();
        debug_assert_eq!(first, Some(id), "the keeper alone takes them");
    }
}
