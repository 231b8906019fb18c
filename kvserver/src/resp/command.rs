//! `COMMAND`: the table of commands, as clients want to see it.

use super::client_command::{unknown_subcommand, wrong_number};
use super::conversation::Context;
use super::parse::Words;
use super::reply::Reply;
use super::table::{self, Spec};

pub(super) fn command(_: &mut Context<'_>, words: Words) -> Reply {
    let Some(subcommand) = words.get(1) else {
        return Reply::Array(table::all().iter().map(row).collect());
    };
    let names = &words[2..];
    match subcommand.to_ascii_uppercase().as_slice() {
        b"COUNT" if names.is_empty() => {
            Reply::Integer(i64::try_from(table::all().len()).unwrap_or(i64::MAX))
        }
        b"LIST" if names.is_empty() => {
            Reply::Array(table::all().iter().map(|spec| Reply::bulk(spec.name)).collect())
        }
        b"INFO" if names.is_empty() => Reply::Array(table::all().iter().map(row).collect()),
        b"INFO" => {
            Reply::Array(names.iter().map(|n| table::find(n).map_or(Reply::Null, row)).collect())
        }
        b"DOCS" if names.is_empty() => Reply::Map(table::all().iter().map(docs).collect()),
        b"DOCS" => Reply::Map(names.iter().filter_map(|n| table::find(n)).map(docs).collect()),
        b"GETKEYS" if names.is_empty() => wrong_number("command", subcommand),
        b"GETKEYS" => keys_of(names),
        b"HELP" => help(),
        b"COUNT" | b"LIST" => wrong_number("command", subcommand),
        _ => unknown_subcommand("COMMAND", subcommand),
    }
}

/// Name, arity, flags, first key, last key, step, categories, and three lists that are empty: tips,
/// key specifications, subcommands.
fn row(spec: &Spec) -> Reply {
    let (first, last, step) = spec.keys;
    let categories = spec.flags().filter_map(|flag| match flag {
        "readonly" => Some("@read"),
        "write" => Some("@write"),
        "fast" => Some("@fast"),
        "admin" => Some("@admin"),
        "blocking" => Some("@blocking"),
        _ => None,
    });
    let speed = (!spec.flags().any(|flag| flag == "fast")).then_some("@slow");
    let group = match spec.group {
        "generic" => "@keyspace",
        "string" => "@string",
        "connection" => "@connection",
        "transactions" => "@transaction",
        "scripting" => "@scripting",
        _ => "@dangerous",
    };
    let categories = categories.chain(speed).chain([group]).map(Reply::status);
    Reply::Array(vec![
        Reply::bulk(spec.name),
        Reply::Integer(spec.arity),
        Reply::Set(spec.flags().map(Reply::status).collect()),
        Reply::Integer(first),
        Reply::Integer(last),
        Reply::Integer(step),
        Reply::Set(categories.collect()),
        Reply::Array(Vec::new()),
        Reply::Array(Vec::new()),
        Reply::Array(Vec::new()),
    ])
}

fn docs(spec: &Spec) -> (Reply, Reply) {
    let fields = [("summary", spec.summary), ("since", spec.since), ("group", spec.group)];
    let fields = fields.into_iter().map(|(name, text)| (Reply::bulk(name), Reply::bulk(text)));
    (Reply::bulk(spec.name), Reply::Map(fields.collect()))
}

/// The keys of the command these words are.
fn keys_of(words: &[Vec<u8>]) -> Reply {
    let Some(spec) = table::find(&words[0]) else {
        return Reply::error("Invalid command specified");
    };
    if !spec.takes(words.len()) {
        return Reply::error("Invalid number of arguments specified for command");
    }
    let positions = spec.key_positions(words.len());
    if positions.is_empty() {
        return Reply::error("The command has no key arguments");
    }
    Reply::Array(positions.into_iter().map(|at| Reply::bulk(words[at].clone())).collect())
}

fn help() -> Reply {
    const LINES: [&str; 6] = [
        "COMMAND [<subcommand> [<arg> ...]]. Without a subcommand: all about all commands.",
        "COUNT, LIST -- How many there are, and their names.",
        "INFO [<command> ...] -- All about these commands.",
        "DOCS [<command> ...] -- What these commands do.",
        "GETKEYS <command> [<arg> ...] -- Which of the words are keys.",
        "HELP -- This text.",
    ];
    Reply::Array(LINES.iter().map(|line| Reply::status(line)).collect())
}
