//! `RAFT`: what Redis has no words for.

use super::client_command::unknown_subcommand;
use super::conversation::Context;
use super::parse::Words;
use super::reply::Reply;

pub(super) fn raft(context: &mut Context<'_>, words: Words) -> Reply {
    match words[1].to_ascii_uppercase().as_slice() {
        b"STATUS" => Reply::Text(context.front.store.status().to_string()),
        b"MEMBERS" | b"ADD" | b"REMOVE" | b"PROMOTE" | b"TRANSFER" | b"SNAPSHOT" | b"WHY" => {
            let shown = String::from_utf8_lossy(&words[1]).to_uppercase();
            Reply::error(format_args!("RAFT {shown} is not supported yet"))
        }
        b"HELP" => Reply::Array(vec![
            Reply::status("RAFT <subcommand>. Subcommands are:"),
            Reply::status("STATUS -- This node's role, term, log and members."),
            Reply::status("HELP -- This text."),
        ]),
        _ => unknown_subcommand("RAFT", &words[1]),
    }
}
