//! One client: a socket that is never waited for, what is on its way in both directions, and the
//! requests that are not answered.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::protocol::{Answer, Ask, Heard, Protocol, Speak};
use super::workload::Kind;

/// There is room for so many bytes, and for more once an answer is longer.
const ROOM_BYTES: usize = 4 << 10;

/// A request that is not answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    pub(super) kind: Kind,
    pub(super) key: usize,
    /// Of a write.
    pub(super) number: u64,
    /// Of a read: what had been settled when it was sent.
    pub(super) settled: Option<Instant>,
    /// From when on it counts.
    pub(super) since: Instant,
}

/// One client's connection.
pub(super) struct Connection {
    pub(super) stream: TcpStream,
    protocol: Box<dyn Protocol>,
    /// Room for what comes: what has been understood, what has not, and what is free.
    input: Vec<u8>,
    understood: usize,
    received: usize,
    output: Vec<u8>,
    /// How much of it has been sent.
    sent: usize,
    /// Whether the socket is full, and is waited for to have room.
    pub(super) waits_for_room: bool,
    pub(super) pending: VecDeque<Pending>,
}

impl Connection {
    pub(super) fn open(addr: SocketAddr, speak: Speak, timeout: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&addr, timeout)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let mut protocol = speak.protocol();
        let mut output = Vec::new();
        protocol.hello(&mut output);
        Ok(Self {
            stream,
            protocol,
            input: vec![0; ROOM_BYTES],
            understood: 0,
            received: 0,
            output,
            sent: 0,
            waits_for_room: false,
            pending: VecDeque::new(),
        })
    }

    /// Says `ask`; [`send`](Self::send) sends it.
    pub(super) fn ask(&mut self, ask: Ask<'_>, pending: Pending) {
        self.protocol.ask(ask, &mut self.output);
        self.pending.push_back(pending);
    }

    /// Sends what there is room for. Whether something is left.
    pub(super) fn send(&mut self) -> io::Result<bool> {
        while self.sent < self.output.len() {
            match self.stream.write(&self.output[self.sent..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(bytes) => self.sent += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.output.clear();
        self.sent = 0;
        Ok(false)
    }

    /// Reminds the node, if it has owed an answer for so long; [`send`](Self::send) sends that.
    pub(super) fn remind(&mut self, now: Instant, after: Duration) {
        let owed = |pending: &Pending| now.saturating_duration_since(pending.since) >= after;
        if self.pending.front().is_some_and(owed) {
            self.protocol.remind(&mut self.output);
        }
    }

    /// Takes leave, as far as there is room for that: nobody waits for the answer.
    pub(super) fn say_goodbye(&mut self) {
        self.protocol.goodbye(&mut self.output);
        // A connection that is lost is as good.
        _ = self.send();
    }

    /// Takes what has come, once.
    pub(super) fn receive(&mut self) -> io::Result<()> {
        self.input.copy_within(self.understood..self.received, 0);
        self.received -= self.understood;
        self.understood = 0;
        if self.received == self.input.len() {
            self.input.resize(self.received * 2, 0);
        }
        match self.stream.read(&mut self.input[self.received..]) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(bytes) => {
                self.received += bytes;
                Ok(())
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(()),
                _ => Err(error),
            },
        }
    }

    /// The next answer in what has come, and the request it is to.
    pub(super) fn next_answer(&mut self) -> Result<Option<(Pending, Answer)>, String> {
        loop {
            let rest = &self.input[self.understood..self.received];
            match self.protocol.hear(rest, &mut self.output)? {
                Heard::Part => return Ok(None),
                Heard::Whole { bytes, answer } => {
                    self.understood += bytes;
                    if let Some(answer) = answer {
                        let pending = self.pending.pop_front();
                        let pending = pending.ok_or("an answer nobody asked for")?;
                        return Ok(Some((pending, answer)));
                    }
                }
            }
        }
    }
}
