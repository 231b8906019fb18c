//! One client's conversation: bytes in, bytes out. It knows no socket; whoever moves the bytes
//! calls [`Connection::feed`] with what has come, then [`Connection::advance`] until it asks for
//! more.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::clients::Client;
use super::data_commands::{Rest, wrong_number};
use super::front_end::FrontEnd;
use super::parse::{ParseLimits, Parser, Words};
use super::reply::{Protocol, Reply, Writer};
use super::run::Run;
use super::table::{self, Handler, Spec, Special};
use super::transaction::Transaction;

/// Replies are handed over once they have this many bytes, though more commands may be waiting.
const OUT_BYTES_MAX: usize = 1 << 20;

/// What to do after [`Connection::advance`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Send the replies, then feed more bytes.
    NeedsInput,
    /// Send the replies, then advance again.
    More,
    /// Send the replies, then close.
    Close,
}

/// One client's conversation.
pub struct Connection {
    front: Arc<FrontEnd>,
    parser: Parser,
    run: Run,
    state: State,
}

/// What commands other than those on data can see and change.
pub(super) struct State {
    pub(super) client: Arc<Client>,
    pub(super) protocol: Protocol,
    pub(super) authenticated: bool,
    pub(super) transaction: Option<Transaction>,
    pub(super) mute: Mute,
    pub(super) closing: bool,
}

/// Which replies the client wants (`CLIENT REPLY`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mute {
    No,
    /// None for the command after this one.
    Next,
    /// None for this command.
    This,
    Always,
}

/// What a command that is answered here has to work with.
pub(super) struct Context<'a> {
    pub(super) front: &'a FrontEnd,
    pub(super) state: &'a mut State,
}

impl Connection {
    /// A conversation that begins. `client` is in the front end's list until it is dropped.
    pub(super) fn new(front: Arc<FrontEnd>, client: Arc<Client>) -> Self {
        let authenticated = front.options.password.is_none();
        let parser = Parser::new(parse_limits(authenticated));
        let state = State {
            client,
            protocol: Protocol::Resp2,
            authenticated,
            transaction: None,
            mute: Mute::No,
            closing: false,
        };
        Self { front, parser, run: Run::default(), state }
    }

    /// Takes bytes that have come.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.front.stats.bytes_in.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.parser.feed(bytes);
    }

    /// Executes what has come, and adds the replies to `out`. May wait for the store.
    pub fn advance(&mut self, out: &mut Vec<u8>) -> Flow {
        let flow = loop {
            if self.state.closing {
                break Flow::Close;
            }
            if out.len() >= OUT_BYTES_MAX {
                break Flow::More;
            }
            match self.parser.next_command() {
                Ok(Some(words)) => self.command(words, out),
                Ok(None) => break Flow::NeedsInput,
                Err(error) => {
                    self.flush(out);
                    self.reply(&Reply::error(error), out);
                    break Flow::Close;
                }
            }
        };
        self.flush(out);
        flow
    }

    fn command(&mut self, words: Words, out: &mut Vec<u8>) {
        self.front.stats.commands.fetch_add(1, Ordering::Relaxed);
        let spec = match self.look_up(&words) {
            Ok(spec) => spec,
            Err(refusal) => {
                self.flush(out);
                if let Some(transaction) = &mut self.state.transaction {
                    transaction.spoil();
                }
                self.state.closing = is_http(&words[0]);
                return self.reply(&Reply::Error(refusal), out);
            }
        };
        if let Handler::Data(plan) = spec.handler
            && self.state.transaction.is_none()
        {
            let bytes = words.iter().map(|word| word.len() + 32).sum();
            match plan(Rest::new(words)) {
                Ok(planned) => {
                    if !self.run.has_room_for(&planned, bytes) {
                        self.flush(out);
                    }
                    let muted = self.is_muted();
                    self.run.push(planned, bytes, muted);
                }
                Err(refusal) => {
                    self.flush(out);
                    self.reply(&Reply::Error(refusal), out);
                }
            }
        } else {
            self.flush(out);
            self.answer_here(spec, words, out);
        }
        self.note(spec);
    }

    /// A command that is not on data, or is on its way into a transaction.
    fn answer_here(&mut self, spec: &'static Spec, words: Words, out: &mut Vec<u8>) {
        if let Some(transaction) = &mut self.state.transaction
            && spec.is_queued()
        {
            let reply = transaction.queue(spec, words);
            return self.reply(&reply, out);
        }
        let reply = match spec.handler {
            Handler::Special(Special::Exec) => return self.exec(out),
            Handler::Special(special) => self.special(special),
            Handler::Local(answer) => {
                answer(&mut Context { front: &self.front, state: &mut self.state }, words)
            }
            Handler::Data(_) => unreachable!("outside a transaction these are run"),
        };
        self.reply(&reply, out);
    }

    fn special(&mut self, special: Special) -> Reply {
        let transaction = &mut self.state.transaction;
        match special {
            Special::Multi if transaction.is_some() => {
                Reply::error("MULTI calls can not be nested")
            }
            Special::Multi => {
                *transaction = Some(Transaction::default());
                Reply::ok()
            }
            Special::Discard => match transaction.take() {
                Some(_) => Reply::ok(),
                None => Reply::error("DISCARD without MULTI"),
            },
            Special::Watch if transaction.is_some() => {
                Reply::error("WATCH inside MULTI is not allowed")
            }
            Special::Watch => {
                Reply::error("WATCH is not supported; use SET key value IFEQ old-value")
            }
            Special::Quit => {
                self.state.closing = true;
                Reply::ok()
            }
            Special::Reset => {
                *transaction = None;
                self.state.protocol = Protocol::Resp2;
                self.state.mute = Mute::No;
                self.state.authenticated = self.front.options.password.is_none();
                self.state.client.update(|about| {
                    about.name.clear();
                    about.protocol = Protocol::Resp2;
                });
                Reply::status("RESET")
            }
            Special::Exec => unreachable!("it writes its own replies"),
        }
    }

    fn exec(&mut self, out: &mut Vec<u8>) {
        let Some(transaction) = self.state.transaction.take() else {
            return self.reply(&Reply::error("EXEC without MULTI"), out);
        };
        let muted = self.is_muted();
        let protocol = self.state.protocol;
        let mut discarded = Vec::new();
        let out = if muted { &mut discarded } else { out };
        let mut context = Context { front: &self.front, state: &mut self.state };
        transaction.execute(&mut context, &mut Writer { out, protocol });
    }

    /// The command these words name, if this client may give it now.
    fn look_up(&self, words: &Words) -> Result<&'static Spec, String> {
        let Some(spec) = table::find(&words[0]) else { return Err(unknown_command(words)) };
        if !spec.takes(words.len()) {
            return Err(wrong_number(spec.name));
        }
        if !self.state.authenticated && !spec.needs_no_auth() {
            return Err("NOAUTH Authentication required.".to_owned());
        }
        Ok(spec)
    }

    fn flush(&mut self, out: &mut Vec<u8>) {
        let mut writer = Writer { out, protocol: self.state.protocol };
        self.run.flush(&*self.front.store, &self.front.stats, &mut writer);
    }

    fn reply(&mut self, reply: &Reply, out: &mut Vec<u8>) {
        if reply.is_error() {
            self.front.stats.count_error();
        }
        if !self.is_muted() {
            Writer { out, protocol: self.state.protocol }.reply(reply);
        }
    }

    /// Whether the reply to this command is not wanted. Asked once for each command.
    fn is_muted(&mut self) -> bool {
        let (muted, next) = match self.state.mute {
            Mute::No => (false, Mute::No),
            Mute::Next => (true, Mute::This),
            Mute::This => (true, Mute::No),
            Mute::Always => (true, Mute::Always),
        };
        self.state.mute = next;
        muted
    }

    fn note(&mut self, spec: &'static Spec) {
        self.parser.set_limits(parse_limits(self.state.authenticated));
        let queued = self.state.transaction.as_ref().map(Transaction::len);
        self.state.client.update(|about| {
            about.last_command = spec.name;
            about.last_active = Instant::now();
            about.queued = queued;
        });
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.front.clients.remove(self.state.client.id);
    }
}

fn parse_limits(authenticated: bool) -> ParseLimits {
    if authenticated { ParseLimits::NORMAL } else { ParseLimits::UNAUTHENTICATED }
}

/// Whether this is the beginning of a line of HTTP: a web page that talks to a port it should not
/// know. What follows may look like commands.
fn is_http(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"POST") || name.eq_ignore_ascii_case(b"Host:")
}

/// The usual text, which clients look for: with the beginnings of the arguments.
fn unknown_command(words: &Words) -> String {
    const SHOWN_MAX: usize = 128;
    let show = |word: &[u8]| {
        let word = &word[..word.len().min(SHOWN_MAX)];
        String::from_utf8_lossy(word).into_owned()
    };
    let mut text = format!("ERR unknown command '{}', with args beginning with: ", show(&words[0]));
    let mut shown = 0;
    for word in &words[1..] {
        if shown >= SHOWN_MAX {
            break;
        }
        let argument = format!("'{}' ", show(&word[..word.len().min(SHOWN_MAX - shown)]));
        shown += argument.len();
        text.push_str(&argument);
    }
    text
}
