//! The thread that takes care of requests that do not go well: it tries again, numbers them anew,
//! and gives them up at their deadlines.

use std::sync::Arc;
use std::time::Duration;

use super::desk::{Admitted, Desk, Id, News, Work};
use super::pursuit::{Pursuit, Step};
use crate::error::ExecuteError;
use crate::node::{Node, Route, Standing};
use crate::numbering::Numbering;
use crate::request::{KvCall, KvReply};
use crate::watch::Watch;

/// A member that has not answered for this long is called silent.
const SILENT_AFTER: Duration = Duration::from_secs(1);

/// What the client's callers and its thread share.
pub(super) struct Keeper {
    pub(super) node: Arc<Node>,
    pub(super) watch: Arc<Watch>,
    pub(super) desk: Arc<Desk>,
    numbering: Arc<Numbering>,
    request_timeout: Duration,
}

impl Keeper {
    pub(super) fn new(node: Arc<Node>, watch: Arc<Watch>, request_timeout: Duration) -> Self {
        let (desk, numbering) = (Arc::new(Desk::new()), Arc::new(Numbering::new()));
        Self { node, watch, desk, numbering, request_timeout }
    }

    /// Makes the first attempt at a request, on the thread of whoever asks.
    pub(super) fn begin(&self, mut pursuit: Pursuit) {
        let is_numbered = pursuit.take_number(&self.numbering);
        loop {
            let leaders = self.desk.leaders();
            let leader = self.node.standing();
            let route = self.node.route_to(leader.1);
            let can_be_sent = is_numbered && !matches!(route, Route::Nowhere);
            let ask = can_be_sent.then_some((leader, leaders));
            match self.desk.admit(pursuit, self.request_timeout, ask) {
                Admitted::As(id, call) => {
                    if can_be_sent {
                        self.send(id, call, route);
                    }
                    return;
                }
                Admitted::LeaderChanged(again) => pursuit = again,
                Admitted::Refused(pursuit, error) => return pursuit.end(Err(error)),
            }
        }
    }

    /// The thread: returns when the desk closes, and then ends what is on it.
    pub(super) fn run(&self) {
        while let Some(work) = self.desk.next() {
            match work {
                Work::Hear(News::Reply(id, reply)) => {
                    let term = self.node.leader().0;
                    if let Some(step) = self.desk.with(id, |p| p.on_reply(reply, term)) {
                        self.take_step(id, step);
                    }
                }
                Work::Hear(News::NotSent(id)) | Work::Retry(id) => self.attempt(id),
                Work::Hear(News::NewLeader) => self.on_leader(),
                Work::Hear(News::FreeNumber) => self.give_numbers(),
                Work::Hear(News::Stopped) => self.end_all(),
                Work::GiveUp(pursuit) => self.give_up(pursuit),
            }
        }
        self.end_all();
    }

    fn take_step(&self, id: Id, step: Step) {
        match step {
            Step::Wait => {}
            Step::Pause => self.desk.retry(id),
            Step::Again => self.attempt(id),
            Step::End(error) => {
                if let Some(pursuit) = self.desk.take(id) {
                    self.desk.end(pursuit, Err(error));
                }
            }
            Step::Renew(born) => {
                if let Some(expired) = self.desk.with(id, Pursuit::begin_again) {
                    self.numbering.renew(expired, born);
                    self.desk.wait_for_number(id);
                    self.give_numbers();
                }
            }
        }
    }

    /// Makes one more attempt. Without a leader to send it to it waits for one, unless an earlier
    /// attempt may still be answered: then it tries again, if no news comes before.
    fn attempt(&self, id: Id) {
        loop {
            let leader = self.node.standing();
            let route = self.node.route_to(leader.1);
            if !matches!(route, Route::Nowhere) {
                return self.attempt_at(id, leader, route);
            }
            let Some(has_attempts) = self.desk.with(id, |p| p.has_attempts()) else { return };
            if has_attempts || leader.1.is_some() {
                return self.desk.retry(id);
            }
            if !self.watch.wants_leader(&self.node) {
                return;
            }
        }
    }

    fn attempt_at(&self, id: Id, standing: Standing, route: Route) {
        let call = self.desk.with(id, |pursuit| {
            // Those that wait for a number are sent when they have one.
            pursuit.is_numbered().then(|| {
                pursuit.count_attempt(standing);
                Arc::clone(&pursuit.call)
            })
        });
        if let Some(Some(call)) = call {
            self.send(id, call, route);
        }
    }

    fn send(&self, id: Id, call: Arc<KvCall>, route: Route) {
        let desk = Arc::clone(&self.desk);
        // Only a read is kept: a write that is tried again is changed, and better not copied for it.
        let read = call.is_read().then(|| (Arc::clone(&self.node), Arc::clone(&call)));
        let on_reply = move |reply| match (reply, read) {
            (Some(KvReply::ReadThere), Some((node, read))) => {
                node.read_here(read, move |reply| desk.on_reply(id, Some(reply)));
            }
            (reply, _) => desk.on_reply(id, reply),
        };
        match route {
            Route::Here => self.node.execute_here(call, move |reply| on_reply(Some(reply))),
            Route::Peer(end) => Node::execute_there(&*end, &call, on_reply),
            Route::Nowhere => unreachable!("whoever sends has somebody to send to"),
        }
    }

    fn on_leader(&self) {
        for id in self.desk.ids() {
            let leader = self.node.leader();
            if let Some(step) = self.desk.with(id, |pursuit| pursuit.on_leader(leader)) {
                self.take_step(id, step);
            }
        }
    }

    /// Numbers those that wait for it, as far as there are numbers.
    fn give_numbers(&self) {
        while let Some(id) = self.desk.next_unnumbered() {
            match self.desk.with(id, |pursuit| pursuit.take_number(&self.numbering)) {
                Some(false) => return,
                Some(true) => {
                    self.desk.is_numbered(id);
                    self.attempt(id);
                }
                None => self.desk.is_numbered(id),
            }
        }
    }

    fn give_up(&self, pursuit: Pursuit) {
        let error = if pursuit.is_numbered() {
            let reason = self.node.status().why_no_leader(SILENT_AFTER);
            pursuit.error_or_unknown(ExecuteError::NoLeader { reason }, self.node.leader().0)
        } else {
            ExecuteError::Busy
        };
        self.desk.end(pursuit, Err(error));
    }

    fn end_all(&self) {
        let term = self.node.leader().0;
        for pursuit in self.desk.take_all().into_values() {
            let error = pursuit.error_or_unknown(ExecuteError::Stopped, term);
            self.desk.end(pursuit, Err(error));
        }
    }
}
