//! The front end for Redis clients: RESP2 and RESP3, at any node.
//!
//! What it promises beyond the commands themselves, because of how such clients behave:
//! - A node that does not lead forwards; clients never see a redirection.
//! - Commands wait through an election, and are answered, with an error if need be, before clients
//!   send them again by themselves.
//! - While the process lives, no connection is closed with a command in flight: clients repeat
//!   after a lost connection, but not after an error.
//! - The first word of an error says whether repeating is safe: `CLUSTERDOWN` and `TRYAGAIN` mean
//!   not executed; `UNKNOWNRESULT` means nobody knows.
//!
//! The layers, from the bytes up: `parse` (with `inline`) makes commands of bytes, and `reply` bytes
//! of replies. `table` lists the commands: those on data are planned by `data_commands`, the others
//! are answered by `handshake`, `client_command`, `cluster`, `command`, `config`, `info`, `raft`,
//! `special`, and those that are not known by `unknown`. A `conversation` takes bytes and gives bytes
//! and questions to the store (`ask`), with `run` bundling what was pipelined and `transaction` what
//! is between `MULTI` and `EXEC`; it knows no socket and never waits. [`Connection`] is one for those
//! who may.
//!
//! `listener` accepts connections and deals them out to a few threads. Each has a `switchboard` of
//! many connections, which are a `wire` each and served by its `host`; it sleeps on the `poller`, and
//! `mailbox` is where other threads reach it. `batch` puts together what all of them ask. `clients`
//! knows who is connected.
//!
//! **Boundary:** everything replicated is behind [`Store`].

mod ask;
mod batch;
mod client_command;
mod clients;
mod cluster;
mod command;
mod config;
mod connection;
mod conversation;
mod data_commands;
mod front_end;
mod handshake;
mod host;
mod info;
mod inline;
mod listener;
mod mailbox;
mod parse;
mod poller;
mod raft;
mod reply;
mod run;
mod special;
mod switchboard;
mod table;
#[cfg(test)]
mod tests;
mod transaction;
mod trips;
mod unknown;
mod wire;

pub use connection::{Connection, Flow};
pub use front_end::{FrontEnd, RespOptions};
pub use listener::{OtherProtocol, RespListener};
pub use parse::{ParseLimits, Parser, ProtocolError, Words};
pub use reply::{Protocol, Reply, Writer};

use oarlock_rpc::promise;

use crate::error::ExecuteError;
use crate::local::LocalClient;
use crate::op::{Answers, Op};
use crate::status::NodeStatus;

/// Who is told what a store answers.
pub type Done = Box<dyn FnOnce(Result<Answers, ExecuteError>) + Send>;

/// What the front end needs of a store.
pub trait Store: Send + Sync + 'static {
    /// Executes `ops` together, in order, and exactly once if at all. Does not wait: `done` gets the
    /// result, once, in bounded time, perhaps on this thread. It does not wait either.
    fn execute_with(&self, ops: Vec<Op>, done: Done);

    /// [`execute_with`](Self::execute_with) for those who can wait.
    fn execute(&self, ops: Vec<Op>) -> Result<Answers, ExecuteError> {
        let (promise, awaited) = promise();
        self.execute_with(ops, Box::new(move |result| promise.keep(result)));
        awaited.wait().unwrap_or(Err(ExecuteError::Stopped))
    }

    /// What there is to say of this node. Does not wait.
    fn status(&self) -> NodeStatus;
}

impl Store for LocalClient {
    fn execute_with(&self, ops: Vec<Op>, done: Done) {
        LocalClient::execute_with(self, ops, done);
    }

    fn status(&self) -> NodeStatus {
        LocalClient::status(self)
    }
}
