//! A thread with many connections: it takes whatever is ready, asks the store for all of it
//! together, and answers each connection with one write. It waits for nothing but all of them at
//! once. While it waits, whoever brings a few answers does the rest: see `mailbox`.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use oarlock_sync::stages;

use super::batch::Batches;
use super::host::{Common, Fate, Host};
use super::mailbox::{Mail, Mailbox};
use super::poller::Found;
use super::wire::Wire;

/// How long a connection may take to show what it is, if there are as many clients as may be.
const UNDECIDED_TIMEOUT: Duration = Duration::from_secs(1);

/// The connections of one thread.
pub(super) struct Switchboard {
    mailbox: Arc<Mailbox>,
    host: Host,
    wires: HashMap<u64, Wire>,
    last_token: u64,
    /// Which connections have a deadline, and when.
    agenda: BTreeSet<(Instant, u64)>,
    closing: Option<Instant>,
}

impl Switchboard {
    /// No connections; they come by `mailbox`.
    pub(super) fn new(common: Arc<Common>, mailbox: Arc<Mailbox>) -> Self {
        let batches = Batches::new(Arc::clone(&common.front.store), Arc::clone(&mailbox));
        Self {
            mailbox,
            host: Host::new(common, batches),
            wires: HashMap::new(),
            last_token: 0,
            agenda: BTreeSet::new(),
            closing: None,
        }
    }

    /// The thread: returns when the port is closed and all connections are.
    pub(super) fn run(mut self: Box<Self>) -> io::Result<()> {
        let mut found = Found::new();
        let mailbox = Arc::clone(&self.mailbox);
        while self.closing.is_none_or(|end| !self.wires.is_empty() && self.host.now < end) {
            let deadline = self.deadline();
            self = match mailbox.leave(self, deadline) {
                Ok(()) => {
                    let waited = mailbox.poller.wait(deadline, &mut found);
                    let this = mailbox.take_back();
                    waited?;
                    this
                }
                Err(this) => {
                    mailbox.poller.wait(Some(this.host.now), &mut found)?;
                    this
                }
            };
            self.host.now = Instant::now();
            for ready in found.iter() {
                self.with(ready.token, |host, wire| host.on_ready(ready.token, wire, ready));
            }
            if let Some(mail) = mailbox.take() {
                self.on_mail(mail);
            }
            self.on_deadlines();
            self.host.batches.submit(self.host.now);
        }
        Ok(())
    }

    /// Deals with what has come, on the thread of whoever brought it.
    pub(super) fn stand_in(&mut self, mail: Mail) {
        self.host.now = Instant::now();
        self.on_mail(mail);
        self.host.batches.submit(self.host.now);
    }

    /// When there is something to do, though nothing comes until then.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let first = self.agenda.first().map(|(at, _)| *at);
        [first, self.host.batches.deadline(), self.closing].into_iter().flatten().min()
    }

    fn on_mail(&mut self, mail: Mail) {
        for answered in mail.answered {
            self.host.batches.note(&answered, self.host.now);
            for (token, result) in answered.parts() {
                self.with(token, |host, wire| host.on_answers(token, wire, result));
            }
            stages::answered(answered.write);
        }
        for (stream, crowded) in mail.streams {
            self.accept(stream, crowded);
        }
        if let Some(end) = mail.closing {
            self.closing = Some(end);
            for wire in self.wires.values() {
                // Each ends when it has read what has come. If it is not connected any more, that is
                // what we want.
                drop(wire.stream.shutdown(Shutdown::Read));
            }
        }
    }

    fn on_deadlines(&mut self) {
        while let Some(&(at, token)) = self.agenda.first()
            && at <= self.host.now
        {
            self.agenda.pop_first();
            self.with(token, |host, wire| {
                // It may have been moved in this very round.
                let is_due = wire.deadline.is_some_and(|at| at <= host.now);
                wire.noted = None;
                if is_due { host.on_deadline(token, wire) } else { Ok(Fate::Stays) }
            });
        }
    }

    fn accept(&mut self, stream: TcpStream, crowded: bool) {
        let token = self.last_token;
        self.last_token += 1;
        let deadline = crowded.then(|| self.host.now + UNDECIDED_TIMEOUT);
        let added = Wire::new(stream, crowded, deadline).and_then(|wire| {
            self.mailbox.poller.add(&*wire.stream, token, wire.interest)?;
            Ok(wire)
        });
        match added {
            Ok(wire) if self.closing.is_none() => {
                self.wires.insert(token, wire);
                self.with(token, |_, _| Ok(Fate::Stays));
            }
            Ok(_) => self.count_out(1),
            Err(error) => {
                log::error!(target: "CLNT", "a connection cannot be served: {error}");
                self.count_out(1);
            }
        }
    }

    /// Does something with a connection, if it is still here, and notes what is waited for then.
    fn with(&mut self, token: u64, f: impl FnOnce(&mut Host, &mut Wire) -> io::Result<Fate>) {
        let Some(wire) = self.wires.get_mut(&token) else { return };
        let fate = f(&mut self.host, wire).unwrap_or_else(|error| {
            log::debug!(target: "CLNT", "a connection was lost: {error}");
            Fate::Ends
        });
        if fate != Fate::Stays {
            return self.end(token, fate);
        }
        let wanted = wire.wanted();
        if wanted != wire.interest {
            wire.interest = wanted;
            if let Err(error) = self.mailbox.poller.modify(&*wire.stream, token, wanted) {
                log::error!(target: "CLNT", "a connection is given up: {error}");
                return self.end(token, Fate::Ends);
            }
        }
        if wire.deadline != wire.noted {
            if let Some(at) = wire.noted {
                self.agenda.remove(&(at, token));
            }
            wire.noted = wire.deadline;
            self.agenda.extend(wire.deadline.map(|at| (at, token)));
        }
    }

    fn end(&mut self, token: u64, fate: Fate) {
        let Some(wire) = self.wires.remove(&token) else { return };
        if let Some(at) = wire.noted {
            self.agenda.remove(&(at, token));
        }
        self.count_out(1);
        // It would be forgotten with its last handle, but the list of clients may have one.
        if let Err(error) = self.mailbox.poller.remove(&*wire.stream) {
            log::error!(target: "CLNT", "a connection that ended is still waited for: {error}");
        }
        if fate == Fate::GoesOver
            && let Some(other) = &self.host.common.other
            && let Some(stream) = Arc::into_inner(wire.stream)
        {
            match stream.set_nonblocking(false) {
                Ok(()) => (other.serve)(stream),
                Err(error) => log::debug!(target: "CLNT", "a connection was lost: {error}"),
            }
        }
    }

    fn count_out(&self, connections: usize) {
        self.host.common.connections.fetch_sub(connections, Ordering::Relaxed);
    }
}

impl Drop for Switchboard {
    fn drop(&mut self) {
        self.count_out(self.wires.len());
    }
}
