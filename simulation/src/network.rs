//! The simulated network: what a message meets on its way, and what it does when it arrives.

use std::rc::Rc;
use std::time::{Duration, Instant};

use oarlock_raft::PeerId;
use oarlock_raft::simulation::{Reply, Request};

use crate::node::Asked;
use crate::schedule::Event;
use crate::world::World;

/// Every so many messages one goes through the codec.
const THROUGH_CODEC: u64 = 8;
/// The longest delay on a network without faults, in microseconds.
const GOOD_DELAY_MAX_US: u64 = 2_000;

impl World {
    /// How many copies of a message arrive.
    pub(crate) fn copies(&mut self) -> u64 {
        if self.healed {
            return 1;
        }
        let (lost, doubled) = (self.character.lost, self.character.doubled);
        if self.random.chance(lost) { 0 } else { 1 + u64::from(self.random.chance(doubled)) }
    }

    /// How long a message is on its way.
    pub(crate) fn delay(&mut self) -> Duration {
        if self.healed {
            return self.random.micros(50, GOOD_DELAY_MAX_US);
        }
        let slow = self.random.chance(self.character.slow);
        let max = if slow { self.character.slow_max } else { self.character.delay_max };
        self.random.micros(50, max.as_micros() as u64)
    }

    /// When a message that leaves now arrives; without faults, never before an earlier one.
    fn arrival(&mut self, from: PeerId, to: PeerId) -> Instant {
        let at = self.now + self.delay();
        if !self.healed {
            return at;
        }
        let last = self.last_arrival.entry((from, to)).or_insert(at);
        *last = at.max(*last);
        *last
    }

    /// A peer calls another.
    pub(crate) fn call(&mut self, from: PeerId, to: PeerId, call: u64, request: Request) {
        self.see_call(from, to, &request);
        let life = self.nodes[&from].life;
        let until = self.now + self.character.call_timeout;
        let request =
            if call.is_multiple_of(THROUGH_CODEC) { request.through_codec() } else { request };
        let request = Rc::new(request);
        let copies = if self.cut.contains(&(from, to)) { 0 } else { self.copies() };
        if copies == 0 {
            return self.nothing_comes(to, (from, life, call), until, request);
        }
        for _ in 0..copies {
            let (at, request) = (self.arrival(from, to), Rc::clone(&request));
            self.schedule.at(at, Event::Request { from, to, life, call, until, request });
        }
    }

    /// The caller hears nothing until it has waited long enough.
    fn nothing_comes(
        &mut self,
        from: PeerId,
        (to, life, call): (PeerId, u64, u64),
        until: Instant,
        request: Rc<Request>,
    ) {
        let until = until.max(self.now);
        self.schedule.at(until, Event::Outcome { from, to, life, call, request, reply: None });
    }

    pub(crate) fn request_arrives(
        &mut self,
        caller: (PeerId, u64, u64),
        to: PeerId,
        until: Instant,
        request: Rc<Request>,
    ) {
        let (from, life, call) = caller;
        if self.nodes[&to].running.is_none() {
            // Refused at once, or swallowed.
            let refused = self.random.chance(500) && !self.cut.contains(&(to, from));
            let until = if refused { self.now } else { until };
            return self.nothing_comes(to, caller, until, request);
        }
        let now = self.time_at(to);
        let before = self.before_request(to);
        let running = self.running(to);
        let reply_to = running.next_asked;
        running.next_asked += 1;
        let asked =
            Asked { from, life, call, until, request: Rc::clone(&request), postponed: false };
        running.asked.insert(reply_to, asked);
        running.peer.handle(reply_to, &request, now);
        self.see_request(from, to, reply_to, &request, &before);
        self.after_step(to);
    }

    /// A peer answers.
    pub(crate) fn answer(&mut self, node: PeerId, reply_to: u64, reply: Reply) {
        let asked = self.running(node).asked.remove(&reply_to).expect("answered once");
        self.see_answer(node, &asked, &reply);
        let Asked { from, life, call, until, request, .. } = asked;
        let copies = if self.cut.contains(&(node, from)) { 0 } else { self.copies() };
        let caller = (from, life, call);
        if copies == 0 {
            return self.nothing_comes(node, caller, until, request);
        }
        let at = self.arrival(node, from);
        if at > until {
            self.nothing_comes(node, caller, until, request);
        } else {
            let reply = Some(reply);
            self.schedule
                .at(at, Event::Outcome { from: node, to: from, life, call, request, reply });
        }
    }

    /// A peer will never answer; its caller learns that soon.
    pub(crate) fn keep_silent(&mut self, node: PeerId, reply_to: u64) {
        let asked = self.running(node).asked.remove(&reply_to).expect("not answered yet");
        let Asked { from, life, call, until, request, .. } = asked;
        let delay = self.delay();
        let soon = until.min(self.now + delay);
        self.nothing_comes(node, (from, life, call), soon, request);
    }

    pub(crate) fn outcome_arrives(
        &mut self,
        from: PeerId,
        to: PeerId,
        call: u64,
        request: &Request,
        reply: Option<&Reply>,
    ) {
        let now = self.time_at(to);
        let before = self.before_outcome(to, from, call);
        if !before.is_awaited {
            return;
        }
        self.running(to).peer.on_outcome(call, reply, now);
        self.see_outcome(from, to, request, reply, &before);
        self.after_step(to);
    }
}
