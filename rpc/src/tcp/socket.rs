//! What we ask of a TCP socket beyond the standard library: options, a send that never waits, and
//! an exact read with a deadline.

use std::io::{self, ErrorKind, IoSlice, Read};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use socket2::{SockRef, TcpKeepalive};

/// An idle connection is probed after this long, and then every [`PROBE_INTERVAL`].
const IDLE_BEFORE_PROBE: Duration = Duration::from_secs(10);
/// The time between two probes of an idle connection; the third without an answer breaks it. On
/// Linux the first does, for it has been idle for longer than [`UNACKNOWLEDGED_MAX`] by then.
const PROBE_INTERVAL: Duration = Duration::from_secs(3);
/// A connection whose remote acknowledges nothing for this long, or takes nothing in, is broken.
///
/// While packets are lost TCP tries ever more rarely: 3 s after it began, 6, 13, 26. A network that
/// is mended in between stays unused until the next try. From here on we dial instead, at least
/// every other second.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(5);

/// Prepares a connected socket, whatever was done to it before: calls on it wait, small messages
/// are not delayed, and a dead remote is noticed.
pub(super) fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(None)?;
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let probes = TcpKeepalive::new().with_time(IDLE_BEFORE_PROBE).with_interval(PROBE_INTERVAL);
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX))?;
    socket.set_tcp_keepalive(&probes.with_retries(3))
}

/// Sends what the socket takes at once, and never waits: [`ErrorKind::WouldBlock`] if nothing.
#[cfg(target_os = "linux")]
pub(super) fn send_now(stream: &TcpStream, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    // Of Linux's <sys/socket.h>; the same on every architecture that Rust supports.
    const MSG_DONTWAIT: std::ffi::c_int = 0x40;
    // A remote that is gone is an error here, not a signal to the process.
    const MSG_NOSIGNAL: std::ffi::c_int = 0x4000;
    SockRef::from(stream).send_vectored_with_flags(slices, MSG_DONTWAIT | MSG_NOSIGNAL)
}

/// Sends nothing: without a flag for one send, whatever is queued is left to the writer thread.
#[cfg(not(target_os = "linux"))]
pub(super) fn send_now(_: &TcpStream, _: &[IoSlice<'_>]) -> io::Result<usize> {
    Err(ErrorKind::WouldBlock.into())
}

/// Fills `bytes`, or fails with [`ErrorKind::TimedOut`] at `deadline`.
///
/// Leaves the socket with a read time-out.
pub(super) fn read_exact_until(
    stream: &TcpStream,
    mut bytes: &mut [u8],
    deadline: Instant,
) -> io::Result<()> {
    while !bytes.is_empty() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match (&*stream).read(bytes) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(len) => bytes = &mut bytes[len..],
            // A read that ran out of time says WouldBlock on some systems: the deadline decides.
            Err(e) if is_passing(&e) || e.kind() == ErrorKind::TimedOut => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Whether the same call on the same socket may well succeed next time.
pub(super) fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock)
}

/// Wakes a thread that waits in `accept`, which then fails, now and from now on.
///
/// Where a listening socket cannot be shut down, a connection to itself wakes the thread instead.
pub(super) fn wake_listener(listener: &TcpListener) -> io::Result<()> {
    if SockRef::from(listener).shutdown(std::net::Shutdown::Both).is_ok() {
        return Ok(());
    }
    let mut address = listener.local_addr()?;
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            std::net::SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            std::net::SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    TcpStream::connect_timeout(&address, Duration::from_secs(1)).map(drop)
}
