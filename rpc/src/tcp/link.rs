//! One lane of an end: the calls in flight, and what becomes of a new one in each phase.
//!
//! A call is in the table from its start to its outcome, and whoever takes it out of the table
//! completes it: the reply, the timer, the break of the connection, or the end's own end. So each
//! completion runs exactly once, and never under the lock.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use socket2::Socket;

use super::client::EndOptions;
use super::frame::Header;
use super::outgoing::Outgoing;
use super::timer::Timer;
use crate::{Completion, Lane};

/// One lane of an end.
pub(super) struct Link {
    pub(super) lane: Lane,
    pub(super) options: Arc<EndOptions>,
    timer: Arc<Timer>,
    state: Mutex<State>,
    /// The phase changed: the link's thread has to dial, or to end.
    changed: Condvar,
}

struct State {
    phase: Phase,
    /// The calls in flight by id. They all have the same time to live, so that the first is the
    /// first to expire, but for the moment it takes to start a call.
    calls: BTreeMap<u64, InFlight>,
}

enum Phase {
    /// Nobody has called yet.
    Unused,
    /// Calls are held until the dial under way has succeeded or failed.
    Dialling {
        held: Vec<Held>,
        held_len: usize,
        socket: Option<Socket>,
    },
    Connected(Arc<Outgoing>),
    /// The last dial failed or the connection broke; the next dial is not due yet.
    Down,
    /// The end is being dropped.
    Closed,
}

struct InFlight {
    deadline: Instant,
    done: Completion,
}

struct Held {
    call_id: u64,
    header: Header,
    args: Vec<u8>,
}

impl Phase {
    fn dialling() -> Self {
        Self::Dialling { held: Vec::new(), held_len: 0, socket: None }
    }
}

impl Link {
    /// A link that dials at once if it is urgent, otherwise once it is used.
    pub(super) fn new(lane: Lane, options: Arc<EndOptions>, timer: Arc<Timer>) -> Self {
        let phase = match lane {
            Lane::Urgent => Phase::dialling(),
            Lane::Bulk => Phase::Unused,
        };
        let state = State { phase, calls: BTreeMap::new() };
        Self { lane, options, timer, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Starts a call: sends it, holds it, or fails it, but never waits.
    pub(super) fn start(&self, call_id: u64, header: Header, args: Vec<u8>, done: Completion) {
        let deadline = Instant::now() + self.options.call_timeout;
        let mut state = self.state.lock();
        let unsent_max = self.options.unsent_bytes_max;
        if matches!(state.phase, Phase::Unused) {
            state.phase = Phase::dialling();
            self.changed.notify_all();
        }
        let send = match &mut state.phase {
            Phase::Connected(out) => Some((Arc::clone(out), header, args)),
            Phase::Dialling { held, held_len, .. } if *held_len < unsent_max => {
                *held_len += header.bytes().len() + args.len();
                held.push(Held { call_id, header, args });
                None
            }
            Phase::Unused | Phase::Dialling { .. } | Phase::Down | Phase::Closed => {
                drop(state);
                return done.complete(None);
            }
        };
        state.calls.insert(call_id, InFlight { deadline, done });
        drop(state);
        self.timer.arm(deadline);
        if let Some((out, header, args)) = send
            && out.send(&header, args).is_err()
        {
            self.finish(call_id, None);
        }
    }

    /// Completes one call, if it is still in flight.
    pub(super) fn finish(&self, call_id: u64, outcome: Option<Vec<u8>>) {
        let call = self.state.lock().calls.remove(&call_id);
        if let Some(call) = call {
            call.done.complete(outcome);
        }
    }

    /// Completes the calls whose time is up; returns when the next one's will be.
    pub(super) fn expire(&self, now: Instant) -> Option<Instant> {
        loop {
            let mut state = self.state.lock();
            let first = state.calls.first_entry()?;
            if first.get().deadline > now {
                return Some(first.get().deadline);
            }
            let call = first.remove();
            drop(state);
            call.done.complete(None);
        }
    }

    /// Waits until someone has called; false once closed.
    pub(super) fn wait_until_used(&self) -> bool {
        let mut state = self.state.lock();
        while matches!(state.phase, Phase::Unused) {
            self.changed.wait(&mut state);
        }
        !matches!(state.phase, Phase::Closed)
    }

    /// Waits for `pause` and then says that a dial is under way; false once closed.
    pub(super) fn wait_to_dial(&self, pause: Duration) -> bool {
        let deadline = Instant::now() + pause;
        let mut state = self.state.lock();
        while matches!(state.phase, Phase::Down) {
            if self.changed.wait_until(&mut state, deadline).timed_out() {
                state.phase = Phase::dialling();
            }
        }
        !matches!(state.phase, Phase::Closed)
    }

    /// Shows the socket that is being connected, so that closing the link interrupts it; false once
    /// closed.
    pub(super) fn show_socket(&self, shown: Option<Socket>) -> bool {
        let mut state = self.state.lock();
        let Phase::Dialling { socket, .. } = &mut state.phase else { return false };
        let previous = std::mem::replace(socket, shown);
        drop(state);
        drop(previous);
        true
    }

    /// The dial has succeeded: sends the calls that were held; false once closed.
    pub(super) fn connected(&self, out: &Arc<Outgoing>) -> bool {
        let mut state = self.state.lock();
        let State { phase, calls } = &mut *state;
        let Phase::Dialling { held, socket, .. } = phase else { return false };
        let socket = socket.take();
        let mut refused = Vec::new();
        for Held { call_id, header, args } in std::mem::take(held) {
            // A held call may be over already: its time was up.
            if calls.contains_key(&call_id) && out.enqueue(&header, args).is_err() {
                refused.extend(calls.remove(&call_id));
            }
        }
        *phase = Phase::Connected(Arc::clone(out));
        drop(state);
        drop(socket);
        // Dropped, a completion gets `None`.
        drop(refused);
        out.flush();
        true
    }

    /// The dial has failed or the connection is broken: nothing comes back for any call in flight.
    pub(super) fn down(&self) {
        let mut state = self.state.lock();
        if !matches!(state.phase, Phase::Closed) {
            let phase = std::mem::replace(&mut state.phase, Phase::Down);
            let calls = std::mem::take(&mut state.calls);
            drop(state);
            drop(phase);
            drop(calls);
        }
    }

    /// Ends the link: closes its connection, interrupts its dial, and completes all its calls.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        let phase = std::mem::replace(&mut state.phase, Phase::Closed);
        let calls = std::mem::take(&mut state.calls);
        self.changed.notify_all();
        drop(state);
        match phase {
            Phase::Connected(out) => out.close(),
            Phase::Dialling { socket: Some(socket), .. } => {
                // Fails if it was not connecting yet: then the dial finds the link closed.
                let _ = socket.shutdown(std::net::Shutdown::Both);
            }
            Phase::Dialling { .. } | Phase::Unused | Phase::Down | Phase::Closed => {}
        }
        drop(calls);
    }
}
