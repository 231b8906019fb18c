//! One connection's socket, which is never waited for: bytes in, bytes out, and what is to be waited
//! for next.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use socket2::{SockRef, TcpKeepalive};

use super::ask::Ask;
use super::conversation::{Conversation, Next};
use super::front_end::FrontEnd;
use super::poller::Interest;
use crate::error::ExecuteError;
use crate::op::Answer;

/// A buffer for replies that has grown past this is given back, in bytes.
const OUT_BYTES_KEPT: usize = 64 << 10;

/// No more than about this is read ahead of a client that waits for answers, or takes none, in
/// bytes.
const AHEAD_BYTES_MAX: usize = 64 << 10;

/// An idle connection is probed after this long, so that a client that is gone is noticed.
const IDLE_BEFORE_PROBE: Duration = Duration::from_secs(300);

/// A client that was told goodbye is waited for as long as it sends something this often, …
const SILENCE_MAX: Duration = Duration::from_millis(100);

/// … and no longer than this.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where a connection is in its life.
pub(super) enum Stage {
    /// Nothing has come. If there are too many clients, it may take no longer than until its
    /// deadline.
    Undecided { crowded: bool },
    /// It is a client's.
    Talking(Box<Conversation>),
    /// All has been said. What is still on its way is taken in, within reason: closing with unread
    /// bytes would take back the last reply, and break a client that is still sending.
    Leaving { until: Instant },
}

/// One connection.
pub(super) struct Wire {
    pub(super) stream: Arc<TcpStream>,
    pub(super) stage: Stage,
    /// Nothing more will come.
    pub(super) ended: bool,
    /// When patience ends: with a client that takes no replies, or does not show what it is, or is
    /// leaving.
    pub(super) deadline: Option<Instant>,
    /// What is waited for, and until when, as the thread has noted it.
    pub(super) interest: Interest,
    pub(super) noted: Option<Instant>,
    /// Replies, of which the first `sent` bytes are on their way.
    out: Vec<u8>,
    sent: usize,
}

/// What came of reading.
pub(super) enum Input {
    /// So many bytes.
    Bytes(usize),
    /// Nothing for now.
    Nothing,
    /// Nothing any more.
    End,
}

impl Wire {
    /// A connection of which nothing is known. If there are too many clients, it shows what it is
    /// until `deadline`.
    pub(super) fn new(
        stream: TcpStream,
        crowded: bool,
        deadline: Option<Instant>,
    ) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream: Arc::new(stream),
            stage: Stage::Undecided { crowded },
            ended: false,
            deadline,
            interest: Interest { read: true, write: false },
            noted: None,
            out: Vec::new(),
            sent: 0,
        })
    }

    /// Prepares the socket for a client.
    pub(super) fn tune(&self) -> io::Result<()> {
        self.stream.set_nodelay(true)?;
        let keepalive = TcpKeepalive::new().with_time(IDLE_BEFORE_PROBE);
        SockRef::from(&*self.stream).set_tcp_keepalive(&keepalive)
    }

    /// The first byte that has come, left where it is; `None` if the connection ended without one.
    pub(super) fn peek_first(&self) -> io::Result<Option<u8>> {
        let mut byte = [0];
        let len = self.stream.peek(&mut byte)?;
        Ok((len > 0).then_some(byte[0]))
    }

    /// Reads what has come, as far as there is room. An error means that the client is gone.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Input> {
        match (&*self.stream).read(buffer) {
            Ok(0) => {
                self.ended = true;
                Ok(Input::End)
            }
            Ok(len) => Ok(Input::Bytes(len)),
            Err(error) if is_passing(&error) => Ok(Input::Nothing),
            Err(error) => Err(error),
        }
    }

    /// Goes on with what has come; `None` if this is no conversation, or one that waits for answers.
    pub(super) fn advance(&mut self) -> Option<Next> {
        match &mut self.stage {
            Stage::Talking(conversation) if !conversation.is_waiting() => {
                Some(conversation.advance(&mut self.out))
            }
            _ => None,
        }
    }

    /// Takes the store's answers, and returns what it is to be asked for again.
    pub(super) fn answer(&mut self, result: Result<&[Answer], &ExecuteError>) -> Option<Ask> {
        match &mut self.stage {
            Stage::Talking(conversation) => conversation.answer(result, &mut self.out),
            _ => None,
        }
    }

    /// A reply that belongs to no conversation.
    pub(super) fn say(&mut self, reply: &[u8]) {
        self.out.extend_from_slice(reply);
    }

    /// Whether there are replies that the client has yet to take.
    pub(super) fn has_replies(&self) -> bool {
        self.sent < self.out.len()
    }

    /// Writes what the socket takes of the replies. An error means that the client is gone.
    pub(super) fn write(&mut self, front: &FrontEnd, now: Instant) -> io::Result<()> {
        while self.has_replies() {
            match (&*self.stream).write(&self.out[self.sent..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(len) => {
                    self.sent += len;
                    self.deadline = None;
                    front.stats.bytes_out.fetch_add(len as u64, Ordering::Relaxed);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.deadline.get_or_insert(now + front.options.write_timeout);
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        self.out.shrink_to(OUT_BYTES_KEPT);
        self.sent = 0;
        Ok(())
    }

    /// Says nothing more, and waits for the client to do the same.
    pub(super) fn leave(&mut self, now: Instant) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)?;
        self.stage = Stage::Leaving { until: now + PATIENCE };
        self.be_patient(now);
        Ok(())
    }

    /// A client that is leaving has sent something.
    pub(super) fn be_patient(&mut self, now: Instant) {
        if let Stage::Leaving { until } = self.stage {
            self.deadline = Some(until.min(now + SILENCE_MAX));
        }
    }

    /// What there is to wait for now.
    pub(super) fn wanted(&self) -> Interest {
        let write = self.has_replies();
        let may_read = match &self.stage {
            Stage::Talking(conversation) if write || conversation.is_waiting() => {
                conversation.unread_bytes() < AHEAD_BYTES_MAX
            }
            _ => true,
        };
        Interest { read: may_read && !self.ended, write }
    }
}

/// Whether to try again when the socket is ready.
pub(super) fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
