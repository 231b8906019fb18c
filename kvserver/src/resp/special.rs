//! Commands about the conversation itself: transactions begun and discarded, its end, a new beginning.

use super::conversation::{Context, Mute};
use super::reply::{Protocol, Reply};
use super::table::Special;
use super::transaction::Transaction;

/// Answers one of them; not `EXEC`, which writes its own replies.
pub(super) fn answer(context: &mut Context<'_>, special: Special) -> Reply {
    let transaction = &mut context.state.transaction;
    match special {
        Special::Multi if transaction.is_some() => Reply::error("MULTI calls can not be nested"),
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
        Special::Watch => Reply::error("WATCH is not supported; use SET key value IFEQ old-value"),
        Special::Quit => {
            context.state.closing = true;
            Reply::ok()
        }
        Special::Reset => {
            *transaction = None;
            context.state.protocol = Protocol::Resp2;
            context.state.mute = Mute::No;
            context.state.authenticated = context.front.options.password.is_none();
            context.state.client.update(|about| {
                about.name.clear();
                about.protocol = Protocol::Resp2;
            });
            Reply::status("RESET")
        }
        Special::Exec => unreachable!("a conversation executes it"),
    }
}
