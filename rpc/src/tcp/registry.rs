//! The connections of one server and their threads: who is there, who must go, who is to be joined.

use std::collections::BTreeMap;
use std::io;
use std::net::{Shutdown, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// Limits on how many connections there may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Connections of any kind.
    pub(super) connections_max: usize,
    /// Connections that have not said who they are.
    pub(super) handshaking_max: usize,
}

/// Why a connection was not admitted.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotAdmitted {
    #[error("there are {0} connections already, as many as allowed")]
    Full(usize),
    #[error("the server is stopped")]
    Stopped,
    #[error("its thread could not be started: {0}")]
    Thread(io::Error),
}

/// Every connection of a server.
#[derive(Debug)]
pub(super) struct Registry {
    limits: Limits,
    state: Mutex<State>,
    /// The server is stopped.
    stop: Condvar,
}

#[derive(Debug, Default)]
struct State {
    stopped: bool,
    next_id: u64,
    live: BTreeMap<u64, Entry>,
    /// Threads that have said their last word and are to be joined.
    finished: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Entry {
    /// A second handle of the socket, to shut it down by.
    stream: TcpStream,
    handshaking: bool,
    reader: JoinHandle<()>,
}

impl Registry {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, state: Mutex::default(), stop: Condvar::new() }
    }

    /// Admits a connection: starts its reader, which gets the connection's number and must end with
    /// [`Registry::leave`].
    ///
    /// If too many have not said who they are, the one that has been silent longest must go: who
    /// opens connections and says nothing cannot keep others out.
    pub(super) fn admit(
        &self,
        stream: TcpStream,
        thread_name: String,
        read: impl FnOnce(u64) + Send + 'static,
    ) -> Result<(), NotAdmitted> {
        let mut state = self.state.lock();
        let finished = std::mem::take(&mut state.finished);
        let outcome = state.admit(self.limits, stream, thread_name, read);
        drop(state);
        finished.into_iter().for_each(join);
        outcome
    }

    /// A connection has said who it is; false if it came too late and must go.
    pub(super) fn introduce(&self, id: u64) -> bool {
        let mut state = self.state.lock();
        let stopped = state.stopped;
        let Some(entry) = state.live.get_mut(&id) else { return false };
        !stopped && std::mem::replace(&mut entry.handshaking, false)
    }

    /// A connection's reader has nothing left to do.
    pub(super) fn leave(&self, id: u64) {
        let mut state = self.state.lock();
        // Not there once the server is stopped: then `stop` joins the thread.
        let Some(Entry { stream, reader, .. }) = state.live.remove(&id) else { return };
        state.finished.push(reader);
        drop(state);
        drop(stream);
    }

    /// Waits for `pause`, or until the server is stopped: true if it is.
    pub(super) fn stopped_within(&self, pause: Duration) -> bool {
        let deadline = Instant::now() + pause;
        let mut state = self.state.lock();
        while !state.stopped && !self.stop.wait_until(&mut state, deadline).timed_out() {}
        state.stopped
    }

    /// Whether the server is stopped.
    pub(super) fn is_stopped(&self) -> bool {
        self.state.lock().stopped
    }

    /// Refuses connections from now on.
    pub(super) fn refuse_all(&self) {
        self.state.lock().stopped = true;
        self.stop.notify_all();
    }

    /// Closes all connections and joins their readers, except for the one that calls this.
    pub(super) fn close_all(&self) {
        let mut state = self.state.lock();
        let live = std::mem::take(&mut state.live);
        let finished = std::mem::take(&mut state.finished);
        drop(state);
        for entry in live.values() {
            // Fails if the remote closed first: then it is closed.
            let _ = entry.stream.shutdown(Shutdown::Both);
        }
        live.into_values().map(|entry| entry.reader).chain(finished).for_each(join);
    }
}

impl State {
    fn admit(
        &mut self,
        limits: Limits,
        stream: TcpStream,
        thread_name: String,
        read: impl FnOnce(u64) + Send + 'static,
    ) -> Result<(), NotAdmitted> {
        if self.stopped {
            return Err(NotAdmitted::Stopped);
        }
        if self.live.len() >= limits.connections_max {
            return Err(NotAdmitted::Full(self.live.len()));
        }
        if self.live.values().filter(|entry| entry.handshaking).count() >= limits.handshaking_max {
            self.dismiss_longest_silent();
        }
        let id = self.next_id;
        self.next_id += 1;
        // Under the lock, so that the entry is there before its thread leaves; starting a thread
        // waits for nobody.
        let reader = thread::Builder::new()
            .name(thread_name)
            .spawn(move || read(id))
            .map_err(NotAdmitted::Thread)?;
        self.live.insert(id, Entry { stream, handshaking: true, reader });
        Ok(())
    }

    fn dismiss_longest_silent(&mut self) {
        if let Some(entry) = self.live.values_mut().find(|entry| entry.handshaking) {
            entry.handshaking = false;
            // Fails if the remote closed first: then it is closed.
            let _ = entry.stream.shutdown(Shutdown::Both);
        }
    }
}

/// Joins a thread, unless it is the one that asks: that one ends by itself.
pub(super) fn join(thread: JoinHandle<()>) {
    if thread.thread().id() == thread::current().id() {
        return;
    }
    let name = thread.thread().name().unwrap_or("unnamed").to_owned();
    if thread.join().is_err() {
        log::error!(target: "NETW", "the thread {name} of the network panicked");
    }
}
