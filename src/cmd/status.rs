//! `oarlock status`: one line for each node.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use oarlock_rpc::End as _;
use oarlock_rpc::codec;
use oarlock_rpc::tcp::{EndOptions, TcpEnd};

use super::member::check_address;
use super::node_status::{Ask, CLUSTER, ClusterStatus, MemberReport};
use super::table::aligned;

/// Show every node of a cluster: its role, its term, and how far its log has come.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The client address of any node.
    #[arg(long, default_value = "127.0.0.1:7001", value_parser = check_address)]
    addr: String,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// A node gives its peers two seconds to answer; it gets a little more itself.
const PATIENCE: Duration = Duration::from_secs(4);

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let mut options = EndOptions::client(&args.addr);
    options.call_timeout = PATIENCE;
    let end = TcpEnd::connect(options)?;
    let cluster = ask(&end, Instant::now() + PATIENCE).with_context(|| {
        format!("no answer from {}; is a node running there? Try another with --addr", args.addr)
    })?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&cluster)?);
    } else {
        print!("{}", table(&cluster));
    }
    Ok(())
}

/// Asks the node at `end` for its cluster.
pub(crate) fn ask(end: &TcpEnd, deadline: Instant) -> Option<ClusterStatus> {
    let question = codec::encode(&Ask).expect("an empty question fits");
    let bytes = end.call(CLUSTER, question).wait_until(deadline).ok().flatten()?;
    codec::decode(&bytes).ok()
}

fn table(cluster: &ClusterStatus) -> String {
    let rows: Vec<_> = cluster.members.iter().map(row).collect();
    let head =
        ["node", "role", "term", "commit", "applied", "last", "disk", "reachable", "address"];
    aligned(head, &rows)
}

fn row(member: &MemberReport) -> [String; 9] {
    let unknown = || "-".to_owned();
    let address = member.client_addr.clone().unwrap_or_else(unknown);
    let id = member.id.to_string();
    let Some(status) = &member.status else {
        let [role, term, commit, applied, last, disk] = std::array::from_fn(|_| unknown());
        return [id, role, term, commit, applied, last, disk, "no".to_owned(), address];
    };
    [
        id,
        status.role.to_string(),
        status.term.to_string(),
        status.commit_index.to_string(),
        status.last_applied.to_string(),
        status.last_index.to_string(),
        status.disk().to_owned(),
        "yes".to_owned(),
        address,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use oarlock_kvserver::{MemberRole, NodeRole, NodeStatus};
    use oarlock_raft::PeerId;

    #[test]
    fn a_node_that_does_not_answer_keeps_its_line() {
        let status = NodeStatus {
            id: PeerId(1),
            role: NodeRole::Leader,
            term: 7,
            leader: Some(PeerId(1)),
            commit_index: 12,
            last_applied: 11,
            last_index: 13,
            first_index: 1,
            raft_state_bytes: 0,
            has_room: false,
            keys: 0,
            data_bytes: 0,
            sessions: 0,
            members: Vec::new(),
        };
        let address = Some("127.0.0.1:7001".to_owned());
        let member = |id| MemberReport {
            id,
            role: MemberRole::Voter,
            peer_addr: None,
            client_addr: None,
            status: None,
        };
        let members = vec![
            MemberReport { client_addr: address, status: Some(status), ..member(1) },
            member(2),
        ];
        let expected = "\
node  role    term  commit  applied  last  disk  reachable  address
1     leader  7     12      11       13    full  yes        127.0.0.1:7001
2     -       -     -       -        -     -     no         -
";
        assert_eq!(
            table(&ClusterStatus { asked: 1, cluster_id: 7, members, retired: Vec::new() }),
            expected
        );
    }
}
