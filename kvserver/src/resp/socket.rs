//! Moving one client's bytes: read, converse, write. One thread each, which is free to wait; the
//! only file that would change if many connections were to share a thread.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use socket2::{SockRef, TcpKeepalive};

use super::connection::{Connection, Flow};
use super::front_end::FrontEnd;

/// What one read takes at most, in bytes.
const READ_BYTES: usize = 16 << 10;

/// A buffer for replies that has grown past this is given back, in bytes.
const OUT_BYTES_KEPT: usize = 256 << 10;

/// An idle connection is probed after this long, so that a client that is gone is noticed.
const IDLE_BEFORE_PROBE: Duration = Duration::from_secs(300);

/// Prepares a client's socket.
pub(super) fn tune(stream: &TcpStream, write_timeout: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(write_timeout))?;
    SockRef::from(stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(IDLE_BEFORE_PROBE))
}

/// The first byte that comes, left where it is; `None` if the connection ends without one.
pub(super) fn peek_first(stream: &TcpStream) -> Option<u8> {
    let mut byte = [0];
    loop {
        match stream.peek(&mut byte) {
            Ok(0) => return None,
            Ok(_) => return Some(byte[0]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}

/// Converses until either side has enough.
pub(super) fn converse(front: &FrontEnd, mut stream: &TcpStream, mut connection: Connection) {
    let mut input = vec![0; READ_BYTES];
    let mut out = Vec::new();
    loop {
        match stream.read(&mut input) {
            Ok(0) => return,
            Ok(len) => connection.feed(&input[..len]),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => return,
        }
        loop {
            let flow = connection.advance(&mut out);
            front.stats.bytes_out.fetch_add(out.len() as u64, Ordering::Relaxed);
            if stream.write_all(&out).is_err() {
                return;
            }
            out.clear();
            out.shrink_to(OUT_BYTES_KEPT);
            match flow {
                Flow::More => {}
                Flow::NeedsInput => break,
                Flow::Close => return say_goodbye(stream),
            }
        }
    }
}

/// Turns a client away, with a reason.
pub(super) fn turn_away(mut stream: &TcpStream, reason: &str) {
    let reply = format!("-ERR {reason}\r\n");
    if stream.write_all(reply.as_bytes()).is_ok() {
        say_goodbye(stream);
    }
}

/// Ends our side, and takes in what is still on its way, within reason: closing with unread bytes
/// would take back the last reply, and break a client that is still sending.
fn say_goodbye(mut stream: &TcpStream) {
    const SILENCE_MAX: Duration = Duration::from_millis(100);
    const PATIENCE: Duration = Duration::from_secs(2);
    let deadline = Instant::now() + PATIENCE;
    if stream.shutdown(Shutdown::Write).is_err()
        || stream.set_read_timeout(Some(SILENCE_MAX)).is_err()
    {
        return;
    }
    let mut rest = vec![0; READ_BYTES];
    while Instant::now() < deadline && matches!(stream.read(&mut rest), Ok(1..)) {}
}
