//! `oarlock member`: who is in the cluster, and changing that.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use oarlock_raft::{Change, ChangeError, ChangeState, PeerId};
use oarlock_rpc::End as _;
use oarlock_rpc::codec;
use oarlock_rpc::tcp::{EndOptions, TcpEnd};

use super::member::{Member, check_address};
use super::node_status::{CHANGE, ChangeReply, ChangeRequest, ClusterStatus, MemberReport};
use super::status;
use super::table::aligned;

/// Show the members of a cluster, or change who they are.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Show the members: what each counts for, and where it is.
    List(At),
    /// Make a running node a member: start it first, with `oarlock serve --join`.
    Add {
        /// The new node: its number and its --peer-addr, and its --client-addr behind a slash.
        #[arg(value_name = "ID=HOST:PORT[/HOST:PORT]")]
        member: Member,
        #[command(flatten)]
        at: At,
    },
    /// Let a node leave, which then stops. Its number is never used again.
    Remove {
        /// The node's number.
        id: u64,
        #[command(flatten)]
        at: At,
    },
    /// Put a new node in the place of one that is broken, or lost its directory, in one step.
    Replace {
        /// The number of the node that goes.
        old: u64,
        /// The new node, as of `add`.
        #[arg(value_name = "ID=HOST:PORT[/HOST:PORT]")]
        new: Member,
        #[command(flatten)]
        at: At,
    },
}

#[derive(clap::Args)]
struct At {
    /// The client address of any node.
    #[arg(long, default_value = "127.0.0.1:7001", value_parser = check_address)]
    addr: String,
    /// Give up after so many seconds; a node that has not caught up by then is dropped again.
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    timeout: u64,
}

/// How long one answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);
/// How often the change is taken further.
const ASK_EVERY: Duration = Duration::from_millis(100);

pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    match args.what {
        What::List(at) => {
            let (_, cluster) = connect(&at)?;
            print!("{}", table(&cluster));
            Ok(())
        }
        What::Add { member, at } => {
            let (end, _) = connect(&at)?;
            make(&end, &at, &Change::default().adding(PeerId(member.id), member.address()))
        }
        What::Remove { id, at } => {
            let (end, cluster) = connect(&at)?;
            check_member(&cluster, id)?;
            make(&end, &at, &Change::default().removing(PeerId(id)))
        }
        What::Replace { old, new, at } => {
            let (end, cluster) = connect(&at)?;
            check_member(&cluster, old)?;
            let change = Change::default().adding(PeerId(new.id), new.address());
            make(&end, &at, &change.removing(PeerId(old)))
        }
    }
}

fn connect(at: &At) -> anyhow::Result<(TcpEnd, ClusterStatus)> {
    let mut options = EndOptions::client(&at.addr);
    options.call_timeout = ANSWER_WITHIN;
    let end = TcpEnd::connect(options)?;
    let cluster = status::ask(&end, Instant::now() + ANSWER_WITHIN).with_context(|| {
        format!("no answer from {}; is a node running there? Try another with --addr", at.addr)
    })?;
    Ok((end, cluster))
}

fn check_member(cluster: &ClusterStatus, id: u64) -> anyhow::Result<()> {
    // One that has left already is what was asked for.
    let known = cluster.members.iter().any(|member| member.id == id);
    let ids: Vec<String> = cluster.members.iter().map(|member| member.id.to_string()).collect();
    ensure!(
        known || cluster.retired.contains(&id),
        "node {id} is no member; the members are {}",
        ids.join(", ")
    );
    Ok(())
}

/// Takes the change further until it is done. Whoever leads may change meanwhile: it is asked again.
fn make(end: &TcpEnd, at: &At, change: &Change) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(at.timeout);
    let mut reached: Option<ChangeState> = None;
    loop {
        match ask(end, change) {
            Some(Ok(ChangeState::Done(configuration))) => {
                println!("done: the voters are {configuration}");
                return Ok(());
            }
            Some(Ok(state)) => {
                if reached.as_ref().map(ToString::to_string) != Some(state.to_string()) {
                    eprintln!("{state}");
                }
                reached = Some(state);
            }
            // An election, or a node that went away: somebody will lead.
            None | Some(Err(ChangeError::NotLeader { .. } | ChangeError::Stopped(_))) => {}
            Some(Err(error)) => bail!("{error}"),
        }
        if Instant::now() >= deadline {
            return give_up(end, at, change, reached.as_ref());
        }
        thread::sleep(ASK_EVERY);
    }
}

fn ask(end: &TcpEnd, change: &Change) -> Option<Result<ChangeState, ChangeError>> {
    let request = ChangeRequest { forwarded: false, change: change.clone() };
    let args = codec::encode(&request).expect("a few addresses fit a message");
    let bytes = end.call(CHANGE, args).wait_until(Instant::now() + ANSWER_WITHIN).ok().flatten()?;
    Some(codec::decode::<ChangeReply>(&bytes).ok()?.0)
}

fn give_up(
    end: &TcpEnd,
    at: &At,
    change: &Change,
    reached: Option<&ChangeState>,
) -> anyhow::Result<()> {
    let seconds = at.timeout;
    let Some(state) = reached else { bail!("no leader answered within {seconds} s") };
    let ChangeState::CatchingUp(_) = state else {
        bail!(
            "not done within {seconds} s: {state}. It may still be: see `oarlock member list`, and \
             run this again"
        );
    };
    let learners = Change { remove: change.add.keys().copied().collect(), ..Change::default() };
    match ask(end, &learners) {
        Some(Ok(_)) => bail!(
            "{state}, after {seconds} s; nothing was changed. Does it run, at that address, with \
             --join? Allow more time with --timeout"
        ),
        _ => bail!("{state}, after {seconds} s; it goes on receiving the log. Run this again"),
    }
}

fn table(cluster: &ClusterStatus) -> String {
    let rows: Vec<_> = cluster.members.iter().map(row).collect();
    aligned(["node", "member", "role", "reachable", "peers", "clients"], &rows)
}

fn row(member: &MemberReport) -> [String; 6] {
    let unknown = || "-".to_owned();
    let role = member.status.as_ref().map_or_else(unknown, |status| status.role.to_string());
    [
        member.id.to_string(),
        member.role.to_string(),
        role,
        if member.status.is_some() { "yes" } else { "no" }.to_owned(),
        member.peer_addr.clone().unwrap_or_else(unknown),
        member.client_addr.clone().unwrap_or_else(unknown),
    ]
}

#[cfg(test)]
mod tests {
    use oarlock_kvserver::MemberRole;

    use super::*;

    fn cluster() -> ClusterStatus {
        let member = |id, role| MemberReport {
            id,
            role,
            peer_addr: Some(format!("10.0.0.{id}:7101")),
            client_addr: None,
            status: None,
        };
        let members = vec![member(1, MemberRole::Voter), member(4, MemberRole::Learner)];
        ClusterStatus { asked: 1, cluster_id: 7, members, retired: vec![2, 5] }
    }

    #[test]
    fn the_list_says_what_each_counts_for_and_where_it_is() {
        let expected = "\
node  member   role  reachable  peers          clients
1     voter    -     no         10.0.0.1:7101  -
4     learner  -     no         10.0.0.4:7101  -
";
        assert_eq!(table(&cluster()), expected);
    }

    #[test]
    fn only_members_and_former_ones_can_be_removed() {
        let error = check_member(&cluster(), 3).unwrap_err().to_string();
        assert_eq!(error, "node 3 is no member; the members are 1, 4");
        assert!(check_member(&cluster(), 4).is_ok() && check_member(&cluster(), 2).is_ok());
        assert_eq!(cluster().unused_id(), 6);
    }
}
