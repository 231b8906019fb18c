//! The labs' simulated network: the calling contract of `oarlock-rpc`, carried by threads of one
//! process, with the failures of a bad network made to order.
//!
//! # Words
//!
//! - A **client end** ([`ClientEnd`]) is where calls start. It has a name of its own, is connected
//!   *once* to the name of a server, and is born **disabled**: to cut one direction between two peers
//!   is to disable one end.
//! - A **server** is a [`Service`](oarlock_rpc::Service) under a name; a
//!   [`Router`](oarlock_rpc::Router) makes several services one. A name may be given to another
//!   server (a restarted peer), and then the old one's replies no longer reach anybody.
//! - A **knob** is how the network misbehaves: unreliable (requests are delayed by up to 26 ms, one
//!   message in ten is lost), long delays (a call to nobody takes up to 7 s to fail), long reordering
//!   (two replies in three arrive up to 2.2 s late). All are off at first. Turning one changes calls
//!   that start later, never those on their way.
//! - A call's **fate** is all that chance decides about it, drawn when it starts. It follows from the
//!   network's seed and the number and order of the calls before it.
//! - A **deadness check** happens every 100 ms of a handler's run, and when it answers: if the end is
//!   disabled by then, or the name stands for another server, the call fails, although the handler
//!   goes on and its effects stay.
//!
//! # What a call costs
//!
//! A call that waits (for a delay, for a failure) is an entry in a heap; one delivery thread serves
//! them all. Handlers run on a crew of worker threads with one queue. A handler may block for as long
//! as it likes: a request that finds all workers busy gets a new one after about a millisecond, so
//! there are as many workers as handlers that block at once, and a few more. Those that have been idle
//! for a second leave. A call on a reliable network hands over twice, to a worker and back, unless the
//! service is [prompt](oarlock_rpc::Service::is_prompt): then its handler runs on the caller's thread.
//! Handlers and completions must not count on running in any order.
//!
//! # Misuse
//!
//! A request for a method that its server does not have ends the process, with a line on stderr: it
//! is a programming error, and answering "lost" would hide it in a retry loop. A second end of the
//! same name, or a second connection of an end, panics. A panic in a handler or completion fails its
//! call and comes up again in [`Network::shutdown`], or in the drop of the last handle.
//!
//! ```
//! use std::sync::Arc;
//! use oarlock_labrpc::Network;
//! use oarlock_rpc::{End, Method, ReplySlot, Service, UnknownMethod};
//!
//! struct Echo;
//!
//! impl Service for Echo {
//!     fn handle(&self, method: &str, args: &[u8], reply: ReplySlot) -> Result<(), UnknownMethod> {
//!         match method {
//!             "Echo.Say" => Ok(reply.reply(args.to_vec())),
//!             other => Err(UnknownMethod(other.to_owned())),
//!         }
//!     }
//! }
//!
//! const SAY: Method = Method::urgent("Echo.Say");
//!
//! let network = Network::new(1);
//! network.add_server(0, Arc::new(Echo));
//! let end = network.make_end("client");
//! network.connect("client", 0);
//!
//! assert_eq!(end.call(SAY, b"anybody?".to_vec()).wait(), None, "the end is disabled");
//! network.enable("client", true);
//! assert_eq!(end.call(SAY, b"hello".to_vec()).wait(), Some(b"hello".to_vec()));
//! assert_eq!(network.count(0), Ok(1));
//! assert_eq!(network.total_count(), 2);
//! ```

mod calls;
mod deadlines;
mod delivery;
mod end;
mod network;
mod pending;
mod rng;
mod shared;
mod topology;
mod workers;

pub use end::ClientEnd;
pub use network::{Network, NoSuchServer};
