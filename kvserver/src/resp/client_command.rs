//! `CLIENT`: what connections say of themselves, and who is connected.

use std::sync::Arc;

use super::clients::Client;
use super::conversation::{Context, Mute};
use super::parse::Words;
use super::reply::Reply;
use crate::data::parse_integer;

pub(super) fn client(context: &mut Context<'_>, words: Words) -> Reply {
    let subcommand = words[1].to_ascii_uppercase();
    match (subcommand.as_slice(), &words[2..]) {
        (b"ID", []) => Reply::Integer(i64::try_from(context.state.client.id).unwrap_or(i64::MAX)),
        (b"GETNAME", []) => match context.state.client.about().name {
            name if name.is_empty() => Reply::Null,
            name => Reply::bulk(name),
        },
        (b"SETNAME", [name]) => match set_name(context, name) {
            Ok(()) => Reply::ok(),
            Err(error) => Reply::Error(error),
        },
        (b"SETINFO", [what, value]) => set_info(context, what, value),
        (b"INFO", []) => Reply::Text(context.state.client.line() + "\n"),
        (b"LIST", filter) => list(context, filter),
        (b"KILL", [_, ..]) => kill(context, &words[2..]),
        (b"REPLY", [how]) => reply_mode(context, how),
        (b"NO-EVICT" | b"NO-TOUCH", [_]) | (b"MAINT_NOTIFICATIONS", [_, ..]) => Reply::ok(),
        (b"HELP", _) => help(),
        (
            b"ID"
            | b"GETNAME"
            | b"SETNAME"
            | b"SETINFO"
            | b"INFO"
            | b"KILL"
            | b"REPLY"
            | b"NO-EVICT"
            | b"NO-TOUCH"
            | b"MAINT_NOTIFICATIONS",
            _,
        ) => wrong_number("client", &words[1]),
        _ => unknown_subcommand("CLIENT", &words[1]),
    }
}

/// The text for a subcommand with too few or too many words.
pub(super) fn wrong_number(command: &str, subcommand: &[u8]) -> Reply {
    let subcommand = String::from_utf8_lossy(subcommand).to_lowercase();
    Reply::Error(super::data_commands::wrong_number(&format!("{command}|{subcommand}")))
}

/// The text for a subcommand that is not known.
pub(super) fn unknown_subcommand(command: &str, subcommand: &[u8]) -> Reply {
    let shown = String::from_utf8_lossy(&subcommand[..subcommand.len().min(128)]);
    Reply::error(format_args!("unknown subcommand '{shown}'. Try {command} HELP."))
}

/// Names the connection. A name is printed among others, so it has no blanks.
pub(super) fn set_name(context: &mut Context<'_>, name: &[u8]) -> Result<(), String> {
    const REASON: &str = "ERR Client names cannot contain spaces, newlines or special characters.";
    let name = printable(name).ok_or(REASON)?;
    context.state.client.update(|about| about.name = name);
    Ok(())
}

fn set_info(context: &mut Context<'_>, what: &[u8], value: &[u8]) -> Reply {
    let Some(value) = printable(value) else {
        let what = String::from_utf8_lossy(what).to_lowercase();
        return Reply::error(format_args!(
            "{what} cannot contain spaces, newlines or special characters."
        ));
    };
    match what.to_ascii_uppercase().as_slice() {
        b"LIB-NAME" => context.state.client.update(|about| about.lib_name = value),
        b"LIB-VER" => context.state.client.update(|about| about.lib_ver = value),
        _ => {
            let shown = String::from_utf8_lossy(what);
            return Reply::error(format_args!("Unrecognized option '{shown}'"));
        }
    }
    Reply::ok()
}

fn printable(text: &[u8]) -> Option<String> {
    const LEN_MAX: usize = 256;
    let fine = text.len() <= LEN_MAX && text.iter().all(u8::is_ascii_graphic);
    fine.then(|| String::from_utf8_lossy(text).into_owned())
}

/// `CLIENT LIST [TYPE type] [ID id …]`.
fn list(context: &mut Context<'_>, filter: &[Vec<u8>]) -> Reply {
    let option = filter.first().map(|option| option.to_ascii_uppercase());
    let wanted: Box<dyn Fn(&Client) -> bool> = match (option.as_deref(), filter) {
        (None, _) => Box::new(|_| true),
        (Some(b"TYPE"), [_, kind]) => {
            let normal = kind.eq_ignore_ascii_case(b"normal");
            Box::new(move |_| normal)
        }
        (Some(b"ID"), [_, ids @ ..]) if !ids.is_empty() => {
            let ids: Vec<Option<i64>> = ids.iter().map(|id| parse_integer(id)).collect();
            if ids.contains(&None) {
                return Reply::error("Invalid client ID");
            }
            Box::new(move |client| ids.contains(&i64::try_from(client.id).ok()))
        }
        _ => return Reply::error("syntax error"),
    };
    let clients = context.front.clients.all();
    let lines = clients.iter().filter(|client| wanted(client)).map(|client| client.line() + "\n");
    Reply::Text(lines.collect())
}

/// `CLIENT KILL addr`, or `CLIENT KILL [ID id] [ADDR addr] [LADDR addr] [SKIPME yes|no] …`.
fn kill(context: &mut Context<'_>, words: &[Vec<u8>]) -> Reply {
    let all = context.front.clients.all();
    if let [addr] = words {
        let Some(client) = all.iter().find(|client| client.addr.as_bytes() == addr) else {
            return Reply::error("No such client");
        };
        disconnect(context, client);
        return Reply::ok();
    }
    let (mut skip_me, mut wanted) = (true, all);
    for pair in words.chunks(2) {
        let [option, value] = pair else { return Reply::error("syntax error") };
        match option.to_ascii_uppercase().as_slice() {
            b"ID" => match parse_integer(value) {
                Some(id @ 1..) => wanted.retain(|client| i64::try_from(client.id) == Ok(id)),
                _ => return Reply::error("client-id should be greater than 0"),
            },
            b"ADDR" => wanted.retain(|client| client.addr.as_bytes() == value),
            b"LADDR" => wanted.retain(|client| client.local_addr.as_bytes() == value),
            // Every client is of the one type, and of the one user.
            b"TYPE" => wanted.retain(|_| value.eq_ignore_ascii_case(b"normal")),
            b"USER" => wanted.retain(|_| value == b"default"),
            b"SKIPME" => skip_me = value.eq_ignore_ascii_case(b"yes"),
            _ => return Reply::error("syntax error"),
        }
    }
    wanted.retain(|client| !skip_me || client.id != context.state.client.id);
    for client in &wanted {
        disconnect(context, client);
    }
    Reply::Integer(i64::try_from(wanted.len()).unwrap_or(i64::MAX))
}

fn disconnect(context: &mut Context<'_>, client: &Arc<Client>) {
    if client.id == context.state.client.id {
        context.state.closing = true;
    } else {
        client.disconnect();
    }
}

fn reply_mode(context: &mut Context<'_>, how: &[u8]) -> Reply {
    context.state.mute = match how.to_ascii_uppercase().as_slice() {
        b"ON" => Mute::No,
        b"OFF" => Mute::Always,
        b"SKIP" if context.state.mute == Mute::Always => Mute::Always,
        b"SKIP" => Mute::Next,
        _ => return Reply::error("syntax error"),
    };
    Reply::ok()
}

fn help() -> Reply {
    const LINES: [&str; 10] = [
        "CLIENT <subcommand> [<arg> ...]. Subcommands are:",
        "GETNAME, SETNAME <name> -- The name of this connection.",
        "ID, INFO -- What is known of this connection.",
        "LIST [ID <id> ...] -- What is known of all connections.",
        "KILL <addr> | ID <id> | ADDR <addr> | LADDR <addr> | SKIPME yes|no -- Disconnects.",
        "REPLY ON|OFF|SKIP -- Which replies this connection gets.",
        "SETINFO LIB-NAME|LIB-VER <value> -- Which library is at the other end.",
        "NO-EVICT, NO-TOUCH -- Accepted; nothing is ever evicted.",
        "MAINT_NOTIFICATIONS -- Accepted; there are none.",
        "HELP -- This text.",
    ];
    Reply::Array(LINES.iter().map(|line| Reply::status(line)).collect())
}
