//! One client's conversation: bytes in, bytes out, and in between what is to be asked of the store.
//! It knows no socket, and it never waits: whoever moves the bytes calls [`Conversation::feed`] with
//! what has come, then [`Conversation::advance`], and does as that says.
//!
//! One question at a time is on its way to the store; what comes meanwhile waits its turn, so that
//! commands are executed in their order, and answered in it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::ask::Ask;
use super::clients::Client;
use super::data_commands::{Rest, wrong_number};
use super::front_end::FrontEnd;
use super::parse::{ParseLimits, Parser, ProtocolError, Words};
use super::reply::{Protocol, Reply, Writer};
use super::run::{AskedRun, Run};
use super::table::{self, Handler, Spec, Special};
use super::transaction::{AskedTransaction, Transaction};
use super::{special, unknown};
use crate::error::ExecuteError;
use crate::op::Answer;

/// Replies are handed over once they have this many bytes, though more commands may be waiting.
const OUT_BYTES_MAX: usize = 1 << 20;

/// What to do after [`Conversation::advance`].
#[derive(Debug)]
pub(super) enum Next {
    /// Send the replies, then feed more bytes.
    NeedsInput,
    /// Send the replies, then advance again.
    More,
    /// Ask the store, and give its answers to [`Conversation::answer`] before anything else but more
    /// bytes. The replies so far may be sent at once.
    Ask(Ask),
    /// Send the replies, then close.
    Close,
}

/// One client's conversation.
pub(super) struct Conversation {
    front: Arc<FrontEnd>,
    parser: Parser,
    run: Run,
    held: Option<Held>,
    asked: Option<Asked>,
    state: State,
    /// What was executed since the list of clients was told.
    last: Option<&'static Spec>,
}

/// What was understood, but comes after answers that are still missing.
enum Held {
    Command(Words),
    Refusal(String),
    Broken(ProtocolError),
}

/// What the store was asked for.
enum Asked {
    Run(AskedRun),
    Transaction { asked: AskedTransaction, muted: bool },
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

impl Conversation {
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
        let run = Run::default();
        Self { front, parser, run, held: None, asked: None, state, last: None }
    }

    /// Takes bytes that have come.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.front.stats.bytes_in.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.parser.feed(bytes);
    }

    /// How many bytes have come that are not yet understood.
    pub(super) fn unread_bytes(&self) -> usize {
        self.parser.unread_bytes()
    }

    /// Whether answers are missing: then it does not advance.
    pub(super) fn is_waiting(&self) -> bool {
        self.asked.is_some()
    }

    /// Goes on with what has come, and adds the replies to `out`.
    pub(super) fn advance(&mut self, out: &mut Vec<u8>) -> Next {
        assert!(!self.is_waiting(), "the answers come first");
        let next = self.go_on(out);
        self.note();
        next
    }

    fn go_on(&mut self, out: &mut Vec<u8>) -> Next {
        loop {
            if self.state.closing {
                return Next::Close;
            }
            if out.len() >= OUT_BYTES_MAX {
                return Next::More;
            }
            let held = match self.held.take() {
                Some(held) => held,
                None => match self.parser.next_command() {
                    Ok(Some(words)) => Held::Command(words),
                    Ok(None) if self.run.is_empty() => return Next::NeedsInput,
                    Ok(None) => return Next::Ask(self.ask_run()),
                    Err(error) => Held::Broken(error),
                },
            };
            let ask = match held {
                Held::Command(words) => self.command(words, out),
                held if !self.run.is_empty() => Some(self.hold(held)),
                Held::Refusal(refusal) => self.reply(&Reply::Error(refusal), out),
                Held::Broken(error) => {
                    self.state.closing = true;
                    self.reply(&Reply::error(error), out)
                }
            };
            if let Some(ask) = ask {
                return Next::Ask(ask);
            }
        }
    }

    /// Takes the store's answers, and adds the replies to `out`. If some did not fit, the store is to
    /// be asked again; if not, go on with [`Conversation::advance`].
    pub(super) fn answer(
        &mut self,
        result: Result<&[Answer], &ExecuteError>,
        out: &mut Vec<u8>,
    ) -> Option<Ask> {
        let protocol = self.state.protocol;
        match self.asked.take().expect("the store was asked") {
            Asked::Run(asked) => {
                let mut writer = Writer { out, protocol };
                let (ask, asked) = asked.answer(result, &self.front.stats, &mut writer)?;
                self.asked = Some(Asked::Run(asked));
                Some(ask)
            }
            Asked::Transaction { asked, muted } => {
                self.write_transaction(asked, muted, result, out);
                None
            }
        }
    }

    fn write_transaction(
        &mut self,
        asked: AskedTransaction,
        muted: bool,
        result: Result<&[Answer], &ExecuteError>,
        out: &mut Vec<u8>,
    ) {
        let protocol = self.state.protocol;
        let mut discarded = Vec::new();
        let out = if muted { &mut discarded } else { out };
        let mut context = Context { front: &self.front, state: &mut self.state };
        asked.answer(result, &mut context, &mut Writer { out, protocol });
    }

    fn ask_run(&mut self) -> Ask {
        let (ask, asked) = self.run.ask();
        self.asked = Some(Asked::Run(asked));
        ask
    }

    /// Keeps what comes behind commands that are to be executed first.
    fn hold(&mut self, held: Held) -> Ask {
        self.held = Some(held);
        self.ask_run()
    }

    /// Returns what is to be asked before anything else happens.
    fn command(&mut self, words: Words, out: &mut Vec<u8>) -> Option<Ask> {
        let spec = match self.look_up(&words) {
            Ok(spec) => spec,
            Err(_) if !self.run.is_empty() => return Some(self.hold(Held::Command(words))),
            Err(refusal) => {
                self.count_command();
                if let Some(transaction) = &mut self.state.transaction {
                    transaction.spoil();
                }
                self.state.closing = unknown::is_http(&words[0]);
                return self.reply(&Reply::Error(refusal), out);
            }
        };
        let plan = match spec.handler {
            Handler::Data(plan) if self.state.transaction.is_none() => plan,
            _ if !self.run.is_empty() => return Some(self.hold(Held::Command(words))),
            _ => {
                self.count_command();
                let ask = self.answer_here(spec, words, out);
                self.executed(spec);
                return ask;
            }
        };
        self.count_command();
        self.executed(spec);
        let bytes = words.iter().map(|word| word.len() + 32).sum();
        match plan(Rest::new(words)) {
            Ok(planned) => {
                let ask = (!self.run.has_room_for(&planned, bytes)).then(|| self.ask_run());
                let muted = self.is_muted();
                self.run.push(planned, bytes, muted);
                ask
            }
            Err(refusal) => {
                self.held = Some(Held::Refusal(refusal));
                None
            }
        }
    }

    /// A command that is not on data, or is on its way into a transaction.
    fn answer_here(&mut self, spec: &'static Spec, words: Words, out: &mut Vec<u8>) -> Option<Ask> {
        if let Some(transaction) = &mut self.state.transaction
            && spec.is_queued()
        {
            let reply = transaction.queue(spec, words);
            return self.reply(&reply, out);
        }
        let reply = match spec.handler {
            Handler::Special(Special::Exec) => return self.exec(out),
            Handler::Special(special) => special::answer(&mut self.context(), special),
            Handler::Local(answer) => answer(&mut self.context(), words),
            Handler::Data(_) => unreachable!("outside a transaction these are run"),
        };
        self.reply(&reply, out)
    }

    fn context(&mut self) -> Context<'_> {
        Context { front: &self.front, state: &mut self.state }
    }

    fn exec(&mut self, out: &mut Vec<u8>) -> Option<Ask> {
        let Some(transaction) = self.state.transaction.take() else {
            return self.reply(&Reply::error("EXEC without MULTI"), out);
        };
        let Some((ask, asked)) = transaction.ask() else {
            let aborted = "EXECABORT Transaction discarded because of previous errors.";
            return self.reply(&Reply::Error(aborted.to_owned()), out);
        };
        let muted = self.is_muted();
        if ask.is_none() {
            self.write_transaction(asked, muted, Ok(&[]), out);
        } else {
            self.asked = Some(Asked::Transaction { asked, muted });
        }
        ask
    }

    /// The command these words name, if this client may give it now.
    fn look_up(&self, words: &Words) -> Result<&'static Spec, String> {
        let Some(spec) = table::find(&words[0]) else { return Err(unknown::refusal(words)) };
        if !spec.takes(words.len()) {
            return Err(wrong_number(spec.name));
        }
        if !self.state.authenticated && !spec.needs_no_auth() {
            return Err("NOAUTH Authentication required.".to_owned());
        }
        Ok(spec)
    }

    /// Adds a reply, which asks for nothing.
    fn reply(&mut self, reply: &Reply, out: &mut Vec<u8>) -> Option<Ask> {
        if reply.is_error() {
            self.front.stats.count_error();
        }
        if !self.is_muted() {
            Writer { out, protocol: self.state.protocol }.reply(reply);
        }
        None
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

    fn count_command(&self) {
        self.front.stats.commands.fetch_add(1, Ordering::Relaxed);
    }

    fn executed(&mut self, spec: &'static Spec) {
        self.parser.set_limits(parse_limits(self.state.authenticated));
        self.last = Some(spec);
    }

    /// Tells the list of clients what was executed last.
    fn note(&mut self) {
        let Some(spec) = self.last.take() else { return };
        let queued = self.state.transaction.as_ref().map(Transaction::len);
        self.state.client.update(|about| {
            about.last_command = spec.name;
            about.last_active = Instant::now();
            about.queued = queued;
        });
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        self.front.clients.remove(self.state.client.id);
    }
}

fn parse_limits(authenticated: bool) -> ParseLimits {
    if authenticated { ParseLimits::NORMAL } else { ParseLimits::UNAUTHENTICATED }
}
