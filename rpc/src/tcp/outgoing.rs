//! The sending half of a connection: whoever has a frame puts it in the queue, and whoever holds
//! the desk writes.
//!
//! There is one desk: the bytes being written, taken out of the shared state by the one thread
//! that writes them. Bytes reach the socket from the desk only, and the desk is filled from the
//! queue only when it is empty, so they leave in the order they were queued. Who finds desk and
//! queue empty sends at once, without waiting and without the lock; what the socket does not take
//! stays on the desk for the writer thread, which does wait.

use std::io::{self, ErrorKind, IoSlice, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::frame::Header;
use super::queue::{Queue, SLICES_MAX};
use super::socket;

/// More unsent bytes than this are left to the writer thread: to copy them takes longer than to
/// wake it, and the sender has other things to do.
const INLINE_LEN_MAX: usize = 128 << 10;
/// How often a sender that is not the writer thread goes on for what others queued meanwhile.
const SEND_ROUNDS: usize = 4;
/// A reader takes no more requests while this many bytes of replies are unsent.
const BACKLOG_LEN_MAX: usize = 4 << 20;

/// Why a frame was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotQueued {
    /// Too many bytes wait already.
    Full,
    /// The connection is closed.
    Closed,
}

/// The sending half of one connection.
pub(super) struct Outgoing {
    stream: TcpStream,
    unsent_max: usize,
    state: Mutex<State>,
    /// There is something to write and nobody at the desk, or the connection is closed.
    work: Condvar,
    /// The backlog is small again, or the connection is closed.
    room: Condvar,
}

struct State {
    /// Frames not yet on the desk.
    queue: Queue,
    /// The bytes being written; `None` while a thread has it.
    desk: Option<Queue>,
    /// The bytes in the queue and on the desk, wherever the desk is.
    unsent: usize,
    closed: bool,
}

impl Outgoing {
    /// The sending half of `stream`, which refuses frames while `unsent_max` bytes wait.
    pub(super) fn new(stream: TcpStream, unsent_max: usize) -> Self {
        let state = State {
            queue: Queue::default(),
            desk: Some(Queue::default()),
            unsent: 0,
            closed: false,
        };
        Self {
            stream,
            unsent_max,
            state: Mutex::new(state),
            work: Condvar::new(),
            room: Condvar::new(),
        }
    }

    /// The socket, to read from.
    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Queues a frame and gets it on its way; never waits for the remote.
    pub(super) fn send(&self, header: &Header, payload: Vec<u8>) -> Result<(), NotQueued> {
        let mut state = self.state.lock();
        let idle = state.queue.is_empty() && state.desk.as_ref().is_some_and(Queue::is_empty);
        state.push(header, payload, self.unsent_max)?;
        if idle {
            self.send_inline(state);
        }
        Ok(())
    }

    /// Queues a frame that must not be refused: one small enough not to matter.
    pub(super) fn send_always(&self, header: &Header) {
        let mut state = self.state.lock();
        let idle = state.queue.is_empty() && state.desk.as_ref().is_some_and(Queue::is_empty);
        if state.push(header, Vec::new(), usize::MAX).is_ok() && idle {
            self.send_inline(state);
        }
    }

    /// Queues a frame for [`Outgoing::flush`]: no system call, so a short lock may be held.
    pub(super) fn enqueue(&self, header: &Header, payload: Vec<u8>) -> Result<(), NotQueued> {
        self.state.lock().push(header, payload, self.unsent_max)
    }

    /// Gets on its way what [`Outgoing::enqueue`] left.
    pub(super) fn flush(&self) {
        self.send_inline(self.state.lock());
    }

    /// Keeps everything back until the cork is dropped, and then sends it at once; `None` if there
    /// is something to write already. Whoever holds a cork must not wait for this connection.
    pub(super) fn cork(&self) -> Option<Cork<'_>> {
        let mut state = self.state.lock();
        let desk = state.desk.take_if(|desk| desk.is_empty())?;
        Some(Cork { out: self, desk: Some(desk) })
    }

    /// Whether the remote has taken in most of what it was sent.
    pub(super) fn has_room(&self) -> bool {
        self.state.lock().unsent <= BACKLOG_LEN_MAX
    }

    /// Waits until the remote has taken in most of what it was sent; false if closed.
    pub(super) fn wait_for_room(&self) -> bool {
        let mut state = self.state.lock();
        while !state.closed && state.unsent > BACKLOG_LEN_MAX {
            self.room.wait(&mut state);
        }
        !state.closed
    }

    /// Closes the connection in both directions; wakes its reader and its writer. Idempotent.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        if state.closed {
            return;
        }
        state.closed = true;
        let unsent = std::mem::take(&mut state.queue);
        self.work.notify_all();
        self.room.notify_all();
        drop(state);
        drop(unsent);
        // Fails if the remote closed first: then it is closed.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Writes without waiting; the writer thread is left what cannot be written so.
    fn send_inline(&self, mut state: MutexGuard<'_, State>) {
        let Some(mut desk) = state.desk.take() else { return };
        let mut outcome = Ok(());
        for _ in 0..SEND_ROUNDS {
            if state.unsent > INLINE_LEN_MAX || !state.refill(&mut desk) {
                break;
            }
            let sent = MutexGuard::unlocked(&mut state, || {
                write_once(&mut desk, |slices| socket::send_now(&self.stream, slices))
            });
            match sent {
                Ok(sent) => self.note_sent(&mut state, sent),
                Err(e) => {
                    outcome = Err(e);
                    break;
                }
            }
        }
        let left = state.put_back(desk);
        if left {
            self.work.notify_all();
        }
        drop(state);
        if outcome.is_err_and(|e| !socket::is_passing(&e)) {
            self.close();
        }
    }

    fn note_sent(&self, state: &mut State, sent: usize) {
        state.unsent -= sent;
        if state.unsent <= BACKLOG_LEN_MAX {
            self.room.notify_all();
        }
    }

    /// The writer thread: writes whatever nobody else does, until the connection is closed.
    fn write_all(&self) {
        let mut state = self.state.lock();
        while !state.closed {
            let Some(mut desk) = state.take_desk_with_work() else {
                self.work.wait(&mut state);
                continue;
            };
            let sent = MutexGuard::unlocked(&mut state, || {
                write_once(&mut desk, |slices| (&self.stream).write_vectored(slices))
            });
            state.put_back(desk);
            match sent {
                Ok(sent) => self.note_sent(&mut state, sent),
                Err(e) if socket::is_passing(&e) => {}
                Err(_) => {
                    drop(state);
                    self.close();
                    return;
                }
            }
        }
    }
}

impl State {
    fn push(&mut self, header: &Header, payload: Vec<u8>, max: usize) -> Result<(), NotQueued> {
        if self.closed {
            return Err(NotQueued::Closed);
        }
        if self.unsent >= max {
            return Err(NotQueued::Full);
        }
        self.unsent += header.bytes().len() + payload.len();
        self.queue.push(header.bytes(), payload);
        Ok(())
    }

    /// Moves the queue onto an empty desk; false if there is nothing to write.
    fn refill(&mut self, desk: &mut Queue) -> bool {
        if desk.is_empty() {
            std::mem::swap(desk, &mut self.queue);
        }
        !desk.is_empty()
    }

    fn take_desk_with_work(&mut self) -> Option<Queue> {
        let mut desk = self.desk.take()?;
        if self.refill(&mut desk) {
            return Some(desk);
        }
        self.desk = Some(desk);
        None
    }

    /// Gives the desk back; true if there is something left to write.
    fn put_back(&mut self, desk: Queue) -> bool {
        let left = !desk.is_empty() || !self.queue.is_empty();
        assert!(self.desk.replace(desk).is_none(), "two desks");
        left
    }
}

/// The desk, taken to write nothing for a while: what is queued meanwhile leaves in one piece.
pub(super) struct Cork<'a> {
    out: &'a Outgoing,
    desk: Option<Queue>,
}

impl Drop for Cork<'_> {
    fn drop(&mut self) {
        let mut state = self.out.state.lock();
        let desk = self.desk.take().expect("only this function takes it");
        if state.put_back(desk) {
            self.out.send_inline(state);
        }
    }
}

/// One write of what comes next on the desk: how many bytes went.
fn write_once(
    desk: &mut Queue,
    write: impl FnOnce(&[IoSlice<'_>]) -> io::Result<usize>,
) -> io::Result<usize> {
    let mut slices = [IoSlice::new(&[]); SLICES_MAX];
    let count = desk.fill(&mut slices);
    let sent = write(&slices[..count])?;
    if sent == 0 {
        return Err(ErrorKind::WriteZero.into());
    }
    desk.advance(sent);
    Ok(sent)
}

/// The writer thread of a connection. Dropped, it closes the connection and joins the thread.
///
/// The thread runs no code but ours, so that any thread may join it.
pub(super) struct Writer {
    out: Arc<Outgoing>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread, under `name`.
    pub(super) fn spawn(out: &Arc<Outgoing>, name: String) -> io::Result<Self> {
        let out = Arc::clone(out);
        let writer = Arc::clone(&out);
        let thread = std::thread::Builder::new().name(name).spawn(move || writer.write_all())?;
        Ok(Self { out, thread: Some(thread) })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.out.close();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            log::error!(target: "NETW", "the writer of a connection panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::super::frame::Frame;
    use super::super::incoming::{ReadError, WhileUnsent, read_frames};
    use super::*;

    const UNSENT_MAX: usize = 1 << 20;

    /// Both ends of a connection.
    fn connection() -> (Arc<Outgoing>, Arc<Outgoing>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (far, _) = listener.accept().unwrap();
        (Arc::new(Outgoing::new(near, UNSENT_MAX)), Arc::new(Outgoing::new(far, UNSENT_MAX)))
    }

    fn send(out: &Outgoing, call_id: u64, len: usize) -> Result<(), NotQueued> {
        let payload = vec![call_id as u8; len];
        out.send(&Header::reply(call_id, &payload).unwrap(), payload)
    }

    /// Senders who race each other, the writer thread and corks, with messages of all sizes:
    /// each frame arrives whole, and the frames of one sender in their order.
    #[test]
    fn frames_of_one_sender_arrive_in_order() {
        const SENDERS: u64 = 4;
        const FRAMES: u64 = 2000;
        let (near, far) = connection();
        let _writer = Writer::spawn(&near, "test-writer".into()).unwrap();
        std::thread::scope(|scope| {
            for sender in 0..SENDERS {
                let near = &near;
                scope.spawn(move || {
                    let mut rng = fastrand::Rng::with_seed(sender);
                    for frame in 0..FRAMES {
                        let mut cork = if rng.u8(..) < 20 { near.cork() } else { None };
                        let len = if rng.u8(..) < 10 { 60_000 } else { rng.usize(..500) };
                        let call_id = sender * FRAMES + frame;
                        while send(near, call_id, len).is_err() {
                            // Full, and nothing leaves while the cork is held.
                            cork = None;
                            std::thread::yield_now();
                        }
                        drop(cork);
                    }
                });
            }
            let mut next = [0; SENDERS as usize];
            let end = read_frames(&far, WhileUnsent::GoOn, |frame| {
                let Frame::Reply { call_id, payload } = frame else { panic!("{frame:?}") };
                let sender = (call_id / FRAMES) as usize;
                assert_eq!(call_id % FRAMES, next[sender], "sender {sender}");
                assert!(payload.iter().all(|&byte| byte == call_id as u8));
                next[sender] += 1;
                if next == [FRAMES; SENDERS as usize] {
                    return Err(ReadError::ClosedHere);
                }
                Ok(())
            });
            assert!(matches!(end, ReadError::ClosedHere), "{end}");
        });
    }

    #[test]
    fn a_cork_keeps_everything_back_until_it_is_dropped() {
        let (near, far) = connection();
        let cork = near.cork().unwrap();
        assert!(near.cork().is_none(), "there is one desk");
        for call_id in 0..3 {
            assert_eq!(send(&near, call_id, 10), Ok(()));
        }
        assert_eq!(near.state.lock().unsent, 3 * 27);
        drop(cork);
        // Without a writer thread: whoever drops the cork sends, where a send need not wait.
        if cfg!(target_os = "linux") {
            assert_eq!(near.state.lock().unsent, 0);
            let mut bytes = [0; 3 * 27];
            std::io::Read::read_exact(&mut far.stream(), &mut bytes).unwrap();
            assert_eq!([bytes[9], bytes[27 + 9], bytes[54 + 9]], [0, 1, 2]);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_and_a_closed_connection_takes_nothing() {
        let (near, _far) = connection();
        let refused = loop {
            if let Err(refused) = send(&near, 1, 100_000) {
                break refused;
            }
        };
        assert_eq!(refused, NotQueued::Full);
        assert!(near.state.lock().unsent < UNSENT_MAX + 200_000);
        near.send_always(&Header::no_reply(1));
        near.close();
        assert_eq!(send(&near, 2, 1), Err(NotQueued::Closed));
        assert!(!near.wait_for_room());
    }
}
