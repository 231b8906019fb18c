//! `CONFIG`: the parameters clients ask about, with the values that are true here.

use super::client_command::{unknown_subcommand, wrong_number};
use super::conversation::Context;
use super::parse::Words;
use super::reply::Reply;
use crate::glob;
use crate::op::VALUE_BYTES_MAX;

pub(super) fn config(context: &mut Context<'_>, words: Words) -> Reply {
    match (words[1].to_ascii_uppercase().as_slice(), &words[2..]) {
        (b"GET", patterns @ [_, ..]) => get(context, patterns),
        (b"GET", []) => wrong_number("config", &words[1]),
        (b"RESETSTAT", []) => Reply::ok(),
        (b"SET" | b"REWRITE", _) => {
            Reply::error("the configuration is given when a node is started")
        }
        (b"HELP", _) => Reply::Array(vec![
            Reply::status("CONFIG GET <pattern> [<pattern> ...] -- Parameters and their values."),
            Reply::status("HELP -- This text."),
        ]),
        _ => unknown_subcommand("CONFIG", &words[1]),
    }
}

fn get(context: &mut Context<'_>, patterns: &[Vec<u8>]) -> Reply {
    let options = &context.front.options;
    let parameters = [
        // Every write is in the log and on a majority's disks before it is answered.
        ("appendfsync", "always".to_owned()),
        ("appendonly", "yes".to_owned()),
        ("databases", "1".to_owned()),
        ("maxclients", options.clients_max.to_string()),
        ("maxmemory", "0".to_owned()),
        ("maxmemory-policy", "noeviction".to_owned()),
        ("proto-max-bulk-len", VALUE_BYTES_MAX.to_string()),
        ("replica-read-only", "no".to_owned()),
        ("save", String::new()),
        ("slave-read-only", "no".to_owned()),
        ("timeout", "0".to_owned()),
    ];
    let patterns: Vec<Vec<u8>> = patterns.iter().map(|p| p.to_ascii_lowercase()).collect();
    let wanted = |name: &str| patterns.iter().any(|p| glob::matches(p, name.as_bytes()));
    let found = parameters.into_iter().filter(|(name, _)| wanted(name));
    Reply::Map(found.map(|(name, value)| (Reply::bulk(name), Reply::bulk(value))).collect())
}
