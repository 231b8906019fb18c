//! The simulated network: what a message meets on its way, and what it does when it arrives.

use std::time::Duration;

use super::check::Before;
use super::peer::{Reply, Request, Unspoken};
use super::world::{Event, World};
use crate::message::InstallSnapshotArgs;
use crate::mutation::AfterDurable;
use crate::rules::Send;
use crate::types::PeerId;

impl World {
    pub(super) fn send(&mut self, from: PeerId, to: PeerId, send: Send) {
        let request = match send {
            Send::Append { args, sent } => {
                assert!(args.is_well_formed(), "S{from} sends entries that are no run");
                Request::Append(args, sent)
            }
            Send::Piece { snapshot, sent } => {
                let content: &[u8] = &snapshot;
                let start = sent.offset as usize;
                let end = (start + sent.len_max).min(content.len());
                let args = InstallSnapshotArgs {
                    term: sent.term,
                    leader_id: sent.leader_id,
                    last_included: snapshot.meta.last_included,
                    configuration: snapshot.meta.configuration.to_vec(),
                    offset: sent.offset,
                    data: content[start..end].to_vec(),
                    done: end == content.len(),
                };
                Request::Piece(args, sent)
            }
            Send::TimeoutNow(args) => unreachable!("nobody asked for a hand-over: {args:?}"),
        };
        self.call(from, to, request);
    }

    pub(super) fn call(&mut self, from: PeerId, to: PeerId, request: Request) {
        let (call, life) = (self.next_call, self.peers[&from].life);
        self.next_call += 1;
        let copies = if self.is_lost(from, to) { 0 } else { 1 + u64::from(self.is_doubled()) };
        for _ in 0..copies {
            let request = request.clone();
            let delay = self.delay();
            self.schedule(delay, Event::Request { from, to, life, call, request });
        }
        // However it ends, the caller hears of it: by this time-out at the latest.
        let lost = Event::Reply { from: to, to: from, life, call, request, reply: None };
        let (_, call_timeout_ms) = self.patience;
        self.schedule(Duration::from_millis(call_timeout_ms), lost);
    }

    pub(super) fn deliver_request(
        &mut self,
        from: PeerId,
        to: PeerId,
        _life: u64,
        call: u64,
        request: Request,
    ) {
        if self.peers[&to].running.is_none() {
            return self.reply(to, from, call, request, None);
        }
        let now = self.now;
        let running = self.running(to);
        let (until, reply) = match request.clone() {
            Request::Vote(args) => {
                let AfterDurable { value, until } = running.rules.handle_request_vote(&args, now);
                (until, Reply::Vote(value))
            }
            Request::Append(args, _) => {
                let AfterDurable { value, until } = running.rules.handle_append_entries(args, now);
                (until, Reply::Append(value))
            }
            Request::Piece(args, _) => {
                let AfterDurable { value, until } =
                    running.rules.handle_install_snapshot(args, now);
                (until, Reply::Piece(value))
            }
        };
        running.unspoken.push_back((until, Unspoken::Answer { to: from, call, request, reply }));
        self.pump(to);
    }

    pub(super) fn reply(
        &mut self,
        from: PeerId,
        to: PeerId,
        call: u64,
        request: Request,
        reply: Option<Reply>,
    ) {
        if self.is_lost(from, to) {
            return;
        }
        let (life, delay) = (self.peers[&to].life, self.delay());
        self.schedule(delay, Event::Reply { from, to, life, call, request, reply });
    }

    pub(super) fn deliver_reply(
        &mut self,
        from: PeerId,
        to: PeerId,
        request: &Request,
        reply: Option<Reply>,
    ) {
        let (now, disks) = (self.now, self.disks());
        let rules = &mut self.running(to).rules;
        let before = Before::of(rules);
        match (request, reply) {
            (Request::Vote(args), Some(Reply::Vote(reply))) => {
                rules.on_vote_reply(from, args, &reply, now);
            }
            (Request::Append(args, sent), Some(Reply::Append(reply))) => {
                rules.on_append_reply(from, args.term, sent, Some(&reply), now);
            }
            (Request::Append(args, sent), None) => {
                rules.on_append_reply(from, args.term, sent, None, now);
            }
            (Request::Piece(_, sent), Some(Reply::Piece(reply))) => {
                rules.on_piece_reply(from, sent, Some(&reply), now);
            }
            (Request::Piece(_, sent), None) => rules.on_piece_reply(from, sent, None, now),
            (Request::Vote(_), None) => {}
            _ => unreachable!("a reply of another method"),
        }
        self.check_commit(to, &before, &disks);
        self.pump(to);
    }

    pub(super) fn is_lost(&mut self, from: PeerId, to: PeerId) -> bool {
        self.cut.contains(&(from, to)) || (!self.healed && self.chance(5))
    }

    pub(super) fn is_doubled(&mut self) -> bool {
        !self.healed && self.chance(3)
    }

    pub(super) fn delay(&mut self) -> Duration {
        if self.far {
            return super::far::ONE_WAY;
        }
        let slow = !self.healed && self.chance(5);
        let micros = if slow { self.below(self.patience.0) } else { 50 + self.below(3_000) };
        Duration::from_micros(micros)
    }
}
