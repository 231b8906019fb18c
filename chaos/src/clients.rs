//! The clients: half of them speak RESP to one node at a time, half are clerks that know them all.
//!
//! Each makes one call at a time, on a few keys that all share, or writes a key of its own that
//! nobody writes again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use fastrand::Rng;
use oarlock_kvserver::{Clerk, ClerkError};
use oarlock_linearizability::Action;
use oarlock_rpc::tcp::{EndOptions, TcpEnd};

use crate::record::{End, Record};

/// How long a client waits for an answer.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(3);
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// How many keys the clients share.
pub(crate) const SHARED_KEYS: usize = 5;
/// The longest pause between two calls of a client.
const THINK_MS_MAX: u64 = 12;
/// The pause after a call that came to nothing.
const AFTER_FAILURE: Duration = Duration::from_millis(20);

/// A client of one kind or the other.
pub(crate) trait Client: Send {
    /// The value of `key`, empty if there is none.
    fn get(&mut self, key: &str) -> End<String>;
    fn put(&mut self, key: &str, value: &str) -> End<()>;
    fn append(&mut self, key: &str, value: &str) -> End<()>;
}

/// Client number `number` of a cluster.
pub(crate) fn client(
    number: usize,
    nodes: &[SocketAddr],
    rng: Rng,
) -> anyhow::Result<Box<dyn Client>> {
    if number.is_multiple_of(2) {
        return Ok(Box::new(Resp { nodes: nodes.to_vec(), connection: None, rng }));
    }
    let ends = nodes.iter().map(|address| {
        let options = EndOptions::client(address.to_string());
        Ok(Arc::new(TcpEnd::connect(options)?) as Arc<dyn oarlock_rpc::End>)
    });
    let ends = ends.collect::<std::io::Result<_>>().context("no thread for a clerk")?;
    Ok(Box::new(ByClerk(Clerk::new(ends))))
}

/// Works until told to stop.
pub(crate) fn work(
    number: usize,
    client: &mut dyn Client,
    mut rng: Rng,
    record: &Record,
    stop: &AtomicBool,
) {
    let mut calls = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        calls += 1;
        let text = format!("{number}.{calls} ");
        let key = format!("shared-{}", rng.usize(..SHARED_KEYS));
        let called = record.now();
        let end = match rng.u32(..100) {
            0..45 => {
                let (found, end) = split(client.get(&key));
                record.shared(number, &key, called, Action::Get { found }, &end);
                end
            }
            45..60 => {
                let end = client.put(&key, &text);
                record.shared(number, &key, called, Action::Put(text), &end);
                end
            }
            60..85 => {
                let end = client.append(&key, &text);
                record.shared(number, &key, called, Action::Append(text), &end);
                end
            }
            _ => {
                let key = format!("single-{number}-{calls}");
                let end = client.put(&key, &text);
                record.single(key, text, &end);
                end
            }
        };
        let thinks = Duration::from_millis(rng.u64(..=THINK_MS_MAX));
        let answered = matches!(end, End::Answered(()));
        thread::sleep(if answered { thinks } else { thinks + AFTER_FAILURE });
    }
}

fn split(end: End<String>) -> (String, End<()>) {
    match end {
        End::Answered(found) => (found, End::Answered(())),
        End::Unknown => (String::new(), End::Unknown),
        End::Refused => (String::new(), End::Refused),
        End::Surprise(text) => (String::new(), End::Surprise(text)),
    }
}

/// A Redis client, connected to one node until that fails it.
struct Resp {
    nodes: Vec<SocketAddr>,
    connection: Option<redis::Connection>,
    rng: Rng,
}

impl Resp {
    fn call<T: redis::FromRedisValue>(&mut self, command: &redis::Cmd) -> End<T> {
        if self.connection.is_none() {
            let node = self.nodes[self.rng.usize(..self.nodes.len())];
            self.connection = connect(node).ok();
        }
        let Some(connection) = &mut self.connection else { return End::Refused };
        match command.query(connection) {
            Ok(answer) => End::Answered(answer),
            Err(error) => {
                let end = match error.code() {
                    Some("CLUSTERDOWN" | "TRYAGAIN" | "MISCONF") => End::Refused,
                    Some("UNKNOWNRESULT") | None => End::Unknown,
                    Some(_) => End::Surprise(format!("{error}")),
                };
                // Another node may know more, and this connection may be in the middle of a reply.
                self.connection = None;
                end
            }
        }
    }
}

impl Client for Resp {
    fn get(&mut self, key: &str) -> End<String> {
        match self.call::<Option<String>>(redis::cmd("GET").arg(key)) {
            End::Answered(found) => End::Answered(found.unwrap_or_default()),
            End::Unknown => End::Unknown,
            End::Refused => End::Refused,
            End::Surprise(text) => End::Surprise(text),
        }
    }

    fn put(&mut self, key: &str, value: &str) -> End<()> {
        self.call(redis::cmd("SET").arg(key).arg(value))
    }

    fn append(&mut self, key: &str, value: &str) -> End<()> {
        match self.call::<u64>(redis::cmd("APPEND").arg(key).arg(value)) {
            End::Answered(_) => End::Answered(()),
            End::Unknown => End::Unknown,
            End::Refused => End::Refused,
            End::Surprise(text) => End::Surprise(text),
        }
    }
}

/// A connection to one node, whose calls end in time.
pub(crate) fn connect(node: SocketAddr) -> redis::RedisResult<redis::Connection> {
    let client = redis::Client::open(format!("redis://{node}/"))?;
    let connection = client.get_connection_with_timeout(CONNECT_TIMEOUT)?;
    connection.set_read_timeout(Some(CALL_TIMEOUT))?;
    connection.set_write_timeout(Some(CALL_TIMEOUT))?;
    Ok(connection)
}

struct ByClerk(Clerk);

impl Client for ByClerk {
    fn get(&mut self, key: &str) -> End<String> {
        let found = self.0.get_until(key.as_bytes(), Instant::now() + CALL_TIMEOUT);
        end_of(found.map(|found| String::from_utf8_lossy(&found.unwrap_or_default()).into_owned()))
    }

    fn put(&mut self, key: &str, value: &str) -> End<()> {
        let deadline = Instant::now() + CALL_TIMEOUT;
        end_of(self.0.put_until(key.as_bytes(), value.as_bytes(), deadline))
    }

    fn append(&mut self, key: &str, value: &str) -> End<()> {
        let deadline = Instant::now() + CALL_TIMEOUT;
        end_of(self.0.append_until(key.as_bytes(), value.as_bytes(), deadline).map(drop))
    }
}

fn end_of<T>(result: Result<T, ClerkError>) -> End<T> {
    match result {
        Ok(answer) => End::Answered(answer),
        Err(error) if error.may_have_taken_effect() => End::Unknown,
        Err(error) if error.is_retry_useful() => End::Refused,
        Err(error) => End::Surprise(error.to_string()),
    }
}
