//! The little of ZooKeeper's protocol that a measurement needs: sessions, puts, gets and pings, one after
//! another on a connection.
//!
//! A put is a `setData` of any version; where no znode of that name is, it is created. A `getData`
//! alone may find what is old, so a get is a `sync` and a `getData`, sent together: the server catches up
//! with its leader first. Stricter reads there are none: a leader answers a `sync` without asking anybody
//! whether it still leads.
//!
//! A server of version 3.8.0 may forget a request until somebody asks something else (ZOOKEEPER-4537). Other
//! clients ping when they have nothing to say; so does this one when an answer is late.

use std::collections::VecDeque;

use super::jute::{self, Fields, Message};
use super::protocol::{Answer, Ask, Heard, Protocol};

/// Kinds of requests.
const CREATE: i32 = 1;
const GET_DATA: i32 = 4;
const SET_DATA: i32 = 5;
const SYNC: i32 = 9;
const PING: i32 = 11;
const CLOSE_SESSION: i32 = -11;

/// The number of every ping.
const PING_XID: i32 = -2;

/// How a request went; 0 is well.
const NO_NODE: i32 = -101;
const NODE_EXISTS: i32 = -110;

/// For how long a session outlives its last request; servers take up to 40 s.
const SESSION_TIMEOUT_MS: i32 = 30_000;
/// Stands for whatever version a znode has.
const ANY_VERSION: i32 = -1;
const ALL_RIGHTS: i32 = 31;

/// The longest value that fits into a message, with a name and what a server says of a znode.
pub(super) const VALUE_BYTES_MAX: usize = jute::MESSAGE_BYTES_MAX - (1 << 10);

/// A client's side of a connection, which is a session.
#[derive(Default)]
pub(super) struct ZooKeeper {
    is_open: bool,
    requests: i32,
    /// What is not answered, oldest first, with the number it was sent by.
    calls: VecDeque<(i32, Call)>,
}

/// What an answer is to.
enum Call {
    /// A put, as a change of what is there or as a new znode: whichever it is not may be next.
    Set(Znode),
    Create(Znode),
    /// The first half of a get, which answers nobody.
    Sync,
    Get,
    Ping,
}

struct Znode {
    path: Vec<u8>,
    value: Vec<u8>,
}

impl Protocol for ZooKeeper {
    fn hello(&mut self, out: &mut Vec<u8>) {
        let (version, zxid_seen, session, is_read_only) = (0, 0, 0, false);
        let request = Message::begin(out).int(version).long(zxid_seen).int(SESSION_TIMEOUT_MS);
        request.long(session).bytes(&[0; 16]).flag(is_read_only).end();
    }

    fn ask(&mut self, ask: Ask<'_>, out: &mut Vec<u8>) {
        match ask {
            Ask::Set { key, value } => {
                self.set(Znode { path: path(key), value: value.to_owned() }, out);
            }
            Ask::Get { key } => {
                let path = path(key);
                self.request(SYNC, out).bytes(&path).end();
                self.expect(Call::Sync);
                let is_watched = false;
                self.request(GET_DATA, out).bytes(&path).flag(is_watched).end();
                self.expect(Call::Get);
            }
            Ask::Ping => {
                self.calls.push_back((PING_XID, Call::Ping));
                Message::begin(out).int(PING_XID).int(PING).end();
            }
        }
    }

    fn hear(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<Heard, String> {
        let Some((mut fields, bytes)) = jute::message(input)? else { return Ok(Heard::Part) };
        let answer = if self.is_open {
            self.answered(&mut fields, out)?
        } else {
            opened(&mut fields)?;
            self.is_open = true;
            None
        };
        Ok(Heard::Whole { bytes, answer })
    }

    fn remind(&mut self, out: &mut Vec<u8>) {
        Message::begin(out).int(PING_XID).int(PING).end();
    }

    fn goodbye(&mut self, out: &mut Vec<u8>) {
        if self.is_open {
            self.request(CLOSE_SESSION, out).end();
        }
    }
}

impl ZooKeeper {
    /// Begins a request under the next number.
    fn request<'a>(&mut self, kind: i32, out: &'a mut Vec<u8>) -> Message<'a> {
        self.requests += 1;
        Message::begin(out).int(self.requests).int(kind)
    }

    /// The latest request is to be answered.
    fn expect(&mut self, call: Call) {
        self.calls.push_back((self.requests, call));
    }

    fn set(&mut self, znode: Znode, out: &mut Vec<u8>) {
        let request = self.request(SET_DATA, out).bytes(&znode.path).bytes(&znode.value);
        request.int(ANY_VERSION).end();
        self.expect(Call::Set(znode));
    }

    /// The znode is one that stays, and everybody has all rights.
    fn create(&mut self, znode: Znode, out: &mut Vec<u8>) {
        let (rules, flags) = (1, 0);
        let request = self.request(CREATE, out).bytes(&znode.path).bytes(&znode.value);
        request.int(rules).int(ALL_RIGHTS).bytes(b"world").bytes(b"anyone").int(flags).end();
        self.expect(Call::Create(znode));
    }

    /// What an answer comes to for whoever asked; nothing if there is more to be asked or heard.
    fn answered(
        &mut self,
        fields: &mut Fields<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Option<Answer>, String> {
        let (xid, _zxid, code) = (fields.int()?, fields.long()?, fields.int()?);
        let is_reminder = !matches!(self.calls.front(), Some((PING_XID, _)));
        if xid == PING_XID && is_reminder {
            return Ok(None);
        }
        let (asked, call) = self.calls.pop_front().ok_or("an answer nobody asked for")?;
        if xid != asked {
            return Err(format!("an answer to request {xid} instead of {asked}"));
        }
        Ok(match (call, code) {
            (Call::Set(_) | Call::Create(_) | Call::Ping, 0) => Some(Answer::Done),
            (Call::Get, 0) => Some(Answer::Value(Some(fields.bytes()?.to_vec()))),
            (Call::Get, NO_NODE) => Some(Answer::Value(None)),
            (Call::Sync, 0) => None,
            // The read behind it would say nothing.
            (Call::Sync, code) => return Err(format!("sync: {}", outcome(code))),
            (Call::Set(znode), NO_NODE) => {
                self.create(znode, out);
                None
            }
            // Somebody else was first.
            (Call::Create(znode), NODE_EXISTS) => {
                self.set(znode, out);
                None
            }
            (_, code) => Some(Answer::Error(outcome(code))),
        })
    }
}

/// The server has opened a session, or will not.
fn opened(fields: &mut Fields<'_>) -> Result<(), String> {
    let (_version, timeout_ms, session) = (fields.int()?, fields.int()?, fields.long()?);
    if timeout_ms <= 0 || session == 0 {
        return Err("the server opens no session".to_owned());
    }
    Ok(())
}

/// Where a key is kept: right below the root.
fn path(key: &[u8]) -> Vec<u8> {
    [b"/", key].concat()
}

/// How a request went, by the name that ZooKeeper has for it.
fn outcome(code: i32) -> String {
    let name = match code {
        -1 => "SystemError",
        -2 => "RuntimeInconsistency",
        -3 => "DataInconsistency",
        -4 => "ConnectionLoss",
        -5 => "MarshallingError",
        -6 => "Unimplemented",
        -7 => "OperationTimeout",
        -8 => "BadArguments",
        NO_NODE => "NoNode",
        -102 => "NoAuth",
        -103 => "BadVersion",
        NODE_EXISTS => "NodeExists",
        -112 => "SessionExpired",
        -114 => "InvalidACL",
        -115 => "AuthFailed",
        -118 => "SessionMoved",
        -119 => "NotReadOnly",
        -125 => "QuotaExceeded",
        -127 => "ThrottledOp",
        _ => return format!("error{code}"),
    };
    format!("{name} ({code})")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DONE: Option<Answer> = Some(Answer::Done);

    /// A client whose session is open.
    fn open() -> ZooKeeper {
        let mut client = ZooKeeper::default();
        assert_eq!(hear(&mut client, &session(1)), Ok(None));
        client
    }

    fn session(id: i64) -> Vec<u8> {
        let mut input = Vec::new();
        Message::begin(&mut input).int(0).int(30_000).long(id).bytes(&[9; 16]).flag(false).end();
        input
    }

    /// A server's answer to a request.
    fn answer(xid: i32, code: i32, body: &[u8]) -> Vec<u8> {
        let mut input = Vec::new();
        let bytes = 4 + 8 + 4 + body.len();
        input.extend(i32::try_from(bytes).unwrap().to_be_bytes());
        input.extend(xid.to_be_bytes());
        input.extend(77_i64.to_be_bytes());
        input.extend(code.to_be_bytes());
        input.extend(body);
        input
    }

    /// What a whole message is understood as, if it asks for nothing.
    fn hear(client: &mut ZooKeeper, input: &[u8]) -> Result<Option<Answer>, String> {
        let (found, out) = hear_and_say(client, input)?;
        assert_eq!(out, b"");
        Ok(found)
    }

    fn hear_and_say(
        client: &mut ZooKeeper,
        input: &[u8],
    ) -> Result<(Option<Answer>, Vec<u8>), String> {
        let mut out = Vec::new();
        match client.hear(input, &mut out)? {
            Heard::Part => panic!("{input:?} is whole"),
            Heard::Whole { bytes, answer } => {
                assert_eq!(bytes, input.len());
                Ok((answer, out))
            }
        }
    }

    fn asked(client: &mut ZooKeeper, ask: Ask<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        client.ask(ask, &mut out);
        out
    }

    const SET: Ask<'_> = Ask::Set { key: b"k", value: b"v" };
    const SET_BYTES: &[u8] =
        b"\0\0\0\x17\0\0\0\x01\0\0\0\x05\0\0\0\x02/k\0\0\0\x01v\xff\xff\xff\xff";
    const CREATE_BYTES: &[u8] = b"\0\0\0\x32\0\0\0\x02\0\0\0\x01\0\0\0\x02/k\0\0\0\x01v\
        \0\0\0\x01\0\0\0\x1f\0\0\0\x05world\0\0\0\x06anyone\0\0\0\0";

    #[test]
    fn requests_are_the_bytes_that_the_protocol_defines() {
        let (mut client, mut out) = (ZooKeeper::default(), Vec::new());
        client.goodbye(&mut out);
        assert_eq!(out, b"", "there is no session to be closed");
        client.hello(&mut out);
        let hello = b"\0\0\0\x2d\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x75\x30\0\0\0\0\0\0\0\0\
            \0\0\0\x10\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
        assert_eq!(out, hello);
        let mut client = open();
        assert_eq!(asked(&mut client, SET), SET_BYTES);
        assert_eq!(
            asked(&mut client, Ask::Get { key: b"k" }),
            b"\0\0\0\x0e\0\0\0\x02\0\0\0\x09\0\0\0\x02/k\
              \0\0\0\x0f\0\0\0\x03\0\0\0\x04\0\0\0\x02/k\0"
        );
        assert_eq!(asked(&mut client, Ask::Ping), b"\0\0\0\x08\xff\xff\xff\xfe\0\0\0\x0b");
        out.clear();
        client.goodbye(&mut out);
        assert_eq!(out, b"\0\0\0\x08\0\0\0\x04\xff\xff\xff\xf5");
    }

    #[test]
    fn a_put_of_what_is_not_there_creates_it() {
        let mut client = open();
        asked(&mut client, SET);
        let missing = hear_and_say(&mut client, &answer(1, NO_NODE, b""));
        assert_eq!(missing, Ok((None, CREATE_BYTES.to_vec())));
        assert_eq!(hear(&mut client, &answer(2, 0, b"\0\0\0\x02/k")), Ok(DONE));
    }

    #[test]
    fn a_put_that_another_clients_forestalls_is_made_again() {
        let mut client = open();
        asked(&mut client, SET);
        let missing = hear_and_say(&mut client, &answer(1, NO_NODE, b""));
        assert_eq!(missing.unwrap().0, None);
        let (found, out) = hear_and_say(&mut client, &answer(2, NODE_EXISTS, b"")).unwrap();
        assert_eq!((found, &out[8..]), (None, &SET_BYTES[8..]));
        assert_eq!(hear(&mut client, &answer(3, 0, &[0; 68])), Ok(DONE));
    }

    #[test]
    fn a_get_is_answered_by_the_second_of_its_two_answers() {
        let mut client = open();
        let get = Ask::Get { key: b"k" };
        asked(&mut client, get);
        assert_eq!(hear(&mut client, &answer(1, 0, b"\0\0\0\x02/k")), Ok(None));
        let found = [b"\0\0\0\x05value", &[0; 68][..]].concat();
        let value = Answer::Value(Some(b"value".to_vec()));
        assert_eq!(hear(&mut client, &answer(2, 0, &found)), Ok(Some(value)));
        asked(&mut client, get);
        assert_eq!(hear(&mut client, &answer(3, 0, b"\0\0\0\x02/k")), Ok(None));
        let nothing = Some(Answer::Value(None));
        assert_eq!(hear(&mut client, &answer(4, NO_NODE, b"")), Ok(nothing));
        // A read behind a `sync` that failed could be of anything.
        asked(&mut client, get);
        let error = Err("sync: ConnectionLoss (-4)".to_owned());
        assert_eq!(hear(&mut client, &answer(5, -4, b"")), error);
    }

    #[test]
    fn an_answer_to_a_reminder_is_no_answer() {
        let (mut client, mut out) = (open(), Vec::new());
        asked(&mut client, SET);
        client.remind(&mut out);
        assert_eq!(out, b"\0\0\0\x08\xff\xff\xff\xfe\0\0\0\x0b");
        assert_eq!(hear(&mut client, &answer(PING_XID, 0, b"")), Ok(None));
        assert_eq!(hear(&mut client, &answer(1, 0, &[0; 68])), Ok(DONE));
        // It may come when all has been answered.
        assert_eq!(hear(&mut client, &answer(PING_XID, 0, b"")), Ok(None));
    }

    #[test]
    fn errors_have_the_names_that_the_server_has_for_them() {
        let mut client = open();
        for (code, text) in [(-112, "SessionExpired (-112)"), (-999, "error-999")] {
            asked(&mut client, Ask::Ping);
            let error = Some(Answer::Error(text.to_owned()));
            assert_eq!(hear(&mut client, &answer(PING_XID, code, b"")), Ok(error));
        }
    }

    #[test]
    fn what_is_not_the_answer_ends_the_connection() {
        let refused = Err("the server opens no session".to_owned());
        assert_eq!(hear(&mut ZooKeeper::default(), &session(0)), refused);
        let nobody = Err("an answer nobody asked for".to_owned());
        assert_eq!(hear(&mut open(), &answer(1, 0, b"")), nobody);
        let mut client = open();
        asked(&mut client, SET);
        let another = Err("an answer to request 2 instead of 1".to_owned());
        assert_eq!(hear(&mut client, &answer(2, 0, b"")), another);
        // Both are shorter than what they say, or than any answer.
        for cut in [&b"\0\0\0\x04\0\0\0\x01"[..], &answer(1, 0, b"\0\0\0\x05val")] {
            let mut client = open();
            asked(&mut client, Ask::Get { key: b"k" });
            client.calls.pop_front();
            client.calls[0].0 = 1;
            assert_eq!(hear(&mut client, cut), Err("a message that ends too early".to_owned()));
        }
    }

    #[test]
    fn a_message_that_has_not_come_whole_is_waited_for() {
        let (mut client, mut out) = (open(), Vec::new());
        asked(&mut client, SET);
        let whole = answer(1, 0, &[0; 68]);
        assert_eq!(client.hear(&whole[..whole.len() - 1], &mut out), Ok(Heard::Part));
        assert_eq!(hear(&mut client, &whole), Ok(DONE));
        let endless = client.hear(&i32::MAX.to_be_bytes(), &mut out);
        assert_eq!(endless, Err("a message of 2147483647 bytes".to_owned()));
    }
}
