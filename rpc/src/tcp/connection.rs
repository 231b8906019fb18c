//! One accepted connection: its handshake, and then its requests, each handed to the service.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Weak};
use std::time::Instant;

use super::frame::{Frame, Header};
use super::handshake::{self, HandshakeError, Hello, Role};
use super::incoming::{ReadError, WhileUnsent, read_frames};
use super::outgoing::{NotQueued, Outgoing, Writer};
use super::server::Shared;
use super::socket;
use crate::{Completion, Lane, Service};

/// The cause under which handshakes that broke off are logged; refusals have their own codes.
const BROKE_OFF: u8 = 0;

/// The body of a connection's reader: from the first byte to the last.
pub(super) fn serve(shared: &Shared, id: u64, stream: TcpStream, remote: SocketAddr) {
    let deadline = Instant::now() + shared.options.handshake_timeout;
    let serves = |role| shared.service(role).is_some();
    let shaken = socket::tune(&stream)
        .map_err(HandshakeError::from)
        .and_then(|()| handshake::accept(&stream, shared.options.identity, serves, deadline));
    let hello = match shaken {
        Ok(hello) => hello,
        Err(HandshakeError::Refused(refusal)) => {
            shared.refusals.log(remote, refusal.code(), refusal);
            return;
        }
        // A stopped server breaks off its own handshakes.
        Err(_) if shared.registry.is_stopped() => return,
        Err(e) => {
            shared.refusals.log(remote, BROKE_OFF, e);
            return;
        }
    };
    if !shared.registry.introduce(id) {
        return;
    }
    let Some(service) = shared.service(hello.role) else { return };
    log::debug!(target: "NETW", "{} connected", Dialer(remote, hello));
    let end = match serve_requests(shared, stream, service.as_ref(), remote, hello) {
        Ok(end) => end,
        Err(e) => ReadError::Io(e),
    };
    let by_remote = matches!(end, ReadError::Closed | ReadError::Io(_));
    if by_remote
        && !shared.registry.is_stopped()
        && hello.role == Role::Peer
        && hello.lane == Lane::Urgent
    {
        service.hung_up(hello.dialer.node_id);
    }
    match end {
        ReadError::Frame(_) | ReadError::Direction => {
            log::warn!(target: "NETW", "closed the connection of {}: {end}", Dialer(remote, hello));
        }
        _ => log::debug!(target: "NETW", "{} is gone: {end}", Dialer(remote, hello)),
    }
}

fn serve_requests(
    shared: &Shared,
    stream: TcpStream,
    service: &dyn Service,
    remote: SocketAddr,
    hello: Hello,
) -> io::Result<ReadError> {
    let out = Arc::new(Outgoing::new(stream, shared.options.unsent_bytes_max));
    let _writer = Writer::spawn(&out, shared.thread_name("out"))?;
    let mut unknown_logged = false;
    Ok(read_frames(&out, WhileUnsent::Pause, |frame| {
        let Frame::Request { call_id, method, args } = frame else {
            return Err(ReadError::Direction);
        };
        let outcome = service.handle(method, args, reply_slot(&out, call_id));
        if let Err(unknown) = outcome
            && !std::mem::replace(&mut unknown_logged, true)
        {
            log::warn!(target: "NETW", "{} calls in vain: {unknown}", Dialer(remote, hello));
        }
        Ok(())
    }))
}

/// The slot for the reply to one call. It does not keep the connection open.
fn reply_slot(out: &Arc<Outgoing>, call_id: u64) -> Completion {
    let out = Arc::downgrade(out);
    Completion::new(move |outcome| reply(&out, call_id, outcome))
}

fn reply(out: &Weak<Outgoing>, call_id: u64, outcome: Option<Vec<u8>>) {
    let Some(out) = out.upgrade() else { return };
    let Some(payload) = outcome else { return out.send_always(&Header::no_reply(call_id)) };
    match Header::reply(call_id, &payload) {
        Ok(header) => {
            // A remote that does not read its replies loses them, and learns so if it reads on. The
            // frame that says so is smaller than what the call took here.
            if out.send(&header, payload) == Err(NotQueued::Full) {
                out.send_always(&Header::no_reply(call_id));
            }
        }
        Err(e) => {
            log::error!(target: "NETW", "a reply could not be sent: {e}");
            out.send_always(&Header::no_reply(call_id));
        }
    }
}

/// The remote, as log lines name it.
struct Dialer(SocketAddr, Hello);

impl std::fmt::Display for Dialer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self(remote, hello) = self;
        match hello.role {
            Role::Peer => write!(f, "peer {} ({remote}, {:?})", hello.dialer.node_id, hello.lane),
            Role::Client => write!(f, "a client ({remote}, {:?})", hello.lane),
        }
    }
}
