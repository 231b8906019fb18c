//! The calling contract that everything above the network is written against, the codec, and the
//! TCP network.
//!
//! One end of a connection offers one thing: *call this method with these bytes, and get the reply
//! bytes or nothing*. Nothing means lost, refused, timed out or dead; the caller never learns
//! which. Two networks implement the contract: [`tcp`] here, and the labs' simulated one in
//! `oarlock-labrpc`. Both carry the same encoded bytes, made by [`codec`] alone.
//!
//! **Boundary:** nothing here knows what the bytes mean.

mod call;
pub mod codec;
#[cfg(all(test, feature = "interleavings"))]
mod interleavings;
mod promise;
mod router;
pub mod tcp;

pub use call::{Call, Completion, End, Lane, Method, ReplySlot, Service, UnknownMethod};
pub use promise::{Awaited, Promise, promise};
pub use router::Router;
