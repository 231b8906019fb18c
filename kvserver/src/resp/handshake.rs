//! The small commands of a connection's beginning, and others that ask nothing of the store.

use std::time::SystemTime;

use super::conversation::Context;
use super::parse::Words;
use super::reply::{Protocol, Reply};
use crate::data::parse_integer;

/// The version of Redis whose manners the front end has. Clients enable features by it.
pub(super) const REDIS_VERSION: &str = "7.4.0";

const NO_PASSWORD_SET: &str = "ERR AUTH <password> called without any password configured for \
     the default user. Are you sure your configuration is correct?";
const WRONG_PASSWORD: &str = "WRONGPASS invalid username-password pair or user is disabled.";

/// For commands that change nothing here, though clients give them.
pub(super) fn always_ok(_: &mut Context<'_>, _: Words) -> Reply {
    Reply::ok()
}

pub(super) fn ping(_: &mut Context<'_>, mut words: Words) -> Reply {
    match words.len() {
        1 => Reply::status("PONG"),
        2 => Reply::Bulk(words.swap_remove(1)),
        _ => Reply::Error(super::data_commands::wrong_number("ping")),
    }
}

pub(super) fn echo(_: &mut Context<'_>, mut words: Words) -> Reply {
    Reply::Bulk(words.swap_remove(1))
}

pub(super) fn select(_: &mut Context<'_>, words: Words) -> Reply {
    match parse_integer(&words[1]) {
        Some(0) => Reply::ok(),
        Some(_) => Reply::error("DB index is out of range"),
        None => Reply::error("value is not an integer or out of range"),
    }
}

pub(super) fn time(_: &mut Context<'_>, _: Words) -> Reply {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Reply::Array(vec![
        Reply::bulk(now.as_secs().to_string()),
        Reply::bulk(now.subsec_micros().to_string()),
    ])
}

/// Every node takes writes, so every node is a master to its clients, whoever leads.
pub(super) fn role(context: &mut Context<'_>, _: Words) -> Reply {
    let status = context.front.store.status();
    let commit_index = i64::try_from(status.commit_index).unwrap_or(i64::MAX);
    Reply::Array(vec![
        Reply::bulk("master"),
        Reply::Integer(commit_index),
        Reply::Array(Vec::new()),
    ])
}

/// A write is answered once a majority has it, so there is nothing to wait for.
pub(super) fn wait(context: &mut Context<'_>, words: Words) -> Reply {
    if words[1..].iter().any(|word| parse_integer(word).is_none_or(|n| n < 0)) {
        return Reply::error("value is not an integer or out of range");
    }
    let others = context.front.store.status().majority() - 1;
    Reply::Integer(i64::try_from(others).unwrap_or(i64::MAX))
}

pub(super) fn auth(context: &mut Context<'_>, words: Words) -> Reply {
    let (user, password) = match &words[..] {
        [_, password] => (b"default".as_slice(), password),
        [_, user, password] => (user.as_slice(), password),
        _ => return Reply::error("syntax error"),
    };
    authenticate(context, user, password).map_or_else(Reply::Error, |()| Reply::ok())
}

fn authenticate(context: &mut Context<'_>, user: &[u8], password: &[u8]) -> Result<(), String> {
    if context.front.options.password.is_none() {
        // A name and a password where none is needed: the name must be the one there is.
        return if user == b"default" && context.state.authenticated {
            Err(NO_PASSWORD_SET.to_owned())
        } else {
            Err(WRONG_PASSWORD.to_owned())
        };
    }
    if user != b"default" || !context.front.is_password(password) {
        return Err(WRONG_PASSWORD.to_owned());
    }
    context.state.authenticated = true;
    Ok(())
}

/// `HELLO [version [AUTH user password] [SETNAME name]]`.
pub(super) fn hello(context: &mut Context<'_>, words: Words) -> Reply {
    let asked = match words.get(1).map(|word| parse_integer(word)) {
        None => context.state.protocol,
        Some(Some(2)) => Protocol::Resp2,
        Some(Some(3)) => Protocol::Resp3,
        Some(Some(_)) => {
            return Reply::Error("NOPROTO unsupported protocol version".to_owned());
        }
        Some(None) => {
            return Reply::error("Protocol version is not an integer or out of range");
        }
    };
    let mut name = None;
    let mut options = words.get(2..).unwrap_or_default();
    while let [option, rest @ ..] = options {
        options = match (option.to_ascii_uppercase().as_slice(), rest) {
            (b"AUTH", [user, password, rest @ ..]) => {
                if let Err(error) = authenticate(context, user, password) {
                    return Reply::Error(error);
                }
                rest
            }
            (b"SETNAME", [given, rest @ ..]) => {
                name = Some(given.clone());
                rest
            }
            _ => {
                let shown = String::from_utf8_lossy(option);
                return Reply::error(format_args!("Syntax error in HELLO option '{shown}'"));
            }
        };
    }
    if !context.state.authenticated {
        return Reply::Error(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the \
             HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and \
             select the RESP protocol version at the same time"
                .to_owned(),
        );
    }
    if let Some(name) = name
        && let Err(error) = super::client_command::set_name(context, &name)
    {
        return Reply::Error(error);
    }
    context.state.protocol = asked;
    context.state.client.update(|about| about.protocol = asked);
    let id = i64::try_from(context.state.client.id).unwrap_or(i64::MAX);
    let fields = [
        ("server", Reply::bulk("redis")),
        ("version", Reply::bulk(REDIS_VERSION)),
        ("proto", Reply::Integer(asked.number())),
        ("id", Reply::Integer(id)),
        ("mode", Reply::bulk("standalone")),
        ("role", Reply::bulk("master")),
        ("modules", Reply::Array(Vec::new())),
    ];
    Reply::Map(fields.into_iter().map(|(name, value)| (Reply::bulk(name), value)).collect())
}
