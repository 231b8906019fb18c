//! The thread of a link: dials, reads replies until the connection breaks, pauses, dials again.

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Instant;

use socket2::{Domain, Protocol, Socket, Type};

use super::backoff::Backoff;
use super::frame::Frame;
use super::handshake::{self, HandshakeError};
use super::incoming::{ReadError, WhileUnsent, read_frames};
use super::link::Link;
use super::outgoing::{Outgoing, Writer};
use super::socket;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
enum DialError {
    #[error("the address cannot be looked up: {0}")]
    Lookup(io::Error),
    #[error("the name has no address")]
    NoAddress,
    #[error("{0}")]
    Connect(io::Error),
    #[error("connected to itself: nobody listens there")]
    Itself,
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    #[error("the end is closed")]
    Closed,
}

/// The body of the thread; it ends when the link is closed.
pub(super) fn run(link: &Link) {
    // A completion that panics must not leave callers waiting.
    let _close = CloseOnExit(link);
    if !link.wait_until_used() {
        return;
    }
    let mut backoff = Backoff::new(link.options.backoff_min, link.options.backoff_max);
    let mut news = News { link, last: None };
    loop {
        match dial(link) {
            Ok(stream) => {
                backoff.reset();
                news.up();
                let end = receive(link, stream);
                news.down(&end);
            }
            Err(DialError::Closed) => return,
            Err(e) => news.down(&e),
        }
        link.down();
        // After a break as well, so that a remote that accepts and closes is not dialled in a spin.
        if !link.wait_to_dial(backoff.pause()) {
            return;
        }
    }
}

/// Reads replies until the connection ends, and says why it did.
fn receive(link: &Link, stream: TcpStream) -> ReadError {
    let out = Arc::new(Outgoing::new(stream, link.options.unsent_bytes_max));
    let writer = match Writer::spawn(&out, link.options.thread_name(link.lane, "out")) {
        Ok(writer) => writer,
        Err(e) => return e.into(),
    };
    if !link.connected(&out) {
        return ReadError::ClosedHere;
    }
    let end = read_frames(&out, WhileUnsent::GoOn, |frame| {
        match frame {
            Frame::Reply { call_id, payload } => link.finish(call_id, Some(payload.to_vec())),
            Frame::NoReply { call_id } => link.finish(call_id, None),
            Frame::Request { .. } => return Err(ReadError::Direction),
        }
        Ok(())
    });
    link.down();
    drop(writer);
    end
}

/// Connects to the first address that answers, and shakes hands.
fn dial(link: &Link) -> Result<TcpStream, DialError> {
    let addresses = link.options.address.to_socket_addrs().map_err(DialError::Lookup)?;
    let mut failure = DialError::NoAddress;
    for address in addresses {
        match dial_address(link, address) {
            Ok(stream) => return Ok(stream),
            Err(DialError::Closed) => return Err(DialError::Closed),
            Err(e) => failure = e,
        }
    }
    // Closing the link interrupts its dial, which then looks like a failure.
    if link.show_socket(None) { Err(failure) } else { Err(DialError::Closed) }
}

fn dial_address(link: &Link, address: SocketAddr) -> Result<TcpStream, DialError> {
    let options = &link.options;
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))
        .map_err(DialError::Connect)?;
    if !link.show_socket(Some(socket.try_clone().map_err(DialError::Connect)?)) {
        return Err(DialError::Closed);
    }
    socket.connect_timeout(&address.into(), options.connect_timeout).map_err(DialError::Connect)?;
    let stream = TcpStream::from(socket);
    // A dial of a local port that nobody listens on may pick that very port to dial from.
    if stream.local_addr().is_ok_and(|local| local == address) {
        return Err(DialError::Itself);
    }
    socket::tune(&stream).map_err(DialError::Connect)?;
    let deadline = Instant::now() + options.handshake_timeout;
    handshake::dial(&stream, &options.hello(link.lane), deadline)?;
    Ok(stream)
}

struct CloseOnExit<'a>(&'a Link);

impl Drop for CloseOnExit<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// The log of a link: a line when something changes, none for each retry.
struct News<'a> {
    link: &'a Link,
    last: Option<String>,
}

impl News<'_> {
    fn up(&mut self) {
        self.last = None;
        let (address, lane) = (&self.link.options.address, self.link.lane);
        log::info!(target: "NETW", "connected to {address} ({lane:?})");
    }

    fn down(&mut self, reason: &impl std::error::Error) {
        let reason = reason.to_string();
        if self.last.as_ref() != Some(&reason) {
            let (address, lane) = (&self.link.options.address, self.link.lane);
            log::warn!(target: "NETW", "no connection to {address} ({lane:?}): {reason}");
            self.last = Some(reason);
        }
    }
}
