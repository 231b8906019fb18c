//! The labs' junk server, its methods and their arguments, and a turn for each test.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use oarlock_labrpc::{ClientEnd, Network};
use oarlock_rpc::codec::{self, Wire};
use oarlock_rpc::{Call, End, Method, ReplySlot, Service, UnknownMethod};
use parking_lot::{Mutex, MutexGuard};
use serde::{Deserialize, Serialize};

/// A number, as argument or reply.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Number(pub(crate) u32);

/// A text, as argument or reply.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Text(pub(crate) String);

impl Wire for Number {}
impl Wire for Text {}
impl Wire for Box<Number> {}

/// Number to text: `handler2-<number>`.
pub(crate) const NUMBER_TO_TEXT: Method = Method::urgent("Junk.NumberToText");
/// Text to number: reads the number that the text is.
pub(crate) const TEXT_TO_NUMBER: Method = Method::urgent("Junk.TextToNumber");
/// Text to number: the length of the text.
pub(crate) const LENGTH: Method = Method::urgent("Junk.Length");
/// Number to text: as many letters `y`.
pub(crate) const LETTERS: Method = Method::urgent("Junk.Letters");
/// A number that comes from a box, to the same number in a box.
pub(crate) const BOXED: Method = Method::urgent("Junk.Boxed");

/// What a timer or a thread may be late on a busy machine.
pub(crate) const LATE: Duration = Duration::from_millis(100);

/// The server of the labs' own tests.
#[derive(Default)]
pub(crate) struct Junk {
    /// Requests handled.
    pub(crate) handled: AtomicU64,
}

impl Service for Junk {
    fn handle(&self, method: &str, args: &[u8], reply: ReplySlot) -> Result<(), UnknownMethod> {
        self.handled.fetch_add(1, Ordering::SeqCst);
        let bytes = match method {
            "Junk.NumberToText" => bytes(&Text(format!("handler2-{}", value::<Number>(args).0))),
            "Junk.TextToNumber" => bytes(&Number(value::<Text>(args).0.parse().unwrap())),
            "Junk.Length" => bytes(&Number(value::<Text>(args).0.len().try_into().unwrap())),
            "Junk.Letters" => bytes(&Text("y".repeat(value::<Number>(args).0 as usize))),
            "Junk.Boxed" => bytes(&value::<Box<Number>>(args)),
            other => return Err(UnknownMethod(other.to_owned())),
        };
        reply.reply(bytes);
        Ok(())
    }
}

/// A service made of a function of method, arguments and reply slot.
pub(crate) struct Handler<F>(pub(crate) F);

impl<F: Fn(&[u8], ReplySlot) + Send + Sync + 'static> Service for Handler<F> {
    fn handle(&self, _: &str, args: &[u8], reply: ReplySlot) -> Result<(), UnknownMethod> {
        (self.0)(args, reply);
        Ok(())
    }
}

pub(crate) fn bytes<T: Wire>(value: &T) -> Vec<u8> {
    codec::encode(value).expect("the value is within its limit")
}

pub(crate) fn value<T: Wire>(bytes: &[u8]) -> T {
    codec::decode(bytes).expect("the bytes come from `bytes`")
}

/// A call that waits, with typed arguments and reply.
pub(crate) fn call<A: Wire, R: Wire>(end: &ClientEnd, method: Method, args: &A) -> Option<R> {
    end.call(method, bytes(args)).wait().map(|reply| value(&reply))
}

/// The outcome of a call that must be over within `limit`.
#[track_caller]
pub(crate) fn outcome_within(call: Call, limit: Duration) -> Option<Vec<u8>> {
    call.wait_until(Instant::now() + limit).expect("the call is over in time")
}

/// A network and this test's turn: tests measure time, so only one runs at once.
pub(crate) struct Fixture {
    pub(crate) network: Network,
    // After the network, so that the next test starts when all threads are gone.
    _turn: MutexGuard<'static, ()>,
}

static TURN: Mutex<()> = Mutex::new(());

impl Fixture {
    pub(crate) fn new() -> Self {
        let turn = TURN.lock();
        Self { network: Network::new(1), _turn: turn }
    }

    /// With a junk server named `server`.
    pub(crate) fn with_junk() -> (Self, Arc<Junk>) {
        let fixture = Self::new();
        let junk = Arc::new(Junk::default());
        fixture.network.add_server("server", Arc::clone(&junk) as Arc<dyn Service>);
        (fixture, junk)
    }

    /// With a server named `server` that runs `f`.
    pub(crate) fn with_handler(f: impl Fn(&[u8], ReplySlot) + Send + Sync + 'static) -> Self {
        let fixture = Self::new();
        fixture.network.add_server("server", Arc::new(Handler(f)));
        fixture
    }

    /// An end that is connected to `server`, and enabled.
    pub(crate) fn client(&self, name: impl std::fmt::Display) -> Arc<ClientEnd> {
        let end = self.network.make_end(&name);
        self.network.connect(&name, "server");
        self.network.enable(&name, true);
        end
    }
}
