//! What a client says and hears, whatever the wire.

use super::etcd::Etcd;
use super::redis::Redis;
use super::zookeeper::{self, ZooKeeper};

/// What the nodes speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Speak {
    /// The Redis protocol, as Oarlock does.
    Redis,
    /// gRPC, as etcd 3 does.
    Etcd,
    /// ZooKeeper's own protocol. A get is a `sync` and a `getData`; keys are created before they are measured.
    #[value(name = "zookeeper")]
    ZooKeeper,
}

/// One request.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ask<'a> {
    Set { key: &'a [u8], value: &'a [u8] },
    Get { key: &'a [u8] },
    Ping,
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Done,
    Value(Option<Vec<u8>>),
    Error(String),
}

/// What the beginning of the bytes that came is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// Not all of it is here.
    Part,
    /// So many bytes, which answer a request or nothing.
    Whole { bytes: usize, answer: Option<Answer> },
}

/// One connection's side of a protocol.
pub(super) trait Protocol {
    /// What is said first.
    fn hello(&mut self, out: &mut Vec<u8>);
    /// Says `ask`.
    fn ask(&mut self, ask: Ask<'_>, out: &mut Vec<u8>);
    /// Understands the beginning of `input`; what is to be said to it at once goes to `out`. What
    /// cannot be understood is an error, and ends the connection.
    fn hear(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<Heard, String>;
    /// Says that an answer is late, if there is a way to.
    fn remind(&mut self, _out: &mut Vec<u8>) {}
    /// What is said last, if anything.
    fn goodbye(&mut self, _out: &mut Vec<u8>) {}
}

impl Speak {
    /// Whether a connection may have several requests under way, which are answered in the order they
    /// are sent. ZooKeeper answers so, but a put may take it two requests.
    pub(super) fn takes_pipelines(self) -> bool {
        self == Self::Redis
    }

    /// Whether the protocol has a ping, which asks nothing of the store.
    pub(super) fn takes_pings(self) -> bool {
        self != Self::Etcd
    }

    /// Whether keys must be there before puts are measured. To create a znode is another request than to
    /// change it; and sessions, which are writes too, are then open as well.
    pub(super) fn creates_first(self) -> bool {
        self == Self::ZooKeeper
    }

    /// Whether nodes are to be reminded of what they have not answered for long.
    pub(super) fn reminds(self) -> bool {
        self == Self::ZooKeeper
    }

    /// The longest value that the nodes take, if it is their protocol that says so.
    pub(super) fn value_bytes_max(self) -> Option<usize> {
        (self == Self::ZooKeeper).then_some(zookeeper::VALUE_BYTES_MAX)
    }

    pub(super) fn protocol(self) -> Box<dyn Protocol> {
        match self {
            Self::Redis => Box::new(Redis),
            Self::Etcd => Box::new(Etcd::default()),
            Self::ZooKeeper => Box::new(ZooKeeper::default()),
        }
    }
}
