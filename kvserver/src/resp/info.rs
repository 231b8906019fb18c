//! `INFO`: this node in the form that monitoring tools read.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use super::conversation::Context;
use super::handshake::REDIS_VERSION;
use super::parse::Words;
use super::reply::Reply;
use crate::status::NodeStatus;

const SECTIONS: [&str; 8] =
    ["server", "clients", "memory", "stats", "replication", "cluster", "raft", "keyspace"];

pub(super) fn info(context: &mut Context<'_>, words: Words) -> Reply {
    let asked: Vec<String> =
        words[1..].iter().map(|word| String::from_utf8_lossy(word).to_lowercase()).collect();
    let everything = asked.is_empty()
        || asked.iter().any(|s| ["all", "default", "everything"].contains(&s.as_str()));
    let status = context.front.store.status();
    let mut text = String::new();
    for section in SECTIONS.into_iter().filter(|s| everything || asked.iter().any(|a| a == s)) {
        if !text.is_empty() {
            text.push_str("\r\n");
        }
        let (first, rest) = section.split_at(1);
        // Writing to a string cannot fail, here and below.
        let _ = write!(text, "# {}{rest}\r\n", first.to_uppercase());
        for (name, value) in section_lines(section, context, &status) {
            let _ = write!(text, "{name}:{value}\r\n");
        }
    }
    Reply::Text(text)
}

type Lines = Vec<(&'static str, String)>;

fn section_lines(section: &str, context: &Context<'_>, status: &NodeStatus) -> Lines {
    match section {
        "server" => server(context, status),
        "clients" => vec![
            ("connected_clients", context.front.clients.len().to_string()),
            ("maxclients", context.front.options.clients_max.to_string()),
            ("blocked_clients", "0".to_owned()),
        ],
        "memory" => vec![
            ("used_memory", status.data_bytes.to_string()),
            ("used_memory_human", human(status.data_bytes)),
            ("maxmemory", "0".to_owned()),
            ("maxmemory_policy", "noeviction".to_owned()),
        ],
        "stats" => stats(context),
        "replication" => vec![
            ("role", "master".to_owned()),
            ("connected_slaves", "0".to_owned()),
            ("master_repl_offset", status.commit_index.to_string()),
        ],
        "cluster" => vec![("cluster_enabled", "0".to_owned())],
        "raft" => raft(status),
        "keyspace" if status.keys == 0 => Lines::new(),
        "keyspace" => vec![("db0", format!("keys={},expires=0,avg_ttl=0", status.keys))],
        _ => unreachable!("{section} is not among the sections"),
    }
}

fn server(context: &Context<'_>, status: &NodeStatus) -> Lines {
    let uptime = context.front.started.elapsed().as_secs();
    vec![
        ("redis_version", REDIS_VERSION.to_owned()),
        ("redis_mode", "standalone".to_owned()),
        ("oarlock_version", env!("CARGO_PKG_VERSION").to_owned()),
        ("os", format!("{} {}", std::env::consts::OS, std::env::consts::ARCH)),
        ("arch_bits", usize::BITS.to_string()),
        ("process_id", std::process::id().to_string()),
        ("run_id", super::cluster::member_name(status.id)),
        ("uptime_in_seconds", uptime.to_string()),
        ("uptime_in_days", (uptime / 86_400).to_string()),
        // Some clients take no connection before they have read this.
        ("loading", "0".to_owned()),
    ]
}

fn stats(context: &Context<'_>) -> Lines {
    let stats = &context.front.stats;
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed).to_string();
    vec![
        ("total_connections_received", count(&stats.connections)),
        ("total_commands_processed", count(&stats.commands)),
        ("total_net_input_bytes", count(&stats.bytes_in)),
        ("total_net_output_bytes", count(&stats.bytes_out)),
        ("rejected_connections", count(&stats.rejected_connections)),
        ("total_error_replies", count(&stats.errors)),
    ]
}

fn raft(status: &NodeStatus) -> Lines {
    vec![
        ("raft_id", format!("n{}", status.id)),
        ("raft_role", status.role.to_string()),
        ("raft_term", status.term.to_string()),
        ("raft_leader", status.leader.map_or_else(|| "none".to_owned(), |id| format!("n{id}"))),
        ("raft_members", status.members.len().to_string()),
        ("raft_commit_index", status.commit_index.to_string()),
        ("raft_last_applied", status.last_applied.to_string()),
        ("raft_last_index", status.last_index.to_string()),
        ("raft_first_index", status.first_index.to_string()),
        ("raft_state_bytes", status.raft_state_bytes.to_string()),
        ("raft_disk", status.disk().to_owned()),
        ("raft_sessions", status.sessions.to_string()),
    ]
}

fn human(bytes: u64) -> String {
    let mut value = bytes;
    let mut tenths = 0;
    for unit in ["B", "K", "M", "G"] {
        if value < 1024 {
            return if unit == "B" {
                format!("{value}B")
            } else {
                format!("{value}.{tenths}{unit}")
            };
        }
        tenths = value % 1024 * 10 / 1024;
        value /= 1024;
    }
    format!("{value}.{tenths}T")
}

#[cfg(test)]
mod tests {
    use super::human;

    #[test]
    fn sizes_for_people() {
        assert_eq!(human(0), "0B");
        assert_eq!(human(1023), "1023B");
        assert_eq!(human(1536), "1.5K");
        assert_eq!(human(3 << 30), "3.0G");
        assert_eq!(human(5 << 40), "5.0T");
    }
}
