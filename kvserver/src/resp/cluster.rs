//! `CLUSTER`: the members, in the words of a Redis cluster with one shard. The leader owns every
//! slot and the others are its replicas, which is true of who must execute a command; a client that
//! follows it saves the forwarding.

use oarlock_raft::PeerId;

use super::client_command::{unknown_subcommand, wrong_number};
use super::conversation::Context;
use super::parse::Words;
use super::reply::Reply;
use crate::status::NodeStatus;

const SLOTS: u16 = 16_384;

pub(super) fn cluster(context: &mut Context<'_>, words: Words) -> Reply {
    let status = context.front.store.status();
    match (words[1].to_ascii_uppercase().as_slice(), &words[2..]) {
        (b"SLOTS", []) => slots(&status),
        (b"SHARDS", []) => shards(&status),
        (b"NODES", []) => Reply::Text(nodes(&status)),
        (b"INFO", []) => Reply::Text(cluster_info(&status)),
        (b"MYID", []) => Reply::bulk(member_name(status.id)),
        (b"KEYSLOT", [key]) => Reply::Integer(i64::from(key_slot(key))),
        (b"HELP", _) => help(),
        (b"SLOTS" | b"SHARDS" | b"NODES" | b"INFO" | b"MYID" | b"KEYSLOT", _) => {
            wrong_number("cluster", &words[1])
        }
        _ => unknown_subcommand("CLUSTER", &words[1]),
    }
}

/// The forty hexadecimal digits clients expect of a node's name.
pub(super) fn member_name(id: PeerId) -> String {
    format!("{:040x}", id.0)
}

/// A member whose clients' address is known.
struct Reachable<'a> {
    id: PeerId,
    host: &'a str,
    port: u16,
}

/// The members whose address is known, the leader first; empty if no leader's is.
fn leader_first(status: &NodeStatus) -> Vec<Reachable<'_>> {
    let mut members: Vec<Reachable<'_>> = status
        .members
        .iter()
        .filter_map(|member| {
            let (host, port) = member.client_addr.as_deref()?.rsplit_once(':')?;
            let host = host.trim_start_matches('[').trim_end_matches(']');
            Some(Reachable { id: member.id, host, port: port.parse().ok()? })
        })
        .collect();
    members.sort_by_key(|member| Some(member.id) != status.leader);
    match members.first() {
        Some(first) if Some(first.id) == status.leader => members,
        _ => Vec::new(),
    }
}

fn slots(status: &NodeStatus) -> Reply {
    let members = leader_first(status);
    if members.is_empty() {
        return Reply::Array(Vec::new());
    }
    let mut range = vec![Reply::Integer(0), Reply::Integer(i64::from(SLOTS - 1))];
    range.extend(members.iter().map(|member| {
        Reply::Array(vec![
            Reply::bulk(member.host),
            Reply::Integer(i64::from(member.port)),
            Reply::bulk(member_name(member.id)),
            Reply::Array(Vec::new()),
        ])
    }));
    Reply::Array(vec![Reply::Array(range)])
}

fn shards(status: &NodeStatus) -> Reply {
    let map = |fields: Vec<(&str, Reply)>| {
        Reply::Map(fields.into_iter().map(|(name, value)| (Reply::bulk(name), value)).collect())
    };
    let commit_index = i64::try_from(status.commit_index).unwrap_or(i64::MAX);
    let nodes: Vec<Reply> = leader_first(status)
        .iter()
        .enumerate()
        .map(|(n, member)| {
            map(vec![
                ("id", Reply::bulk(member_name(member.id))),
                ("port", Reply::Integer(i64::from(member.port))),
                ("ip", Reply::bulk(member.host)),
                ("endpoint", Reply::bulk(member.host)),
                ("role", Reply::bulk(if n == 0 { "master" } else { "replica" })),
                ("replication-offset", Reply::Integer(commit_index)),
                ("health", Reply::bulk("online")),
            ])
        })
        .collect();
    if nodes.is_empty() {
        return Reply::Array(Vec::new());
    }
    let all_slots = vec![Reply::Integer(0), Reply::Integer(i64::from(SLOTS - 1))];
    Reply::Array(vec![map(vec![
        ("slots", Reply::Array(all_slots)),
        ("nodes", Reply::Array(nodes)),
    ])])
}

fn nodes(status: &NodeStatus) -> String {
    let members = leader_first(status);
    let leader = members.first().map(|leader| member_name(leader.id)).unwrap_or_default();
    let line = |(n, member): (usize, &Reachable<'_>)| {
        let Reachable { id, host, port } = member;
        let me = if *id == status.id { "myself," } else { "" };
        let name = member_name(*id);
        let term = status.term;
        if n == 0 {
            let last = SLOTS - 1;
            format!("{name} {host}:{port}@{port} {me}master - 0 0 {term} connected 0-{last}\n")
        } else {
            format!("{name} {host}:{port}@{port} {me}slave {leader} 0 0 {term} connected\n")
        }
    };
    members.iter().enumerate().map(line).collect()
}

fn cluster_info(status: &NodeStatus) -> String {
    let state = if status.leader.is_some() { "ok" } else { "fail" };
    let (members, term) = (status.members.len(), status.term);
    format!(
        "cluster_enabled:0\r\ncluster_state:{state}\r\ncluster_slots_assigned:{SLOTS}\r\n\
         cluster_slots_ok:{SLOTS}\r\ncluster_slots_pfail:0\r\ncluster_slots_fail:0\r\n\
         cluster_known_nodes:{members}\r\ncluster_size:1\r\ncluster_current_epoch:{term}\r\n\
         cluster_my_epoch:{term}\r\n"
    )
}

/// The slot of a key: of the part in the first `{…}` that is not empty, if there is one.
fn key_slot(key: &[u8]) -> u16 {
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let behind = &key[open + 1..];
        let close = behind.iter().position(|byte| *byte == b'}')?;
        (close > 0).then(|| &behind[..close])
    });
    crc16(tag.unwrap_or(key)) % SLOTS
}

/// CRC-16 with the polynomial 0x1021, as XMODEM has it.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc: u16, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    })
}

fn help() -> Reply {
    const LINES: [&str; 6] = [
        "CLUSTER <subcommand> [<arg> ...]. Subcommands are:",
        "SLOTS, SHARDS, NODES -- The members; the leader has every slot.",
        "INFO -- Whether there is a leader.",
        "MYID -- The name of this node.",
        "KEYSLOT <key> -- The slot a Redis cluster would put the key in.",
        "HELP -- This text.",
    ];
    Reply::Array(LINES.iter().map(|line| Reply::status(line)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_slots_are_those_of_redis_clusters() {
        assert_eq!(crc16(b"123456789"), 0x31c3, "the check value of CRC-16/XMODEM");
        assert_eq!(key_slot(b"foo"), 12182);
        assert_eq!(key_slot(b"{foo}bar"), key_slot(b"foo"));
        assert_eq!(key_slot(b"a{foo}{bar}"), key_slot(b"foo"));
        assert_ne!(key_slot(b"{}foo"), key_slot(b"foo"));
    }
}
