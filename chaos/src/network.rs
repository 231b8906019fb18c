//! What is between the nodes of a cluster: namespaces with real links, or proxies.
//!
//! Both fail link by link, in one direction each. Namespaces are the truer of the two: packets
//! vanish, acknowledgements of TCP among them. Proxies work everywhere.

mod choose;
mod namespaces;
mod proxies;
mod tools;
mod trial;

#[cfg(test)]
mod tests;

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

pub use choose::{Start, choose};
pub(crate) use tools::find_program;

use namespaces::Namespaces;
use proxies::Proxies;

/// Where a node serves clients, whatever its address.
const CLIENT_PORT: u16 = 7001;
/// Where a node hears other nodes, whatever its address.
const PEER_PORT: u16 = 7101;

/// Which network is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Wanted {
    /// Namespaces if this machine lets us make them, and proxies if not.
    Auto,
    /// A network namespace for each node; an error if they cannot be made.
    Namespaces,
    /// A proxy for each ordered pair of nodes.
    Proxies,
}

/// Which network there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Network {
    /// Each node has a network namespace, an address and a link of its own.
    Namespaces,
    /// Nodes reach each other through proxies on the loopback device.
    Proxies {
        /// What speaks for them here.
        why: String,
    },
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Namespaces => f.write_str("namespaces, one for each node"),
            Self::Proxies { why } => write!(f, "proxies, {why}"),
        }
    }
}

impl Network {
    /// As it is asked for on the command line.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Namespaces => "namespaces",
            Self::Proxies { .. } => "proxies",
        }
    }

    /// Connects nodes 1 to `count`; `dir` is theirs.
    pub(crate) fn connect(&self, count: usize, dir: &Path) -> anyhow::Result<Box<dyn Links>> {
        Ok(match self {
            Self::Namespaces => Box::new(Namespaces::start(count, dir)?),
            Self::Proxies { .. } => Box::new(Proxies::start(count)?),
        })
    }
}

/// The links of a cluster. A link is a direction: (from, to).
pub(crate) trait Links {
    /// Where a node listens for clients, who always reach it.
    fn client_addr(&self, id: usize) -> SocketAddr;

    /// Where a node listens for other nodes.
    fn peer_addr(&self, id: usize) -> SocketAddr;

    /// Where `from` dials to reach `to`.
    fn address(&self, from: usize, to: usize) -> SocketAddr;

    /// The command that becomes `program`, where the node is: its process is that of the program.
    fn launch(&self, id: usize, program: &Path) -> Command;

    /// Nothing goes over these links any more.
    fn cut(&mut self, links: &[(usize, usize)]) -> anyhow::Result<()>;

    /// What goes over these links takes longer: a few bytes up to `delay`, many bytes more.
    fn slow(&mut self, links: &[(usize, usize)], delay: Duration) -> anyhow::Result<()>;

    /// Breaks all connections between the two.
    fn reset(&mut self, one: usize, other: usize) -> anyhow::Result<()>;

    /// Nothing goes to a node or comes from it, whoever is at the other end. Proxies cannot do it.
    fn unplug(&mut self, id: usize) -> anyhow::Result<()>;

    /// Mends all links.
    fn heal(&mut self) -> anyhow::Result<()>;
}
