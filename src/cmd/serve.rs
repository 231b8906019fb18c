//! `oarlock serve`: one node.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use crossbeam_channel::{Receiver, bounded, never, select};
use oarlock::{Site, SiteOptions};
use oarlock_kvserver::resp::{FrontEnd, OtherProtocol, RespListener, RespOptions};
use oarlock_kvserver::{KvOptions, KvServer};
use oarlock_raft::{HandOverError, LeaseReads, Options, PeerId};
use oarlock_rpc::Router;
use oarlock_rpc::tcp::{FIRST_BYTE, ServerOptions, TcpServer};

use super::joining;
use super::member::{Member, check_address};
use super::node_status::NodeService;
use super::open_files;
use super::signals;

/// How long a leader that is told to stop tries to pass its leadership on: far longer than it takes
/// where it can be done.
const HAND_OVER_TIMEOUT: Duration = Duration::from_millis(500);

/// Run one node of a cluster. The same command line starts it again.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// This node's number, from 1; never given to another.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    id: u64,
    /// This node's directory; made if it does not exist.
    #[arg(long)]
    dir: PathBuf,
    /// Where clients connect.
    #[arg(long, value_name = "HOST:PORT", value_parser = check_address)]
    client_addr: String,
    /// Where the other nodes connect.
    #[arg(long, value_name = "HOST:PORT", value_parser = check_address)]
    peer_addr: String,
    /// Another node: its number and its --peer-addr, and its --client-addr behind a slash if
    /// cluster-aware clients shall be told of it. Once for each.
    #[arg(long = "peer", value_name = "ID=HOST:PORT[/HOST:PORT]")]
    peers: Vec<Member>,
    /// Join a running cluster, of which a node listens for clients here, and found none. Then make
    /// this node a member: `oarlock member add`, or `replace`. Once it has a directory, that says
    /// what it needs to know.
    #[arg(long, value_name = "HOST:PORT", value_parser = check_address, conflicts_with = "peers")]
    join: Option<String>,
    /// Tells this cluster from others; by default taken from the directory, or made of the members.
    #[arg(long)]
    cluster_id: Option<u64>,
    /// The length of a segment of the log. A small disk is used better with small ones.
    #[arg(long, value_name = "BYTES", default_value_t = 16 << 20,
          value_parser = clap::value_parser!(u64).range(64 << 10..=1 << 30))]
    segment_bytes: u64,
    /// Write the state down once the log behind the last snapshot is longer than this, and than half
    /// of that snapshot. The less, the less memory and the shorter a restart, and the more is written.
    #[arg(long, value_name = "BYTES", default_value_t = 8 << 20,
          value_parser = clap::value_parser!(u64).range(64 << 10..))]
    snapshot_log_bytes: u64,
    /// Let a leader answer reads without asking other nodes, for as long as it can tell from the clock
    /// that no other leads. Right only if no two nodes' clocks ever drift apart by more than so many per
    /// cent (1 is ample) and none stands still: not where machines are suspended or moved while they
    /// run. Give it to every node or to none, and stop all of them before you change it.
    #[arg(long, value_name = "MAX_DRIFT_PERCENT",
          value_parser = clap::value_parser!(u32).range(0..=50))]
    lease_reads: Option<u32>,
    /// Stop when standard input ends: whoever started this node is gone then.
    #[arg(long, hide = true)]
    stop_with_stdin: bool,
}

pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    start_logging();
    let members = members(&args)?;
    let site = SiteOptions {
        id: PeerId(args.id),
        members: members.iter().map(|(&id, member)| (id, member.address())).collect(),
        dir: args.dir.clone(),
        cluster_id: match &args.join {
            Some(anybody) => {
                joining::cluster_to_join(&args.dir, args.id, anybody, args.cluster_id)?
            }
            None => args.cluster_id,
        },
        joins: args.join.is_some(),
        segment_bytes: Some(args.segment_bytes),
    };
    let requests = signals::stop_requests().context("cannot listen for signals")?;
    // Both addresses first: if one is taken, nothing on disk is touched.
    let client_listener = oarlock::listen(&args.client_addr)?;
    let (cluster, persister, peer_listener) = Site::prepare(&site)?.split();
    let identity = peer_listener.identity();
    let options = kv_options(&args, &members);
    let kv = KvServer::open_in(site.id, cluster, Box::new(persister), options)?;
    let cluster_id = identity.cluster_id;
    let node = Arc::new(NodeService { me: site.id, cluster_id, server: kv.clone() });
    let to_clients = Router::new().with("Kv", kv.service()).with("Node", Arc::clone(&node) as _);
    let to_peers = to_clients.clone().with("Raft", kv.replicated().service());
    let peer_server = peer_listener.serve(Arc::new(to_peers))?;
    let rpc_clients = Arc::new(TcpServer::unbound(
        ServerOptions::new(identity).serve_clients(Arc::new(to_clients)),
    ));
    let rpc_streams = Arc::clone(&rpc_clients);
    let other = OtherProtocol {
        first_byte: FIRST_BYTE,
        serve: Arc::new(move |stream: TcpStream| rpc_streams.serve_stream(stream)),
    };
    let resp_options = RespOptions::default();
    open_files::make_room_for(resp_options.clients_max);
    let front = FrontEnd::new(kv.client(), resp_options);
    let resp = RespListener::start(client_listener, front, Some(other))?;
    log::info!(
        "node {} of cluster {:x} serves clients on {}, peers on {}, from {}",
        args.id,
        identity.cluster_id,
        args.client_addr,
        args.peer_addr,
        args.dir.display()
    );

    let stdin_ended = if args.stop_with_stdin { stdin_end()? } else { never() };
    let failed = kv.replicated().raft().stop_signal();
    select! {
        recv(requests) -> _ => {
            log::info!("told to stop");
            hand_over(&kv);
        }
        recv(stdin_ended) -> _ => log::info!("whoever started this node is gone: stopping"),
        recv(failed) -> _ => {}
    }
    #[cfg(feature = "stages")]
    write_stages();
    let reason = kv.replicated().raft().stopped();
    let began = Instant::now();
    resp.shutdown();
    rpc_clients.shutdown();
    peer_server.shutdown();
    kv.kill();
    if let Some(reason) = reason {
        bail!("{reason}");
    }
    log::info!("stopped in {:.1?}", began.elapsed());
    Ok(())
}

fn kv_options(args: &Args, members: &BTreeMap<PeerId, Member>) -> KvOptions {
    let lease_reads =
        args.lease_reads.map(|percent| LeaseReads { drift_ppm_max: percent * 10_000 });
    KvOptions {
        raft: Options { lease_reads, ..Options::default() },
        client_addrs: client_addrs(members),
        forward: true,
        snapshot_log_bytes: Some(args.snapshot_log_bytes),
        ..KvOptions::default()
    }
}

/// Writes down when each write passed each stage, where the environment says.
#[cfg(feature = "stages")]
fn write_stages() {
    let Some(path) = std::env::var_os("OARLOCK_STAGES") else { return };
    if let Err(error) = oarlock_sync::stages::write(std::path::Path::new(&path)) {
        log::error!("no stages in {}: {error}", PathBuf::from(path).display());
    }
}

/// Lets another node lead before this one stops, so that clients hardly notice.
fn hand_over(kv: &KvServer) {
    match kv.replicated().hand_over(HAND_OVER_TIMEOUT) {
        Ok(leader) => log::info!("node {leader} leads now"),
        Err(HandOverError::NotLeader { .. }) => {}
        Err(error) => log::info!("leadership is not passed on: {error}"),
    }
}

fn members(args: &Args) -> anyhow::Result<BTreeMap<PeerId, Member>> {
    let own = Member {
        id: args.id,
        peer_addr: args.peer_addr.clone(),
        client_addr: Some(args.client_addr.clone()),
    };
    let mut members = BTreeMap::from([(PeerId(args.id), own)]);
    for peer in &args.peers {
        if members.insert(PeerId(peer.id), peer.clone()).is_some() {
            bail!("node {} is given twice; every --peer needs another id", peer.id);
        }
    }
    Ok(members)
}

fn client_addrs(members: &BTreeMap<PeerId, Member>) -> BTreeMap<PeerId, String> {
    members.iter().filter_map(|(&id, member)| Some((id, member.client_addr.clone()?))).collect()
}

/// Lines on standard error: seconds since the start, level, topic, text. `RUST_LOG` chooses.
fn start_logging() {
    use std::io::Write as _;
    let began = Instant::now();
    let default = env_logger::Env::default().default_filter_or("info");
    env_logger::Builder::from_env(default)
        .format(move |out, record| {
            let (seconds, level) = (began.elapsed().as_secs_f64(), record.level());
            writeln!(out, "{seconds:10.4} {level:5} {} {}", record.target(), record.args())
        })
        .init();
}

/// A channel that gets a message when standard input ends.
fn stdin_end() -> std::io::Result<Receiver<()>> {
    let (sender, receiver) = bounded(1);
    std::thread::Builder::new().name("stdin".to_owned()).spawn(move || {
        let mut byte = [0; 64];
        while std::io::stdin().read(&mut byte).is_ok_and(|count| count > 0) {}
        // Nobody listens any more if the node is stopping already.
        let _ = sender.send(());
    })?;
    Ok(receiver)
}
