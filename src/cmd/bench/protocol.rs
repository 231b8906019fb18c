//! What a client says and hears, whatever the wire.

use super::etcd::Etcd;
use super::redis::Redis;

/// What the nodes speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Speak {
    /// The Redis protocol, as Oarlock does.
    Redis,
    /// gRPC, as etcd 3 does.
    Etcd,
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
}

impl Speak {
    /// Whether requests of one connection are answered in the order they are sent.
    pub(super) fn answers_in_order(self) -> bool {
        self == Self::Redis
    }

    pub(super) fn protocol(self) -> Box<dyn Protocol> {
        match self {
            Self::Redis => Box::new(Redis),
            Self::Etcd => Box::new(Etcd::default()),
        }
    }
}
