//! A client end that writes down each call and how it ended: when a test fails for want of time,
//! this tells whether the network, the receiver or the sender took it.

use std::sync::Arc;
use std::time::Instant;

use oarlock_rpc::{Completion, End, Method};

/// An end from one server to another, with a line in the trace for each beginning and end of a call.
pub(super) struct TracedEnd {
    pub(super) end: Arc<dyn End>,
    pub(super) from: usize,
    pub(super) to: usize,
}

impl End for TracedEnd {
    fn start(&self, method: Method, args: Vec<u8>, done: Completion) {
        let (from, to) = (self.from, self.to);
        log::debug!(target: "NETW", "S{from} → S{to} {method} {} bytes", args.len());
        let began = Instant::now();
        let done = Completion::new(move |reply| {
            let took = began.elapsed();
            match &reply {
                Some(_) => log::debug!(target: "NETW", "S{from} ← S{to} {method} in {took:.1?}"),
                None => log::debug!(target: "NETW", "S{from} ← S{to} {method} lost in {took:.1?}"),
            }
            done.complete(reply);
        });
        self.end.start(method, args, done);
    }
}
