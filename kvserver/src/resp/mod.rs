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
//! are answered by `handshake`, `client_command`, `cluster`, `command`, `config`, `info`, `raft`. A
//! [`Connection`] takes bytes and gives bytes, with `run` bundling what was pipelined and
//! `transaction` what is between `MULTI` and `EXEC`; it knows no socket. `listener` and `socket` move
//! the bytes, a thread for each connection; `clients` knows who is connected.
//!
//! **Boundary:** everything replicated is behind [`Store`].

mod client_command;
mod clients;
mod cluster;
mod command;
mod config;
mod connection;
mod data_commands;
mod front_end;
mod handshake;
mod info;
mod inline;
mod listener;
mod parse;
mod raft;
mod reply;
mod run;
mod socket;
mod table;
#[cfg(test)]
mod tests;
mod transaction;

pub use connection::{Connection, Flow};
pub use front_end::{FrontEnd, RespOptions};
pub use listener::{OtherProtocol, RespListener};
pub use parse::{ParseLimits, Parser, ProtocolError, Words};
pub use reply::{Protocol, Reply, Writer};

use crate::error::ExecuteError;
use crate::local::LocalClient;
use crate::op::{Answers, Op};
use crate::status::NodeStatus;

/// What the front end needs of a store.
pub trait Store: Send + Sync + 'static {
    /// Executes `ops` together, in order, and exactly once if at all. May wait, for a bounded time.
    fn execute(&self, ops: Vec<Op>) -> Result<Answers, ExecuteError>;

    /// What there is to say of this node. Does not wait.
    fn status(&self) -> NodeStatus;
}

impl Store for LocalClient {
    fn execute(&self, ops: Vec<Op>) -> Result<Answers, ExecuteError> {
        LocalClient::execute(self, ops)
    }

    fn status(&self) -> NodeStatus {
        LocalClient::status(self)
    }
}
