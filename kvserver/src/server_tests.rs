//! Whole nodes on the simulated network: forwarding, elections, lost messages, restarts.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Instant;

use oarlock_labrpc::Network;
use oarlock_raft::Vouch;
use oarlock_rpc::{Completion, End, Method, codec};
use oarlock_storage::MemoryPersister;

use super::*;
use crate::clerk::Clerk;
use crate::error::{ClerkError, ExecuteError};
use crate::op::{Answer, Op};
use crate::request::{ClientId, KV_REQUEST, KV_STATUS, KvCall, KvReply, Request};

/// Some nodes, all connected, each with its memory of durable state.
pub(crate) struct Cluster {
    network: Network,
    pub(crate) servers: Vec<KvServer>,
    persisters: Vec<MemoryPersister>,
    options: KvOptions,
    generation: usize,
}

impl Cluster {
    pub(crate) fn new(n: usize, options: KvOptions) -> Self {
        let network = Network::new(7);
        let persisters = (0..n).map(|_| MemoryPersister::new()).collect();
        let mut cluster = Self { network, servers: vec![], persisters, options, generation: 0 };
        for me in 0..n {
            let server = cluster.open(me);
            cluster.servers.push(server);
        }
        cluster
    }

    fn open(&mut self, me: usize) -> KvServer {
        self.generation += 1;
        let n = self.persisters.len();
        let peers = (0..n).map(|other| {
            let name = format!("{me}>{other}#{}", self.generation);
            (PeerId(other as u64), self.end(&name, other))
        });
        let peers: BTreeMap<_, _> = peers.collect();
        self.persisters[me] = self.persisters[me].copy();
        let persister = Box::new(self.persisters[me].clone());
        let options = self.options.clone();
        let server = KvServer::open(PeerId(me as u64), peers, persister, options).unwrap();
        self.network.add_server(me, Arc::new(server.services()));
        server
    }

    pub(crate) fn end(&self, name: &str, server: usize) -> Arc<dyn End> {
        let end = self.network.make_end(name);
        self.network.connect(name, server);
        self.network.enable(name, true);
        end
    }

    pub(crate) fn clerk(&self, name: &str) -> Clerk {
        self.clerk_of(name, 0..self.servers.len())
    }

    fn clerk_of(&self, name: &str, servers: impl IntoIterator<Item = usize>) -> Clerk {
        let ends = servers.into_iter().map(|s| self.end(&format!("{name}>{s}"), s));
        Clerk::new(ends.collect())
    }

    pub(crate) fn leader(&self) -> usize {
        let replicated = self.servers[0].replicated();
        let deadline = Instant::now() + Duration::from_secs(10);
        let (_, leader) = replicated.wait_for_leader((0, None), deadline);
        usize::try_from(leader.expect("a leader within ten seconds").0).unwrap()
    }

    /// How many messages were sent so far, of any kind.
    pub(crate) fn messages(&self) -> u64 {
        self.network.total_count()
    }

    pub(crate) fn a_follower(&self) -> usize {
        (self.leader() + 1) % self.servers.len()
    }

    /// Cuts a node off from the other nodes, or connects it again. Clerks are not concerned.
    pub(crate) fn connect(&self, node: usize, connected: bool) {
        for other in (0..self.servers.len()).filter(|other| *other != node) {
            for (from, to) in [(node, other), (other, node)] {
                for generation in 1..=self.generation {
                    let name = format!("{from}>{to}#{generation}");
                    if generation == from + 1 {
                        self.network.enable(name, connected);
                    }
                }
            }
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for server in &self.servers {
            server.kill();
        }
        self.network.shutdown();
    }
}

pub(crate) fn append(key: &str, text: &str) -> Vec<Op> {
    let bytes = |text: &str| text.as_bytes().to_vec().into();
    vec![Op::Append { key: bytes(key), value: bytes(text) }]
}

pub(crate) fn get(key: &str) -> Vec<Op> {
    vec![Op::Get { key: key.as_bytes().to_vec().into() }]
}

pub(crate) fn text(answer: &Answer) -> String {
    match answer {
        Answer::Bytes(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
        Answer::Nil => String::new(),
        other => panic!("{other:?}"),
    }
}

/// Each token `<client>.<n>;` for n below `count`: exactly once, in order.
#[track_caller]
fn check_appends(value: &str, client: usize, count: usize) {
    let mine: Vec<&str> = value
        .split_terminator(';')
        .filter(|token| token.starts_with(&format!("{client}.")))
        .collect();
    let expected: Vec<String> = (0..count).map(|n| format!("{client}.{n}")).collect();
    assert_eq!(mine, expected);
}

#[test]
fn a_clerk_puts_appends_and_gets() {
    let cluster = Cluster::new(3, KvOptions::lab(None));
    let mut clerk = cluster.clerk("a");
    assert_eq!(clerk.get("k"), "");
    clerk.append("k", "1");
    clerk.append("k", "2");
    assert_eq!(clerk.get("k"), "12");
    clerk.put("k", "3");
    assert_eq!(cluster.clerk("b").get("k"), "3");
    let deadline = Instant::now() + Duration::from_secs(5);
    assert_eq!(clerk.get_until(b"none", deadline).unwrap(), None);
    assert_eq!(clerk.append_until(b"k", b"45", deadline).unwrap(), 3);
    let add = vec![Op::IncrBy { key: b"k".to_vec().into(), by: 1 }];
    let answers = clerk.execute_until(add, deadline).unwrap();
    assert_eq!(answers[0], Answer::Integer(346));
}

#[test]
fn a_follower_forwards_for_its_own_client_and_for_a_clerk() {
    let cluster = Cluster::new(3, KvOptions::default());
    let follower = cluster.a_follower();
    let client = cluster.servers[follower].client();
    assert_eq!(client.execute(append("k", "ab")).unwrap()[0], Answer::Integer(2));
    assert_eq!(text(&client.execute(get("k")).unwrap()[0]), "ab");
    let mut clerk = cluster.clerk_of("only", [follower]);
    clerk.append("k", "c");
    assert_eq!(clerk.get("k"), "abc");
}

#[test]
fn a_request_made_before_there_is_a_leader_waits_for_one() {
    let cluster = Cluster::new(3, KvOptions::default());
    std::thread::scope(|scope| {
        for server in &cluster.servers {
            let client = server.client();
            scope.spawn(move || {
                assert!(client.execute(append("k", "x")).is_ok());
                assert!(client.execute(get("k")).is_ok());
            });
        }
    });
    assert_eq!(cluster.clerk("reader").get("k"), "xxx");
}

/// An end whose calls to the store go wrong as `disturb` says; all others pass.
struct Disturbed {
    inner: Arc<dyn End>,
    member: PeerId,
    disturb: Arc<Disturb>,
    /// Of all ends of one client together.
    calls: Arc<AtomicUsize>,
}

/// What is done with a call to a member.
type Disturb = dyn Fn(PeerId, &Arc<dyn End>, Vec<u8>, Completion) + Send + Sync;

impl End for Disturbed {
    fn start(&self, method: Method, args: Vec<u8>, done: Completion) {
        if method == KV_REQUEST && self.calls.fetch_add(1, Ordering::SeqCst) == 0 {
            (self.disturb)(self.member, &self.inner, args, done);
        } else {
            self.inner.start(method, args, done);
        }
    }
}

/// A client at a follower of `cluster`, whose first call to the leader is disturbed.
pub(crate) fn disturbed_client(
    cluster: &Cluster,
    disturb: impl Fn(PeerId, &Arc<dyn End>, Vec<u8>, Completion) + Send + Sync + 'static,
) -> LocalClient {
    let disturb: Arc<Disturb> = Arc::new(disturb);
    let calls = Arc::new(AtomicUsize::new(0));
    client_by(cluster, move |member, inner| {
        let (disturb, calls) = (Arc::clone(&disturb), Arc::clone(&calls));
        Arc::new(Disturbed { inner, member, disturb, calls })
    })
}

/// A client at a follower of `cluster`, whose ends to the members are what `wrap` makes of them.
pub(crate) fn client_by(
    cluster: &Cluster,
    wrap: impl Fn(PeerId, Arc<dyn End>) -> Arc<dyn End> + Send + Sync + 'static,
) -> LocalClient {
    let follower = &cluster.servers[cluster.a_follower()].inner;
    let node = &follower.node;
    let raft = node.replicated.raft().clone();
    let end_to = move |member| Some(wrap(member, raft.end_to(member)?));
    let node = Arc::new(Node {
        me: node.me,
        end_to: Box::new(end_to),
        replicated: node.replicated.clone(),
        gauges: Arc::clone(&node.gauges),
        client_addrs: Mutex::default(),
    });
    LocalClient::start(node, follower.client.watch(), Duration::from_secs(5)).unwrap()
}

#[test]
fn a_follower_that_passes_a_request_on_vouches_for_its_leader() {
    let cluster = Cluster::new(3, KvOptions::default());
    let follower = cluster.a_follower();
    let client = disturbed_client(&cluster, |_, _, args, done| {
        let call: KvCall = codec::decode(&args).unwrap();
        // An answer that tells what came.
        let Some(Vouch { peer, term, .. }) = call.forwarded else { panic!("nobody vouches") };
        let numbers = [peer.0, term].map(|number| Answer::Integer(number.try_into().unwrap()));
        done.complete(Some(codec::encode(&KvReply::Answers(numbers.to_vec().into())).unwrap()));
    });
    let node = &cluster.servers[follower].inner.node;
    let told = client.execute(append("k", "x")).unwrap();
    let [Answer::Integer(peer), Answer::Integer(term)] = told[..] else { panic!("{told:?}") };
    assert_eq!(u64::try_from(peer).unwrap(), node.me.0);
    let now_in = i64::try_from(node.leader().0).unwrap();
    assert!((1..=now_in).contains(&term), "it vouches in T{term}, and is in T{now_in}");
}

/// The member that is asked first vanishes once it has been: the network may not be cut before, or
/// the request goes to the next leader at once, whose silence is not the end of it.
#[test]
fn a_request_that_a_vanished_leader_never_answers_goes_to_the_next_one() {
    let cluster = Cluster::new(3, KvOptions::default());
    let (tell, asked) = mpsc::channel();
    let client = disturbed_client(&cluster, move |member, _, _, done| {
        std::mem::forget(done);
        tell.send(member).unwrap();
    });
    std::thread::scope(|scope| {
        let executing = scope.spawn(|| client.execute(append("k", "x")));
        // Nobody, if the follower has come to lead meanwhile.
        if let Ok(PeerId(leader)) = asked.recv_timeout(Duration::from_secs(3)) {
            cluster.connect(usize::try_from(leader).unwrap(), false);
        }
        assert_eq!(executing.join().unwrap().unwrap()[0], Answer::Integer(1));
    });
}

#[test]
fn a_session_lost_in_the_middle_of_a_request_is_not_renewed_behind_the_callers_back() {
    let limits = Limits { sessions: 1, ..Limits::default() };
    let cluster = Cluster::new(3, KvOptions { limits, ..KvOptions::default() });
    // It is executed; then another client evicts the session; and the reply is lost.
    let client = disturbed_client(&cluster, |_, leader, args, done| {
        let then = Arc::clone(leader);
        let executed = Completion::new(move |_| {
            let client = ClientId::random(2);
            let request = Request { client, seq: 1, acked_below: 1, ops: append("other", "x") };
            let forwarded = Some(Vouch { peer: PeerId(1), term: 0, applied: 0 });
            let call = KvCall { forwarded, request };
            let evicted = Completion::new(move |_| drop(done));
            then.start(KV_REQUEST, codec::encode(&call).unwrap(), evicted);
        });
        leader.start(KV_REQUEST, args, executed);
    });
    let error = client.execute(append("k", "x")).unwrap_err();
    assert!(error.may_have_taken_effect(), "{error}");
    assert_eq!(cluster.clerk("reader").get("k"), "x");
    assert_eq!(client.execute(append("k", "y")).unwrap()[0], Answer::Integer(2));
}

#[test]
fn a_follower_that_does_not_forward_says_so() {
    let cluster = Cluster::new(3, KvOptions::lab(None));
    let mut clerk = cluster.clerk_of("only", [cluster.a_follower()]);
    let deadline = Instant::now() + Duration::from_millis(200);
    assert_eq!(clerk.put_until(b"k", b"v", deadline), Err(ClerkError::NotExecuted));
}

#[test]
fn a_lost_leader_costs_a_pause_and_nothing_executes_twice() {
    let cluster = Cluster::new(3, KvOptions::default());
    let leader = cluster.leader();
    let follower = cluster.a_follower();
    let client = cluster.servers[follower].client();
    client.execute(append("k", "0.0;")).unwrap();
    std::thread::scope(|scope| {
        let appending = scope.spawn(move || {
            for n in 1..200 {
                client.execute(append("k", &format!("0.{n};"))).unwrap();
            }
        });
        cluster.connect(leader, false);
        appending.join().unwrap();
        cluster.connect(leader, true);
    });
    let value = text(&cluster.servers[leader].client().execute(get("k")).unwrap()[0]);
    check_appends(&value, 0, 200);
}

#[test]
fn without_a_majority_the_error_says_whether_it_may_take_effect() {
    let options = KvOptions { request_timeout: Duration::from_millis(900), ..KvOptions::default() };
    let cluster = Cluster::new(3, options);
    let leader = cluster.leader();
    let client = cluster.servers[leader].client();
    client.execute(append("k", "a")).unwrap();
    for node in 0..3 {
        cluster.connect(node, false);
    }
    let error = client.execute(append("k", "b")).unwrap_err();
    assert!(error.may_have_taken_effect(), "it was appended: {error}");
    // By now it has noticed that it is alone.
    let error = client.execute(append("k", "c")).unwrap_err();
    assert!(matches!(error, ExecuteError::NoLeader { .. }), "{error}");
    let error = client.execute(get("k")).unwrap_err();
    assert!(matches!(error, ExecuteError::NoLeader { .. }), "{error}");
    for node in 0..3 {
        cluster.connect(node, true);
    }
    let value = cluster.clerk("later").get("k");
    assert!(value == "a" || value == "ab", "{value}");
}

#[test]
fn on_an_unreliable_network_every_append_takes_effect_once() {
    let cluster = Cluster::new(3, KvOptions::default());
    cluster.leader();
    cluster.network.set_reliable(false);
    std::thread::scope(|scope| {
        for (id, server) in cluster.servers.iter().enumerate() {
            for lane in 0..2 {
                let client = server.client();
                scope.spawn(move || {
                    for n in 0..15 {
                        client.execute(append("k", &format!("{}.{n};", id * 2 + lane))).unwrap();
                    }
                });
            }
        }
        let mut clerk = cluster.clerk("clerk");
        scope.spawn(move || (0..15).for_each(|n| clerk.append("k", &format!("6.{n};"))));
    });
    cluster.network.set_reliable(true);
    let value = cluster.clerk("reader").get("k");
    for client in 0..7 {
        check_appends(&value, client, 15);
    }
}

#[test]
fn an_evicted_session_is_renewed_without_anyone_noticing() {
    let limits = Limits { sessions: 1, ..Limits::default() };
    let cluster = Cluster::new(3, KvOptions { limits, ..KvOptions::default() });
    let (mut a, mut b) = (cluster.clerk("a"), cluster.clerk("b"));
    let client = cluster.servers[0].client();
    for n in 0..10 {
        a.append("k", &format!("0.{n};"));
        b.append("k", &format!("1.{n};"));
        client.execute(append("k", &format!("2.{n};"))).unwrap();
    }
    let value = a.get("k");
    (0..3).for_each(|id| check_appends(&value, id, 10));
}

#[test]
fn killed_nodes_answer_and_start_again_with_what_they_had() {
    let options = KvOptions { snapshot_log_bytes: Some(1000), ..KvOptions::default() };
    let mut cluster = Cluster::new(3, options);
    let client = cluster.servers[cluster.leader()].client();
    for n in 0..60 {
        client.execute(append("k", &format!("0.{n};"))).unwrap();
    }
    for server in &cluster.servers {
        server.kill();
        assert!(server.replicated().raft().stopped().is_some());
    }
    assert_eq!(client.execute(get("k")), Err(ExecuteError::Stopped));
    assert_eq!(client.execute(append("k", "late")), Err(ExecuteError::Stopped));
    assert!(cluster.persisters.iter().any(|p| p.snapshot().is_some()), "a snapshot was taken");
    for me in 0..3 {
        cluster.servers[me] = cluster.open(me);
    }
    let value = cluster.clerk("reader").get("k");
    check_appends(&value, 0, 60);
}

#[test]
fn every_node_tells_its_status() {
    let cluster = Cluster::new(3, KvOptions::default());
    let leader = cluster.leader();
    cluster.servers[0].client().execute(append("key", "value")).unwrap();
    cluster.servers[leader].set_client_addr(PeerId(1), "host:1".to_owned());
    let end = cluster.end("status", leader);
    let reply = end.call(KV_STATUS, vec![]).wait().unwrap();
    let status: NodeStatus = codec::decode(&reply).unwrap();
    assert_eq!(status.leader, Some(PeerId(leader as u64)));
    assert_eq!((status.keys, status.data_bytes, status.sessions), (1, 8, 1));
    assert_eq!(status.members.len(), 3);
    assert_eq!(status.members[1].client_addr.as_deref(), Some("host:1"));
    let known = status.members.iter().filter(|m| m.match_index.is_some()).count();
    assert_eq!(known, 2, "a leader knows the others");
}
