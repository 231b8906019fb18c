//! Which sockets are ready: the system's list of them, and a way to wake whoever waits for it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::io::Errno;

/// The token of the wake-up call, which no socket has.
const WAKE: u64 = u64::MAX;

/// The most sockets one wait tells of; the others are next.
const EVENTS_MAX: usize = 1024;

/// What is waited for at a socket. That it is gone is told in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Interest {
    pub(super) read: bool,
    pub(super) write: bool,
}

impl Interest {
    fn flags(self) -> EventFlags {
        let mut flags = EventFlags::empty();
        flags.set(EventFlags::IN, self.read);
        flags.set(EventFlags::OUT, self.write);
        flags
    }
}

/// What is the matter with a socket: that it can be read, that it is gone, or else that it can be
/// written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ready {
    pub(super) token: u64,
    pub(super) read: bool,
    /// Both directions have ended, or it failed.
    pub(super) gone: bool,
}

/// Sockets that are waited for, each under a token.
pub(super) struct Poller {
    list: OwnedFd,
    wake: OwnedFd,
}

impl Poller {
    pub(super) fn new() -> io::Result<Self> {
        let list = epoll::create(CreateFlags::CLOEXEC)?;
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        // By its edges: each call is told once, and needs no reading.
        epoll::add(&list, &wake, EventData::new_u64(WAKE), EventFlags::IN | EventFlags::ET)?;
        Ok(Self { list, wake })
    }

    /// Waits for `socket` from now on. It is told again as long as it is ready.
    pub(super) fn add(&self, socket: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        assert_ne!(token, WAKE, "that token is ours");
        Ok(epoll::add(&self.list, socket, EventData::new_u64(token), interest.flags())?)
    }

    /// Changes what is waited for.
    pub(super) fn modify(
        &self,
        socket: impl AsFd,
        token: u64,
        interest: Interest,
    ) -> io::Result<()> {
        Ok(epoll::modify(&self.list, socket, EventData::new_u64(token), interest.flags())?)
    }

    /// Waits for `socket` no more.
    pub(super) fn remove(&self, socket: impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.list, socket)?)
    }

    /// Makes whoever waits return, or the next one who does.
    pub(super) fn wake(&self) {
        match rustix::io::write(&self.wake, &1u64.to_ne_bytes()) {
            // A counter that is full has been read by nobody, so the call is still to be heard.
            Ok(_) | Err(Errno::AGAIN) => {}
            Err(error) => log::error!(target: "CLNT", "a front-end thread is not woken: {error}"),
        }
    }

    /// Waits until a socket is ready, or `deadline`, or a call to wake; `found` says which.
    pub(super) fn wait(&self, deadline: Option<Instant>, found: &mut Found) -> io::Result<()> {
        let timeout = deadline.map(|at| timespec(at.saturating_duration_since(Instant::now())));
        found.events.clear();
        let room = rustix::buffer::spare_capacity(&mut found.events);
        match epoll::wait(&self.list, room, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// The sockets that a wait found ready.
pub(super) struct Found {
    events: Vec<Event>,
}

impl Found {
    pub(super) fn new() -> Self {
        Self { events: Vec::with_capacity(EVENTS_MAX) }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Ready> + '_ {
        let ready = self.events.iter().map(|event| {
            // Copied: the system's record is packed.
            let (flags, data) = (event.flags, event.data);
            Ready {
                token: data.u64(),
                read: flags.contains(EventFlags::IN),
                gone: flags.intersects(EventFlags::HUP | EventFlags::ERR),
            }
        });
        ready.filter(|ready| ready.token != WAKE)
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (near, listener.accept().unwrap().0)
    }

    fn in_ms(ms: u64) -> Instant {
        Instant::now() + Duration::from_millis(ms)
    }

    #[test]
    fn a_socket_is_told_as_long_as_it_is_ready_and_waited_for() {
        let (poller, mut found) = (Poller::new().unwrap(), Found::new());
        let (mut near, mut far) = pair();
        poller.add(&near, 7, Interest { read: true, write: false }).unwrap();
        poller.wait(Some(in_ms(1)), &mut found).unwrap();
        assert_eq!(found.iter().count(), 0);
        far.write_all(b"x").unwrap();
        for _ in 0..2 {
            poller.wait(Some(in_ms(5000)), &mut found).unwrap();
            let ready: Vec<Ready> = found.iter().collect();
            assert!(matches!(ready[..], [Ready { token: 7, read: true, gone: false }]));
        }
        poller.modify(&near, 7, Interest { read: false, write: true }).unwrap();
        poller.wait(Some(in_ms(5000)), &mut found).unwrap();
        let ready: Vec<Ready> = found.iter().collect();
        assert!(matches!(ready[..], [Ready { token: 7, read: false, gone: false }]));
        near.read_exact(&mut [0]).unwrap();
        poller.remove(&near).unwrap();
        poller.wait(Some(in_ms(1)), &mut found).unwrap();
        assert_eq!(found.iter().count(), 0);
    }

    #[test]
    fn a_call_wakes_the_one_who_waits_or_the_next() {
        let (poller, mut found) = (Poller::new().unwrap(), Found::new());
        let began = Instant::now();
        poller.wake();
        poller.wait(Some(in_ms(10_000)), &mut found).unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| poller.wait(Some(in_ms(10_000)), &mut Found::new()));
            poller.wake();
            waiting.join().unwrap().unwrap();
        });
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        poller.wait(Some(in_ms(1)), &mut found).unwrap();
        assert_eq!(found.iter().count(), 0, "a call is heard once");
    }
}
